//! A prediction's pictures as server-sent events: `output` for each, then `done`; `error` before it when it failed. Every
//! event has an id, so that a client that comes back with `Last-Event-ID` gets the rest.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use serde::Deserialize;
use serde_json::json;
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::predictions::pen;
use super::view::Status;
use crate::error::ApiError;
use crate::jobs::{self, Waited};
use crate::records::generation::{self, Generation};
use crate::records::prediction;
use crate::state::App;
use crate::tenancy;

/// How often a silent stream says that it is alive.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);
/// Longest a stream lasts; clients come back for the rest.
const STREAM_TIME_MAX: Duration = Duration::from_mins(10);

/// What opens a stream.
#[derive(Debug, Deserialize)]
pub(crate) struct Shown {
    token: String,
}

/// Streams a prediction's pictures to whoever has its URL: their client for Node sends no key here.
pub(crate) async fn stream(
    State(app): State<App>,
    Path(id): Path<String>,
    query: Result<Query<Shown>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let missing = || ApiError::not_found("prediction");
    let (id, Query(Shown { token })) = (id.parse::<Uuid>().map_err(|_| missing())?, query.map_err(|_| missing())?);
    let sent = prediction::sent(&app.pool, &[id]).await?.pop().map(|(_, sent)| sent);
    // No such prediction and a wrong token look the same.
    let opens =
        sent.is_some_and(|sent| !sent.stream.is_empty() && sent.stream.as_bytes().ct_eq(token.as_bytes()).into());
    let job = if opens { generation::find(&app.pool, id).await? } else { None };
    let job = job.ok_or_else(missing)?;
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.rsplit(':').next()?.parse::<usize>().ok());
    let events = futures::stream::once(ended(app, job, seen.map_or(0, |seen| seen + 1)))
        .flat_map(|events| futures::stream::iter(events.into_iter().map(Ok::<_, Infallible>)));
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT_INTERVAL)).into_response())
}

/// The events of a prediction from the `from`-th on, once it has ended; none when it has not in time.
async fn ended(app: App, job: Generation, from: usize) -> Vec<Event> {
    let (here, id) = (app.clone(), job.id);
    match tenancy::look_as(job.account, async move { jobs::wait(&here, id, STREAM_TIME_MAX).await }).await {
        Ok(Ok(Waited::Ended(job))) => told(&app, &job, from),
        Ok(Ok(Waited::StillRunning) | Err(_)) | Err(_) => Vec::new(),
    }
}

fn told(app: &App, job: &Generation, from: usize) -> Vec<Event> {
    let prediction = pen(app).prediction(job, None);
    let mut events: Vec<(&str, String)> = prediction.output.into_iter().flatten().map(|url| ("output", url)).collect();
    let reason = match prediction.status {
        Status::Failed => {
            events.push(("error", json!({ "detail": prediction.error }).to_string()));
            json!({ "reason": "error" })
        }
        Status::Canceled => json!({ "reason": "canceled" }),
        Status::Starting | Status::Processing | Status::Succeeded => json!({}),
    };
    events.push(("done", reason.to_string()));
    let ended = job.finished.map_or(0, |at| at.0);
    let event =
        |(n, (name, data)): (usize, (&str, String))| Event::default().event(name).id(format!("{ended}:{n}")).data(data);
    events.into_iter().enumerate().skip(from).map(event).collect()
}
