//! `/api/v1/me`: taking everything with one, and being erased.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Deserialize;
use sqlx::PgConnection;
use tintype_types::ErrorCode;

use super::auth::{Caller, SignedIn};
use super::body;
use super::sign_in::{check_current, note};
use crate::clock;
use crate::error::ApiError;
use crate::identity::password::Password;
use crate::identity::session::{self as cookie, Secure};
use crate::privacy::erase::{self, Held};
use crate::privacy::export::{self, Subject};
use crate::records::person::{self, Person};
use crate::state::App;

/// An archive of everything that is the caller's: of the account of a key, or of a person's own.
pub(crate) async fn export(State(app): State<App>, caller: Caller) -> Result<Response, ApiError> {
    let subject = match caller.person() {
        Some(signed_in) => {
            let person = person::find(&app.pool, signed_in.person).await?;
            Subject { account: person.account, person: Some(person.id) }
        }
        None => Subject { account: caller.account, person: None },
    };
    let room = Arc::clone(&app.exports).try_acquire_owned().map_err(|_| {
        let message = "other archives are being written; repeat in a while";
        ApiError::new(ErrorCode::Unavailable, message).retry_after(30)
    })?;
    let headers = [
        (header::CONTENT_TYPE, "application/x-tar"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"tintype-export.tar\""),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, export::stream(app, subject, room)).into_response())
}

/// What being erased takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Erasure {
    /// The id of your account, so that nobody is erased by accident.
    account: String,
    /// Your password, if you have one; without one, sign in anew and ask right afterwards.
    #[schemars(with = "Option<String>")]
    current_password: Option<Password>,
}

/// Erases whoever is signed in. The account is shut at once; pictures, prompts and what else was theirs goes within minutes,
/// the credits left with it. What was paid and spent stays in the books, which then name nobody.
pub(crate) async fn erase(
    State(app): State<App>,
    signed_in: SignedIn,
    body::Json(body): body::Json,
) -> Result<Response, ApiError> {
    let Erasure { account, current_password } = body::parse(body)?;
    let at = clock::now();
    let person = person::find(&app.pool, signed_in.person).await?;
    if account != person.account.to_string() {
        return Err(ApiError::invalid("account", "this is not the id of your account, which `GET /api/v1/me` says"));
    }
    check_current(&app, signed_in, &person, current_password, at).await?;
    let mut tx = app.pool.begin().await?;
    person::lock(&mut tx, person.id).await?;
    check_free(&mut tx, &person).await?;
    note(&mut tx, &person, "person.erase", person.id).await?;
    erase::begin(&mut tx, &person, at).await.map_err(|error| ApiError::internal("an erasure did not begin", error))?;
    tx.commit().await?;
    app.lane_bell.ring();
    let clear = cookie::clear(Secure::from(&app.identity));
    Ok((StatusCode::ACCEPTED, [(header::SET_COOKIE, clear)]).into_response())
}

/// Refuses who would leave something behind that nobody could reach.
async fn check_free(conn: &mut PgConnection, person: &Person) -> Result<(), ApiError> {
    let message = match erase::held_by(conn, person).await? {
        None => return Ok(()),
        Some(Held::OnlyOwner(name)) => {
            format!("you are the only owner of {name}; make somebody else one first, or have it deleted")
        }
        Some(Held::Subscription) => {
            "a subscription of yours is running; end it first, or it goes on being paid".to_owned()
        }
    };
    Err(ApiError::new(ErrorCode::PermissionDenied, message))
}
