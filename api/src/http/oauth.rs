//! Signing in with somebody who knows people already: a browser goes to the provider and comes back with a code. What goes
//! wrong is told on the page where people sign in, by a word in its address; why it did is in the log.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use sqlx::PgConnection;
use tintype_types::{ErrorCode, Timestamp};

use super::links::newcomer;
use super::peer::Peer;
use super::sign_in::{begin, slow_down};
use crate::clock;
use crate::error::ApiError;
use crate::identity::claim::claim;
use crate::identity::email::Email;
use crate::identity::oauth::Profile;
use crate::identity::oauth::journey::{self, Journey};
use crate::identity::session::Secure;
use crate::records::identity;
use crate::records::person::{self, Person};
use crate::state::App;

/// The page where people sign in; `?error=` says what went wrong.
const SIGN_IN_PAGE: &str = "/login";

/// Where to go afterwards.
#[derive(Debug, Deserialize)]
pub(crate) struct Start {
    next: Option<String>,
}

/// What a provider sends a browser back with.
#[derive(Deserialize)]
pub(crate) struct Back {
    state: Option<String>,
    code: Option<String>,
    error: Option<String>,
}

/// Sends a browser to a provider.
pub(crate) async fn start(
    State(app): State<App>,
    peer: Peer,
    Path(name): Path<String>,
    query: Result<Query<Start>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(Start { next }) =
        query.map_err(|_| ApiError::invalid("query", "this takes `next`, a path of this site"))?;
    let (name, provider) = app.identity.oauth.find(&name).ok_or_else(|| ApiError::not_found("way to sign in"))?;
    slow_down(app.identity.throttle.address(peer.address, clock::now()))?;
    let journey = Journey::begin(&mut rand::rng(), next.as_deref());
    let url = provider.authorize_url(&journey, &callback(&app, name)).await.map_err(|error| {
        let error = anyhow::Error::new(error);
        tracing::warn!(provider = name, error = format!("{error:#}"), "a provider cannot be asked");
        ApiError::new(ErrorCode::Unavailable, "the provider cannot be reached now; repeat in a moment").retry_after(5)
    })?;
    let location = HeaderValue::try_from(url)
        .map_err(|error| ApiError::internal("a provider's address is none", anyhow::Error::new(error)))?;
    let cookie = journey.cookie(Secure::from(&app.identity));
    Ok((StatusCode::FOUND, [(header::LOCATION, location), (header::SET_COOKIE, cookie)]).into_response())
}

/// Takes a browser that came back.
pub(crate) async fn back(
    State(app): State<App>,
    peer: Peer,
    Path(name): Path<String>,
    headers: HeaderMap,
    query: Result<Query<Back>, QueryRejection>,
) -> Result<Response, ApiError> {
    let (name, _) = app.identity.oauth.find(&name).ok_or_else(|| ApiError::not_found("way to sign in"))?;
    slow_down(app.identity.throttle.address(peer.address, clock::now()))?;
    let back = query.map_or(Back { state: None, code: None, error: None }, |Query(back)| back);
    let (outcome, cookie, next) = match arrive(&app, &peer, name, &headers, back).await {
        Ok((cookie, next)) => ("ok", Some(cookie), next),
        Err(lost) => (lost.outcome(), None, format!("{SIGN_IN_PAGE}?error={}", lost.word())),
    };
    app.metrics.sign_ins.with_label_values(&[name, outcome]).inc();
    let location = HeaderValue::try_from(next).unwrap_or(HeaderValue::from_static("/"));
    let clear = journey::clear(Secure::from(&app.identity));
    let mut response = (StatusCode::FOUND, [(header::LOCATION, location), (header::SET_COOKIE, clear)]).into_response();
    if let Some(cookie) = cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Why a browser that came back is not signed in.
#[derive(Debug)]
enum Lost {
    /// It is not the browser that went, or it was away too long.
    Expired,
    /// Its person said no to the provider.
    Denied,
    /// The provider did not say who it is.
    Failed,
    /// We would not have them.
    Refused(ApiError),
}

impl Lost {
    /// A word for the page where people sign in.
    fn word(&self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Denied => "denied",
            Self::Failed => "provider",
            Self::Refused(error) if error.code() == ErrorCode::InvalidCredentials => "unverified",
            Self::Refused(error) if error.code() == ErrorCode::PermissionDenied => "closed",
            Self::Refused(_) => "failed",
        }
    }

    fn outcome(&self) -> &'static str {
        match self {
            Self::Expired | Self::Denied => "refused",
            Self::Refused(error) if error.code().status() < 500 => "refused",
            Self::Failed | Self::Refused(_) => "error",
        }
    }
}

impl From<ApiError> for Lost {
    fn from(error: ApiError) -> Self {
        Self::Refused(error)
    }
}

async fn arrive(
    app: &App,
    peer: &Peer,
    name: &'static str,
    headers: &HeaderMap,
    back: Back,
) -> Result<(HeaderValue, String), Lost> {
    let Back { state, code, error } = back;
    let journey = Journey::sent(headers).filter(|journey| state.is_some_and(|state| journey.is_of(&state)));
    let journey = journey.ok_or(Lost::Expired)?;
    let Some(code) = code.filter(|_| error.is_none()) else { return Err(Lost::Denied) };
    let (_, provider) = app.identity.oauth.find(name).ok_or(Lost::Failed)?;
    let profile = provider.profile(&journey, &code, &callback(app, name)).await.map_err(|error| {
        let error = anyhow::Error::new(error);
        tracing::warn!(provider = name, error = format!("{error:#}"), "a provider did not say who somebody is");
        Lost::Failed
    })?;
    let at = clock::now();
    let mut tx = app.pool.begin().await.map_err(ApiError::from)?;
    let person = person_of(&mut tx, app, name, &profile, at).await?;
    let begun = begin(&mut tx, app, peer, person, at).await?;
    tx.commit().await.map_err(ApiError::from)?;
    Ok((begun.into_cookie(), journey.next().to_owned()))
}

/// Whoever a provider vouches for: known already, or known by an address it has seen to be theirs, or new.
pub(super) async fn person_of(
    conn: &mut PgConnection,
    app: &App,
    provider: &str,
    profile: &Profile,
    at: Timestamp,
) -> Result<Person, ApiError> {
    if let Some(known) = identity::find(&mut *conn, provider, &profile.subject).await? {
        return Ok(person::find(conn, known.person).await?);
    }
    let email = profile.verified_email.as_deref().and_then(Email::parse).ok_or_else(|| {
        let message = "the provider has not seen that your address is yours; confirm it there, then come back";
        ApiError::new(ErrorCode::InvalidCredentials, message)
    })?;
    let person = match person::find_by_email(&mut *conn, &email).await? {
        Some(person) => {
            claim(conn, &person, at).await?;
            person::find(&mut *conn, person.id).await?
        }
        None => newcomer(conn, app, Some(&email), email.local(), at).await?,
    };
    if identity::create(conn, provider, &profile.subject, person.id, at).await? {
        return Ok(person);
    }
    Err(ApiError::new(ErrorCode::Unavailable, "this very person signed in just now; repeat").retry_after(1))
}

fn callback(app: &App, name: &str) -> String {
    format!("{}/api/v1/auth/oauth/{name}/callback", app.identity.site.trim_end_matches('/'))
}
