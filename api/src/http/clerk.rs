//! Clerk at the door: who its tokens belong to, and news of its users.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use schemars::JsonSchema;
use serde::Deserialize;
use sqlx::PgConnection;
use tintype_types::{ErrorCode, Timestamp};
use uuid::Uuid;

use super::links::newcomer;
use super::oauth::person_of;
use super::peer::Peer;
use super::sign_in::{begin, counted, end_sent, slow_down};
use super::{body, origin};
use crate::clock;
use crate::error::ApiError;
use crate::identity::clerk::{Clerk, ClerkError, Event};
use crate::identity::email::Email;
use crate::identity::oauth::Profile;
use crate::identity::svix::Signed;
use crate::records::audit::{self, Actor, Deed};
use crate::records::identity::{self, Live};
use crate::records::{person, session};
use crate::state::App;

/// Clerk's name in the database and in metrics.
const PROVIDER: &str = "clerk";
/// What somebody is called of whom Clerk says no more.
const NAMELESS: &str = "somebody";

/// How people who come from Clerk's own window are counted.
const WINDOW: &str = "clerk-window";

/// A session token of Clerk's.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ClerkToken {
    /// What `session.getToken()` of Clerk's script gives.
    #[schemars(length(min = 1, max = 8192))]
    token: String,
}

/// Begins a session of ours for who Clerk has signed in: pages need no token of Clerk's after it, and pictures come by
/// their addresses.
pub(crate) async fn session(
    State(app): State<App>,
    peer: Peer,
    headers: HeaderMap,
    body::Json(body): body::Json,
) -> Result<Response, ApiError> {
    let done = try_session(&app, &peer, &headers, body).await;
    counted(&app, WINDOW, done)
}

async fn try_session(
    app: &App,
    peer: &Peer,
    headers: &HeaderMap,
    body: serde_json::Value,
) -> Result<Response, ApiError> {
    let public_url = app.identity.public_url.as_deref();
    origin::check_stranger(headers, public_url)?;
    let ClerkToken { token } = body::parse(body)?;
    // Browsers send it with a POST, and it is ours by now: a token another site of the same Clerk was given begins nothing here.
    let page =
        headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok()).or(public_url.map(origin::origin_of));
    let clerk = app.identity.clerk.as_ref().ok_or_else(|| ApiError::not_found("way to sign in"))?;
    let at = clock::now();
    slow_down(app.identity.throttle.address(peer.address, at))?;
    let live = admit(app, clerk, &token, page).await?;
    let mut tx = app.pool.begin().await?;
    end_sent(app, &mut tx, headers).await?;
    let person = person::find(&mut *tx, live.person).await?;
    let begun = begin(&mut tx, app, peer, person, at).await?;
    tx.commit().await?;
    Ok(begun.into_response_with(StatusCode::OK))
}

/// Who a session token belongs to; see [`Clerk::check`]. Whoever comes for the first time gets an account; no webhook is waited for.
pub(super) async fn admit(app: &App, clerk: &Clerk, token: &str, page: Option<&str>) -> Result<Live, ApiError> {
    let profile = clerk.check(token, page).await.map_err(|error| match error {
        ClerkError::Bad(why) => {
            let message = format!("this is no API key, and no good session token of Clerk's either: {why}");
            ApiError::new(ErrorCode::InvalidSession, message)
        }
        ClerkError::Unreachable(why) => {
            let why = anyhow::Error::new(why);
            tracing::warn!(error = format!("{why:#}"), "Clerk's keys cannot be fetched");
            ApiError::new(ErrorCode::Unavailable, "your session cannot be checked now; repeat in a moment")
                .retry_after(5)
        }
    })?;
    let live = match identity::live(&app.pool, PROVIDER, &profile.subject).await? {
        Some(live) => live,
        None => provision(app, &profile).await?,
    };
    if live.shut_out {
        let message = "this account is suspended or was deleted; ask whoever runs this server";
        return Err(ApiError::new(ErrorCode::PermissionDenied, message));
    }
    Ok(live)
}

