//! The browsers a person is signed in with.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::auth::SignedIn;
use super::sign_in::note;
use crate::clock;
use crate::error::ApiError;
use crate::records::{person, session};
use crate::state::App;

/// A browser that is signed in.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionView {
    /// Its id.
    id: String,
    /// When it signed in, in milliseconds since 1970.
    created_ms: i64,
    /// When it was last used, to the minute.
    seen_ms: i64,
    /// When it is signed out at the latest.
    expires_ms: i64,
    /// What it said it is.
    user_agent: String,
    /// From where it signed in.
    address: String,
    /// Whether it is the one that asks.
    current: bool,
}

/// A list of browsers.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SessionList {
    /// The one used last first.
    data: Vec<SessionView>,
}

/// The caller's.
pub(crate) async fn list(State(app): State<App>, signed_in: SignedIn) -> Result<Json<SessionList>, ApiError> {
    let rows = session::list(&app.pool, signed_in.person, clock::now()).await?;
    let view = |row: session::SessionRow| SessionView {
        current: Some(row.id) == signed_in.session,
        id: row.id.to_string(),
        created_ms: row.created_ms,
        seen_ms: row.seen_ms,
        expires_ms: row.expires_ms,
        user_agent: row.user_agent,
        address: row.address,
    };
    Ok(Json(SessionList { data: rows.into_iter().map(view).collect() }))
}

/// Signs one out; its next request is refused.
pub(crate) async fn end(
    State(app): State<App>,
    signed_in: SignedIn,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let unknown = || ApiError::not_found("session");
    let id: Uuid = id.parse().map_err(|_| unknown())?;
    let mut tx = app.pool.begin().await?;
    if !session::end(&mut tx, signed_in.person, id).await? {
        return Err(unknown());
    }
    let person = person::find(&mut *tx, signed_in.person).await?;
    note(&mut tx, &person, "session.end", id).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
