//! Links that are sent by mail: what each is for and how long it works. Redeemed by a POST alone: programs that open every
//! link of a mail to look for malice open none of these.

use std::time::Duration;

use super::token::Token;

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Signing in.
    SignIn,
    /// Showing that an address is one's own.
    Verify,
    /// A new password.
    Reset,
}

impl Purpose {
    /// Its name in the database, and in the link.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::SignIn => "sign_in",
            Self::Verify => "verify",
            Self::Reset => "reset",
        }
    }

    /// How long a link works.
    pub(crate) fn lifetime(self) -> Duration {
        match self {
            Self::SignIn | Self::Reset => Duration::from_mins(15),
            Self::Verify => Duration::from_hours(24),
        }
    }

    /// The link. The token stands behind the `#`: browsers send that to no server, so no log and no `Referer` has it.
    pub(crate) fn url(self, site: &str, token: &Token) -> String {
        way(site, self.as_str(), token)
    }
}

/// The link of an invitation to an organisation.
pub(crate) fn invitation_url(site: &str, token: &Token) -> String {
    way(site, "invite", token)
}

fn way(site: &str, what: &str, token: &Token) -> String {
    format!("{}/auth/link#{what}={}", site.trim_end_matches('/'), token.reveal())
}
