//! GitHub: OAuth 2 without an id token, so its API is asked who the token belongs to, and which addresses are theirs.

use reqwest::header::{ACCEPT, AUTHORIZATION};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::journey::Journey;
use super::{Client, OauthError, Profile, with_query};
use crate::identity::fetch;

/// Longest answer read, in bytes.
const BYTES_MAX: usize = 256 << 10;

/// GitHub.
#[derive(Debug)]
pub(crate) struct Github {
    url: String,
    api_url: String,
    client: Client,
    http: reqwest::Client,
}

#[derive(Deserialize)]
struct Tokens {
    access_token: String,
}

#[derive(Deserialize)]
struct User {
    id: u64,
}

#[derive(Deserialize)]
struct Address {
    email: String,
    primary: bool,
    verified: bool,
}

impl Github {
    pub(super) fn new(url: &str, api_url: &str, client: Client, http: reqwest::Client) -> Self {
        let bare = |url: &str| url.trim_end_matches('/').to_owned();
        Self { url: bare(url), api_url: bare(api_url), client, http }
    }

    pub(super) fn authorize_url(&self, journey: &Journey, callback: &str) -> String {
        with_query(
            &format!("{}/login/oauth/authorize", self.url),
            &[
                ("client_id", &self.client.id),
                ("redirect_uri", callback),
                ("scope", "user:email"),
                ("state", &journey.state()),
                ("code_challenge", &journey.challenge()),
                ("code_challenge_method", "S256"),
            ],
        )
    }

    pub(super) async fn profile(&self, journey: &Journey, code: &str, callback: &str) -> Result<Profile, OauthError> {
        let form = with_query(
            "",
            &[
                ("client_id", &self.client.id),
                ("client_secret", &self.client.secret),
                ("code", code),
                ("redirect_uri", callback),
                ("code_verifier", &journey.verifier()),
            ],
        );
        let request = self.http.post(format!("{}/login/oauth/access_token", self.url));
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(form[1..].to_owned());
        // A code it does not know is answered with 200 and no token.
        let Tokens { access_token } = ask(request, "the code cannot be changed for a token").await?;
        let User { id } = self.get("/user", &access_token).await?;
        let addresses: Vec<Address> = self.get("/user/emails", &access_token).await?;
        let verified = addresses.into_iter().find(|address| address.primary && address.verified);
        Ok(Profile { subject: id.to_string(), verified_email: verified.map(|address| address.email) })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, token: &str) -> Result<T, OauthError> {
        let request = self.http.get(format!("{}{path}", self.api_url)).header(AUTHORIZATION, format!("Bearer {token}"));
        ask(request, "GitHub's API does not say who it is").await
    }
}

async fn ask<T: DeserializeOwned>(request: reqwest::RequestBuilder, what: &'static str) -> Result<T, OauthError> {
    let failed = |error: anyhow::Error| OauthError::because(what, error);
    let answer = request.header(ACCEPT, "application/json").send().await;
    let answer = answer.and_then(reqwest::Response::error_for_status).map_err(|error| failed(error.into()))?;
    let body = fetch::bounded(answer, BYTES_MAX).await.map_err(failed)?;
    serde_json::from_slice(&body).map_err(|error| failed(error.into()))
}
