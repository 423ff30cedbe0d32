//! What the administrator sees of the background lanes: how they stand, which errands wait or were given up, and another
//! try for those. Payloads are never shown: they hold addresses.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

use super::admin::Admin;
use crate::clock;
use crate::error::ApiError;
use crate::lanes::errand::{self, Shown, Standing};
use crate::records::audit::{self, Deed};
use crate::state::App;

/// Errands on a page, unless the caller says.
const PAGE: i64 = 50;
/// Errands on a page at most.
const PAGE_MAX: i64 = 200;

/// How a lane stands.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LaneView {
    /// Its name.
    lane: String,
    /// Errands that wait for a try.
    waiting: i64,
    /// Errands that are being done now.
    running: i64,
    /// Errands that were given up.
    dead: i64,
    /// When the errand that waits longest was due, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_due_ms: Option<i64>,
}

/// How the lanes stand.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct LaneList {
    /// Those with errands, by name.
    data: Vec<LaneView>,
}

/// An errand.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ErrandView {
    /// Its id.
    id: String,
    /// Its lane.
    lane: String,
    /// How often it was tried.
    attempts: i32,
    /// When it is due; while it is being done, when that counts as dropped.
    due_ms: i64,
    /// Whether it is being done now.
    running: bool,
    /// When it was given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_ms: Option<i64>,
    /// Why its last try failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// When it was sent.
    created_ms: i64,
}

/// A page of errands, newest first.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ErrandPage {
    /// The errands.
    data: Vec<ErrandView>,
    /// Pass as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Which errands.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    lane: Option<String>,
    dead: Option<bool>,
    cursor: Option<Uuid>,
    limit: Option<i64>,
}

/// Name and JSON type of each field of [`ListQuery`].
pub(crate) const LIST_QUERY: &[(&str, &str)] =
    &[("lane", "string"), ("dead", "boolean"), ("cursor", "string"), ("limit", "integer")];

/// How the lanes stand.
pub(crate) async fn standings(State(app): State<App>, _admin: Admin) -> Result<Json<LaneList>, ApiError> {
    let view = |Standing { lane, waiting, running, dead, oldest_due_ms }| LaneView {
        lane,
        waiting,
        running,
        dead,
        oldest_due_ms,
    };
    Ok(Json(LaneList { data: errand::standings(&app.pool).await?.into_iter().map(view).collect() }))
}

/// Errands, newest first.
pub(crate) async fn list(
    State(app): State<App>,
    _admin: Admin,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<ErrandPage>, ApiError> {
    let Query(ListQuery { lane, dead, cursor, limit }) = query.map_err(|_| {
        let message =
            "the list takes `lane`, `dead` (true or false), `cursor` (the `next` of the page before), `limit`";
        ApiError::invalid("query", message)
    })?;
    let limit = limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(ApiError::invalid("limit", format!("a page has 1 to {PAGE_MAX} errands")));
    }
    let mut found = errand::list(&app.pool, lane.as_deref(), dead.unwrap_or(false), cursor, limit + 1).await?;
    let more = found.len() as i64 > limit;
    found.truncate(limit as usize);
    let next = if more { found.last().map(|errand| errand.id.to_string()) } else { None };
    let view = |Shown { id, lane, attempt, due_ms, claimed_ms, dead_ms, error, created_ms }| ErrandView {
        id: id.to_string(),
        lane,
        attempts: attempt,
        due_ms,
        running: claimed_ms.is_some(),
        dead_ms,
        error,
        created_ms,
    };
    Ok(Json(ErrandPage { data: found.into_iter().map(view).collect(), next }))
}

/// Has an errand that was given up tried again.
pub(crate) async fn retry(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let id = parse(&id)?;
    let mut tx = app.pool.begin().await?;
    if !errand::revive(&mut tx, id, clock::now()).await? {
        return Err(missing());
    }
    note(&mut tx, &admin, "errand.retry", id).await?;
    tx.commit().await?;
    app.lane_bell.ring();
    Ok(StatusCode::NO_CONTENT)
}

/// Throws an errand that was given up away.
pub(crate) async fn discard(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let id = parse(&id)?;
    let mut tx = app.pool.begin().await?;
    if !errand::discard(&mut tx, id).await? {
        return Err(missing());
    }
    note(&mut tx, &admin, "errand.discard", id).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn note(conn: &mut PgConnection, admin: &Admin, action: &'static str, id: Uuid) -> sqlx::Result<()> {
    audit::write(conn, &Deed { account: None, actor: admin.actor(), action, target: Some(id.to_string()) }).await
}

fn missing() -> ApiError {
    ApiError::not_found("errand that was given up")
}

fn parse(id: &str) -> Result<Uuid, ApiError> {
    id.parse().map_err(|_| missing())
}
