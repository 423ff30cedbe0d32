//! Clerk: it signs people in on its own pages, and its session tokens come with their requests. A token is checked here,
//! against Clerk's keys; nobody is asked. News of its users come by webhook and are hints: the token alone lets somebody in.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args as Flags;
use serde::Deserialize;
use serde_json::Value;

use super::fetch;
use super::jwks::{Jwks, JwksError};
use super::jwt::{self, Expected, JwtError};
use super::oauth::Profile;
use super::svix::Secret;
use crate::clock;

/// How people sign in with Clerk.
#[derive(Clone, Debug, Default, Flags)]
pub struct ClerkArgs {
    /// Sign in with Clerk: the URL of its frontend API, such as https://happy-cat-1.clerk.accounts.dev.
    #[arg(long, env = "TINTYPE_CLERK_ISSUER")]
    pub clerk_issuer: Option<String>,
    /// Where Clerk's keys are. Left out: /.well-known/jwks.json below the issuer.
    #[arg(long, env = "TINTYPE_CLERK_JWKS_URL", requires = "clerk_issuer")]
    pub clerk_jwks_url: Option<String>,
    /// Whose pages may send Clerk's tokens, such as https://pictures.example; may be given several times.
    #[arg(long = "clerk-authorized-party", env = "TINTYPE_CLERK_AUTHORIZED_PARTIES", value_delimiter = ',')]
    pub clerk_authorized_parties: Vec<String>,
    /// File with the secret of the webhook POST /api/v1/auth/clerk/webhook, whsec_...
    #[arg(long, env = "TINTYPE_CLERK_WEBHOOK_SECRET_FILE", requires = "clerk_issuer")]
    pub clerk_webhook_secret_file: Option<PathBuf>,
    /// Clerk's publishable key, for the studio.
    #[arg(long, env = "TINTYPE_CLERK_PUBLISHABLE_KEY", requires = "clerk_issuer")]
    pub clerk_publishable_key: Option<String>,
}

/// Clerk, as the settings name it.
#[derive(Debug)]
pub(crate) struct Clerk {
    issuer: String,
    keys: Jwks,
    parties: Vec<String>,
    /// The webhook's secret; none: no news are taken.
    pub(crate) webhook: Option<Secret>,
    /// For the studio.
    pub(crate) publishable_key: Option<String>,
}

/// Why a token lets nobody in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClerkError {
    /// It is not good.
    #[error("the token is not good")]
    Bad(#[source] JwtError),
    /// Clerk's keys cannot be had.
    #[error("the token cannot be checked now")]
    Unreachable(#[source] JwksError),
}

impl Clerk {
    /// As the settings say, if they name it.
    pub(crate) fn new(args: &ClerkArgs) -> anyhow::Result<Option<Self>> {
        let Some(issuer) = &args.clerk_issuer else { return Ok(None) };
        let issuer = issuer.trim_end_matches('/').to_owned();
        let url = args.clerk_jwks_url.clone().unwrap_or_else(|| format!("{issuer}/.well-known/jwks.json"));
        let webhook = match &args.clerk_webhook_secret_file {
            None => None,
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .with_context(|| format!("cannot read Clerk's webhook secret from {}", file.display()))?;
                let what = || format!("{} holds no webhook secret; it starts with whsec_", file.display());
                Some(Secret::parse(&text).with_context(what)?)
            }
        };
        Ok(Some(Self {
            issuer,
            keys: Jwks::new(url, fetch::client()?),
            parties: args.clerk_authorized_parties.clone(),
            webhook,
            publishable_key: args.clerk_publishable_key.clone(),
        }))
    }

    /// Who a session token belongs to. Where no parties are set, it must have been made for `page`, if that is given.
    pub(crate) async fn check(&self, token: &str, page: Option<&str>) -> Result<Profile, ClerkError> {
        let unchecked = jwt::read(token).map_err(ClerkError::Bad)?;
        let key = self.keys.key(unchecked.kid()).await.map_err(|error| match error {
            JwksError::Unknown => ClerkError::Bad(JwtError::UnknownKey),
            unreachable @ JwksError::Unreachable(_) => ClerkError::Unreachable(unreachable),
        })?;
        let expected = Expected { issuer: &self.issuer, audience: None, now: clock::now() };
        let claims = unchecked.check(&key, &expected).map_err(ClerkError::Bad)?;
        let text = |name: &'static str| claims.get(name).and_then(Value::as_str);
        let bad = |claim| Err(ClerkError::Bad(JwtError::Claim(claim)));
        // Tokens of other kinds, such as a template's, are no session.
        if text("sid").is_none() {
            return bad("sid");
        }
        // A session somebody has not finished signing in to.
        if text("sts") == Some("pending") {
            return bad("sts");
        }
        let ours = |party: &str| self.parties.iter().any(|known| known == party);
        let foreign = |page: &str| self.parties.is_empty() && text("azp") != Some(page);
        if !self.parties.is_empty() && !text("azp").is_some_and(ours) || page.is_some_and(foreign) {
            return bad("azp");
        }
        let Some(subject) = text("sub").filter(|subject| (1..=255).contains(&subject.len())) else { return bad("sub") };
        let verified = claims.get("email_verified") == Some(&Value::Bool(true));
        let verified_email = text("email").filter(|_| verified).map(str::to_owned);
        Ok(Profile { subject: subject.to_owned(), verified_email })
    }
}

/// News of a user.
#[derive(Deserialize)]
pub(crate) struct Event {
    /// `user.created`, `user.updated`, `user.deleted`; others are of no interest.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The user, or what is left of them.
    pub(crate) data: Value,
}

impl Event {
    /// Clerk's name of the user.
    pub(crate) fn subject(&self) -> Option<&str> {
        self.data["id"].as_str().filter(|subject| (1..=255).contains(&subject.len()))
    }

    /// How old the news is, in milliseconds since 1970.
    pub(crate) fn at_ms(&self) -> i64 {
        self.data["updated_at"].as_i64().unwrap_or(0)
    }

    /// The user's first address, if Clerk has seen that it is theirs.
    pub(crate) fn verified_email(&self) -> Option<&str> {
        let primary = self.data["primary_email_address_id"].as_str()?;
        let addresses = self.data["email_addresses"].as_array()?;
        let address = addresses.iter().find(|address| address["id"] == primary)?;
        (address["verification"]["status"] == "verified").then(|| address["email_address"].as_str()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_address_counts_once_it_is_verified() {
        let event = |status: &str, primary: &str| Event {
            kind: "user.updated".to_owned(),
            data: json!({ "id": "user_1", "primary_email_address_id": primary, "updated_at": 7, "email_addresses": [
                { "id": "idn_1", "email_address": "other@b.c", "verification": { "status": "verified" } },
                { "id": "idn_2", "email_address": "a@b.c", "verification": { "status": status } },
            ]}),
        };
        assert_eq!(event("verified", "idn_2").verified_email(), Some("a@b.c"));
        assert_eq!(event("unverified", "idn_2").verified_email(), None);
        assert_eq!(event("verified", "idn_3").verified_email(), None);
        assert_eq!((event("", "").subject(), event("", "").at_ms()), (Some("user_1"), 7));
        let gone = Event { kind: "user.deleted".to_owned(), data: json!({ "id": "user_1", "deleted": true }) };
        assert_eq!((gone.verified_email(), gone.at_ms()), (None, 0));
    }
}
