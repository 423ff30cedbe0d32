//! Predictions: make one, wait for it, look at it, list, cancel.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tintype_types::inputs::InitImage;
use uuid::Uuid;

use super::models::{self, Results};
use super::view::{Pen, Prediction};
use super::{PREFIX, files, input};
use crate::clock;
use crate::error::ApiError;
use crate::http::auth::Caller;
use crate::http::body;
use crate::http::jobs::own;
use crate::jobs::{self, Order, Waited};
use crate::records::generation::{self, Generation};
use crate::records::prediction::{self, NewPrediction, Sent};
use crate::state::App;
use crate::webhooks::{Event, target};

/// Under which name idempotency keys of this operation are kept.
const ROUTE: &str = "POST /replicate/v1/predictions";
/// Largest body: a picture as a data URL, as their clients send small ones.
pub(crate) const BODY_BYTES_MAX: usize = 4 << 20;
/// Longest a request that prefers to wait is held open, as theirs are.
const WAIT_MAX: Duration = Duration::from_mins(1);
/// How much is redrawn unless the input says, as their Stable Diffusion models do.
const STRENGTH: f64 = 0.8;
/// Predictions on a page, as theirs.
const PAGE: i64 = 100;

/// What is asked for.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct NewBody {
    /// A version's id, `owner/name:id` or `owner/name`; not where the path names the model.
    version: Option<String>,
    /// `owner/name`, as some clients say instead.
    model: Option<String>,
    /// What to make: `prompt`, `negative_prompt`, `width`, `height`, `num_outputs`, `num_inference_steps`, `guidance_scale`,
    /// `scheduler`, `seed`, `image`, `mask`, `prompt_strength`, `output_format`.
    input: Map<String, Value>,
    /// Where to tell what happens to this prediction.
    webhook: Option<String>,
    /// Of what: `start`, `output`, `logs`, `completed`; left out: of everything.
    webhook_events_filter: Option<Vec<String>>,
}

/// Makes a prediction of the model that the body names.
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body::Json(body): body::Json,
) -> Result<(StatusCode, Json<Prediction>), ApiError> {
    make(&app, caller, &headers, body, None).await
}

/// Makes a prediction of the model that the path names.
pub(crate) async fn create_of(
    State(app): State<App>,
    caller: Caller,
    Path((owner, name)): Path<(String, String)>,
    headers: HeaderMap,
    body::Json(body): body::Json,
) -> Result<(StatusCode, Json<Prediction>), ApiError> {
    make(&app, caller, &headers, body, Some(models::joined(&owner, &name))).await
}

async fn make(
    app: &App,
    caller: Caller,
    headers: &HeaderMap,
    body: Value,
    model: Option<String>,
) -> Result<(StatusCode, Json<Prediction>), ApiError> {
    let repeat = body::repeat(headers, ROUTE, &json!([model, body]))?;
    let wait = wait_for(headers);
    let earlier = jobs::earlier(app, caller.account, caller.key(), &repeat).await?;
    let job = if let Some(placed) = earlier { placed.job } else { place(app, &caller, repeat, body, model).await? };
    if job.deadline.is_some() {
        jobs::judged(app, job.id).await.map_err(|error| error.rename_param_to(input::dialect_name))?;
    }
    let job = match wait {
        Some(limit) => match jobs::wait(app, job.id, limit.min(app.wait_max)).await? {
            Waited::Ended(ended) => *ended,
            Waited::StillRunning => generation::find(&app.pool, job.id).await?.unwrap_or(job),
        },
        None => job,
    };
    jobs::answered(app, job.id).await?;
    Ok((StatusCode::CREATED, Json(show(app, &job).await?)))
}

