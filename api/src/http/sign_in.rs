//! Signing up, in and out, with e-mail and password. Nobody learns here whether an e-mail has an account: a wrong password
//! and an unknown e-mail get the same answer after the same work. Signing up at once must say it, so it is counted by
//! address; where an address is verified first (`--signup verified`) it does not say it either.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use tintype_types::{ErrorCode, Timestamp};
use uuid::Uuid;

use super::auth::SignedIn;
use super::peer::Peer;
use super::view::Me;
use super::{account, body, links, origin};
use crate::clock;
use crate::error::ApiError;
use crate::identity::args::Signup;
use crate::identity::email::Email;
use crate::identity::newcomer;
use crate::identity::password::{HashError, Password};
use crate::identity::session::{self as cookie, Secure};
use crate::identity::token::Token;
use crate::mail::Letter;
use crate::records::audit::{self, Actor, Deed};
use crate::records::person::{self, NewPerson, Person};
use crate::records::session::{self, NewSession};
use crate::services::shared::Kind;
use crate::state::App;

/// How long after signing in a person without a password may choose one.
const FRESH: Duration = Duration::from_mins(15);

/// What signing up takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Newcomer {
    /// An e-mail address.
    #[schemars(length(min = 3, max = 254))]
    email: String,
    /// A password of 8 characters or more. Not needed, and not kept, where an address must be verified first.
    password: Option<Password>,
}

/// What signing in takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Credentials {
    /// An e-mail address.
    #[schemars(length(min = 3, max = 254))]
    email: String,
    /// Their password.
    password: Password,
}

/// A new password for an old one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PasswordChange {
    /// The password until now. Who has none leaves it out, soon after signing in.
    current_password: Option<Password>,
    /// The password from now on.
    new_password: Password,
}

/// How one can sign in here.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Providers {
    /// With e-mail and password.
    password: bool,
    /// Whether people can make an account for themselves.
    signup: bool,
    /// Whether they must open a link sent to their address first.
    verified: bool,
    /// Whether a link that signs in can be had by mail.
    magic_link: bool,
    /// With whom else, by `/api/v1/auth/oauth/{name}/start`.
    oauth: Vec<&'static str>,
    /// With Clerk, if people sign in with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    clerk: Option<ClerkView>,
}

/// What Clerk's components need.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClerkView {
    /// The publishable key.
    #[serde(skip_serializing_if = "Option::is_none")]
    publishable_key: Option<String>,
}

/// How one can sign in here.
pub(crate) async fn providers(State(app): State<App>) -> Json<Providers> {
    let signup = app.identity.signup;
    Json(Providers {
        password: true,
        signup: signup != Signup::Closed,
        verified: signup == Signup::Verified,
        magic_link: app.identity.mail,
        oauth: app.identity.oauth.names(),
        clerk: app.identity.clerk.as_ref().map(|clerk| ClerkView { publishable_key: clerk.publishable_key.clone() }),
    })
}

/// Makes an account and signs in.
pub(crate) async fn sign_up(
    State(app): State<App>,
    peer: Peer,
    headers: HeaderMap,
    body::Json(body): body::Json,
) -> Result<Response, ApiError> {
    let done = try_sign_up(&app, &peer, &headers, body).await;
    counted(&app, "signup", done)
}

async fn try_sign_up(
    app: &App,
    peer: &Peer,
    headers: &HeaderMap,
    body: serde_json::Value,
) -> Result<Response, ApiError> {
    origin::check_stranger(headers, app.identity.public_url.as_deref())?;
    let Newcomer { email, password } = body::parse(body)?;
    let email = read_email(&email)?;
    let at = clock::now();
    match app.identity.signup {
        Signup::Open => {}
        Signup::Verified => {
            slow_down(app.identity.throttle.address(peer.address, at))?;
            slow_down(app.identity.throttle.mail(&email, at))?;
            links::post(app, &Letter::SignIn { email: email.text().to_owned() }, at).await?;
            return Ok(StatusCode::ACCEPTED.into_response());
        }
        Signup::Closed => {
            let message = "nobody can sign up here; ask whoever runs this server for an account";
            return Err(ApiError::new(ErrorCode::PermissionDenied, message));
        }
    }
    let password = password.ok_or_else(|| ApiError::invalid("password", "a new account needs a password"))?;
    check_new(&password, "password")?;
    slow_down(app.identity.throttle.address(peer.address, at))?;
    let hash = app.identity.hasher.hash(password).await?;
    let mut tx = app.pool.begin().await?;
    let account = newcomer::open(&mut tx, email.local(), at).await?;
    let new = NewPerson { id: Uuid::now_v7(), account, email: Some(&email), password: Some(&hash) };
    if !person::create(&mut tx, &new, at).await? {
        let message = "there is an account with this e-mail already; sign in, if it is yours";
        return Err(ApiError::new(ErrorCode::EmailTaken, message).with_param("email"));
    }
    let person = person::find(&mut *tx, new.id).await?;
    let begun = begin(&mut tx, app, peer, person, at).await?;
    tx.commit().await?;
    Ok(begun.into_response_with(StatusCode::CREATED))
}

