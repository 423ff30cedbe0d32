//! PostHog: told of pictures made, and asked which features an account has. It hears an account's id, never a person's name,
//! address, prompt or key.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;
use tintype_types::Timestamp;
use url::Url;
use uuid::Uuid;

use super::metrics::{Service, ServiceMetrics, outcome};
use crate::clock::rfc3339;
use crate::identity::fetch;
use crate::lanes::{Errand, Failed, Lane, NewErrand, Rules, errand};

/// The lane's name.
const LANE: &str = "analytics";
/// What is told.
const EVENT: &str = "image_generated";
/// Longest one try of telling may take.
const LEASE: Duration = Duration::from_secs(30);
/// Events told at a time.
const AT_A_TIME: usize = 4;
/// The pauses between tries: numbers about yesterday are worth waiting for, those about last week are not.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(5), Duration::from_mins(1), Duration::from_mins(10), Duration::from_hours(1)];
/// Longest a question about features may take: somebody waits.
const FLAGS_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an answer about features is good.
const FLAGS_KEPT: Duration = Duration::from_mins(1);
/// Accounts whose features are remembered; beyond it all are asked for anew.
const FLAGS_MAX: usize = 10_000;
/// Longest answer about features, in bytes.
const FLAGS_BYTES_MAX: usize = 256 << 10;
/// Thousandths in a credit.
const MILLI: f64 = 1_000.0;

/// Which features an account has, or which variant of them.
pub(crate) type Flags = BTreeMap<String, Value>;

/// A picture was made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Generated {
    /// Whose.
    pub(crate) account: Uuid,
    /// By which model.
    pub(crate) model: String,
    /// How many characters its prompt has.
    pub(crate) prompt_length: usize,
    /// What it cost, in milli-credits.
    pub(crate) spent_millis: i64,
    /// When, in milliseconds.
    pub(crate) at_ms: u64,
}

/// Sends it down the lane, in the caller's transaction.
pub(crate) async fn send(conn: &mut PgConnection, generated: &Generated, at: Timestamp) -> anyhow::Result<()> {
    let payload = serde_json::to_value(generated)?;
    errand::send(conn, LANE, &[NewErrand { key: None, payload, due: at }], at).await?;
    Ok(())
}

/// The project that is told and asked. Cloning is cheap; clones are the same.
#[derive(Clone)]
pub(crate) struct Posthog {
    inner: Arc<Inner>,
}

struct Inner {
    http: reqwest::Client,
    url: String,
    key: String,
    metrics: ServiceMetrics,
    flags: Mutex<BTreeMap<Uuid, (Instant, Flags)>>,
}

#[derive(Deserialize)]
struct Answer {
    flags: BTreeMap<String, Flag>,
}

#[derive(Deserialize)]
struct Flag {
    enabled: bool,
    variant: Option<String>,
}

impl Posthog {
    /// The project of this key, if there is one.
    pub(crate) fn open(key: Option<&str>, url: &str, metrics: &ServiceMetrics) -> anyhow::Result<Option<Self>> {
        let Some(key) = key else { return Ok(None) };
        Url::parse(url).context("--posthog-server-url is no address")?;
        let (url, key, metrics) = (url.trim_end_matches('/').to_owned(), key.to_owned(), metrics.clone());
        let inner = Inner { http: fetch::client()?, url, key, metrics, flags: Mutex::default() };
        Ok(Some(Self { inner: Arc::new(inner) }))
    }

    /// Which features an account has; none while PostHog cannot say.
    pub(crate) async fn flags(&self, account: Uuid) -> Flags {
        let inner = &self.inner;
        let kept = inner.lock().get(&account).cloned();
        if let Some((_, flags)) = kept.as_ref().filter(|(at, _)| at.elapsed() < FLAGS_KEPT) {
            return flags.clone();
        }
        // Who cannot be asked now is asked again when what was known would be asked for anew, so nobody waits twice in vain.
        let flags = match inner.ask(account).await {
            Some(flags) => flags,
            None => kept.map(|(_, flags)| flags).unwrap_or_default(),
        };
        let mut all = inner.lock();
        if all.len() >= FLAGS_MAX {
            all.clear();
        }
        all.insert(account, (Instant::now(), flags.clone()));
        flags
    }
}

impl Inner {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Uuid, (Instant, Flags)>> {
        // Each change is complete before anything can panic.
        self.flags.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, account: Uuid) -> Option<Flags> {
        let body = json!({ "api_key": self.key, "distinct_id": account.to_string(), "geoip_disable": true });
        let request = self.http.post(format!("{}/flags/?v=2", self.url)).timeout(FLAGS_TIMEOUT).json(&body);
        let answer = request.send().await;
        self.metrics.count(Service::PosthogFlags, outcome(&answer));
        let answer = answer.ok().filter(|answer| answer.status().is_success())?;
        let answer: Answer = serde_json::from_slice(&fetch::bounded(answer, FLAGS_BYTES_MAX).await.ok()?).ok()?;
        let value = |flag: Flag| flag.variant.filter(|_| flag.enabled).map_or(Value::Bool(flag.enabled), Value::String);
        Some(answer.flags.into_iter().map(|(name, flag)| (name, value(flag))).collect())
    }

    /// The same errand told twice has one id, by which PostHog knows it.
    async fn tell(&self, id: Uuid, generated: &Generated) -> Result<(), Failed> {
        let Generated { account, model, prompt_length, spent_millis, at_ms } = generated;
        let properties = json!({
            "model": model,
            "prompt_length": prompt_length,
            "credits_spent": *spent_millis as f64 / MILLI,
            "$lib": "tintype-api",
            "$lib_version": env!("CARGO_PKG_VERSION"),
            // An account is counted and not profiled, and where our server stands says nothing about anybody.
            "$process_person_profile": false,
            "$geoip_disable": true,
        });
        let event = json!({
            "event": EVENT,
            "distinct_id": account.to_string(),
            "properties": properties,
            "timestamp": rfc3339(Timestamp(*at_ms)),
            "uuid": id.to_string(),
        });
        let body = json!({ "api_key": self.key, "batch": [event] });
        let answer = self.http.post(format!("{}/batch/", self.url)).json(&body).send().await;
        self.metrics.count(Service::PosthogEvents, outcome(&answer));
        let answer = answer.map_err(|_| Failed::later("PostHog cannot be reached, or did not answer in time"))?;
        let status = answer.status();
        match status.as_u16() {
            200..=299 => Ok(()),
            408 | 429 | 500.. => Err(Failed::later(format!("PostHog answered {status}"))),
            _ => Err(Failed::never(format!("PostHog refused the event: {status}"))),
        }
    }
}

impl Lane for Posthog {
    fn name(&self) -> &'static str {
        LANE
    }

    fn rules(&self) -> Rules {
        Rules { lease: LEASE, at_a_time: AT_A_TIME, pauses: &PAUSES, every: None }
    }

    fn run<'a>(&'a self, errand: &'a Errand) -> BoxFuture<'a, Result<(), Failed>> {
        async move {
            let generated: Generated = serde_json::from_value(errand.payload.clone())
                .map_err(|_| Failed::never("the event is of a kind that this version does not know"))?;
            self.inner.tell(errand.id, &generated).await
        }
        .boxed()
    }
}
