//! The caller's account and credits.

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;
use sqlx::PgConnection;
use uuid::Uuid;

use super::auth::{Caller, SignedIn};
use super::body;
use super::view::{AccountView, Credits, Me, UserView};
use crate::clock;
use crate::error::ApiError;
use crate::ledger::{Account as Book, sql as ledger};
use crate::records::person::Person;
use crate::records::{account, digest, person};
use crate::services::shared::Kind;
use crate::state::App;

/// Who the caller is and what is left.
pub(crate) async fn me(State(app): State<App>, caller: Caller) -> Result<Json<Me>, ApiError> {
    let credits = credits(&app, caller.account).await?;
    let mut conn = app.pool.reader().await?;
    let person = match caller.person() {
        Some(signed_in) => Some(person::find(&mut *conn, signed_in.person).await?),
        None => None,
    };
    let account = account_view(&mut conn, caller.account).await?;
    Ok(Json(Me { account, credits, user: person.map(UserView::from) }))
}

/// What an account has: as of some seconds ago, if replicas share it and nothing has changed since.
pub(super) async fn credits(app: &App, account: Uuid) -> Result<Credits, ApiError> {
    let id = account.to_string();
    if let Some(kept) = app.shared.find(Kind::Balance, &id).await {
        return Ok(kept);
    }
    let credits = Credits::from(&ledger::balance(&mut *app.pool.reader().await?, account).await?);
    app.shared.keep(Kind::Balance, &id, account, &credits).await;
    Ok(credits)
}

/// What a person may choose.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Choices {
    /// Whether they want a letter when pictures are ready.
    notify_ready: Option<bool>,
    /// Whether they want a letter each week about what they made and spent.
    digest: Option<bool>,
}

/// Keeps what the person chose.
pub(crate) async fn choose(
    State(app): State<App>,
    caller: Caller,
    signed_in: SignedIn,
    body::Json(body): body::Json,
) -> Result<Json<Me>, ApiError> {
    let Choices { notify_ready, digest: weekly } = body::parse(body)?;
    if let Some(wanted) = notify_ready {
        person::set_notify_ready(&app.pool, signed_in.person, wanted).await?;
    }
    if let Some(wanted) = weekly {
        digest::set(&app.pool, signed_in.person, wanted, clock::now()).await?;
    }
    me(State(app), caller).await
}

/// An account, and the person who acts for it, on the wire.
pub(super) async fn view(conn: &mut PgConnection, id: Uuid, person: Option<Person>) -> Result<Me, ApiError> {
    let book = ledger::balance(conn, id).await?;
    let account = account_view(conn, id).await?;
    Ok(Me { account, credits: Credits::from(&book), user: person.map(UserView::from) })
}

async fn account_view(conn: &mut PgConnection, id: Uuid) -> Result<AccountView, ApiError> {
    let account = account::find(conn, id).await?;
    Ok(AccountView { id: account.id.to_string(), kind: account.kind, name: account.name })
}

impl From<&Book> for Credits {
    fn from(book: &Book) -> Self {
        Self { available_millis: book.available, held_millis: book.held, spent_millis: book.spent }
    }
}
