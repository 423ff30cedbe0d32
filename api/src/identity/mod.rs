//! Who somebody is: persons, passwords, sessions, and how often a door may be tried. Knows no routes.

pub(crate) mod args;
pub(crate) mod claim;
pub(crate) mod email;
pub(crate) mod link;
pub(crate) mod newcomer;
pub(crate) mod password;
pub(crate) mod session;
pub(crate) mod throttle;
pub(crate) mod token;

use axum::http::HeaderName;

use self::args::{IdentityArgs, Signup};
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
    /// How often a door may be tried.
    pub(crate) throttle: Throttle,
    /// Where browsers find us, such as `https://pictures.example`; cookies are for TLS alone when it says so.
    pub(crate) public_url: Option<String>,
    /// The header in which a proxy of ours says who connected to it.
    pub(crate) address_header: Option<HeaderName>,
}

impl Identity {
    /// As the settings say.
    pub(crate) fn new(args: &IdentityArgs, public_url: Option<String>, mail: bool) -> Self {
        Self {
            signup: args.signup,
            mail,
            hasher: Hasher::default(),
            throttle: Throttle::new(args.sign_ins_per_minute),
            public_url,
            address_header: args.client_address_header.clone(),
        }
    }

    /// Whether browsers may send our cookies over TLS alone.
    pub(crate) fn is_secure(&self) -> bool {
        self.public_url.as_deref().is_some_and(|url| url.starts_with("https://"))
    }
}
