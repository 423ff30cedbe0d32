//! `POST /v1/images/generations`, as OpenAI's clients speak it: asks, waits, answers with the pictures.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use tintype_types::{ErrorCode, GenerationRequest, ImageFormat, ModelKind};

use super::auth::Caller;
use super::body::{self, Json};
use super::deadline;
use super::openai::{self, Format, ImagesRequest};
use super::partials::{self, Operation};
use super::view::JobView;
use crate::clock;
use crate::error::ApiError;
use crate::jobs::{self, Order, Placed, Waited};
use crate::records::generation::Generation;
use crate::state::App;

/// Under which name idempotency keys of this operation are kept, whatever prefix it was called by.
const ROUTE: &str = "POST /v1/images/generations";
/// The job behind an answer.
pub(crate) const JOB: HeaderName = HeaderName::from_static("x-tintype-job");
/// Fields that were given and not honoured.
const IGNORED: HeaderName = HeaderName::from_static("x-tintype-ignored");
/// The answer is that of an earlier request with the same key.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Asks for pictures and waits for them.
pub(crate) async fn generate(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Json(body): Json,
) -> Result<Response, ApiError> {
    let repeat = body::repeat(&headers, ROUTE, &body)?;
    let read = openai::read(&body)?;
    let placed = match jobs::earlier(&app, caller.account, caller.key(), &repeat).await? {
        Some(placed) => placed,
        None => place(&app, caller, repeat, &read).await?,
    };
    respond(&app, &placed, &headers, &read, Operation::Generation).await
}

/// The answer to a request that was placed: the pictures, or the job of one who would rather not wait.
pub(super) async fn respond(
    app: &App,
    placed: &Placed,
    headers: &HeaderMap,
    read: &ImagesRequest,
    operation: Operation,
) -> Result<Response, ApiError> {
    let keyed = headers.contains_key("idempotency-key");
    if placed.job.deadline.is_some() {
        let judged = jobs::judged(app, placed.job.id).await;
        judged.map_err(|error| named(error.rename_param(openai::dialect_name), placed.job.id))?;
    }
    let response = if body::prefers_async(headers) {
        jobs::answered(app, placed.job.id).await?;
        accepted(&placed.job)
    } else if read.stream {
        partials::respond(app, &placed.job, read, operation).await?
    } else {
        answer(app, placed, keyed, read.format).await?
    };
    Ok(with_headers(response, placed, &read.ignored))
}

/// Makes the job of a request in this dialect.
pub(super) async fn place(
    app: &App,
    caller: Caller,
    repeat: jobs::Repeat,
    read: &ImagesRequest,
) -> Result<Placed, ApiError> {
    let mut request = read.request.clone();
    fill_model(app, &mut request)?;
    let deadline = read.deadline.clone().read(deadline::DIALECTS, clock::now())?;
    let tariff = Arc::clone(&app.tariff);
    let order = Order { account: caller.account, api_key: caller.key_use(), request, deadline, tariff, repeat };
    let placed = jobs::place(app, &order, jobs::draw_seed()).await;
    placed.map_err(|error| error.rename_param(openai::dialect_name))
}

/// A request that names no model gets the first there is.
pub(super) fn fill_model(app: &App, request: &mut GenerationRequest) -> Result<(), ApiError> {
    if request.model.is_empty() {
        request.model = default_model(app)?;
    }
    Ok(())
}

fn default_model(app: &App) -> Result<String, ApiError> {
    let models = app.cluster.models();
    let first = models.values().find(|card| card.kind == ModelKind::Checkpoint).map(|card| card.name.clone());
    first.ok_or_else(|| ApiError::new(ErrorCode::ModelNotFound, "there are no models here yet").with_param("model"))
}

/// The job, without waiting for it.
fn accepted(job: &Generation) -> Response {
    let headers = [
        (header::LOCATION, format!("/api/v1/jobs/{}", job.id)),
        (HeaderName::from_static("preference-applied"), "respond-async".to_owned()),
    ];
    (StatusCode::ACCEPTED, headers, axum::Json(JobView::from(job))).into_response()
}

async fn answer(app: &App, placed: &Placed, keyed: bool, format: Format) -> Result<Response, ApiError> {
    let id = placed.job.id;
    if placed.replayed && keyed && !placed.job.state.is_terminal() {
        let message =
            format!("the first request with this idempotency key is still running, as job {id}; repeat later");
        return Err(named(ApiError::new(ErrorCode::IdempotencyConflict, message).retry_after(2), id));
    }
    let job = match jobs::wait(app, id, app.wait_max).await? {
        Waited::Ended(job) => job,
        Waited::StillRunning if app.stop.is_cancelled() => {
            let message = format!("this server is going away; the job goes on: ask for it at /api/v1/jobs/{id}");
            return Err(named(ApiError::new(ErrorCode::Unavailable, message).retry_after(1), id));
        }
        Waited::StillRunning => {
            let message = format!(
                "the pictures take longer than this request may; the job goes on: ask for it at /api/v1/jobs/{id}"
            );
            return Err(named(ApiError::new(ErrorCode::Timeout, message), id));
        }
    };
    if !jobs::succeeded(&job) {
        jobs::answered(app, id).await?;
        let why = job.message.as_deref().unwrap_or("it gave no reason");
        let message = format!("the job failed and nothing was charged: {why}");
        let error = named(ApiError::new(ErrorCode::GenerationFailed, message).final_answer(), id);
        let replayed = placed.replayed.then(|| HeaderValue::from_static("true"));
        return Err(replayed.into_iter().fold(error, |error, value| error.with_header(REPLAYED, value)));
    }
    let images = pictures(app, &job, format).await?;
    jobs::answered(app, id).await?;
    Ok(axum::Json(images).into_response())
}

fn named(error: ApiError, job: uuid::Uuid) -> ApiError {
    match HeaderValue::from_str(&job.to_string()) {
        Ok(value) => error.with_header(JOB, value),
        Err(_) => error,
    }
}

/// OpenAI's answer.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct Images {
    /// When, in seconds since 1970.
    created: u64,
    /// How they are written.
    output_format: ImageFormat,
    /// The pictures.
    data: Vec<Image>,
}

/// One picture of it.
#[derive(Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct Image {
    /// A URL that is good for an hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// The file in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    b64_json: Option<String>,
    /// The seed this very picture can be made again with (ours, not theirs).
    seed: u64,
}

async fn pictures(app: &App, job: &Generation, format: Format) -> Result<Images, ApiError> {
    let mut data = Vec::with_capacity(job.outputs.len());
    for (n, output) in job.outputs.iter().enumerate() {
        let (url, b64_json) = match format {
            Format::Url => (Some(app.cluster.picture_url(job, n).await?), None),
            Format::B64Json => (None, Some(BASE64_STANDARD.encode(app.cluster.picture(job, n).await?))),
        };
        data.push(Image { url, b64_json, seed: output.seed });
    }
    Ok(Images { created: job.created.0 / 1_000, output_format: job.request.format, data })
}

fn with_headers(mut response: Response, placed: &Placed, ignored: &[&str]) -> Response {
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&placed.job.id.to_string()) {
        headers.insert(JOB, value);
    }
    if placed.replayed {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    if let (false, Ok(value)) = (ignored.is_empty(), HeaderValue::from_str(&ignored.join(", "))) {
        headers.insert(IGNORED, value);
    }
    response
}
