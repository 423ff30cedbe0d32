//! Links sent by mail: asking for one, and redeeming it. Asking is answered alike whoever has the address, if anybody has:
//! the same row is written either way, and whoever sends the mail finds out.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use sqlx::PgConnection;
use tintype_types::{ErrorCode, Timestamp};
use uuid::Uuid;

use super::auth::SignedIn;
use super::peer::Peer;
use super::sign_in::{begin, check_new, counted, note, read_email, slow_down};
use super::{body, origin};
use crate::clock;
use crate::error::ApiError;
use crate::identity::args::Signup;
use crate::identity::claim::claim;
use crate::identity::email::Email;
use crate::identity::link::Purpose;
use crate::identity::newcomer;
use crate::identity::password::Password;
use crate::identity::token::Token;
use crate::mail::{self, Letter};
use crate::records::link::{self, Redeemed};
use crate::records::person::{self, NewPerson, Person};
use crate::records::session;
use crate::state::App;

/// To whom a link is sent.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Address {
    /// An e-mail address.
    #[schemars(length(min = 3, max = 254))]
    email: String,
}

/// A link's token.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Redemption {
    /// What stands behind the `=` of the link.
    token: String,
}

/// A link's token, and the password it is for.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Reset {
    /// What stands behind the `=` of the link.
    token: String,
    /// The password from now on.
    new_password: Password,
}

/// Sends a link that signs in.
pub(crate) async fn ask_sign_in(
    State(app): State<App>,
    peer: Peer,
    headers: HeaderMap,
    body::Json(body): body::Json,
) -> Result<StatusCode, ApiError> {
    ask(&app, &peer, &headers, body, |email| Letter::SignIn { email: email.text().to_owned() }).await
}

/// Sends a link to a new password.
pub(crate) async fn ask_reset(
    State(app): State<App>,
    peer: Peer,
    headers: HeaderMap,
    body::Json(body): body::Json,
) -> Result<StatusCode, ApiError> {
    ask(&app, &peer, &headers, body, |email| Letter::Reset { email: email.text().to_owned() }).await
}

