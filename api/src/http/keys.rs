//! The caller's API keys.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use sqlx::PgConnection;
use tintype_types::ErrorCode;

use super::auth::Caller;
use super::body;
use super::view::{KeyList, KeyView, NewKey};
use crate::clock::{self, to_ms};
use crate::error::ApiError;
use crate::keys::{ApiKey, is_id};
use crate::records::audit::{self, Deed};
use crate::records::key::{self, KEYS_PER_ACCOUNT_MAX, KeptKey};
use crate::scope::Scope;
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
    /// A name to be checked.
    pub(crate) fn of(name: String) -> Self {
        Self { name }
    }

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

/// What a new key is called, and what is kept from it.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct KeyBody {
    /// For people.
    name: String,
    /// What it may do: `read` looks, `generate` makes pictures, `billing` pays, `manage` does the rest. Left out: everything.
    #[schemars(length(min = 1, max = 4))]
    scopes: Option<Vec<Scope>>,
    /// From when on it is worthless, in milliseconds since 1970. Left out: never.
    #[schemars(range(min = 0))]
    expires_ms: Option<i64>,
    /// What it may spend in all, in milli-credits; what is held for jobs counts. Left out: as much as there is.
    #[schemars(range(min = 0))]
    budget_millis: Option<i64>,
}

/// Another budget for a key.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Budget {
    /// What it may spend in all, in milli-credits, from its first job on; null: as much as there is.
    #[schemars(range(min = 0))]
    budget_millis: Option<i64>,
}

/// Makes a key; its secret is shown this once.
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    body::Json(body): body::Json,
) -> Result<(StatusCode, Json<NewKey>), ApiError> {
    caller.check_unlimited()?;
    let KeyBody { name, scopes, expires_ms, budget_millis } = body::parse(body)?;
    let name = Named { name }.checked()?;
    let at = clock::now();
    check_budget(budget_millis)?;
    if expires_ms.is_some_and(|end| end <= to_ms(at)) {
        return Err(ApiError::invalid("expiresMs", "a key cannot have run out before it is made"));
    }
    if scopes.as_ref().is_some_and(Vec::is_empty) {
        return Err(ApiError::invalid(
            "scopes",
            "a key without a scope opens nothing; leave `scopes` out for all of them",
        ));
    }
    let made = ApiKey::generate(&mut rand::rng());
    let mut tx = app.pool.begin().await?;
    if key::count_locked(&mut tx, caller.account).await? >= KEYS_PER_ACCOUNT_MAX {
        let message = format!("an account has at most {KEYS_PER_ACCOUNT_MAX} keys; revoke one first");
        return Err(ApiError::new(ErrorCode::PermissionDenied, message));
    }
    let scopes = scopes.map(|scopes| scopes.into_iter().collect());
    let new = KeptKey { key: &made, name: &name, scopes, expires_ms, budget: budget_millis };
    key::create(&mut tx, caller.account, &new, at).await?;
    note(&mut tx, &caller, "key.create", made.id()).await?;
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
    if !is_id(&id) {
        return Err(ApiError::not_found("key"));
    }
    let mut tx = app.pool.begin().await?;
    if key::revoke(&mut tx, caller.account, &id, clock::now()).await? {
        note(&mut tx, &caller, "key.revoke", &id).await?;
        tx.commit().await?;
        // The database tells every program; this one need not wait for it.
        app.keyring.forget(&id);
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(ApiError::not_found("key"))
    }
}

/// Gives a key another budget, from the next job on.
pub(crate) async fn set_budget(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    body::Json(body): body::Json,
) -> Result<StatusCode, ApiError> {
    caller.check_unlimited()?;
    let Budget { budget_millis } = body::parse(body)?;
    check_budget(budget_millis)?;
    if !is_id(&id) {
        return Err(ApiError::not_found("key"));
    }
    let mut tx = app.pool.begin().await?;
    if key::set_budget(&mut tx, caller.account, &id, budget_millis).await? {
        note(&mut tx, &caller, "key.budget", &id).await?;
        tx.commit().await?;
        app.keyring.forget(&id);
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(ApiError::not_found("key"))
    }
}

async fn note(conn: &mut PgConnection, caller: &Caller, action: &'static str, id: &str) -> sqlx::Result<()> {
    let (actor, target) = (caller.actor(), Some(id.to_owned()));
    audit::write(conn, &Deed { account: Some(caller.account), actor, action, target }).await
}

fn check_budget(millis: Option<i64>) -> Result<(), ApiError> {
    if millis.is_some_and(i64::is_negative) {
        return Err(ApiError::invalid("budgetMillis", "a budget is not negative"));
    }
    Ok(())
}
