//! Sentry: what is logged as an error is told to a project there, with the release it happened in. What may not be logged is
//! not told either, and [`super::scrub`] sees to it once more; requests, persons and the machine's name are not in it at all.
//!
//! [`Sentry::layer`] stands beside the log and never waits: what there is no room for is dropped and counted. [`Reports::tell`]
//! sends, one envelope an error, by the protocol of Sentry's clients.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use reqwest::header::RETRY_AFTER;
use serde_json::{Value, json};
use tintype_types::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context as LayerContext;
use url::Url;
use uuid::Uuid;

use super::ServicesArgs;
use super::metrics::{Service, ServiceMetrics, outcome};
use super::scrub::scrub;
use crate::clock::{self, rfc3339};
use crate::identity::fetch;

/// Errors that may wait to be told.
const WAITING_MAX: usize = 128;
/// Fields of an error that are told.
const FIELDS_MAX: usize = 32;
/// Longest text of a field, in characters.
const TEXT_CHARS_MAX: usize = 2_000;
/// Tries of one error.
const TRIES: u32 = 3;
/// Pause before the second; doubles.
const PAUSE: Duration = Duration::from_secs(1);
/// How long nothing is told when Sentry wants it so and does not say for how long.
const REST: Duration = Duration::from_mins(1);
/// Who we are.
const CLIENT: &str = concat!("tintype-api/", env!("CARGO_PKG_VERSION"));
/// What we are a release of.
const RELEASE: &str = concat!("tintype-api@", env!("CARGO_PKG_VERSION"));

/// A project at Sentry.
#[derive(Clone, Debug)]
struct Project {
    /// Where envelopes go.
    url: Url,
    /// Not secret, but nobody else's business.
    key: String,
}

/// Both ends of telling.
#[derive(Debug)]
pub struct Sentry {
    layer: ErrorLayer,
    reports: Reports,
}

impl Sentry {
    /// The project that the settings name, if they do.
    ///
    /// # Errors
    /// What they name is no DSN.
    pub fn of(services: &ServicesArgs) -> anyhow::Result<Option<Self>> {
        services.sentry_dsn.as_deref().map(|dsn| Self::open(dsn, &services.sentry_environment)).transpose()
    }

    /// The project of a DSN.
    ///
    /// # Errors
    /// It is none.
    pub fn open(dsn: &str, environment: &str) -> anyhow::Result<Self> {
        let project = Project::parse(dsn).context("TINTYPE_SENTRY_DSN is no DSN")?;
        let (sender, waiting) = mpsc::channel(WAITING_MAX);
        let reports = Reports { project, waiting: Arc::new(Mutex::new(Some(waiting))) };
        Ok(Self { layer: ErrorLayer { environment: environment.to_owned(), sender }, reports })
    }

    /// What stands beside the log, and what [`crate::Args::reports`] takes.
    pub fn parts(self) -> (ErrorLayer, Reports) {
        (self.layer, self.reports)
    }
}

impl Project {
    /// `https://KEY@HOST/PROJECT`, perhaps with a path before the project.
    fn parse(dsn: &str) -> anyhow::Result<Self> {
        let mut url = Url::parse(dsn).map_err(|_| anyhow::anyhow!("it is no address"))?;
        ensure!(matches!(url.scheme(), "http" | "https") && url.host().is_some(), "it must begin with https://");
        let key = url.username().to_owned();
        ensure!(!key.is_empty(), "it has no key before the host");
        let path = url.path().trim_end_matches('/').to_owned();
        let (before, project) = path.rsplit_once('/').context("it names no project")?;
        ensure!(!project.is_empty() && project.bytes().all(|byte| byte.is_ascii_digit()), "its project is no number");
        url.set_path(&format!("{before}/api/{project}/envelope/"));
        url.set_query(None);
        let cleared = url.set_username("").and_then(|()| url.set_password(None));
        ensure!(cleared.is_ok(), "its key cannot be taken off");
        Ok(Self { url, key })
    }
}

/// Takes up what is logged as an error.
#[derive(Debug)]
pub struct ErrorLayer {
    environment: String,
    sender: mpsc::Sender<Value>,
}

