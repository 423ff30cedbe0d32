//! `/api/v1/batches`: several jobs in one request, one price, one stream of events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{BoxStream, SelectAll};
use futures::{Stream, StreamExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tintype_crds::WhenLate;
use tintype_types::{GenerationRequest, JobEvent};
use uuid::Uuid;

use super::account;
use super::auth::Caller;
use super::body::{self, Json};
use super::deadline::{self, Sent};
use super::events::{event_id, follow};
use super::images::REPLAYED;
use super::jobs::JobBody;
use super::view::JobView;
use crate::batches::{self, BatchOrder};
use crate::clock;
use crate::creation::Deadline;
use crate::error::ApiError;
use crate::jobs;
use crate::records::batch::{self, Batch};
use crate::records::generation::{self, Generation};
use crate::state::App;
use crate::{tariffs, tenancy};

/// Under which name idempotency keys of this operation are kept.
const ROUTE: &str = "POST /api/v1/batches";
/// Jobs of one batch: they are made in one transaction, which holds up the account's others.
const JOBS_MAX: usize = 100;
/// Largest body: as many prompts as there may be jobs, some of them long.
pub(super) const BODY_BYTES_MAX: usize = 2 << 20;
/// Jobs one stream follows at a time; when one ends the next in line is taken up.
const FOLLOWED_MAX: usize = 32;
/// How often a silent stream says that it is alive.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);

/// Several jobs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct BatchBody {
    /// What to make: 1 to 100 jobs, made all or none.
    #[schemars(with = "Vec<JobBody>", extend("minItems" = 1, "maxItems" = JOBS_MAX))]
    jobs: Vec<Value>,
    /// By when each should be done that does not say so itself, in milliseconds since 1970.
    #[schemars(with = "Option<u64>", range(min = 0, max = 9_007_199_254_740_991_u64))]
    #[serde(default)]
    deadline_ms: Value,
    /// What becomes of those when that cannot be: refused, a job fails at once and costs nothing, and the others go on.
    #[schemars(with = "Option<WhenLate>")]
    #[serde(default)]
    when_late: Value,
    /// The `tariff` of the quote they were offered by: they are charged as quoted, or refused (`price_changed`) where that was
    /// replaced longer ago than 15 minutes.
    #[schemars(with = "Option<String>")]
    #[serde(default)]
    #[expect(dead_code, reason = "it is taken out beforehand, and stands here for the OpenAPI document")]
    tariff: Value,
}

/// A batch.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BatchView {
    /// Its id.
    id: String,
    /// What all of it costs, in milli-credits.
    price_millis: i64,
    /// How many of its jobs have not ended.
    open: usize,
    /// How many have made their pictures.
    complete: usize,
    /// How many failed or were cancelled; their credits are given back.
    failed: usize,
    /// When it was made, in milliseconds since 1970.
    created_ms: i64,
    /// Its jobs, in the order they were asked for.
    jobs: Vec<JobView>,
}

/// What a batch would cost.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BatchQuote {
    /// What all of it would cost, in milli-credits.
    price_millis: i64,
    /// What each job would cost, in their order.
    job_price_millis: Vec<i64>,
    /// What you can spend now.
    available_millis: i64,
    /// Whether that is enough for all.
    affordable: bool,
    /// By which prices. A batch that names them is charged as quoted here.
    tariff: String,
}

/// Says what a batch would cost.
pub(crate) async fn quote(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json,
) -> Result<axum::Json<BatchQuote>, ApiError> {
    let job_price_millis = batches::quote(&app, &read_jobs(body)?)?;
    let price_millis = job_price_millis.iter().sum();
    let available_millis = account::credits(&app, caller.account).await?.available_millis;
    let affordable = available_millis >= price_millis;
    let tariff = app.tariff_name.clone();
    Ok(axum::Json(BatchQuote { price_millis, job_price_millis, available_millis, affordable, tariff }))
}