async fn provision(app: &App, profile: &Profile) -> Result<Live, ApiError> {
    let at = clock::now();
    let mut tx = app.pool.begin().await?;
    // Two first requests of one person: the second finds what the first made.
    identity::lock(&mut tx, PROVIDER, &profile.subject).await?;
    if identity::find(&mut *tx, PROVIDER, &profile.subject).await?.is_none() {
        if profile.verified_email.is_some() {
            person_of(&mut tx, app, PROVIDER, profile, at).await?;
        } else {
            let person = newcomer(&mut tx, app, None, NAMELESS, at).await?;
            identity::create(&mut tx, PROVIDER, &profile.subject, person.id, at).await?;
        }
    }
    tx.commit().await?;
    let live = identity::live(&app.pool, PROVIDER, &profile.subject).await?;
    app.metrics.sign_ins.with_label_values(&[PROVIDER, "ok"]).inc();
    live.ok_or_else(|| ApiError::new(ErrorCode::Unavailable, "this account changed just now; repeat").retry_after(1))
}

/// Takes news of a user. They come late, twice or in the wrong order: each is taken once, and older ones change nothing.
pub(crate) async fn webhook(State(app): State<App>, headers: HeaderMap, body: Bytes) -> Result<StatusCode, ApiError> {
    let secret = app.identity.clerk.as_ref().and_then(|clerk| clerk.webhook.as_ref());
    let secret = secret.ok_or_else(|| ApiError::not_found("webhook"))?;
    let header = |name: &str| {
        let standard = format!("webhook-{name}");
        let value = headers.get(format!("svix-{name}")).or_else(|| headers.get(standard));
        value.and_then(|value| value.to_str().ok()).unwrap_or("")
    };
    let (id, timestamp, signatures) = (header("id"), header("timestamp"), header("signature"));
    let at = clock::now();
    if !secret.made(&Signed { id, timestamp, signatures, body: &body }, at) || !(1..=255).contains(&id.len()) {
        let message = "the signature is not that of this endpoint's secret, or is older than five minutes";
        return Err(ApiError::new(ErrorCode::InvalidSignature, message));
    }
    let event: Event = serde_json::from_slice(&body)
        .map_err(|error| ApiError::invalid("body", format!("the body is no event: {error}")))?;
    let mut tx = app.pool.begin().await?;
    if identity::take_news(&mut tx, id, at).await? {
        apply(&mut tx, &event, at).await?;
    }
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn apply(conn: &mut PgConnection, event: &Event, at: Timestamp) -> Result<(), ApiError> {
    // Whoever never came here has nothing to be told of; their first token says all.
    let Some(subject) = event.subject() else { return Ok(()) };
    let Some(known) = identity::find(&mut *conn, PROVIDER, subject).await? else { return Ok(()) };
    match event.kind.as_str() {
        "user.created" | "user.updated" => {
            if identity::is_news(conn, PROVIDER, subject, event.at_ms()).await?
                && let Some(email) = event.verified_email().and_then(Email::parse)
            {
                take_email(conn, known.person, &email, at).await?;
            }
        }
        "user.deleted" => {
            identity::delete(conn, PROVIDER, subject, at).await?;
            session::end_all(conn, known.person).await?;
            let (actor, target) = (Actor::Provider(PROVIDER), Some(known.person.to_string()));
            audit::write(conn, &Deed { account: None, actor, action: "identity.delete", target }).await?;
        }
        // Clerk sends what it is set to send; the rest is of no interest.
        _ => {}
    }
    Ok(())
}

/// The person's address from now on, unless it is somebody else's here.
async fn take_email(conn: &mut PgConnection, id: Uuid, email: &Email, at: Timestamp) -> Result<(), ApiError> {
    if let Some(other) = person::find_by_email(&mut *conn, email).await?
        && other.id != id
    {
        tracing::warn!(person.id = %id, "Clerk knows somebody by an address that is another person's here");
        return Ok(());
    }
    person::set_email(conn, id, email, at).await?;
    Ok(())
}