async fn place(
    app: &App,
    caller: &Caller,
    repeat: jobs::Repeat,
    body: Value,
    model: Option<String>,
) -> Result<Generation, ApiError> {
    let NewBody { version, model: named, input: mut sent, webhook, webhook_events_filter } = body::parse(body)?;
    let model = match (model, version.or(named)) {
        (Some(model), _) => model,
        (None, Some(version)) => models::named(app, &version)?,
        (None, None) => return Err(ApiError::invalid("version", "say which model: its version, or `owner/name`")),
    };
    if let Some(url) = &webhook {
        target::check(url, app.webhook_reach).map_err(|refused| ApiError::invalid("webhook", refused))?;
    }
    let events = events(webhook_events_filter)?;
    let read = input::read(&model, &sent)?;
    let mut request = read.request;
    let rename = |error: ApiError| error.rename_param_to(input::dialect_name);
    jobs::judge(app, &request, 0).map_err(rename)?;
    if let Some(image) = &read.image {
        let start = Start { image, mask: read.mask.as_deref(), strength: read.strength };
        request.init = Some(start.keep(app, caller.account, &mut sent).await?);
    }
    let deadline = read.deadline.read(["input.deadline_ms", "input.when_late"], clock::now())?;
    let id = Uuid::now_v7();
    let sent = Sent { input: Value::Object(sent), ignored: read.ignored, stream: draw_token() };
    let new = NewPrediction { generation: id, account: caller.account, sent, webhook, events };
    prediction::create(&app.pool, &new, clock::now()).await?;
    let tariff = Arc::clone(&app.tariff);
    let order = Order { account: caller.account, api_key: caller.key_use(), request, deadline, tariff, repeat };
    let placed = jobs::place_as(app, &order, jobs::draw_seed(), id).await.map(|placed| placed.job);
    match placed {
        Ok(job) if job.id == id => Ok(job),
        other => {
            prediction::forget(&app.pool, id).await?;
            other.map_err(rename)
        }
    }
}

/// What a prediction starts from, as it was sent.
struct Start<'a> {
    image: &'a str,
    mask: Option<&'a str>,
    strength: Option<f64>,
}

impl Start<'_> {
    /// The assets that the pictures are, or become; in what was sent, their URLs take the place of bytes.
    async fn keep(self, app: &App, account: Uuid, sent: &mut Map<String, Value>) -> Result<InitImage, ApiError> {
        let _room = crate::assets::admit(app)?;
        let (image, url) = files::resolve(app, account, self.image, "input.image").await?;
        sent.insert("image".to_owned(), url.into());
        let mut mask = None;
        if let Some(given) = self.mask {
            let (key, url) = files::resolve(app, account, given, "input.mask").await?;
            sent.insert("mask".to_owned(), url.into());
            mask = Some(key);
        }
        Ok(InitImage { image, strength: self.strength.unwrap_or(STRENGTH), mask })
    }
}

/// The events of ours that their filter means.
fn events(filter: Option<Vec<String>>) -> Result<Vec<&'static str>, ApiError> {
    let Some(filter) = filter else { return Ok(names([Event::JobStarted, Event::JobCompleted, Event::JobFailed])) };
    let mut found = Vec::new();
    for name in filter {
        found.extend(match name.as_str() {
            "start" => names([Event::JobStarted]),
            "output" => names([Event::JobCompleted]),
            // Logs say how far it is; they come with everything else.
            "logs" => Vec::new(),
            "completed" => names([Event::JobCompleted, Event::JobFailed]),
            _ => {
                let message = "the filter takes `start`, `output`, `logs` and `completed`";
                return Err(ApiError::invalid("webhook_events_filter", message));
            }
        });
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

fn names(events: impl IntoIterator<Item = Event>) -> Vec<&'static str> {
    events.into_iter().map(Event::as_str).collect()
}

/// What opens a prediction's stream: 128 random bits.
fn draw_token() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}