async fn ask(
    app: &App,
    peer: &Peer,
    headers: &HeaderMap,
    body: Value,
    letter: impl FnOnce(&Email) -> Letter,
) -> Result<StatusCode, ApiError> {
    origin::check_stranger(headers, app.identity.public_url.as_deref())?;
    let Address { email } = body::parse(body)?;
    let email = read_email(&email)?;
    let at = clock::now();
    slow_down(app.identity.throttle.address(peer.address, at))?;
    slow_down(app.identity.throttle.mail(&email, at))?;
    post(app, &letter(&email), at).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Sends the signed-in person a link that shows that their address is theirs.
pub(crate) async fn ask_verification(State(app): State<App>, signed_in: SignedIn) -> Result<StatusCode, ApiError> {
    let person = person::find(&app.pool, signed_in.person).await?;
    let at = clock::now();
    if let Some(email) = person.email.as_deref().and_then(Email::parse) {
        slow_down(app.identity.throttle.mail(&email, at))?;
    }
    post(&app, &Letter::Verify { person: person.id }, at).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Sends a letter, if this server sends any.
pub(super) async fn post(app: &App, letter: &Letter, at: Timestamp) -> Result<(), ApiError> {
    if !app.identity.mail {
        let message = "this server sends no mail; ask whoever runs it to set a sender, or sign in another way";
        return Err(ApiError::new(ErrorCode::PermissionDenied, message));
    }
    let mut tx = app.pool.begin().await?;
    mail::send(&mut tx, letter, at).await?;
    tx.commit().await?;
    app.lane_bell.ring();
    Ok(())
}

/// Signs in whoever has a link that signs in; a newcomer gets an account.
pub(crate) async fn redeem_sign_in(
    State(app): State<App>,
    peer: Peer,
    headers: HeaderMap,
    body::Json(body): body::Json,
) -> Result<Response, ApiError> {
    let done = try_sign_in(&app, &peer, &headers, body).await;
    counted(&app, "link", done)
}

async fn try_sign_in(app: &App, peer: &Peer, headers: &HeaderMap, body: Value) -> Result<Response, ApiError> {
    origin::check_stranger(headers, app.identity.public_url.as_deref())?;
    let Redemption { token } = body::parse(body)?;
    let at = clock::now();
    slow_down(app.identity.throttle.address(peer.address, at))?;
    let mut tx = app.pool.begin().await?;
    let redeemed = redeem(&mut tx, Purpose::SignIn, &token, at).await?;
    let person = owner(&mut tx, app, &redeemed, at).await?;
    let begun = begin(&mut tx, app, peer, person, at).await?;
    tx.commit().await?;
    Ok(begun.into_response_with(StatusCode::OK))
}

/// Whoever a redeemed link belongs to: who it was sent to, or who has the address by now, or somebody new.
async fn owner(conn: &mut PgConnection, app: &App, redeemed: &Redeemed, at: Timestamp) -> Result<Person, ApiError> {
    let email = read_email(&redeemed.email)?;
    let found = match redeemed.person {
        Some(id) => Some(person::find(&mut *conn, id).await?),
        None => person::find_by_email(&mut *conn, &email).await?,
    };
    if let Some(person) = found {
        claim(conn, &person, at).await?;
        return Ok(person::find(conn, person.id).await?);
    }
    newcomer(conn, app, Some(&email), email.local(), at).await
}

/// Somebody new whose address, if they have one, is known to be theirs.
pub(super) async fn newcomer(
    conn: &mut PgConnection,
    app: &App,
    email: Option<&Email>,
    name: &str,
    at: Timestamp,
) -> Result<Person, ApiError> {
    if app.identity.signup == Signup::Closed {
        let message = "nobody can sign up here; ask whoever runs this server for an account";
        return Err(ApiError::new(ErrorCode::PermissionDenied, message));
    }
    let account = newcomer::open(conn, name, at).await?;
    let new = NewPerson { id: Uuid::now_v7(), account, email, password: None };
    if !person::create(conn, &new, at).await? {
        let message = "an account with this e-mail was made this very moment; try once more to sign in to it";
        return Err(ApiError::new(ErrorCode::EmailTaken, message));
    }
    if email.is_some() {
        person::verify(conn, new.id, at).await?;
    }
    Ok(person::find(conn, new.id).await?)
}

/// Shows that the signed-in person's address is theirs. In the browser they are signed in with: whoever else opens the link
/// did not make this account.
pub(crate) async fn redeem_verification(
    State(app): State<App>,
    signed_in: SignedIn,
    body::Json(body): body::Json,
) -> Result<StatusCode, ApiError> {
    let Redemption { token } = body::parse(body)?;
    let at = clock::now();
    let mut tx = app.pool.begin().await?;
    let redeemed = redeem(&mut tx, Purpose::Verify, &token, at).await?;
    if redeemed.person != Some(signed_in.person) {
        return Err(ended());
    }
    person::verify(&mut tx, signed_in.person, at).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes a new password, ends every session, and signs in.
pub(crate) async fn redeem_reset(
    State(app): State<App>,
    peer: Peer,
    headers: HeaderMap,
    body::Json(body): body::Json,
) -> Result<Response, ApiError> {
    let done = try_reset(&app, &peer, &headers, body).await;
    counted(&app, "reset", done)
}

async fn try_reset(app: &App, peer: &Peer, headers: &HeaderMap, body: Value) -> Result<Response, ApiError> {
    origin::check_stranger(headers, app.identity.public_url.as_deref())?;
    let Reset { token, new_password } = body::parse(body)?;
    check_new(&new_password, "newPassword")?;
    let at = clock::now();
    slow_down(app.identity.throttle.address(peer.address, at))?;
    let hash = app.identity.hasher.hash(new_password).await?;
    let mut tx = app.pool.begin().await?;
    let redeemed = redeem(&mut tx, Purpose::Reset, &token, at).await?;
    let person = owner(&mut tx, app, &redeemed, at).await?;
    person::set_password(&mut tx, person.id, &hash).await?;
    session::end_all(&mut tx, person.id).await?;
    link::end_all(&mut tx, person.id).await?;
    let person = person::find(&mut *tx, person.id).await?;
    note(&mut tx, &person, "password.reset", person.id).await?;
    let begun = begin(&mut tx, app, peer, person, at).await?;
    tx.commit().await?;
    Ok(begun.into_response_with(StatusCode::OK))
}

async fn redeem(conn: &mut PgConnection, purpose: Purpose, token: &str, at: Timestamp) -> Result<Redeemed, ApiError> {
    let token = Token::parse(token).ok_or_else(ended)?;
    link::redeem(conn, purpose, &token.sha256(), at).await?.ok_or_else(ended)
}

fn ended() -> ApiError {
    ApiError::invalid("token", "this link has run out, or was used before; ask for another")
}
