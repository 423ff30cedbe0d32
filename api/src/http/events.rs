//! `GET /api/v1/jobs/{id}/events`: where a job stands, then every change, as server-sent events. Each is a whole snapshot;
//! the stream ends after a terminal one.
//!
//! The cluster tells steps quickly, the database tells the end surely: both are listened to.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use tintype_types::{ErrorCode, JobEvent};

use super::auth::Caller;
use super::jobs::own;
use crate::board::Waiter;
use crate::cluster::ClusterError;
use crate::error::ApiError;
use crate::records::generation::{self, Generation};
use crate::state::App;
use crate::tenancy;

/// How often a silent stream says that it is alive; proxies commonly close after a minute.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);
/// How often the database is looked at without being woken.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// Pause before the cluster's stream is opened again after it ended early.
const REOPEN_PAUSE: Duration = Duration::from_millis(500);

/// Streams the job's events.
pub(crate) async fn stream(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let job = own(&app, &caller, &id).await?;
    // Events are whole, so who comes back needs what is new and nothing of what was missed.
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let seen = Some(job.event()).filter(|event| seen == Some(event_id(event).as_str()));
    if seen.as_ref().is_some_and(|event| event.state.is_terminal()) {
        // The end was told: this keeps a browser's EventSource from coming back.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let feed = follow_from(app, job, seen).await?;
    let keep_alive = KeepAlive::new().interval(HEARTBEAT_INTERVAL);
    Ok(Sse::new(events(feed)).keep_alive(keep_alive).into_response())
}

/// Where the job stands, then every change until it ends.
///
/// # Errors
/// Too many follow jobs here already.
pub(super) async fn follow(
    app: App,
    job: Generation,
) -> Result<impl Stream<Item = JobEvent> + Send + 'static, ApiError> {
    follow_from(app, job, None).await
}

/// The same, but for where it stands if that was seen.
async fn follow_from(
    app: App,
    job: Generation,
    seen: Option<JobEvent>,
) -> Result<impl Stream<Item = JobEvent> + Send + 'static, ApiError> {
    let changes = app.board.subscribe(job.id);
    let from_cluster = if job.state.is_terminal() { None } else { open(&app, &job).await? };
    let feed = Feed { app, last: seen, job, changes, from_cluster, ended: false };
    Ok(futures::stream::unfold(feed, |mut feed| async move { feed.next().await.map(|event| (event, feed)) }))
}

/// The name of an event: how far the job is in it.
pub(super) fn event_id(event: &JobEvent) -> String {
    format!("{}.{}.{:?}", event.attempt, event.step, event.state)
}

/// The cluster's own stream; none while the cluster is out of reach: the database goes on telling.
async fn open(app: &App, job: &Generation) -> Result<Option<BoxStream<'static, JobEvent>>, ApiError> {
    match app.cluster.watch(job).await {
        Ok(stream) => Ok(Some(stream)),
        Err(ClusterError::Unavailable(_)) => Ok(None),
        Err(error @ ClusterError::Refused(_)) => {
            Err(ApiError::new(ErrorCode::RateLimited, error.to_string()).retry_after(5))
        }
    }
}

struct Feed {
    app: App,
    job: Generation,
    changes: Waiter,
    from_cluster: Option<BoxStream<'static, JobEvent>>,
    last: Option<JobEvent>,
    ended: bool,
}

fn events(
    job: impl Stream<Item = JobEvent> + Send + 'static,
) -> impl Stream<Item = Result<Event, Infallible>> + Send + 'static {
    // A JobEvent has string keys only, so that turning it into JSON cannot fail; if it did, nothing is said.
    job.filter_map(|event| async move {
        let data = serde_json::to_string(&event).ok()?;
        Some(Ok(Event::default().id(event_id(&event)).data(data)))
    })
}

impl Feed {
    async fn next(&mut self) -> Option<JobEvent> {
        if self.ended {
            return None;
        }
        let event = if self.last.is_none() { self.job.event() } else { self.news().await? };
        self.ended = event.state.is_terminal();
        self.last = Some(event.clone());
        Some(event)
    }

    /// The next event that says something new; none when the server goes away.
    async fn news(&mut self) -> Option<JobEvent> {
        loop {
            let told = tokio::select! {
                told = next_of(&mut self.from_cluster) => {
                    if told.is_none() {
                        self.from_cluster = None;
                    }
                    // The cluster has a name of its own for the job.
                    told.map(|event| JobEvent { job: self.job.job_id(), ..event })
                }
                () = self.changes.changed() => None,
                () = tokio::time::sleep(LOOK_INTERVAL) => None,
                () = self.app.stop.cancelled() => return None,
            };
            let event = match told {
                Some(event) => event,
                None => self.look().await,
            };
            if self.is_news(&event) {
                return Some(event);
            }
            if self.from_cluster.is_none() {
                tokio::time::sleep(REOPEN_PAUSE).await;
                self.from_cluster = open(&self.app, &self.job).await.ok().flatten();
            }
        }
    }

    /// What the database says. While it cannot be read, what was said last.
    async fn look(&mut self) -> JobEvent {
        let (app, id) = (self.app.clone(), self.job.id);
        let found = tenancy::look_as(self.job.account, async move { generation::find(&app.pool, id).await });
        if let Ok(Ok(Some(job))) = found.await {
            self.job = job;
        }
        self.job.event()
    }

    /// Steps reach the database late: only what is not behind the last event is worth telling.
    fn is_news(&self, event: &JobEvent) -> bool {
        let Some(last) = &self.last else { return true };
        if event.state.is_terminal() {
            return true;
        }
        let behind =
            (event.attempt, event.step) < (last.attempt, last.step) && event.state != tintype_types::JobState::Queued;
        let same = (event.state, event.attempt, event.step) == (last.state, last.attempt, last.step)
            && (event.previews.is_empty() || event.previews == last.previews);
        let unstarted = event.attempt < last.attempt;
        !(behind || same || unstarted)
    }
}

async fn next_of(stream: &mut Option<BoxStream<'static, JobEvent>>) -> Option<JobEvent> {
    match stream {
        Some(stream) => stream.next().await,
        None => std::future::pending().await,
    }
}
