//! RunPod's serverless endpoints. <https://docs.runpod.io/serverless/endpoints/operation-reference>. An id is kept with its
//! endpoint, for which it is asked. RunPod lists no jobs: an id whose answer was lost comes by webhook, or never.

use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::{Ask, Dialect, Progress, id_in, is_id, no_path, succeeded};
use crate::call::CallError;

/// How much longer than it may run a job may lie in RunPod's queue before it is dropped there, in milliseconds.
const QUEUE_MS: u64 = 10 * 60 * 1_000;

pub(super) async fn send(dialect: &Dialect<'_>, ask: &Ask<'_>) -> Result<Option<String>, CallError> {
    let run_ms = u64::from(ask.model.seconds_max) * 1_000;
    let policy = json!({ "executionTimeout": run_ms, "ttl": run_ms + QUEUE_MS });
    let mut body = json!({ "input": ask.input, "policy": policy });
    if let Some(webhook) = ask.webhook {
        body["webhook"] = json!(webhook);
    }
    let url = dialect.url(&format!("{}/run", ask.model.target))?;
    let answer = dialect.caller.post("buy", url, HeaderMap::new(), &body).await?;
    Ok(id_in(&answer).map(|id| format!("{}/{id}", ask.model.target)))
}

pub(super) async fn look(dialect: &Dialect<'_>, id: &str) -> Result<Progress, CallError> {
    let job = dialect.caller.get("look", dialect.url(&path(id, "status")?)?).await?;
    let held_ms = job.get("executionTime").and_then(Value::as_u64);
    Ok(match job.get("status").and_then(Value::as_str) {
        Some("COMPLETED") => succeeded(&job, held_ms),
        Some("FAILED") => Progress::Failed { why: "the provider's worker failed", held_ms },
        Some("CANCELLED") => Progress::Failed { why: "the provider ended it: it was cancelled", held_ms },
        Some("TIMED_OUT") => Progress::Failed { why: "the provider ended it: it ran or waited too long", held_ms },
        Some("IN_PROGRESS") => Progress::Running,
        Some(_) | None => Progress::Waiting,
    })
}

/// Where it is ended.
pub(super) fn cancel(id: &str) -> Result<String, CallError> {
    path(id, "cancel")
}

fn path(kept: &str, call: &str) -> Result<String, CallError> {
    match kept.rsplit_once('/') {
        Some((endpoint, id)) if is_id(id) => Ok(format!("{endpoint}/{call}/{id}")),
        Some(_) | None => Err(no_path()),
    }
}
