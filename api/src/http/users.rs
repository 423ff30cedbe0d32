//! New users, made by the administrator: an account, ten free credits, a first key.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::admin::Admin;
use super::body;
use super::keys::Named;
use super::view::{AccountView, Credits, NewUser};
use crate::clock;
use crate::error::ApiError;
use crate::identity::newcomer;
use crate::keys::ApiKey;
use crate::ledger::sql as ledger;
use crate::records::audit::{self, Deed};
use crate::records::key::{self, KeptKey};
use crate::state::App;

/// What the first key is called.
const FIRST_KEY: &str = "first";

/// Makes a user; the key is shown this once.
pub(crate) async fn create(
    State(app): State<App>,
    admin: Admin,
    body::Json(body): body::Json,
) -> Result<(StatusCode, Json<NewUser>), ApiError> {
    let name = body::parse::<Named>(body)?.checked()?;
    let at = clock::now();
    let api_key = ApiKey::generate(&mut rand::rng());
    let mut tx = app.pool.begin().await?;
    let id = newcomer::open(&mut tx, &name, at).await?;
    key::create(&mut tx, id, &KeptKey::unlimited(&api_key, FIRST_KEY), at).await?;
    let deed = Deed { account: Some(id), actor: admin.actor(), action: "user.create", target: Some(id.to_string()) };
    audit::write(&mut tx, &deed).await?;
    let book = ledger::balance(&mut tx, id).await?;
    tx.commit().await?;
    let account = AccountView { id: id.to_string(), kind: "user".to_owned(), name };
    let credits = Credits::from(&book);
    Ok((StatusCode::CREATED, Json(NewUser { account, credits, api_key: api_key.reveal().to_owned() })))
}
