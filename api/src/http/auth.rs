//! Who calls: the account behind an API key or a browser's session, and how many more requests it may make.
//!
//! The table of routes puts [`admit`] before every route that needs a caller, so none can forget it.

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tintype_types::{ErrorCode, Timestamp};
use uuid::Uuid;

use super::{clerk, origin, trace};
use crate::clock;
use crate::creation::KeyUse;
use crate::error::ApiError;
use crate::identity::clerk::Clerk;
use crate::identity::jwt;
use crate::identity::role::Role;
use crate::identity::session::{self as cookie, Secure};
use crate::identity::token::Token;
use crate::keyring::Holder;
use crate::keys::ApiKey;
use crate::rate::Standing;
use crate::records::audit::Actor;
use crate::records::key;
use crate::records::person;
use crate::records::session::{self, Live};
use crate::scope::{self, Scope};
use crate::services::shared::Kind;
use crate::state::App;
use crate::tenancy;

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// A caller with a valid key or session. Only this file can make one.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The account it acts for.
    pub(crate) account: Uuid,
    way: Way,
}

/// How a caller came in.
#[derive(Clone, Debug)]
enum Way {
    /// With a key.
    Key(KeyWay),
    /// In a browser, with a role in the account it acts for.
    Session(SignedIn, Role),
    /// With a token of Clerk's.
    Clerk(SignedIn),
}

/// A key that was let in.
#[derive(Clone, Debug)]
struct KeyWay {
    id: String,
    holder: Holder,
}

/// A person at a browser. What is about persons and not about accounts takes this: a key that leaks must not sign its
/// owner out or change their password.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SignedIn {
    /// Who.
    pub(crate) person: Uuid,
    /// In which session of ours.
    pub(crate) session: Option<Uuid>,
    /// When that began.
    pub(crate) since: Timestamp,
}

impl Caller {
    /// The key's id, if it came with one.
    pub(crate) fn key(&self) -> Option<&str> {
        match &self.way {
            Way::Key(key) => Some(&key.id),
            Way::Session(..) | Way::Clerk(_) => None,
        }
    }

    /// The key, for a job asked for with it.
    pub(crate) fn key_use(&self) -> Option<KeyUse> {
        match &self.way {
            Way::Key(key) => Some(KeyUse { id: key.id.clone(), budgeted: key.holder.budgeted }),
            Way::Session(..) | Way::Clerk(_) => None,
        }
    }

    /// Refuses a key from which anything is kept: it could make itself another without that limit.
    pub(crate) fn check_unlimited(&self) -> Result<(), ApiError> {
        match &self.way {
            Way::Key(key) if key.holder.is_limited() => {
                let message =
                    "a key with scopes, an end or a budget makes and changes no keys; sign in, or use one without";
                Err(ApiError::new(ErrorCode::PermissionDenied, message))
            }
            Way::Key(_) | Way::Session(..) | Way::Clerk(_) => Ok(()),
        }
    }

    /// Refuses a key or a role that is not for this.
    fn check_scope(&self, scope: Scope) -> Result<(), ApiError> {
        match &self.way {
            Way::Key(key) if !key.holder.scopes.allow(scope) => {
                let message = format!("this API key has not the scope `{}`, which this needs", scope.as_str());
                Err(ApiError::new(ErrorCode::PermissionDenied, message))
            }
            Way::Session(_, role) if !role.scopes().allow(scope) => {
                let message = format!("your role in this organisation is {}, which may not do this", role.as_str());
                Err(ApiError::new(ErrorCode::PermissionDenied, message))
            }
            Way::Key(_) | Way::Session(..) | Way::Clerk(_) => Ok(()),
        }
    }

    /// Who it is, for what is written down of what was done.
    pub(crate) fn actor(&self) -> Actor {
        match &self.way {
            Way::Key(key) => Actor::Key(key.id.clone()),
            Way::Session(signed_in, _) | Way::Clerk(signed_in) => Actor::Person(signed_in.person),
        }
    }

    /// The person, if one is signed in.
    pub(crate) fn person(&self) -> Option<SignedIn> {
        match &self.way {
            Way::Key(_) => None,
            Way::Session(signed_in, _) | Way::Clerk(signed_in) => Some(*signed_in),
        }
    }
}

/// Middleware: lets callers through that may do what the route does, as fast as they may come. What they do is traced.
pub(crate) async fn admit(State((app, scope)): State<(App, Scope)>, request: Request, next: Next) -> Response {
    trace::follow(&app, request, |request| let_in(&app, scope, request, next)).await
}

async fn let_in(app: &App, scope: Scope, mut request: Request, next: Next) -> Response {
    let caller = match authenticate(app, request.method(), request.headers()).await {
        Ok(caller) => caller,
        Err(refused) => return refused.into_response(),
    };
    let now = clock::now();
    let standing = match app.shared.take(app.rate, caller.account, now).await {
        Some(standing) => standing,
        None => app.limiter.take(caller.account, now),
    };
    let mut response = if let Err(refused) = caller.check_scope(scope) {
        refused.into_response()
    } else if let Some(seconds) = standing.retry_seconds {
        let message = format!("more requests than this server takes from one account; the next in {seconds} s");
        ApiError::new(ErrorCode::RateLimited, message).retry_after(seconds).into_response()
    } else {
        let (account, caller_person) = (caller.account, caller.person());
        request.extensions_mut().insert(caller);
        // Who asks about themselves may ask about all their accounts.
        let person = caller_person.filter(|_| scope::is_personal(request.uri().path()));
        match own_accounts(app, account, person).await {
            Ok(accounts) => tenancy::as_accounts(&accounts, next.run(request)).await,
            Err(error) => ApiError::from(error).into_response(),
        }
    };
    tell(response.headers_mut(), standing);
    response
}

