//! Replicate's dialect under `/replicate/v1`: predictions, models, files, webhooks. A prediction is one of our jobs; their
//! clients work unmodified with the base URL alone.

pub(crate) mod files;
pub(crate) mod input;
pub(crate) mod models;
pub(crate) mod predictions;
pub(crate) mod stream;
pub(crate) mod view;

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;

use super::auth::Caller;
use crate::error::ApiError;
use crate::records::account;
use crate::state::App;
use crate::webhooks::record;

/// Where the dialect begins.
pub(crate) const PREFIX: &str = "/replicate/v1";

/// The caller's account, in their words.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Account {
    /// `user` or `organization`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// Its id.
    username: String,
    /// For people.
    name: String,
}

/// Who the caller is.
pub(crate) async fn account(State(app): State<App>, caller: Caller) -> Result<Json<Account>, ApiError> {
    let found = account::find(&mut *app.pool.reader().await?, caller.account).await?;
    let kind = if found.kind == "org" { "organization" } else { "user" };
    Ok(Json(Account { kind, username: found.id.to_string(), name: found.name }))
}

/// What webhooks of predictions are signed with.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct SigningSecret {
    /// `whsec_...`
    key: String,
}

/// The caller's secret for webhooks of predictions.
pub(crate) async fn secret(State(app): State<App>, caller: Caller) -> Result<Json<SigningSecret>, ApiError> {
    Ok(Json(SigningSecret { key: record::account_secret(&app.pool, caller.account).await?.reveal() }))
}
