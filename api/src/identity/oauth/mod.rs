//! Signing in with somebody who knows people already: Google by OpenID Connect, GitHub by OAuth 2 (RFC 6749), both by
//! authorization code with PKCE (RFC 7636). What is asked of a browser on the way stays in its cookie; nothing is kept
//! here until the provider has said who it is.

pub(crate) mod args;
pub(crate) mod journey;

mod github;
mod oidc;

use self::args::OauthArgs;
use self::github::Github;
use self::journey::Journey;
use self::oidc::Oidc;
use super::fetch;

/// Who somebody is, in a provider's words.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Profile {
    /// The provider's name for them, for ever.
    pub(crate) subject: String,
    /// An address the provider has seen to be theirs.
    pub(crate) verified_email: Option<String>,
}

/// Why a provider did not say who somebody is. For the log: nothing of it is shown.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(crate) struct OauthError {
    what: &'static str,
    #[source]
    source: Option<anyhow::Error>,
}

impl OauthError {
    fn new(what: &'static str) -> Self {
        Self { what, source: None }
    }

    fn because(what: &'static str, source: impl Into<anyhow::Error>) -> Self {
        Self { what, source: Some(source.into()) }
    }
}

/// A way to sign in.
#[derive(Debug)]
pub(crate) enum Provider {
    /// Google, or whoever else speaks OpenID Connect.
    Oidc(Box<Oidc>),
    /// GitHub.
    Github(Github),
}

/// The providers the settings name.
#[derive(Debug, Default)]
pub(crate) struct Providers(Vec<(&'static str, Provider)>);

impl Providers {
    /// As the settings say.
    pub(crate) fn new(args: &OauthArgs) -> anyhow::Result<Self> {
        let http = fetch::client()?;
        let mut providers = Vec::new();
        if let Some(client) = args.google()? {
            providers.push(("google", Provider::Oidc(Box::new(Oidc::new(&args.google_url, client, http.clone())))));
        }
        if let Some(client) = args.github()? {
            let github = Github::new(&args.github_url, &args.github_api_url, client, http);
            providers.push(("github", Provider::Github(github)));
        }
        Ok(Self(providers))
    }

    /// The provider of this name, with its name as a label.
    pub(crate) fn find(&self, name: &str) -> Option<(&'static str, &Provider)> {
        self.0.iter().find(|(known, _)| *known == name).map(|(known, provider)| (*known, provider))
    }

    /// Their names.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|(name, _)| *name).collect()
    }
}

impl Provider {
    /// Where to send a browser.
    pub(crate) async fn authorize_url(&self, journey: &Journey, callback: &str) -> Result<String, OauthError> {
        match self {
            Self::Oidc(oidc) => oidc.authorize_url(journey, callback).await,
            Self::Github(github) => Ok(github.authorize_url(journey, callback)),
        }
    }

    /// Who it is that came back with this code.
    pub(crate) async fn profile(&self, journey: &Journey, code: &str, callback: &str) -> Result<Profile, OauthError> {
        match self {
            Self::Oidc(oidc) => oidc.profile(journey, code, callback).await,
            Self::Github(github) => github.profile(journey, code, callback).await,
        }
    }
}

/// What we are to a provider.
#[derive(Clone)]
pub(crate) struct Client {
    id: String,
    secret: String,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({})", self.id)
    }
}

/// A URL with a query; the pairs are escaped.
fn with_query(url: &str, pairs: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs);
    let joint = if url.contains('?') { '&' } else { '?' };
    format!("{url}{joint}{}", query.finish())
}
