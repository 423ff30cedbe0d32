//! Modal has functions and no API for jobs of its own, so a web function there speaks a protocol of ours, made for what we
//! need: the buyer names the job, so a lost answer is looked up by its name. docs/providers.md has it.
//!
//! `POST {target}` of `{id, input, secondsMax, webhook?}` answers `{id}`; the same id again is the same job. `GET
//! {target}/{id}` answers `{id, status: queued | running | succeeded | failed, seconds?, output?}`, 404 if there is none.
//! `POST {target}/{id}/cancel` ends it.

use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tintype_crds::ProviderModel;

use super::{Ask, Dialect, Lost, Progress, id_in, is_id, milliseconds, no_path, succeeded};
use crate::call::CallError;

pub(super) async fn send(dialect: &Dialect<'_>, ask: &Ask<'_>) -> Result<Option<String>, CallError> {
    let mut body = json!({ "id": ask.tag, "input": ask.input, "secondsMax": ask.model.seconds_max });
    if let Some(webhook) = ask.webhook {
        body["webhook"] = json!(webhook);
    }
    let answer = dialect.caller.post("buy", dialect.url(&ask.model.target)?, HeaderMap::new(), &body).await?;
    // Another id than ours would be another job.
    Ok(id_in(&answer).filter(|id| id == ask.tag).map(|id| format!("{}/{id}", ask.model.target)))
}

pub(super) async fn look(dialect: &Dialect<'_>, id: &str) -> Result<Progress, CallError> {
    let job = dialect.caller.get("look", dialect.url(path(id)?)?).await?;
    let held_ms = milliseconds(job.get("seconds"));
    Ok(match job.get("status").and_then(Value::as_str) {
        Some("succeeded") => succeeded(&job, held_ms),
        Some("failed") => Progress::Failed { why: "the provider's function failed", held_ms },
        Some("running") => Progress::Running,
        Some(_) | None => Progress::Waiting,
    })
}

pub(super) async fn find(
    dialect: &Dialect<'_>,
    lost: &Lost<'_>,
    models: &[ProviderModel],
) -> Result<Option<String>, CallError> {
    for model in models {
        let id = format!("{}/{}", model.target, lost.tag);
        match dialect.caller.get("find", dialect.url(path(&id)?)?).await {
            Ok(job) if id_in(&job).as_deref() == Some(lost.tag) => return Ok(Some(id)),
            Ok(_) => {}
            Err(error) if error.is_gone() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Where it is ended.
pub(super) fn cancel(id: &str) -> Result<String, CallError> {
    Ok(format!("{}/cancel", path(id)?))
}

fn path(kept: &str) -> Result<&str, CallError> {
    match kept.rsplit_once('/') {
        Some((_, id)) if is_id(id) => Ok(kept),
        Some(_) | None => Err(no_path()),
    }
}
