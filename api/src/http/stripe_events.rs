//! What the administrator sees of Stripe's events that could not be applied, and another try for them. What is in them is
//! never shown: they name people.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::admin::Admin;
use crate::clock;
use crate::error::ApiError;
use crate::records::audit::{self, Deed};
use crate::records::stripe_event::{self, Shown};
use crate::state::App;

/// Events on a page, unless the caller says.
const PAGE: i64 = 50;
/// Events on a page at most.
const PAGE_MAX: i64 = 200;

/// An event that could not be applied.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StripeEventView {
    /// Stripe's id; finds it at Stripe's desk.
    id: String,
    /// Its type, such as `invoice.paid`.
    #[serde(rename = "type")]
    kind: String,
    /// `dead` when it was given up, `received` while it is tried again.
    state: String,
    /// How often applying it failed.
    attempts: i32,
    /// Why it failed the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// When Stripe made it, in milliseconds since 1970.
    created_ms: i64,
    /// When it came.
    received_ms: i64,
}

impl From<Shown> for StripeEventView {
    fn from(event: Shown) -> Self {
        let Shown { id, kind, state, attempts, error, created_s, received_ms } = event;
        Self { id, kind, state, attempts, error, created_ms: created_s.saturating_mul(1_000), received_ms }
    }
}

/// A page of them, the oldest first.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct StripeEventPage {
    /// The events.
    data: Vec<StripeEventView>,
    /// Pass as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Which events.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    dead: Option<bool>,
    cursor: Option<String>,
    limit: Option<i64>,
}

/// Name and JSON type of each field of [`ListQuery`].
pub(crate) const LIST_QUERY: &[(&str, &str)] = &[("dead", "boolean"), ("cursor", "string"), ("limit", "integer")];

/// Events that were given up, or with `dead=false` those that failed and are tried again.
pub(crate) async fn list(
    State(app): State<App>,
    _admin: Admin,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<StripeEventPage>, ApiError> {
    let wrong = |_| {
        let message = "the list takes `dead` (true or false), `cursor` (the `next` of the page before), `limit`";
        ApiError::invalid("query", message)
    };
    let Query(ListQuery { dead, cursor, limit }) = query.map_err(wrong)?;
    let limit = limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(ApiError::invalid("limit", format!("a page has 1 to {PAGE_MAX} events")));
    }
    let no_page = || ApiError::invalid("cursor", "the cursor is the `next` of the page before");
    let after = match cursor.as_deref().map(|cursor| cursor.split_once(':').ok_or_else(no_page)).transpose()? {
        Some((ms, id)) if id.bytes().all(|b| b.is_ascii_graphic()) => {
            Some((ms.parse().map_err(|_| no_page())?, id.to_owned()))
        }
        Some(_) => return Err(no_page()),
        None => None,
    };
    let state = if dead.unwrap_or(true) { "dead" } else { "received" };
    let mut found = stripe_event::list(&app.pool, state, after.as_ref(), limit + 1).await?;
    let more = found.len() as i64 > limit;
    found.truncate(limit as usize);
    let next = found.last().filter(|_| more).map(|event| format!("{}:{}", event.received_ms, event.id));
    Ok(Json(StripeEventPage { data: found.into_iter().map(StripeEventView::from).collect(), next }))
}

/// Has an event that was given up applied again.
pub(crate) async fn replay(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let missing = || ApiError::not_found("event of Stripe's that was given up");
    // Postgres takes no NUL in text; Stripe's ids are plain.
    if !id.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(missing());
    }
    let mut tx = app.pool.begin().await?;
    if !stripe_event::replay(&mut tx, &id, clock::now()).await? {
        return Err(missing());
    }
    let deed = Deed { account: None, actor: admin.actor(), action: "stripe_event.replay", target: Some(id) };
    audit::write(&mut tx, &deed).await?;
    tx.commit().await?;
    app.bells.payments.notify_one();
    Ok(StatusCode::NO_CONTENT)
}
