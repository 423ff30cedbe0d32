//! The administrator's token: a file, compared in constant time. Whoever can read the file may make users.

use std::path::Path;

use anyhow::Context;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tintype_types::ErrorCode;

use super::auth::{self, bearer};
use crate::error::ApiError;
use crate::records::audit::Actor;
use crate::records::person;
use crate::state::App;

/// Shortest token taken, in bytes: less can be guessed.
const TOKEN_BYTES_MIN: usize = 16;

/// The token, as its hash.
#[derive(Clone)]
pub(crate) struct AdminToken([u8; 32]);

impl AdminToken {
    /// Reads the token from its file.
    pub(crate) fn from_file(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the admin token from {}", path.display()))?;
        let token = text.trim();
        anyhow::ensure!(
            token.len() >= TOKEN_BYTES_MIN,
            "the admin token in {} has {} bytes; it must have at least {TOKEN_BYTES_MIN}",
            path.display(),
            token.len()
        );
        Ok(Self(Sha256::digest(token.as_bytes()).into()))
    }

    fn admits(&self, offered: &str) -> bool {
        let offered: [u8; 32] = Sha256::digest(offered.as_bytes()).into();
        self.0.ct_eq(&offered).into()
    }
}

/// A caller with the administrator's token, or an administrator at a browser.
#[derive(Clone, Debug)]
pub(crate) struct Admin(Actor);

impl Admin {
    /// Who it is.
    pub(crate) fn actor(&self) -> Actor {
        self.0.clone()
    }
}

impl FromRequestParts<App> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        if let Some(signed_in) = auth::browser(app, &parts.method, &parts.headers).await? {
            return if person::find(&app.pool, signed_in.person).await?.admin {
                Ok(Self(Actor::Person(signed_in.person)))
            } else {
                Err(ApiError::new(ErrorCode::PermissionDenied, "this is for administrators"))
            };
        }
        let Some(token) = &app.admin else {
            return Err(ApiError::new(
                ErrorCode::PermissionDenied,
                "this server has no admin token; start it with --admin-token-file to allow this",
            ));
        };
        match bearer(&parts.headers) {
            Some(offered) if token.admits(offered) => Ok(Self(Actor::Admin)),
            Some(_) | None => Err(ApiError::new(
                ErrorCode::InvalidApiKey,
                "this needs the administrator's token, which is in the file of --admin-token-file; `tintype up` keeps it in admin-token, in its data folder",
            )),
        }
    }
}
