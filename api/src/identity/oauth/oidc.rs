//! OpenID Connect Core 1.0, 3.1: the code is changed for an id token, which is checked against the issuer's keys.

use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::OnceCell;

use super::journey::Journey;
use super::{Client, OauthError, Profile, with_query};
use crate::clock;
use crate::identity::fetch;
use crate::identity::jwks::Jwks;
use crate::identity::jwt::{self, Expected};

/// Longest answer read, in bytes.
const BYTES_MAX: usize = 64 << 10;

/// An issuer.
#[derive(Debug)]
pub(crate) struct Oidc {
    issuer: String,
    client: Client,
    http: reqwest::Client,
    /// Asked of the issuer when first needed, so that we start without it.
    discovered: OnceCell<Discovered>,
}

#[derive(Debug)]
struct Discovered {
    endpoints: Endpoints,
    keys: Jwks,
}

/// What of OpenID Connect Discovery 1.0 we need.
#[derive(Debug, Deserialize)]
struct Endpoints {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
}

#[derive(Deserialize)]
struct Tokens {
    id_token: String,
}

impl Oidc {
    pub(super) fn new(issuer: &str, client: Client, http: reqwest::Client) -> Self {
        let issuer = issuer.trim_end_matches('/').to_owned();
        Self { issuer, client, http, discovered: OnceCell::new() }
    }

    async fn discovered(&self) -> Result<&Discovered, OauthError> {
        self.discovered.get_or_try_init(|| self.discover()).await
    }

    async fn discover(&self) -> Result<Discovered, OauthError> {
        let failed = |error: anyhow::Error| OauthError::because("the issuer's endpoints cannot be fetched", error);
        let url = format!("{}/.well-known/openid-configuration", self.issuer);
        let answer = self.http.get(url).send().await.and_then(reqwest::Response::error_for_status);
        let body = fetch::bounded(answer.map_err(|error| failed(error.into()))?, BYTES_MAX).await.map_err(failed)?;
        let endpoints: Endpoints = serde_json::from_slice(&body).map_err(|error| failed(error.into()))?;
        if endpoints.issuer.trim_end_matches('/') != self.issuer {
            return Err(OauthError::new("the issuer calls itself by another name than the settings do"));
        }
        let keys = Jwks::new(endpoints.jwks_uri.clone(), self.http.clone());
        Ok(Discovered { endpoints, keys })
    }

    pub(super) async fn authorize_url(&self, journey: &Journey, callback: &str) -> Result<String, OauthError> {
        let endpoint = &self.discovered().await?.endpoints.authorization_endpoint;
        Ok(with_query(
            endpoint,
            &[
                ("response_type", "code"),
                ("client_id", &self.client.id),
                ("redirect_uri", callback),
                ("scope", "openid email"),
                ("state", &journey.state()),
                ("nonce", &journey.nonce()),
                ("code_challenge", &journey.challenge()),
                ("code_challenge_method", "S256"),
            ],
        ))
    }

    pub(super) async fn profile(&self, journey: &Journey, code: &str, callback: &str) -> Result<Profile, OauthError> {
        let discovered = self.discovered().await?;
        let token = self.exchange(&discovered.endpoints.token_endpoint, journey, code, callback).await?;
        let unchecked = jwt::read(&token).map_err(|error| OauthError::because("the id token cannot be read", error))?;
        let key = discovered.keys.key(unchecked.kid()).await;
        let key = key.map_err(|error| OauthError::because("the id token's key is not to be had", error))?;
        let expected = Expected { issuer: &self.issuer, audience: Some(&self.client.id), now: clock::now() };
        let claims = unchecked.check(&key, &expected);
        let claims = claims.map_err(|error| OauthError::because("the id token is not good", error))?;
        if claims.get("nonce").and_then(Value::as_str) != Some(&journey.nonce()) {
            return Err(OauthError::new("the id token is of another journey"));
        }
        profile_of(&claims).ok_or(OauthError::new("the id token names nobody"))
    }

    async fn exchange(
        &self,
        endpoint: &str,
        journey: &Journey,
        code: &str,
        callback: &str,
    ) -> Result<String, OauthError> {
        let failed = |error: anyhow::Error| OauthError::because("the code cannot be changed for a token", error);
        let form = with_query(
            "",
            &[
                ("grant_type", "authorization_code"),
                ("code", code),
                ("redirect_uri", callback),
                ("client_id", &self.client.id),
                ("client_secret", &self.client.secret),
                ("code_verifier", &journey.verifier()),
            ],
        );
        let request = self.http.post(endpoint).header("content-type", "application/x-www-form-urlencoded");
        let answer = request.body(form[1..].to_owned()).send().await.and_then(reqwest::Response::error_for_status);
        let body = fetch::bounded(answer.map_err(|error| failed(error.into()))?, BYTES_MAX).await.map_err(failed)?;
        let Tokens { id_token } = serde_json::from_slice(&body).map_err(|error| failed(error.into()))?;
        Ok(id_token)
    }
}

fn profile_of(claims: &Map<String, Value>) -> Option<Profile> {
    let subject = claims.get("sub").and_then(Value::as_str).filter(|subject| (1..=255).contains(&subject.len()))?;
    // Some issuers write it as a string.
    let verified = matches!(claims.get("email_verified"), Some(Value::Bool(true)))
        || claims.get("email_verified").and_then(Value::as_str) == Some("true");
    let email = claims.get("email").and_then(Value::as_str).filter(|_| verified);
    Some(Profile { subject: subject.to_owned(), verified_email: email.map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_address_counts_when_the_issuer_says_that_it_is_theirs() {
        let read = |claims: Value| {
            profile_of(claims.as_object().unwrap()).map(|profile| (profile.subject, profile.verified_email))
        };
        let ada = |email: Option<&str>| Some(("ada".to_owned(), email.map(str::to_owned)));
        assert_eq!(read(json!({ "sub": "ada", "email": "a@b.c", "email_verified": true })), ada(Some("a@b.c")));
        assert_eq!(read(json!({ "sub": "ada", "email": "a@b.c", "email_verified": "true" })), ada(Some("a@b.c")));
        for unsaid in [json!(false), json!("false"), json!(1), Value::Null] {
            assert_eq!(read(json!({ "sub": "ada", "email": "a@b.c", "email_verified": unsaid })), ada(None));
        }
        assert_eq!(read(json!({ "email": "a@b.c", "email_verified": true })), None);
    }
}
