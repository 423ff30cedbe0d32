//! What an API key may do. Pure; which route needs what is said in one place, [`scope_of`], and a route nobody thought of
//! needs the most.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Something a key may be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Looking at what is the account's.
    Read,
    /// Making pictures, and what belongs to it: uploads, cancelling, the gallery.
    Generate,
    /// Money: payments, plans, receipts.
    Billing,
    /// Everything else: keys, webhooks, members.
    Manage,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Read, Self::Generate, Self::Billing, Self::Manage];

    /// Its name in the database and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Generate => "generate",
            Self::Billing => "billing",
            Self::Manage => "manage",
        }
    }
}

/// A set of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// Every one.
    pub const WHOLE: Self = Self(0b1111);

    /// Those named; names of a newer version allow nothing here.
    pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        names.into_iter().filter_map(|name| Scope::ALL.into_iter().find(|scope| scope.as_str() == name)).collect()
    }

    /// Whether this one is among them.
    pub fn allow(self, scope: Scope) -> bool {
        self.0 & bit(scope) != 0
    }

    /// Them, as a list.
    pub fn list(self) -> Vec<Scope> {
        Scope::ALL.into_iter().filter(|scope| self.allow(*scope)).collect()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<T: IntoIterator<Item = Scope>>(scopes: T) -> Self {
        Self(scopes.into_iter().map(bit).fold(0, |all, bit| all | bit))
    }
}

fn bit(scope: Scope) -> u8 {
    1 << scope as u8
}

/// Routes below these take a person, whom they ask about themselves; a key is refused there whatever its scopes.
const PERSONAL: [&str; 5] = ["/api/v1/me", "/api/v1/sessions", "/api/v1/auth", "/api/v1/orgs", "/api/v1/invitations"];
/// Routes below this one move money.
const BILLING: &str = "/api/v1/wallet";
/// Routes below these make pictures, or arrange those that are made.
const GENERATE: [&str; 12] = [
    "/v1/images/",
    "/openai/v1/images/",
    "/replicate/v1/predictions",
    "/replicate/v1/models/",
    "/replicate/v1/deployments/",
    "/replicate/v1/files",
    "/api/v1/jobs",
    "/api/v1/batches",
    "/api/v1/quotes",
    "/api/v1/prompts",
    "/api/v1/assets",
    "/api/v1/images",
];

/// Whether a route is about a person, whatever account they act for.
pub(crate) fn is_personal(path: &str) -> bool {
    PERSONAL.iter().any(|root| is_below(path, root))
}

fn is_below(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| root.ends_with('/') || rest.is_empty() || rest.starts_with('/'))
}

/// What a route needs: reading for what changes nothing, generating for pictures, and managing for all that is not named.
pub(crate) fn scope_of(method: &str, path: &str) -> Scope {
    let is_below = |root: &str| is_below(path, root);
    match method {
        // What webhooks are signed with is a secret, whoever only looks.
        _ if is_below("/replicate/v1/webhooks") => Scope::Manage,
        "GET" | "HEAD" => Scope::Read,
        // About the person and not about the account: which account a browser acts for makes no difference.
        _ if is_personal(path) => Scope::Read,
        _ if is_below(BILLING) => Scope::Billing,
        _ if is_below("/api/v1/collections") || GENERATE.iter().any(|root| is_below(root)) => Scope::Generate,
        _ => Scope::Manage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_needs_the_most() {
        for (method, path, scope) in [
            ("GET", "/api/v1/wallet", Scope::Read),
            ("POST", "/v1/images/generations", Scope::Generate),
            ("DELETE", "/api/v1/jobs/{id}", Scope::Generate),
            ("POST", "/api/v1/jobs", Scope::Generate),
            ("PATCH", "/api/v1/images/{id}", Scope::Generate),
            ("POST", "/api/v1/collections", Scope::Generate),
            ("POST", "/api/v1/jobsworth", Scope::Manage),
            ("POST", "/api/v1/keys", Scope::Manage),
            ("POST", "/api/v1/wallet/checkout", Scope::Billing),
            ("PUT", "/something/new", Scope::Manage),
            ("POST", "/replicate/v1/predictions", Scope::Generate),
            ("GET", "/replicate/v1/webhooks/default/secret", Scope::Manage),
        ] {
            assert_eq!(scope_of(method, path), scope, "{method} {path}");
        }
    }

    #[test]
    fn a_set_is_what_was_put_in() {
        assert_eq!(Scopes::named(["read", "manage", "fly"]).list(), [Scope::Read, Scope::Manage]);
        assert_eq!(Scopes::WHOLE.list(), Scope::ALL);
        assert!(Scopes::named([]).list().is_empty());
    }
}
