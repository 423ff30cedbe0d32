//! Who calls: the account behind an API key, and how many more requests it may make.
//!
//! The table of routes puts [`admit`] before every route that needs a key, so none can forget it.

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tintype_types::ErrorCode;
use uuid::Uuid;

use crate::clock;
use crate::error::ApiError;
use crate::keys::ApiKey;
use crate::rate::Standing;
use crate::records::key;
use crate::state::App;

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// A caller with a valid key. Only this file can make one.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Whose key it is.
    pub(crate) account: Uuid,
    /// The key's id.
    pub(crate) key: String,
    _only_here: (),
}

/// Middleware: lets callers with a good key through, as fast as they may come.
pub(crate) async fn admit(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let caller = match authenticate(&app, request.headers()).await {
        Ok(caller) => caller,
        Err(refused) => return refused.into_response(),
    };
    let standing = app.limiter.take(caller.account, clock::now());
    let mut response = if let Some(seconds) = standing.retry_seconds {
        let message = format!("more requests than this server takes from one account; the next in {seconds} s");
        ApiError::new(ErrorCode::RateLimited, message).retry_after(seconds).into_response()
    } else {
        request.extensions_mut().insert(caller);
        next.run(request).await
    };
    tell(response.headers_mut(), standing);
    response
}

fn tell(headers: &mut HeaderMap, standing: Standing) {
    let Standing { limit, remaining, reset_seconds, retry_seconds: _ } = standing;
    headers.insert(LIMIT, HeaderValue::from(limit));
    headers.insert(REMAINING, HeaderValue::from(remaining));
    headers.insert(RESET, HeaderValue::from(reset_seconds));
}

async fn authenticate(app: &App, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let sent =
        bearer(headers).ok_or_else(|| refused("no API key was sent; send it as `Authorization: Bearer tt_...`"))?;
    let key = ApiKey::parse(sent).ok_or_else(|| {
        refused("this is not an API key of ours, or a character of it was lost; check for a typing error")
    })?;
    let holder = if let Some(known) = app.keyring.find(&key) {
        app.metrics.key_checks.with_label_values(&["memory"]).inc();
        known
    } else {
        app.metrics.key_checks.with_label_values(&["database"]).inc();
        let ticket = app.keyring.ticket();
        let holder = key::authenticate(&app.pool, &key).await?;
        let holder = holder.ok_or_else(|| refused("this API key is unknown here or was revoked; make a new one"))?;
        if let Some(ticket) = ticket {
            app.keyring.keep(ticket, &key, holder.clone());
        }
        holder
    };
    app.keyring.used(key.id(), clock::now());
    Ok(Caller { account: holder.account, key: key.id().to_owned(), _only_here: () })
}

impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, ApiError> {
        let unguarded =
            || ApiError::internal("a route takes a caller and lets everybody in", anyhow::anyhow!("no caller"));
        parts.extensions.get::<Self>().cloned().ok_or_else(unguarded)
    }
}

/// The token of an `Authorization: Bearer` header.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn refused(message: &str) -> ApiError {
    ApiError::new(ErrorCode::InvalidApiKey, message)
}