/// The accounts a request is about: the one that is acted for, and all of the person's where it is about them.
async fn own_accounts(app: &App, account: Uuid, person: Option<SignedIn>) -> sqlx::Result<Vec<Uuid>> {
    let Some(SignedIn { person, .. }) = person else { return Ok(vec![account]) };
    Box::pin(person::accounts(&app.pool, person)).await
}

fn tell(headers: &mut HeaderMap, standing: Standing) {
    let Standing { limit, remaining, reset_seconds, retry_seconds: _ } = standing;
    headers.insert(LIMIT, HeaderValue::from(limit));
    headers.insert(REMAINING, HeaderValue::from(remaining));
    headers.insert(RESET, HeaderValue::from(reset_seconds));
}

/// A key counts before a cookie: who sends one means it. What is rare and long is put aside in a box: it would be room in every
/// request otherwise, and each layer copies it.
async fn authenticate(app: &App, method: &Method, headers: &HeaderMap) -> Result<Caller, ApiError> {
    match (bearer(headers), cookie::sent(headers)) {
        (Some(sent), _) => match &app.identity.clerk {
            Some(clerk) if jwt::looks_like(sent) => Box::pin(by_clerk(app, clerk, sent)).await,
            Some(_) | None => by_key(app, sent).await,
        },
        (None, Some(sent)) => {
            origin::check_cookie_use(method, headers, app.identity.public_url.as_deref())?;
            Box::pin(by_session(app, sent)).await
        }
        (None, None) => Err(refused("no API key was sent; send it as `Authorization: Bearer tt_...`, or sign in")),
    }
}

/// The person at a browser, where an API key would not do; none when no cookie counts.
pub(super) async fn browser(app: &App, method: &Method, headers: &HeaderMap) -> Result<Option<SignedIn>, ApiError> {
    let (None, Some(sent)) = (bearer(headers), cookie::sent(headers)) else { return Ok(None) };
    origin::check_cookie_use(method, headers, app.identity.public_url.as_deref())?;
    Ok(by_session(app, sent).await?.person())
}

async fn by_session(app: &App, sent: &str) -> Result<Caller, ApiError> {
    let live = match Token::parse(sent) {
        Some(token) => live(app, &token.sha256()).await?,
        None => None,
    };
    let live = live.ok_or_else(|| {
        let error = ApiError::new(ErrorCode::InvalidSession, "this session has ended; sign in again");
        error.with_header(header::SET_COOKIE, cookie::clear(Secure::from(&app.identity)))
    })?;
    let role = live.role();
    let signed_in = SignedIn { person: live.person, session: Some(live.id), since: clock::from_ms(live.created_ms) };
    Ok(Caller { account: live.account, way: Way::Session(signed_in, role) })
}

/// The session of a token, as of some seconds ago if replicas share it and news of its person come.
async fn live(app: &App, token_sha256: &[u8; 32]) -> sqlx::Result<Option<Live>> {
    let id = hex::encode(token_sha256);
    if app.keyring.is_trusted()
        && let Some(kept) = app.shared.find(Kind::Session, &id).await
    {
        return Ok(Some(kept));
    }
    let live = session::authenticate(&app.pool, token_sha256, clock::now()).await?;
    if let Some(live) = &live {
        app.shared.keep(Kind::Session, &id, live.person, live).await;
    }
    Ok(live)
}

async fn by_clerk(app: &App, clerk: &Clerk, sent: &str) -> Result<Caller, ApiError> {
    let live = clerk::admit(app, clerk, sent, None).await?;
    // Clerk's tokens say nothing of when somebody signed in, so it counts as long ago.
    let signed_in = SignedIn { person: live.person, session: None, since: Timestamp(0) };
    Ok(Caller { account: live.account, way: Way::Clerk(signed_in) })
}

async fn by_key(app: &App, sent: &str) -> Result<Caller, ApiError> {
    let key = ApiKey::parse(sent).ok_or_else(|| {
        refused("this is not an API key of ours, or a character of it was lost; check for a typing error")
    })?;
    let holder = if let Some(known) = app.keyring.find(&key) {
        app.metrics.key_checks.with_label_values(&["memory"]).inc();
        known
    } else {
        app.metrics.key_checks.with_label_values(&["database"]).inc();
        let ticket = app.keyring.ticket();
        let holder = Box::pin(key::authenticate(&app.pool, &key)).await?;
        let holder = holder.ok_or_else(|| refused("this API key is unknown here or was revoked; make a new one"))?;
        if let Some(ticket) = ticket {
            app.keyring.keep(ticket, &key, holder.clone());
        }
        holder
    };
    let now = clock::now();
    if holder.expires.is_some_and(|end| end <= now) {
        return Err(refused("this API key has run out; make a new one"));
    }
    app.keyring.used(key.id(), now);
    Ok(Caller { account: holder.account, way: Way::Key(KeyWay { id: key.id().to_owned(), holder }) })
}

impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, ApiError> {
        let unguarded =
            || ApiError::internal("a route takes a caller and lets everybody in", anyhow::anyhow!("no caller"));
        parts.extensions.get::<Self>().cloned().ok_or_else(unguarded)
    }
}

impl FromRequestParts<App> for SignedIn {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, app).await?;
        caller.person().ok_or_else(|| {
            let message = "this is about a person, and an API key is none; sign in with a browser";
            ApiError::new(ErrorCode::PermissionDenied, message)
        })
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
