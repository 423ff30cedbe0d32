//! The settings of signing in with others: flags and the environment variables behind them.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args as Flags;

use super::Client;

const GOOGLE_URL: &str = "https://accounts.google.com";
const GITHUB_URL: &str = "https://github.com";
const GITHUB_API_URL: &str = "https://api.github.com";

/// With whom people can sign in.
#[derive(Clone, Debug, Flags)]
pub struct OauthArgs {
    /// Sign in with Google: the client id. Its redirect URI is PUBLIC_URL/api/v1/auth/oauth/google/callback.
    #[arg(long, env = "TINTYPE_GOOGLE_CLIENT_ID", requires = "google_client_secret_file")]
    pub google_client_id: Option<String>,
    /// File with Google's client secret.
    #[arg(long, env = "TINTYPE_GOOGLE_CLIENT_SECRET_FILE", requires = "google_client_id")]
    pub google_client_secret_file: Option<PathBuf>,
    /// Where Google is, or another issuer that speaks OpenID Connect.
    #[arg(long, env = "TINTYPE_GOOGLE_URL", default_value = GOOGLE_URL)]
    pub google_url: String,
    /// Sign in with GitHub: the client id. Its callback URL is PUBLIC_URL/api/v1/auth/oauth/github/callback.
    #[arg(long, env = "TINTYPE_GITHUB_CLIENT_ID", requires = "github_client_secret_file")]
    pub github_client_id: Option<String>,
    /// File with GitHub's client secret.
    #[arg(long, env = "TINTYPE_GITHUB_CLIENT_SECRET_FILE", requires = "github_client_id")]
    pub github_client_secret_file: Option<PathBuf>,
    /// Where GitHub is, or a GitHub Enterprise server.
    #[arg(long, env = "TINTYPE_GITHUB_URL", default_value = GITHUB_URL)]
    pub github_url: String,
    /// Where GitHub's API is.
    #[arg(long, env = "TINTYPE_GITHUB_API_URL", default_value = GITHUB_API_URL)]
    pub github_api_url: String,
}

impl Default for OauthArgs {
    fn default() -> Self {
        Self {
            google_client_id: None,
            google_client_secret_file: None,
            google_url: GOOGLE_URL.to_owned(),
            github_client_id: None,
            github_client_secret_file: None,
            github_url: GITHUB_URL.to_owned(),
            github_api_url: GITHUB_API_URL.to_owned(),
        }
    }
}

impl OauthArgs {
    pub(super) fn google(&self) -> anyhow::Result<Option<Client>> {
        client(self.google_client_id.as_deref(), self.google_client_secret_file.as_deref())
    }

    pub(super) fn github(&self) -> anyhow::Result<Option<Client>> {
        client(self.github_client_id.as_deref(), self.github_client_secret_file.as_deref())
    }
}

fn client(id: Option<&str>, secret_file: Option<&Path>) -> anyhow::Result<Option<Client>> {
    let (Some(id), Some(file)) = (id, secret_file) else { return Ok(None) };
    let secret = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the client secret from {}", file.display()))?;
    Ok(Some(Client { id: id.to_owned(), secret: secret.trim().to_owned() }))
}
