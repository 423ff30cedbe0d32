//! `/api/v1/webhooks`: where the caller wants to be told, with which secret, and how telling went.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tintype_types::ErrorCode;
use uuid::Uuid;

use super::auth::Caller;
use super::body;
use crate::clock;
use crate::error::ApiError;
use crate::records::audit::{self, Deed};
use crate::state::App;
use crate::webhooks::record::{self, Delivery, Endpoint, Wanted};
use crate::webhooks::{ENDPOINTS_MAX, Event, target};

/// Longest description, in characters.
const DESCRIPTION_CHARS_MAX: usize = 200;
/// Deliveries on a page, unless the caller says.
const PAGE: i64 = 50;
/// Deliveries on a page at most.
const PAGE_MAX: i64 = 200;

/// An endpoint, without its secret.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WebhookView {
    /// Its id.
    id: String,
    /// Where it is.
    url: String,
    /// For people.
    description: String,
    /// What it hears of; empty: everything.
    events: Vec<Event>,
    /// Whether it is told anything.
    enabled: bool,
    /// Why it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled_reason: Option<String>,
    /// Deliveries that failed since the last that did not.
    failures: i32,
    /// When it was made, in milliseconds since 1970.
    created_ms: i64,
}

impl From<Endpoint> for WebhookView {
    fn from(endpoint: Endpoint) -> Self {
        let Endpoint { id, url, description, events, created_ms, disabled_ms, disabled_reason, failures } = endpoint;
        let events = events.iter().filter_map(|name| Event::parse(name)).collect();
        let enabled = disabled_ms.is_none();
        Self { id: id.to_string(), url, description, events, enabled, disabled_reason, failures, created_ms }
    }
}

/// A list of endpoints.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct WebhookList {
    /// The endpoints, oldest first.
    data: Vec<WebhookView>,
}

/// A new endpoint, or one with a new secret.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct WebhookSecret {
    /// The endpoint.
    #[serde(flatten)]
    webhook: WebhookView,
    /// What its deliveries are signed with, `whsec_...`: shown this once.
    secret: String,
}

/// A new endpoint.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NewWebhook {
    /// Where to tell: `https`, a public address.
    #[schemars(length(min = 1, max = 2000))]
    url: String,
    /// What to hear of; left out or empty: everything.
    #[serde(default)]
    events: Vec<Event>,
    /// For people.
    #[serde(default)]
    #[schemars(length(max = 200))]
    description: String,
}

/// What is to be different about an endpoint. What is left out stays.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct WebhookPatch {
    /// Where to tell.
    #[schemars(length(min = 1, max = 2000))]
    url: Option<String>,
    /// What to hear of; empty: everything.
    events: Option<Vec<Event>>,
    /// For people.
    #[schemars(length(max = 200))]
    description: Option<String>,
    /// Whether it is told anything. Switching it on forgets its failures.
    enabled: Option<bool>,
}

fn checked(app: &App, mut wanted: Wanted) -> Result<Wanted, ApiError> {
    target::check(&wanted.url, app.webhook_reach).map_err(|refused| ApiError::invalid("url", refused))?;
    if wanted.description.chars().count() > DESCRIPTION_CHARS_MAX || wanted.description.contains('\0') {
        let message = format!("a description has {DESCRIPTION_CHARS_MAX} printable characters at most");
        return Err(ApiError::invalid("description", message));
    }
    wanted.events.sort_unstable();
    wanted.events.dedup();
    Ok(wanted)
}

/// The caller's endpoints.
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<Json<WebhookList>, ApiError> {
    let found = record::list(&app.pool, caller.account).await?;
    Ok(Json(WebhookList { data: found.into_iter().map(WebhookView::from).collect() }))
}

/// Makes an endpoint; its secret is shown this once.
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    body::Json(body): body::Json,
) -> Result<(StatusCode, Json<WebhookSecret>), ApiError> {
    let NewWebhook { url, events, description } = body::parse(body)?;
    let wanted = checked(&app, Wanted { url, description, events, enabled: true })?;
    let mut tx = app.pool.begin().await?;
    let Some((id, secret)) = record::create(&mut tx, caller.account, &wanted, clock::now()).await? else {
        let message = format!("an account has {ENDPOINTS_MAX} webhooks at most; delete one first");
        return Err(ApiError::new(ErrorCode::PermissionDenied, message));
    };
    tx.commit().await?;
    let made = record::find(&app.pool, caller.account, id).await?.ok_or_else(missing)?;
    Ok((StatusCode::CREATED, Json(WebhookSecret { webhook: made.into(), secret: secret.reveal() })))
}

