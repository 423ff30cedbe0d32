//! Who calls: the account behind an API key.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use tintype_types::ErrorCode;
use uuid::Uuid;

use crate::clock;
use crate::error::ApiError;
use crate::keys::ApiKey;
use crate::records::key;
use crate::state::App;

/// A caller with a valid key. Only this file can make one.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Whose key it is.
    pub(crate) account: Uuid,
    /// The key's id.
    pub(crate) key: String,
    _only_here: (),
}

impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let sent = bearer(&parts.headers)
            .ok_or_else(|| refused("no API key was sent; send it as `Authorization: Bearer tt_...`"))?;
        let key = ApiKey::parse(sent).ok_or_else(|| {
            refused("this is not an API key of ours, or a character of it was lost; check for a typing error")
        })?;
        let account = key::authenticate(&app.pool, &key, clock::now()).await?;
        let account = account.ok_or_else(|| refused("this API key is unknown here or was revoked; make a new one"))?;
        Ok(Self { account, key: key.id().to_owned(), _only_here: () })
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
