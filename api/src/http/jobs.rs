//! Our own way of asking: make a job, look at it, list, cancel, fetch its pictures.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use tintype_crds::WhenLate;
use tintype_types::GenerationRequest;
use uuid::Uuid;

use super::auth::Caller;
use super::body::{self, Json};
use super::deadline;
use super::images::{JOB, REPLAYED};
use super::picture::{self, PictureQuery};
use super::view::{EstimateView, JobPage, JobView};
use crate::error::ApiError;
use crate::gallery::image;
use crate::jobs::{self, Order, Placed, Repeat};
use crate::records::generation::{self, Generation};
use crate::state::App;
use crate::tariffs;

/// Under which name idempotency keys of this operation are kept.
const ROUTE: &str = "POST /api/v1/jobs";
/// Things on a page, unless the caller says.
const PAGE: i64 = 20;
/// Things on a page at most.
const PAGE_MAX: i64 = 100;

/// A request for a job: what to make, and by when.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("additionalProperties" = false))]
#[expect(dead_code, reason = "it is read in two parts, and stands here for the OpenAPI document")]
pub(crate) struct JobBody {
    #[serde(flatten)]
    request: GenerationRequest,
    /// By when it should be done, in milliseconds since 1970: jobs are ordered by it, and it is promised where that is sure.
    /// The answer then says when the job should start and end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_u64))]
    deadline_ms: Option<u64>,
    /// What becomes of it when that cannot be. Refused, it is so at once where that is sure, with the cheapest change that would
    /// meet the deadline, and costs nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    when_late: Option<WhenLate>,
    /// The `tariff` of the quote it was offered by: it is charged as quoted, or refused (`price_changed`) where that was replaced
    /// longer ago than 15 minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tariff: Option<String>,
}

/// Makes a job and answers at once.
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Json(mut body): Json,
) -> Result<Response, ApiError> {
    // By which prices it is asked for makes it no other request.
    let tariff = tariffs::take(&mut body);
    let repeat = body::repeat(&headers, ROUTE, &body)?;
    let keyed = repeat.key.is_some();
    let placed = place(&app, &caller, repeat, (body, tariff)).await?;
    let mut view = JobView::from(&placed.job);
    if placed.job.deadline.is_some() {
        let (job, estimate) = Box::pin(jobs::judged(&app, placed.job.id)).await?;
        view = JobView { estimate: estimate.map(EstimateView::from), ..JobView::from(&job) };
    }
    // Who has a key repeats with it: such a job is never taken for one whose answer was lost.
    if !placed.replayed && !keyed {
        Box::pin(jobs::answered(&app, placed.job.id)).await?;
    }
    let id = placed.job.id.to_string();
    let location = format!("/api/v1/jobs/{id}");
    let mut response = (StatusCode::ACCEPTED, [(header::LOCATION, location)], axum::Json(view)).into_response();
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(JOB, value);
    }
    if placed.replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// The job that was asked for, or the one an earlier request like this has made.
async fn place(
    app: &App,
    caller: &Caller,
    repeat: Repeat,
    (mut body, tariff): (Value, Value),
) -> Result<Placed, ApiError> {
    let (account, api_key) = (caller.account, caller.key());
    // Whether a key was used is found out when the job is made; a look before that would cost every job.
    if repeat.key.is_none()
        && let Some(placed) = Box::pin(jobs::earlier(app, account, api_key, &repeat)).await?
    {
        return Ok(placed);
    }
    let read = async {
        let deadline = deadline::take(&mut body)?;
        Ok((deadline, body::parse::<GenerationRequest>(body)?, tariffs::named(app, &tariff).await?))
    };
    let (refused, repeat) = match read.await {
        Ok((deadline, request, tariff)) => {
            let order = Order { account, api_key: caller.key_use(), request, deadline, tariff, repeat };
            match jobs::place(app, &order, jobs::draw_seed()).await {
                Ok(placed) => return Ok(placed),
                Err(refused) => (refused, order.repeat),
            }
        }
        Err(refused) => (refused, repeat),
    };
    // What is refused now may have been made then: the model was there, or the picture it starts from.
    let earlier =
        if repeat.key.is_some() { Box::pin(jobs::earlier(app, account, api_key, &repeat)).await? } else { None };
    earlier.ok_or(refused)
}

/// A job of the caller's.
pub(crate) async fn read(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<axum::Json<JobView>, ApiError> {
    Ok(axum::Json(JobView::from(&own(&app, &caller, &id).await?)))
}

/// Which page.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageQuery {
    limit: Option<i64>,
    before: Option<Uuid>,
}

impl PageQuery {
    /// How many, and from before what.
    pub(crate) fn checked(query: Result<Query<Self>, QueryRejection>) -> Result<(i64, Option<Uuid>), ApiError> {
        let Query(Self { limit, before }) = query.map_err(|_| {
            ApiError::invalid("query", "the list takes `limit` (a number) and `before` (the `next` of the page before)")
        })?;
        let limit = limit.unwrap_or(PAGE);
        if !(1..=PAGE_MAX).contains(&limit) {
            return Err(ApiError::invalid("limit", format!("a page has 1 to {PAGE_MAX} of them")));
        }
        Ok((limit, before))
    }
}

/// The caller's jobs, newest first.
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<axum::Json<JobPage>, ApiError> {
    let (limit, before) = PageQuery::checked(query)?;
    // One more than asked for tells whether there is another page.
    let mut jobs = generation::list(&app.pool, caller.account, before, limit + 1).await?;
    let more = jobs.len() as i64 > limit;
    jobs.truncate(limit as usize);
    let next = if more { jobs.last().map(|job| job.id.to_string()) } else { None };
    Ok(axum::Json(JobPage { data: jobs.iter().map(JobView::from).collect(), next }))
}

/// Cancels a job. Cancelling one that has ended, or twice, changes nothing.
pub(crate) async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let job = jobs::cancel(&app, own(&app, &caller, &id).await?).await?;
    let status = if job.state.is_terminal() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, axum::Json(JobView::from(&job))).into_response())
}

/// Sends the caller on to a picture, or the picture itself.
pub(crate) async fn image(
    State(app): State<App>,
    caller: Caller,
    Path((id, n)): Path<(String, String)>,
    query: Result<Query<PictureQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let inline = PictureQuery::inline(query)?;
    let job = own(&app, &caller, &id).await?;
    let n = n.parse::<usize>().ok().filter(|n| *n < job.outputs.len()).ok_or_else(|| ApiError::not_found("picture"))?;
    if job.state.is_terminal() && !image::is_kept(&app.pool, job.id, n).await? {
        return Err(ApiError::not_found("picture"));
    }
    if inline {
        return picture::send(&app, &job, n).await;
    }
    let url = app.cluster.picture_url(&job, n).await?;
    Ok((StatusCode::FOUND, [(header::LOCATION, url), (header::CACHE_CONTROL, "no-store".to_owned())]).into_response())
}

/// The caller's job of this id. Anybody else's is not there.
pub(crate) async fn own(app: &App, caller: &Caller, id: &str) -> Result<Generation, ApiError> {
    let not_found = || ApiError::not_found("job");
    let id: Uuid = id.parse().map_err(|_| not_found())?;
    generation::find_own(&app.pool, caller.account, id).await?.ok_or_else(not_found)
}
