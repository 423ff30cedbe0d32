//! The worker protocol over HTTP. It checks, passes on to the actor and waits; it decides nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router, middleware};
use tintype_types::worker::{
    CLAIM_PATH, Claim, ClaimAnswer, FINISH_PATH, Finish, Outcome, RENEW_PATH, Renew, RenewAnswer,
};
use tintype_types::{Attempt, ErrorCode, JobId, WorkerId};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::actor::Message;
use crate::answer::Refusal;
use crate::calls::FinishStanding;
use crate::claims::Gone;
use crate::dispatch::{Dispatch, DispatchClosed};
use crate::finishes::Key;
use crate::{auth, check};

/// Largest body of a call, in bytes; a claim of 64 GPUs and 1,024 models of usual names has a third of it.
const BODY_BYTES_MAX: usize = 256 << 10;
/// Longest a call waits for room in the actor's queue.
const QUEUE_WAIT_MAX: Duration = Duration::from_secs(5);
/// Longest a finish waits for its write. The worker repeats it and meets the same write, or its result.
const FINISH_WAIT_MAX: Duration = Duration::from_secs(10);

type Body = Result<Bytes, BytesRejection>;
type AttemptPath = Result<Path<(JobId, Attempt)>, PathRejection>;

pub(crate) fn router(dispatch: &Dispatch) -> Router {
    Router::new()
        .route(CLAIM_PATH, post(claim))
        .route(RENEW_PATH, post(renew))
        .route(FINISH_PATH, post(finish))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(dispatch.inner.worker_token.clone(), auth::require))
        .with_state(dispatch.clone())
}

async fn claim(State(dispatch): State<Dispatch>, body: Body) -> Result<Json<ClaimAnswer>, Refusal> {
    let mut claim: Claim = check::body(&bytes(body)?)?;
    check::claim(&mut claim)?;
    let (reply, answer) = oneshot::channel();
    let serial = dispatch.inner.serial.fetch_add(1, Ordering::Relaxed);
    let mut caller = Caller { claim: Some((claim.worker.clone(), serial)), gone: Arc::clone(&dispatch.inner.gone) };
    send(&dispatch, Message::Claim { claim: Box::new(claim), serial, reply }).await?;
    let answer = answer.await;
    caller.claim = None;
    answer.map_err(|_| Refusal::not_leading())?.map(Json)
}

/// Leaves a note when the caller of a claim goes away before it is answered.
struct Caller {
    claim: Option<(WorkerId, u64)>,
    gone: Arc<Gone>,
}

impl Drop for Caller {
    fn drop(&mut self) {
        if let Some((worker, serial)) = self.claim.take() {
            self.gone.leave(worker, serial);
        }
    }
}

async fn renew(State(dispatch): State<Dispatch>, path: AttemptPath, body: Body) -> Result<Json<RenewAnswer>, Refusal> {
    let key = attempt(path)?;
    let renew: Renew = check::body(&bytes(body)?)?;
    check::renew(&renew)?;
    ask(&dispatch, |reply| Message::Renew { key, renew: Box::new(renew), reply }).await?.map(Json)
}

async fn finish(
    State(dispatch): State<Dispatch>,
    path: AttemptPath,
    body: Body,
) -> Result<Json<serde_json::Value>, Refusal> {
    let finished = match finish_call(&dispatch, path, body).await {
        Ok(()) => Ok(Json(serde_json::Value::Object(serde_json::Map::new()))),
        Err(refusal) => Err(refusal),
    };
    let outcome = match finished.as_ref().err().map(Refusal::code) {
        None => "written",
        Some(ErrorCode::StaleAttempt) => "stale",
        Some(ErrorCode::Unavailable) => "unavailable",
        Some(_) => "invalid",
    };
    dispatch.inner.metrics.finishes.with_label_values(&[outcome]).inc();
    finished
}

async fn finish_call(dispatch: &Dispatch, path: AttemptPath, body: Body) -> Result<(), Refusal> {
    let key = attempt(path)?;
    let mut finish: Finish = check::body(&bytes(body)?)?;
    check::finish(&mut finish, &key.0, key.1)?;
    if let Outcome::Done { outputs } = &finish.outcome {
        let by = (finish.worker.clone(), finish.boot_id.clone());
        let standing = ask(dispatch, |reply| Message::FinishStanding { key: key.clone(), by, reply }).await?;
        match standing {
            FinishStanding::Answered(answer) => return answer,
            FinishStanding::Open(asked) => check::stored(outputs, asked, &dispatch.inner.store).await?,
        }
    }
    let waiting = ask(dispatch, |reply| Message::Finish { key, finish: Box::new(finish), reply });
    timeout(FINISH_WAIT_MAX, waiting).await.map_err(|_| Refusal::unwritten())??
}

async fn send(dispatch: &Dispatch, message: Message) -> Result<(), Refusal> {
    match timeout(QUEUE_WAIT_MAX, dispatch.send(message)).await {
        Ok(sent) => sent.map_err(|DispatchClosed| Refusal::not_leading()),
        Err(_) => Err(Refusal::busy()),
    }
}

async fn ask<T>(dispatch: &Dispatch, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> Result<T, Refusal> {
    let (reply, answer) = oneshot::channel();
    send(dispatch, message(reply)).await?;
    answer.await.map_err(|_| Refusal::not_leading())
}

fn attempt(path: AttemptPath) -> Result<Key, Refusal> {
    let Path((job, attempt)) = path.map_err(|_| {
        Refusal::new(ErrorCode::InvalidRequest, "the path does not name a job and the number of an attempt")
    })?;
    check::job(&job).map(|()| (job, attempt))
}

fn bytes(body: Body) -> Result<Bytes, Refusal> {
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Refusal::new(ErrorCode::PayloadTooLarge, format!("the body has more than {BODY_BYTES_MAX} bytes"))
        }
        _ => Refusal::new(ErrorCode::InvalidRequest, "the body broke off before its end"),
    })
}
