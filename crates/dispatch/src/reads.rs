//! The read routes: events of a job, its pictures, verdicts, explanations, estimates, queues, workers. They change nothing. Beside them, behind the same
//! token, [`inputs`].

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use futures::Stream;
use serde::Deserialize;
use tintype_scheduler::{Estimate, Explanation, Overview, Verdict};
use tintype_store::image_key;
use tintype_types::{Attempt, ErrorCode, ImageFormat, JobEvent, JobId};

use crate::answer::Refusal;
use crate::dispatch::Dispatch;
use crate::events::JobWatch;
use crate::workers::WorkerSeen;
use crate::{auth, check, inputs};

/// How often a silent stream says that it is alive; proxies commonly close after a minute.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);
/// How long the events of a job nobody knows are waited for: its creation may still be on its way here.
const UNKNOWN_JOB_WAIT: Duration = Duration::from_secs(2);
/// How long the URL a picture's route redirects to is good.
const IMAGE_URL_TTL: Duration = Duration::from_mins(5);

pub(crate) fn router(dispatch: &Dispatch) -> Router {
    let routes = Router::new()
        .route("/dispatch/v1/jobs/{job}/events", get(events))
        .route("/dispatch/v1/jobs/{job}/image/{n}", get(image))
        .route("/dispatch/v1/verdicts", get(verdict))
        .route("/dispatch/v1/explain", get(explain))
        .route("/dispatch/v1/eta", get(eta))
        .route("/dispatch/v1/top", get(top))
        .route("/dispatch/v1/workers", get(workers))
        .merge(inputs::router())
        .with_state(dispatch.clone());
    match &dispatch.inner.reader_token {
        Some(token) => routes.layer(middleware::from_fn_with_state(token.clone(), auth::require)),
        None => routes,
    }
}

/// Server-sent events: each `data` a whole [`JobEvent`], each `id` larger than the one before.
async fn events(State(dispatch): State<Dispatch>, Path(job): Path<JobId>) -> Result<Response, Refusal> {
    check::job(&job)?;
    leading(&dispatch)?;
    let too_many = |e: crate::TooManyWatchers| Refusal::new(ErrorCode::RateLimited, e.to_string());
    let mut watch = dispatch.watch_job(&job).map_err(too_many)?;
    match tokio::time::timeout(UNKNOWN_JOB_WAIT, watch.next_numbered()).await {
        Ok(Some(first)) => {
            let keep_alive = KeepAlive::new().interval(HEARTBEAT_INTERVAL);
            Ok(Sse::new(stream(first, watch)).keep_alive(keep_alive).into_response())
        }
        Ok(None) | Err(_) => Err(not_found("no events of this job are known here; ask the record for its state")),
    }
}

fn stream(first: (u64, JobEvent), watch: JobWatch) -> impl Stream<Item = Result<Event, Infallible>> + Send + 'static {
    futures::stream::unfold((Some(first), watch), |(first, mut watch)| async move {
        let (number, event) = match first {
            Some(first) => first,
            None => watch.next_numbered().await?,
        };
        // A JobEvent has string keys only, so that turning it into JSON cannot fail; if it did, the stream ends.
        let data = serde_json::to_string(&event).ok()?;
        Some((Ok(Event::default().id(number.to_string()).data(data)), (None, watch)))
    })
}

#[derive(Deserialize)]
struct ImageQuery {
    attempt: Option<Attempt>,
}

/// Redirects to a signed URL of the picture. The attempt is known of jobs that ended lately; of others the caller names it.
async fn image(
    State(dispatch): State<Dispatch>,
    Path((job, n)): Path<(JobId, u32)>,
    query: Result<Query<ImageQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    check::job(&job)?;
    let Query(ImageQuery { attempt }) =
        query.map_err(|_| Refusal::invalid("attempt", "it is the number of an attempt"))?;
    let known = || {
        let outputs = dispatch.inner.events.last(&job)?.outputs;
        outputs.into_iter().nth(usize::try_from(n).ok()?).map(|output| output.key)
    };
    // Which format the attempt was asked for is not known here any more; it has written one at most.
    let keys: Vec<String> = match attempt {
        Some(attempt) => ImageFormat::ALL.iter().map(|format| image_key(&job, attempt, n, *format)).collect(),
        None => known().into_iter().collect(),
    };
    let failed = |e: tintype_store::StoreError| {
        tracing::error!(error = &e as &dyn std::error::Error, "the store could not be asked for a picture");
        Refusal::new(ErrorCode::Unavailable, "the store could not be asked for the picture; try again")
    };
    let mut found = None;
    for key in keys {
        if dispatch.inner.store.stat(&key).await.map_err(failed)?.is_some() {
            found = Some(key);
            break;
        }
    }
    let unknown = || not_found("no such picture is known here; name the attempt that made it (?attempt=)");
    let key = found.ok_or_else(unknown)?;
    let url = dispatch.inner.store.sign_get(&key, dispatch.inner.clock.signing_now(), IMAGE_URL_TTL).map_err(failed)?;
    Ok((StatusCode::FOUND, [(header::LOCATION, url), (header::CACHE_CONTROL, "no-store".to_owned())]).into_response())
}

#[derive(Deserialize)]
struct VerdictQuery {
    job: JobId,
}

async fn verdict(
    State(dispatch): State<Dispatch>,
    query: Result<Query<VerdictQuery>, QueryRejection>,
) -> Result<Json<Verdict>, Refusal> {
    leading(&dispatch)?;
    let Query(VerdictQuery { job }) = query.map_err(|_| Refusal::invalid("job", "name the job: ?job=<id>"))?;
    let verdict = dispatch.verdict(&job).await;
    verdict.map(Json).ok_or_else(|| not_found("no such job is known here"))
}

async fn explain(
    State(dispatch): State<Dispatch>,
    query: Result<Query<VerdictQuery>, QueryRejection>,
) -> Result<Json<Explanation>, Refusal> {
    let job = asked(&dispatch, query)?;
    dispatch.explain(&job).await.map(Json).ok_or_else(|| not_found("no such job is known here"))
}

async fn eta(
    State(dispatch): State<Dispatch>,
    query: Result<Query<VerdictQuery>, QueryRejection>,
) -> Result<Json<Estimate>, Refusal> {
    let job = asked(&dispatch, query)?;
    if dispatch.verdict(&job).await.is_none() {
        return Err(not_found("no such job is known here"));
    }
    let unknown = "nobody can tell: the job has ended, or no worker here can run it; ask for an explanation";
    dispatch.estimate(&job).await.map(Json).ok_or_else(|| not_found(unknown))
}

async fn top(State(dispatch): State<Dispatch>) -> Result<Json<Overview>, Refusal> {
    leading(&dispatch)?;
    Ok(Json(dispatch.overview().await))
}

/// The job a question is about.
fn asked(dispatch: &Dispatch, query: Result<Query<VerdictQuery>, QueryRejection>) -> Result<JobId, Refusal> {
    leading(dispatch)?;
    let Query(VerdictQuery { job }) = query.map_err(|_| Refusal::invalid("job", "name the job: ?job=<id>"))?;
    check::job(&job)?;
    Ok(job)
}

async fn workers(State(dispatch): State<Dispatch>) -> Result<Json<Vec<WorkerSeen>>, Refusal> {
    leading(&dispatch)?;
    Ok(Json(dispatch.workers().await))
}

fn leading(dispatch: &Dispatch) -> Result<(), Refusal> {
    if dispatch.is_leading() { Ok(()) } else { Err(Refusal::not_leading()) }
}

fn not_found(message: &str) -> Refusal {
    Refusal::new(ErrorCode::NotFound, message)
}