impl<S: Subscriber> Layer<S> for ErrorLayer {
    fn on_event(&self, event: &Event<'_>, _: LayerContext<'_, S>) {
        if *event.metadata().level() != Level::ERROR {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let message = fields.0.remove("message").unwrap_or_default();
        let told = json!({
            "event_id": Uuid::new_v4().simple().to_string(),
            "timestamp": clock::now().0 as f64 / 1_000.0,
            "platform": "native",
            "level": "error",
            "logger": event.metadata().target(),
            "release": RELEASE,
            "environment": self.environment,
            "logentry": { "formatted": message },
            // Numbers in the text must not make each a problem of its own.
            "fingerprint": [event.metadata().target(), event.metadata().name()],
            "extra": fields.0,
            "sdk": { "name": "tintype.api", "version": env!("CARGO_PKG_VERSION") },
        });
        // Full, or nobody is left to tell it: the log has it.
        let _ = self.sender.try_send(told);
    }
}

#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if self.0.len() < FIELDS_MAX {
            self.0.insert(field.name(), scrub(&format!("{value:?}")).chars().take(TEXT_CHARS_MAX).collect());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if self.0.len() < FIELDS_MAX {
            self.0.insert(field.name(), scrub(value).chars().take(TEXT_CHARS_MAX).collect());
        }
    }
}

/// What waits to be told. Cloning is cheap; one of the clones tells it.
#[derive(Clone, Debug)]
pub struct Reports {
    project: Project,
    waiting: Arc<Mutex<Option<mpsc::Receiver<Value>>>>,
}

impl Reports {
    /// Tells what comes, for as long as the program runs.
    pub(crate) async fn tell(self, metrics: ServiceMetrics) -> anyhow::Result<()> {
        let taken = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut waiting) = taken else { return Ok(()) };
        let http = fetch::client()?;
        let mut rests_until = Instant::now();
        while let Some(event) = waiting.recv().await {
            if Instant::now() < rests_until {
                metrics.count(Service::Sentry, "dropped");
                continue;
            }
            if let Some(rest) = self.send(&http, &event, &metrics).await {
                rests_until = Instant::now() + rest;
            }
        }
        Ok(())
    }

    /// Tells one; for how long nothing more is wanted.
    async fn send(&self, http: &reqwest::Client, event: &Value, metrics: &ServiceMetrics) -> Option<Duration> {
        let body = envelope(event, clock::now());
        let authorization = format!("Sentry sentry_version=7, sentry_client={CLIENT}, sentry_key={}", self.project.key);
        for attempt in 0..TRIES {
            let request = http.post(self.project.url.clone()).header("X-Sentry-Auth", &authorization);
            let answer =
                request.header("Content-Type", "application/x-sentry-envelope").body(body.clone()).send().await;
            let outcome = outcome(&answer);
            metrics.count(Service::Sentry, outcome);
            match answer {
                Ok(answer) if answer.status() == 429 => {
                    let seconds = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
                    return Some(seconds.map_or(REST, Duration::from_secs).min(REST * 60));
                }
                Ok(answer) if answer.status().is_server_error() => {}
                // Taken, or not to be mended by a repetition.
                Ok(_) => return None,
                Err(_) => {}
            }
            sleep(PAUSE * 2_u32.pow(attempt)).await;
        }
        None
    }
}

/// One item in an envelope: lines of JSON, the payload's length before it.
fn envelope(event: &Value, at: Timestamp) -> String {
    let payload = event.to_string();
    let head = json!({ "event_id": event["event_id"], "sent_at": rfc3339(at) });
    let item = json!({ "type": "event", "content_type": "application/json", "length": payload.len() });
    format!("{head}\n{item}\n{payload}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dsn_says_where_envelopes_go() {
        let at = |dsn: &str| Project::parse(dsn).map(|project| (project.url.to_string(), project.key));
        let said = at("https://abc:old@o1.ingest.example:444/sentry/7").unwrap();
        assert_eq!(said, ("https://o1.ingest.example:444/sentry/api/7/envelope/".to_owned(), "abc".to_owned()));
        assert_eq!(at("http://k@h/42/").unwrap().0, "http://h/api/42/envelope/");
        for wrong in ["", "k@h/42", "https://h/42", "https://k@h/", "https://k@h/forty", "ftp://k@h/42"] {
            assert!(at(wrong).is_err(), "{wrong}");
        }
    }
}