/// Signs in with e-mail and password.
pub(crate) async fn sign_in(
    State(app): State<App>,
    peer: Peer,
    headers: HeaderMap,
    body::Json(body): body::Json,
) -> Result<Response, ApiError> {
    let done = try_sign_in(&app, &peer, &headers, body).await;
    counted(&app, "password", done)
}

async fn try_sign_in(
    app: &App,
    peer: &Peer,
    headers: &HeaderMap,
    body: serde_json::Value,
) -> Result<Response, ApiError> {
    origin::check_stranger(headers, app.identity.public_url.as_deref())?;
    let Credentials { email, password } = body::parse(body)?;
    let email = read_email(&email)?;
    let at = clock::now();
    slow_down(app.identity.throttle.address(peer.address, at))?;
    slow_down(app.identity.throttle.email(&email, at))?;
    let found = person::find_by_email(&app.pool, &email).await?;
    let kept = found.as_ref().and_then(|person| person.password.clone());
    let good = app.identity.hasher.matches(password, kept).await?;
    let Some(person) = found.filter(|_| good) else {
        let message = "this e-mail and password do not belong together";
        return Err(ApiError::new(ErrorCode::InvalidCredentials, message));
    };
    app.identity.throttle.forgive(&email);
    let mut tx = app.pool.begin().await?;
    end_sent(app, &mut tx, headers).await?;
    let begun = begin(&mut tx, app, peer, person, at).await?;
    tx.commit().await?;
    Ok(begun.into_response_with(StatusCode::OK))
}

/// Signs this browser out; doing it twice is fine.
pub(crate) async fn sign_out(State(app): State<App>, headers: HeaderMap) -> Result<Response, ApiError> {
    origin::check_stranger(&headers, app.identity.public_url.as_deref())?;
    let mut tx = app.pool.begin().await?;
    end_sent(&app, &mut tx, &headers).await?;
    tx.commit().await?;
    let clear = cookie::clear(Secure::from(&app.identity));
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, clear)]).into_response())
}

/// Changes the password. Every session of the person's ends, and this browser gets a new one.
pub(crate) async fn change_password(
    State(app): State<App>,
    signed_in: SignedIn,
    peer: Peer,
    body::Json(body): body::Json,
) -> Result<Response, ApiError> {
    let PasswordChange { current_password, new_password } = body::parse(body)?;
    check_new(&new_password, "newPassword")?;
    let person = person::find(&app.pool, signed_in.person).await?;
    let at = clock::now();
    check_current(&app, signed_in, &person, current_password, at).await?;
    let hash = app.identity.hasher.hash(new_password).await?;
    let mut tx = app.pool.begin().await?;
    person::set_password(&mut tx, person.id, &hash).await?;
    session::end_all(&mut tx, person.id).await?;
    note(&mut tx, &person, "password.change", person.id).await?;
    let begun = begin(&mut tx, &app, &peer, person, at).await?;
    tx.commit().await?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, begun.cookie)]).into_response())
}

