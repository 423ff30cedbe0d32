//! `GET /api/v1/usage`: what the caller used, by day, model and key.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tintype_types::Timestamp;

use super::auth::Caller;
use crate::clock;
use crate::error::ApiError;
use crate::records::usage::{self, UsageLine};
use crate::state::App;

/// A day in milliseconds.
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
/// Days told of unless the caller says.
const DAYS: u64 = 30;
/// Days told of at most.
const DAYS_MAX: u64 = 366;

/// What was used in one day, of one model, with one key.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UsageView {
    /// The day's first moment (UTC), in milliseconds since 1970.
    day_ms: i64,
    /// The model.
    model: String,
    /// Id of the API key; absent for what was asked for without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// Jobs that ended that day.
    jobs: i64,
    /// Of those, failed or cancelled; they cost nothing.
    failed: i64,
    /// Pictures made.
    images: i64,
    /// Time GPUs were held.
    gpu_ms: i64,
    /// Milli-credits captured.
    spent_millis: i64,
}

/// What was used.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Usage {
    /// From this moment, in milliseconds since 1970.
    from: u64,
    /// Until before this one.
    to: u64,
    /// By day, model and key; days without jobs are left out.
    data: Vec<UsageView>,
}

/// Which days.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UsageQuery {
    from: Option<u64>,
    to: Option<u64>,
}

/// What the caller used.
pub(crate) async fn read(
    State(app): State<App>,
    caller: Caller,
    query: Result<Query<UsageQuery>, QueryRejection>,
) -> Result<Json<Usage>, ApiError> {
    let Query(UsageQuery { from, to }) =
        query.map_err(|_| ApiError::invalid("query", "usage takes `from` and `to`, in milliseconds since 1970"))?;
    let to = to.unwrap_or(clock::now().0.saturating_add(1));
    let from = from.unwrap_or(to.saturating_sub(DAYS * DAY_MS));
    if from >= to || to - from > DAYS_MAX * DAY_MS {
        return Err(ApiError::invalid("from", format!("`from` lies before `to`, by {DAYS_MAX} days at most")));
    }
    let view = |UsageLine { day_ms, model, api_key, jobs, failed, images, gpu_ms, spent }| UsageView {
        day_ms,
        model,
        key: api_key,
        jobs,
        failed,
        images,
        gpu_ms,
        spent_millis: spent,
    };
    let lines = usage::of_account(&app.pool, caller.account, Timestamp(from), Timestamp(to)).await?;
    Ok(Json(Usage { from, to, data: lines.into_iter().map(view).collect() }))
}