/// An endpoint of the caller's.
pub(crate) async fn read(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<WebhookView>, ApiError> {
    Ok(Json(own(&app, &caller, &id).await?.into()))
}

/// Changes an endpoint.
pub(crate) async fn patch(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    body::Json(body): body::Json,
) -> Result<Json<WebhookView>, ApiError> {
    let WebhookPatch { url, events, description, enabled } = body::parse(body)?;
    let now = own(&app, &caller, &id).await?;
    let before = now.events.iter().filter_map(|name| Event::parse(name)).collect();
    let wanted = Wanted {
        url: url.unwrap_or(now.url),
        description: description.unwrap_or(now.description),
        events: events.unwrap_or(before),
        enabled: enabled.unwrap_or(now.disabled_ms.is_none()),
    };
    let wanted = checked(&app, wanted)?;
    if !record::update(&app.pool, caller.account, now.id, &wanted, clock::now()).await? {
        return Err(missing());
    }
    read(State(app), caller, Path(id)).await
}

/// Deletes an endpoint with its log.
pub(crate) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    if record::delete(&app.pool, caller.account, parse(&id)?).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(missing())
    }
}

/// Gives an endpoint a new secret, shown this once. For a day deliveries are signed with the old one too.
pub(crate) async fn rotate(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<WebhookSecret>, ApiError> {
    let now = own(&app, &caller, &id).await?;
    let secret = record::rotate(&app.pool, caller.account, now.id, clock::now()).await?.ok_or_else(missing)?;
    Ok(Json(WebhookSecret { webhook: now.into(), secret: secret.reveal() }))
}

/// Tells an endpoint something, to try it.
pub(crate) async fn test(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    record::test(&app.pool, caller.account, parse(&id)?, clock::now()).await?.ok_or_else(missing)?;
    app.lane_bell.ring();
    Ok(StatusCode::ACCEPTED)
}

/// One thing told to an endpoint.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeliveryView {
    /// Its id.
    id: String,
    /// The `webhook-id` it has in every try.
    message_id: String,
    /// What happened.
    event: String,
    /// The job it happened to.
    #[serde(skip_serializing_if = "Option::is_none")]
    job_id: Option<String>,
    /// `waiting`, `delivered` or `failed`.
    state: String,
    /// How often it was tried.
    attempts: i32,
    /// The last answer's status.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<i32>,
    /// Why the last try does not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// How long the last try took.
    #[serde(skip_serializing_if = "Option::is_none")]
    took_ms: Option<i64>,
    /// When it was last tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    tried_ms: Option<i64>,
    /// When it happened.
    created_ms: i64,
}

impl From<Delivery> for DeliveryView {
    fn from(delivery: Delivery) -> Self {
        let Delivery { id, generation, event, state, attempts, status, error, took_ms, tried_ms, created_ms } =
            delivery;
        let (message_id, job_id) = (format!("msg_{}", id.simple()), generation.map(|id| id.to_string()));
        Self {
            id: id.to_string(),
            message_id,
            event,
            job_id,
            state,
            attempts,
            status,
            error,
            took_ms,
            tried_ms,
            created_ms,
        }
    }
}

/// A page of deliveries, newest first.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct DeliveryPage {
    /// The deliveries.
    data: Vec<DeliveryView>,
    /// Pass as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Which page.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogQuery {
    cursor: Option<Uuid>,
    limit: Option<i64>,
}

/// What an endpoint of the caller's was told in the last 30 days, newest first.
pub(crate) async fn deliveries(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    query: Result<Query<LogQuery>, QueryRejection>,
) -> Result<Json<DeliveryPage>, ApiError> {
    let Query(LogQuery { cursor, limit }) = query.map_err(|_| {
        ApiError::invalid("query", "the log takes `cursor` (the `next` of the page before) and `limit`")
    })?;
    let limit = limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(ApiError::invalid("limit", format!("a page has 1 to {PAGE_MAX} deliveries")));
    }
    let endpoint = own(&app, &caller, &id).await?;
    let mut found = record::deliveries(&app.pool, caller.account, endpoint.id, cursor, limit + 1).await?;
    let more = found.len() as i64 > limit;
    found.truncate(limit as usize);
    let next = if more { found.last().map(|delivery| delivery.id.to_string()) } else { None };
    Ok(Json(DeliveryPage { data: found.into_iter().map(DeliveryView::from).collect(), next }))
}

/// Tells an endpoint the same thing again, under the same `webhook-id`.
pub(crate) async fn replay(
    State(app): State<App>,
    caller: Caller,
    Path((id, delivery)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let no_delivery = || ApiError::not_found("delivery");
    let delivery: Uuid = delivery.parse().map_err(|_| no_delivery())?;
    let mut tx = app.pool.begin().await?;
    if !record::replay(&mut tx, caller.account, parse(&id)?, delivery, clock::now()).await? {
        return Err(no_delivery());
    }
    let (actor, target) = (caller.actor(), Some(delivery.to_string()));
    let deed = Deed { account: Some(caller.account), actor, action: "webhook.replay", target };
    audit::write(&mut tx, &deed).await?;
    tx.commit().await?;
    app.lane_bell.ring();
    Ok(StatusCode::ACCEPTED)
}

async fn own(app: &App, caller: &Caller, id: &str) -> Result<Endpoint, ApiError> {
    record::find(&app.pool, caller.account, parse(id)?).await?.ok_or_else(missing)
}

fn missing() -> ApiError {
    ApiError::not_found("webhook")
}

fn parse(id: &str) -> Result<Uuid, ApiError> {
    id.parse().map_err(|_| missing())
}
