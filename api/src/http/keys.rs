//! The caller's API keys.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use tintype_types::ErrorCode;

use super::auth::Caller;
use super::body;
use super::view::{KeyList, KeyView, NewKey};
use crate::clock;
use crate::error::ApiError;
use crate::keys::ApiKey;
use crate::records::key::{self, KEYS_PER_ACCOUNT_MAX};
use crate::state::App;

/// Longest name of a thing, in characters.
pub(crate) const NAME_CHARS_MAX: usize = 200;

/// What a new key or user is called.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Named {
    /// For people.
    name: String,
}

impl Named {
    /// The name, checked.
    pub(crate) fn checked(self) -> Result<String, ApiError> {
        let name = self.name.trim().to_owned();
        let chars = name.chars().count();
        if chars == 0 || chars > NAME_CHARS_MAX || name.contains(char::is_control) {
            return Err(ApiError::invalid("name", format!("a name has 1 to {NAME_CHARS_MAX} printable characters")));
        }
        Ok(name)
    }
}

/// Makes a key; its secret is shown this once.
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    body::Json(body): body::Json,
) -> Result<(StatusCode, Json<NewKey>), ApiError> {
    let name = body::parse::<Named>(body)?.checked()?;
    let made = ApiKey::generate(&mut rand::rng());
    let mut tx = app.pool.begin().await?;
    if key::count_locked(&mut tx, caller.account).await? >= KEYS_PER_ACCOUNT_MAX {
        let message = format!("an account has at most {KEYS_PER_ACCOUNT_MAX} keys; revoke one first");
        return Err(ApiError::new(ErrorCode::PermissionDenied, message));
    }
    key::create(&mut tx, &made, caller.account, &name, clock::now()).await?;
    tx.commit().await?;
    let api_key = made.reveal().to_owned();
    Ok((StatusCode::CREATED, Json(NewKey { id: made.id().to_owned(), name, api_key })))
}

/// The caller's keys, without their secrets.
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<Json<KeyList>, ApiError> {
    let rows = key::list(&app.pool, caller.account).await?;
    Ok(Json(KeyList { data: rows.into_iter().map(KeyView::from).collect() }))
}

/// Revokes a key; it is refused from the next request on.
pub(crate) async fn revoke(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    if key::revoke(&app.pool, caller.account, &id, clock::now()).await? {
        // The database tells every program; this one need not wait for it.
        app.keyring.forget(&id);
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(ApiError::not_found("key"))
    }
}