/// Somebody who finds a browser that was left alone must not take the account over: the password until now, or for who has
/// none, a session that began just now.
pub(super) async fn check_current(
    app: &App,
    signed_in: SignedIn,
    person: &Person,
    current: Option<Password>,
    at: Timestamp,
) -> Result<(), ApiError> {
    if let Some(email) = person.email.as_deref().and_then(Email::parse) {
        slow_down(app.identity.throttle.email(&email, at))?;
    }
    if person.password.is_none() {
        if at.0.saturating_sub(signed_in.since.0) <= FRESH.as_millis() as u64 {
            return Ok(());
        }
        let message = "sign in once more, and ask for this right afterwards";
        return Err(ApiError::new(ErrorCode::PermissionDenied, message));
    }
    if let Some(current) = current
        && app.identity.hasher.matches(current, person.password.clone()).await?
    {
        return Ok(());
    }
    let message = "this is not your password until now";
    Err(ApiError::new(ErrorCode::InvalidCredentials, message).with_param("currentPassword"))
}

/// A session that began.
pub(super) struct Begun {
    cookie: HeaderValue,
    me: Me,
}

impl Begun {
    pub(super) fn into_cookie(self) -> HeaderValue {
        self.cookie
    }

    pub(super) fn into_response_with(self, status: StatusCode) -> Response {
        (status, [(header::SET_COOKIE, self.cookie)], Json(self.me)).into_response()
    }
}

/// Begins a session of somebody who has shown who they are.
pub(super) async fn begin(
    conn: &mut PgConnection,
    app: &App,
    peer: &Peer,
    person: Person,
    at: Timestamp,
) -> Result<Begun, ApiError> {
    if person.suspended_ms.is_some() {
        let message = "this account is suspended; ask whoever runs this server";
        return Err(ApiError::new(ErrorCode::PermissionDenied, message));
    }
    let token = Token::draw(&mut rand::rng());
    let address = peer.address.to_string();
    let new = NewSession {
        id: Uuid::now_v7(),
        person: person.id,
        token_sha256: token.sha256(),
        user_agent: &peer.user_agent,
        address: &address,
    };
    session::create(conn, &new, at).await?;
    note(conn, &person, "session.begin", new.id).await?;
    let me = account::view(conn, person.account, Some(person)).await?;
    Ok(Begun { cookie: cookie::set(&token, Secure::from(&app.identity)), me })
}

/// Writes down what somebody did about themselves.
pub(super) async fn note(
    conn: &mut PgConnection,
    person: &Person,
    action: &'static str,
    target: Uuid,
) -> sqlx::Result<()> {
    let (actor, target) = (Actor::Person(person.id), Some(target.to_string()));
    audit::write(conn, &Deed { account: Some(person.account), actor, action, target }).await
}

/// Ends the session whose cookie was sent: a browser has one at a time.
pub(super) async fn end_sent(app: &App, conn: &mut PgConnection, headers: &HeaderMap) -> sqlx::Result<()> {
    let Some(token) = cookie::sent(headers).and_then(Token::parse) else { return Ok(()) };
    app.shared.ends(Kind::Session, &hex::encode(token.sha256())).await;
    session::end_by_token(conn, &token.sha256()).await
}

pub(super) fn read_email(text: &str) -> Result<Email, ApiError> {
    Email::parse(text).ok_or_else(|| ApiError::invalid("email", "this is not an e-mail address"))
}

pub(super) fn check_new(password: &Password, param: &str) -> Result<(), ApiError> {
    password.fault().map_or(Ok(()), |fault| Err(ApiError::invalid(param, fault)))
}

pub(super) fn slow_down(seconds: Option<u64>) -> Result<(), ApiError> {
    let Some(seconds) = seconds else { return Ok(()) };
    let message = format!("too many tries at signing in; the next in {seconds} s");
    Err(ApiError::new(ErrorCode::RateLimited, message).retry_after(seconds))
}

impl From<HashError> for ApiError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Busy => Self::new(ErrorCode::Unavailable, format!("{error}; repeat in a moment")).retry_after(1),
            HashError::Broken => Self::internal("a password could not be hashed", error),
        }
    }
}

/// Counts how a try went; what it says stays as it is.
pub(super) fn counted(app: &App, way: &str, done: Result<Response, ApiError>) -> Result<Response, ApiError> {
    let outcome = match done.as_ref().map_err(ApiError::code) {
        Ok(_) => "ok",
        Err(ErrorCode::RateLimited) => "throttled",
        Err(code) if code.status() >= 500 => "error",
        Err(_) => "refused",
    };
    app.metrics.sign_ins.with_label_values(&[way, outcome]).inc();
    done
}
