//! What was done, for whoever may see it: in an organisation its owners and admins, in one's own account oneself, on the
//! whole server its administrators.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::admin::Admin;
use super::auth::Caller;
use super::orgs::sees_to_members;
use crate::error::ApiError;
use crate::records::audit::{self, Event};
use crate::records::person;
use crate::state::App;

/// Rows on a page.
const PAGE: i64 = 100;

/// Something that was done.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventView {
    /// Its id.
    id: String,
    /// When, in milliseconds since 1970.
    at_ms: i64,
    /// The account it happened in.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    /// Who did it: `person`, `key`, `admin` or `provider`.
    actor_kind: String,
    /// Which of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<String>,
    /// What, such as `key.revoke`.
    action: String,
    /// To what.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    /// The id of the request it was done by.
    request: String,
}

impl From<Event> for EventView {
    fn from(event: Event) -> Self {
        let Event { id, at_ms, account, actor_kind, actor, action, target, request } = event;
        let (id, request) = (id.to_string(), request.to_string());
        Self { id, at_ms, account: account.map(|id| id.to_string()), actor_kind, actor, action, target, request }
    }
}

/// A page of it, the newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct EventPage {
    /// What was done.
    data: Vec<EventView>,
    /// Pass as `before` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// From where on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Before {
    before: Option<Uuid>,
}

/// In the account the caller acts for.
pub(crate) async fn own(
    State(app): State<App>,
    caller: Caller,
    query: Result<Query<Before>, QueryRejection>,
) -> Result<Json<EventPage>, ApiError> {
    if let Some(signed_in) = caller.person()
        && person::find(&app.pool, signed_in.person).await?.account != caller.account
    {
        sees_to_members(&app, caller.account, signed_in).await?;
    }
    caller.check_unlimited()?;
    page(&app, Some(caller.account), query).await
}

/// On the whole server.
pub(crate) async fn all(
    State(app): State<App>,
    _admin: Admin,
    query: Result<Query<Before>, QueryRejection>,
) -> Result<Json<EventPage>, ApiError> {
    page(&app, None, query).await
}

async fn page(
    app: &App,
    account: Option<Uuid>,
    query: Result<Query<Before>, QueryRejection>,
) -> Result<Json<EventPage>, ApiError> {
    let wrong = |_| ApiError::invalid("query", "this takes `before`, the `next` of the page before");
    let Query(Before { before }) = query.map_err(wrong)?;
    let events = audit::list(&app.pool, account, before, PAGE).await?;
    let next = if events.len() as i64 == PAGE { events.last().map(|event| event.id.to_string()) } else { None };
    Ok(Json(EventPage { data: events.into_iter().map(EventView::from).collect(), next }))
}
