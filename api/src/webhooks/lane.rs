//! Carries deliveries out: reads what is to be told, signs it, sends it, writes down how it went.
//!
//! What fails is tried again for about two days. An endpoint that fails is left in peace for ever longer, up to an hour, so
//! that a dead one costs nobody else anything; after [`FAILURES_MAX`] failures in a row it is switched off.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use prometheus::IntCounterVec;
use reqwest::{Client, StatusCode};
use serde_json::json;
use tintype_types::Timestamp;
use uuid::Uuid;

use super::record::{self, LANE, Task, Tried};
use super::sign::{self, Secret};
use super::target::{self, DELIVERY_TIMEOUT, Reach};
use crate::clock::{self, from_ms, rfc3339, to_ms};
use crate::cluster::Cluster;
use crate::database::Db;
use crate::http::replicate::view::Pen;
use crate::http::view::JobView;
use crate::lanes::{Again, Errand, Failed, Lane, Rules};
use crate::records::generation;

/// Pauses between tries of one delivery.
const PAUSES: [Duration; 7] = [
    Duration::from_secs(5),
    Duration::from_mins(1),
    Duration::from_mins(10),
    Duration::from_hours(1),
    Duration::from_hours(5),
    Duration::from_hours(14),
    Duration::from_hours(24),
];
/// Failures in a row after which an endpoint is switched off: with its pauses, some two days.
const FAILURES_MAX: i32 = 60;
/// Longest pause of an endpoint that fails.
const PAUSE_MAX: Duration = Duration::from_hours(1);
/// How often old deliveries are swept.
const SWEEP_PERIOD: Duration = Duration::from_mins(15);

/// The lane of deliveries.
pub(crate) struct Deliveries {
    pub(crate) pool: Db,
    pub(crate) http: Client,
    /// Who signs URLs of pictures.
    pub(crate) cluster: Arc<dyn Cluster>,
    pub(crate) reach: Reach,
    /// Where clients reach us, for the addresses in what is told.
    pub(crate) public_url: String,
    pub(crate) outcomes: IntCounterVec,
}

impl Lane for Deliveries {
    fn name(&self) -> &'static str {
        LANE
    }

    fn rules(&self) -> Rules {
        Rules { lease: DELIVERY_TIMEOUT * 3, at_a_time: 32, pauses: &PAUSES, every: None }
    }

    fn run<'a>(&'a self, errand: &'a Errand) -> BoxFuture<'a, Result<(), Failed>> {
        Box::pin(async move {
            let id = errand.payload["delivery"].as_str().and_then(|id| id.parse().ok());
            let id = id.ok_or_else(|| Failed::never("the errand names no delivery"))?;
            let Some(task) = record::task(&self.pool, id).await? else { return Ok(()) };
            self.deliver(id, &task, usize::try_from(errand.attempt).unwrap_or(usize::MAX) > PAUSES.len()).await
        })
    }
}

impl Deliveries {
    async fn deliver(&self, id: Uuid, task: &Task, last: bool) -> Result<(), Failed> {
        let now = clock::now();
        let peace = task.paused_until_ms.saturating_sub(to_ms(now));
        if peace > 0 && !task.disabled {
            let again = Again::Postponed(Duration::from_millis(peace.unsigned_abs()));
            return Err(Failed { error: "the endpoint failed and is left in peace".to_owned(), again });
        }
        let tried = if task.disabled {
            Tried { status: None, error: Some("the endpoint is switched off".to_owned()), took_ms: 0 }
        } else {
            self.send(id, task, now).await?
        };
        let outcome = if tried.error.is_none() { "delivered" } else { "failed" };
        self.outcomes.with_label_values(&[outcome]).inc();
        record::tried(&self.pool, id, &tried, last || task.disabled, now).await?;
        let Some(error) = tried.error else {
            if let Some(endpoint) = task.endpoint {
                record::heard(&self.pool, endpoint).await?;
            }
            return Ok(());
        };
        if task.disabled {
            return Ok(());
        }
        if let Some(endpoint) = task.endpoint {
            self.missed(endpoint, tried.status, now).await?;
        }
        // Its owner sees it in the log; nobody here has to act.
        if last { Ok(()) } else { Err(Failed::later(error)) }
    }

    async fn missed(&self, endpoint: Uuid, status: Option<u16>, now: Timestamp) -> Result<(), Failed> {
        if status == Some(StatusCode::GONE.as_u16()) {
            record::disable(&self.pool, endpoint, "it answered 410 Gone", now).await?;
            return Ok(());
        }
        let failures = record::missed(&self.pool, endpoint).await?;
        if failures >= FAILURES_MAX {
            let reason = format!("{failures} deliveries failed in a row");
            record::disable(&self.pool, endpoint, &reason, now).await?;
        } else {
            record::pause(&self.pool, endpoint, now.plus(peace(failures))).await?;
        }
        Ok(())
    }