/// Makes all jobs, or none, and answers at once.
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Json(mut body): Json,
) -> Result<Response, ApiError> {
    // By which prices it is asked for makes it no other request.
    let tariff = tariffs::take(&mut body);
    let repeat = body::repeat(&headers, ROUTE, &body)?;
    let requests = read_jobs(body)?;
    let tariff = match tariffs::named(&app, &tariff).await {
        Ok(tariff) => tariff,
        // What was made by these prices then was made.
        Err(refused) => match batches::earlier(&app, caller.account, &repeat).await? {
            Some(_) => Arc::clone(&app.tariff),
            None => return Err(refused),
        },
    };
    let order = BatchOrder { account: caller.account, api_key: caller.key_use(), requests, tariff, repeat };
    let (id, replayed) = batches::place(&app, &order).await?;
    let location = format!("/api/v1/batches/{id}");
    let view = axum::Json(view(&app, find(&app, &caller, id).await?).await?);
    let mut response = (StatusCode::ACCEPTED, [(header::LOCATION, location)], view).into_response();
    if replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

fn read_jobs(body: Value) -> Result<Vec<(GenerationRequest, Option<Deadline>)>, ApiError> {
    let BatchBody { jobs, deadline_ms, when_late, tariff: _ } = body::parse(body)?;
    let all = Sent { at: deadline_ms, late: when_late }.read(deadline::OURS, clock::now())?;
    if !(1..=JOBS_MAX).contains(&jobs.len()) {
        return Err(ApiError::invalid("jobs", format!("a batch has 1 to {JOBS_MAX} jobs; send more in several")));
    }
    let read = |(n, mut job): (usize, Value)| {
        let own = deadline::take(&mut job).map_err(|error| batches::of_job(error, n))?;
        let request = body::parse(job).map_err(|error| batches::of_job(error, n))?;
        Ok((request, own.or(all)))
    };
    jobs.into_iter().enumerate().map(read).collect()
}

/// A batch of the caller's.
pub(crate) async fn read(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<axum::Json<BatchView>, ApiError> {
    let batch = own(&app, &caller, &id).await?;
    Ok(axum::Json(view(&app, batch).await?))
}

/// Cancels what of it has not ended. Cancelling twice changes nothing.
pub(crate) async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let batch = own(&app, &caller, &id).await?;
    if batch::cancel(&app.pool, batch.id, clock::now()).await? > 0 {
        app.bells.submit.notify_one();
        app.board.wake(caller.account);
    }
    let view = view(&app, batch).await?;
    let status = if view.open == 0 { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, axum::Json(view)).into_response())
}

async fn own(app: &App, caller: &Caller, id: &str) -> Result<Batch, ApiError> {
    find(app, caller, id.parse().map_err(|_| ApiError::not_found("batch"))?).await
}

async fn find(app: &App, caller: &Caller, id: Uuid) -> Result<Batch, ApiError> {
    batch::find_own(&app.pool, caller.account, id).await?.ok_or_else(|| ApiError::not_found("batch"))
}

async fn view(app: &App, batch: Batch) -> Result<BatchView, ApiError> {
    let made = generation::of_batch(&app.pool, batch.id).await?;
    let ended = || made.iter().filter(|job| job.state.is_terminal());
    let complete = ended().filter(|job| jobs::succeeded(job)).count();
    let failed = ended().count() - complete;
    Ok(BatchView {
        id: batch.id.to_string(),
        price_millis: batch.price,
        open: made.len() - complete - failed,
        complete,
        failed,
        created_ms: batch.created_ms,
        jobs: made.iter().map(JobView::from).collect(),
    })
}

/// Where each job stands, then every change of each, until all have ended. Each event is a whole snapshot of one job: who
/// comes back after a gap has missed nothing that is still true.
pub(crate) async fn events(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let batch = own(&app, &caller, &id).await?;
    let mut waiting = generation::of_batch(&app.pool, batch.id).await?;
    // Taken from the end.
    waiting.reverse();
    let mut feeds = Feeds { app, waiting, following: SelectAll::new() };
    feeds.take_up(FOLLOWED_MAX).await?;
    let keep_alive = KeepAlive::new().interval(HEARTBEAT_INTERVAL);
    Ok(Sse::new(told(feeds)).keep_alive(keep_alive).into_response())
}

struct Feeds {
    app: App,
    waiting: Vec<Generation>,
    following: SelectAll<BoxStream<'static, JobEvent>>,
}

impl Feeds {
    /// Follows as many as may be followed. A stream that has told its end is among them until it is asked once more.
    async fn take_up(&mut self, room: usize) -> Result<(), ApiError> {
        while self.following.len() < room {
            let Some(job) = self.waiting.last() else { break };
            // It stood somewhere else when its turn was still to come.
            let (app, account, id) = (self.app.clone(), job.account, job.id);
            let now = tenancy::look_as(account, async move { generation::find(&app.pool, id).await });
            let Some(job) = now.await?? else { break };
            self.following.push(follow(self.app.clone(), job).await?.boxed());
            self.waiting.pop();
        }
        Ok(())
    }
}

fn told(feeds: Feeds) -> impl Stream<Item = Result<Event, Infallible>> + Send + 'static {
    futures::stream::unfold(feeds, |mut feeds| async move {
        let event = feeds.following.next().await?;
        if event.state.is_terminal()
            && let Err(error) = feeds.take_up(FOLLOWED_MAX + 1).await
        {
            // Those are tried again when the next one ends.
            tracing::debug!(?error, "a stream of a batch goes on without some of its jobs");
        }
        let data = serde_json::to_string(&event).ok()?;
        let id = format!("{}.{}", event.job.as_str(), event_id(&event));
        Some((Ok(Event::default().id(id).data(data)), feeds))
    })
}
