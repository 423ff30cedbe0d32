//! The caller's account and credits.

use axum::Json;
use axum::extract::State;

use super::auth::Caller;
use super::view::{AccountView, Credits, Me};
use crate::error::ApiError;
use crate::ledger::{Account as Book, sql as ledger};
use crate::records::account;
use crate::state::App;

/// Who the caller is and what is left.
pub(crate) async fn me(State(app): State<App>, caller: Caller) -> Result<Json<Me>, ApiError> {
    let mut conn = app.pool.acquire().await?;
    let account = account::find(&mut conn, caller.account).await?;
    let book = ledger::balance(&mut conn, caller.account).await?;
    let account = AccountView { id: account.id.to_string(), kind: account.kind, name: account.name };
    Ok(Json(Me { account, credits: Credits::from(&book) }))
}

impl From<&Book> for Credits {
    fn from(book: &Book) -> Self {
        Self { available_millis: book.available, held_millis: book.held, spent_millis: book.spent }
    }
}