    async fn send(&self, id: Uuid, task: &Task, now: Timestamp) -> Result<Tried, Failed> {
        let Some(body) = self.body(task).await? else {
            return Ok(Tried { status: None, error: Some("what it tells of is gone".to_owned()), took_ms: 0 });
        };
        let url = match target::check(task.url.as_deref().unwrap_or_default(), self.reach) {
            Ok(url) => url,
            Err(refused) => return Ok(Tried { status: None, error: Some(refused), took_ms: 0 }),
        };
        let (message, seconds) = (format!("msg_{}", id.simple()), now.0 / 1_000);
        let signature = sign::header(&self.secrets(task, now).await?, &message, seconds, body.as_bytes());
        let request = self
            .http
            .post(url)
            .header("content-type", "application/json")
            .header("webhook-id", message)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", signature)
            .body(body);
        let started = tokio::time::Instant::now();
        // The answer's body is not read: it is nobody's business here, and could be told to whoever asked for the webhook.
        let answer = request.send().await;
        let took_ms = i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX);
        Ok(match answer {
            Ok(answer) if answer.status().is_success() => {
                Tried { status: Some(answer.status().as_u16()), error: None, took_ms }
            }
            Ok(answer) => {
                let status = answer.status().as_u16();
                Tried { status: Some(status), error: Some(format!("it answered {status}")), took_ms }
            }
            Err(error) => Tried { status: None, error: Some(why(&error).to_owned()), took_ms },
        })
    }

    async fn secrets(&self, task: &Task, now: Timestamp) -> Result<Vec<Secret>, Failed> {
        let Some(secret) = &task.secret else {
            return Ok(vec![record::account_secret(&self.pool, task.account).await?]);
        };
        let old = task.old_secret.as_ref().filter(|_| task.old_secret_until_ms.is_some_and(|until| until > to_ms(now)));
        Ok(std::iter::once(secret).chain(old).cloned().map(Secret::from_bytes).collect())
    }

    /// What is told: the job as it stands; none when there is no such job any more.
    async fn body(&self, task: &Task) -> Result<Option<String>, Failed> {
        let happened = rfc3339(from_ms(task.created_ms));
        let Some(generation) = task.generation else {
            let test = json!({ "type": task.event, "timestamp": happened, "data": {} });
            return Ok(Some(test.to_string()));
        };
        let Some(job) = generation::find(&self.pool, generation).await? else { return Ok(None) };
        if task.endpoint.is_none() {
            let pen = Pen { public_url: &self.public_url, cluster: self.cluster.as_ref() };
            return Ok(Some(pen.told(&self.pool, &job).await?.to_string()));
        }
        Ok(Some(json!({ "type": task.event, "timestamp": happened, "data": JobView::from(&job) }).to_string()))
    }
}

/// How long an endpoint is left in peace after so many failures in a row.
fn peace(failures: i32) -> Duration {
    let doubled = 1_u64.checked_shl(u32::try_from(failures.clamp(1, 30)).unwrap_or(1)).unwrap_or(u64::MAX);
    Duration::from_secs(doubled).min(PAUSE_MAX)
}

/// What went wrong, in words that tell nothing of our network.
fn why(error: &reqwest::Error) -> &'static str {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if current.is::<target::Refused>() {
            return "its name means an address that is not public";
        }
        cause = current.source();
    }
    if error.is_timeout() {
        "it did not answer in time"
    } else if error.is_connect() {
        "it could not be connected to"
    } else {
        "the connection broke off"
    }
}

/// The lane that sweeps the log.
pub(crate) struct Sweep {
    pub(crate) pool: Db,
}

impl Lane for Sweep {
    fn name(&self) -> &'static str {
        "webhook-sweep"
    }

    fn rules(&self) -> Rules {
        Rules { lease: Duration::from_mins(1), at_a_time: 1, pauses: &PAUSES[..2], every: Some(SWEEP_PERIOD) }
    }

    fn run<'a>(&'a self, _errand: &'a Errand) -> BoxFuture<'a, Result<(), Failed>> {
        Box::pin(async move {
            while record::sweep(&self.pool, clock::now()).await? > 0 {}
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_that_fails_is_left_in_peace_for_ever_longer_up_to_an_hour() {
        assert_eq!([1, 2, 5].map(peace), [2, 4, 32].map(Duration::from_secs));
        assert_eq!([12, 60, i32::MAX].map(peace), [PAUSE_MAX; 3]);
    }
}