/// How long the client prefers to wait: `Prefer: wait` or `Prefer: wait=n`.
fn wait_for(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all("prefer").into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split([',', ';'])).find_map(|preference| match preference.trim().split_once('=') {
        Some((name, seconds)) if name.eq_ignore_ascii_case("wait") => {
            Some(Duration::from_secs(seconds.trim().parse().ok()?).min(WAIT_MAX))
        }
        None if preference.trim().eq_ignore_ascii_case("wait") => Some(WAIT_MAX),
        Some(_) | None => None,
    })
}

async fn show(app: &App, job: &Generation) -> Result<Prediction, ApiError> {
    let sent = prediction::sent(&app.pool, &[job.id]).await?.pop().map(|(_, sent)| sent);
    Ok(pen(app).prediction(job, sent))
}

/// Writes jobs in their words.
pub(super) fn pen(app: &App) -> Pen<'_> {
    Pen { public_url: &app.public_url, cluster: app.cluster.as_ref() }
}

/// A prediction of the caller's.
pub(crate) async fn read(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Prediction>, ApiError> {
    Ok(Json(show(&app, &mine(&app, &caller, &id).await?).await?))
}

async fn mine(app: &App, caller: &Caller, id: &str) -> Result<Generation, ApiError> {
    own(app, caller, id).await.map_err(|_| ApiError::not_found("prediction"))
}

/// Cancels a prediction. Cancelling one that has ended changes nothing.
pub(crate) async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Prediction>, ApiError> {
    let job = jobs::cancel(&app, mine(&app, &caller, &id).await?).await?;
    Ok(Json(show(&app, &job).await?))
}

/// Which page.
#[derive(Debug, Deserialize)]
pub(crate) struct PageQuery {
    cursor: Option<Uuid>,
}

/// The caller's predictions, and jobs made in other dialects, newest first.
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Json<Results<Prediction>>, ApiError> {
    let Query(PageQuery { cursor }) = query.map_err(|_| ApiError::invalid("cursor", "this is no page's cursor"))?;
    let mut jobs = generation::list(&app.pool, caller.account, cursor, PAGE + 1).await?;
    let more = jobs.len() as i64 > PAGE;
    jobs.truncate(PAGE as usize);
    let ids: Vec<Uuid> = jobs.iter().map(|job| job.id).collect();
    let mut sent = prediction::sent(&app.pool, &ids).await?;
    let mut take = |id: Uuid| sent.iter().position(|(of, _)| *of == id).map(|at| sent.swap_remove(at).1);
    let results = jobs.iter().map(|job| pen(&app).prediction(job, take(job.id))).collect();
    let next = jobs.last().filter(|_| more);
    let next = next.map(|job| format!("{}{PREFIX}/predictions?cursor={}", app.public_url, job.id));
    Ok(Json(Results { next, previous: None, results }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_bounded_and_read_out_of_lists() {
        let headers = |text: &'static str| HeaderMap::from_iter([("prefer".parse().unwrap(), text.parse().unwrap())]);
        assert_eq!(wait_for(&headers("wait")), Some(WAIT_MAX));
        assert_eq!(wait_for(&headers("handling=lenient, wait=5")), Some(Duration::from_secs(5)));
        assert_eq!(wait_for(&headers("wait=999")), Some(WAIT_MAX));
        assert_eq!(wait_for(&headers("wait=soon")), None);
        assert_eq!(wait_for(&headers("respond-async")), None);
    }

    #[test]
    fn their_filter_becomes_our_events() {
        let filter = |names: &[&str]| events(Some(names.iter().map(|name| (*name).to_owned()).collect()));
        assert_eq!(filter(&["start", "completed"]).unwrap(), ["job.completed", "job.failed", "job.started"]);
        assert_eq!(filter(&["output", "completed"]).unwrap(), ["job.completed", "job.failed"]);
        assert!(filter(&["logs"]).unwrap().is_empty());
        assert_eq!(filter(&["end"]).unwrap_err().param(), Some("webhook_events_filter"));
        assert_eq!(events(None).unwrap().len(), 3);
    }
}
