//! Who somebody is: persons, passwords, sessions, and how often a door may be tried. Knows no routes.

pub(crate) mod args;
pub(crate) mod claim;
pub(crate) mod clerk;
pub(crate) mod email;
pub(crate) mod link;
pub(crate) mod newcomer;
pub(crate) mod oauth;
pub(crate) mod password;
pub(crate) mod role;
pub(crate) mod session;
pub(crate) mod svix;
pub(crate) mod throttle;
pub(crate) mod token;

pub(crate) mod fetch;
mod jwks;
pub(crate) mod jwt;

use axum::http::HeaderName;

use self::args::{IdentityArgs, Signup};
use self::clerk::Clerk;
use self::oauth::Providers;
use self::password::Hasher;
use self::throttle::Throttle;

/// What the routes of signing in work with.
#[derive(Debug)]
pub(crate) struct Identity {
    /// Who may make an account.
    pub(crate) signup: Signup,
    /// Whether this server sends mail.
    pub(crate) mail: bool,
    /// Hashes passwords, a few at once.
    pub(crate) hasher: Hasher,
    /// Who else may say who somebody is.
    pub(crate) oauth: Providers,
    /// Clerk, if people sign in with it.
    pub(crate) clerk: Option<Clerk>,
    /// How often a door may be tried.
    pub(crate) throttle: Throttle,
    /// Where browsers find us.
    pub(crate) site: String,
    /// The same if the settings say it, such as `https://pictures.example`; cookies are for TLS alone when it is that.
    pub(crate) public_url: Option<String>,
    /// The header in which a proxy of ours says who connected to it.
    pub(crate) address_header: Option<HeaderName>,
}

impl Identity {
    /// As the settings say.
    pub(crate) fn new(
        args: &IdentityArgs,
        public_url: Option<String>,
        site: String,
        mail: bool,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            signup: args.signup,
            mail,
            oauth: Providers::new(&args.oauth)?,
            clerk: Clerk::new(&args.clerk)?,
            site,
            hasher: Hasher::default(),
            throttle: Throttle::new(args.sign_ins_per_minute),
            public_url,
            address_header: args.client_address_header.clone(),
        })
    }

    /// Whether browsers may send our cookies over TLS alone.
    pub(crate) fn is_secure(&self) -> bool {
        self.public_url.as_deref().is_some_and(|url| url.starts_with("https://"))
    }
}
