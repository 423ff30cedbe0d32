//! The letters we send: for whom and what about, as they wait in their errands. No tokens here, and no prompts.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::identity::email::Email;

/// How long pictures are waited for that will share a letter.
const READY_DELAY: Duration = Duration::from_mins(1);

/// A letter.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Letter {
    /// A link that signs whoever has this address in; for a newcomer it makes an account, where everybody may.
    SignIn {
        /// As it was typed.
        email: String,
    },
    /// A link that shows that this person's address is theirs.
    Verify {
        /// Who.
        person: Uuid,
    },
    /// A link to a new password.
    Reset {
        /// As it was typed.
        email: String,
    },
    /// An invitation to an organisation.
    Invitation {
        /// Which.
        invitation: Uuid,
    },
    /// "Your images are ready!": what was drawn for an account since a moment.
    ImagesReady {
        /// Whose.
        account: Uuid,
        /// Since when, in milliseconds since 1970.
        since_ms: i64,
    },
    /// What was made and spent in a week.
    Digest {
        /// Whose.
        account: Uuid,
        /// Since when, in milliseconds since 1970.
        since_ms: i64,
    },
    /// So much was spent this month.
    BudgetSpent {
        /// Whose.
        account: Uuid,
        /// What they wanted to be told of, in milli-credits.
        limit_millis: i64,
    },
    /// Few credits are left.
    RunsLow {
        /// Whose.
        account: Uuid,
        /// Below what they wanted to be told, in milli-credits.
        limit_millis: i64,
        /// What was left, in milli-credits.
        left_millis: i64,
    },
    /// What was paid for.
    Receipt {
        /// Whose account the credits went to.
        account: Uuid,
        /// Our name of the payment; one letter each.
        reference: String,
        /// Bought, in milli-credits.
        credits_millis: i64,
        /// Paid, in the currency's smallest unit.
        amount_minor: i64,
        /// ISO 4217, in small letters.
        currency: String,
        /// When it was heard that it is paid, in milliseconds since 1970.
        #[serde(default)]
        paid_ms: Option<u64>,
        /// The provider's name of the money, by which its own receipt is found.
        #[serde(default)]
        intent: Option<String>,
        /// The provider's page with the invoice, where there is one.
        #[serde(default)]
        page: Option<String>,
    },
}

impl std::fmt::Debug for Letter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Letter({})", self.kind())
    }
}

impl Letter {
    /// What kind it is; a label of metrics.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::SignIn { .. } => "sign_in",
            Self::Verify { .. } => "verify",
            Self::Reset { .. } => "reset",
            Self::Invitation { .. } => "invitation",
            Self::ImagesReady { .. } => "images_ready",
            Self::Digest { .. } => "digest",
            Self::BudgetSpent { .. } => "budget_spent",
            Self::RunsLow { .. } => "runs_low",
            Self::Receipt { .. } => "receipt",
        }
    }

    /// While one of this key waits, another is not sent.
    pub(super) fn key(&self) -> String {
        let whose = match self {
            Self::SignIn { email } | Self::Reset { email } => address_key(email),
            Self::Verify { person } => person.to_string(),
            Self::Invitation { invitation } => invitation.to_string(),
            Self::ImagesReady { account, .. }
            | Self::Digest { account, .. }
            | Self::BudgetSpent { account, .. }
            | Self::RunsLow { account, .. } => account.to_string(),
            Self::Receipt { reference, .. } => hex::encode(&Sha256::digest(reference.as_bytes())[..16]),
        };
        format!("{}:{whose}", self.kind())
    }

    /// How long it waits for others to share it.
    pub(super) fn delay(&self) -> Duration {
        match self {
            Self::ImagesReady { .. } => READY_DELAY,
            Self::SignIn { .. }
            | Self::Verify { .. }
            | Self::Reset { .. }
            | Self::Invitation { .. }
            | Self::Digest { .. }
            | Self::BudgetSpent { .. }
            | Self::RunsLow { .. }
            | Self::Receipt { .. } => Duration::ZERO,
        }
    }
}

/// The address does not stand in the key, which administrators may see.
fn address_key(email: &str) -> String {
    let folded = Email::parse(email).map_or_else(|| email.to_owned(), |email| email.folded().to_owned());
    hex::encode(&Sha256::digest(folded.as_bytes())[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_to_one_person_share_a_key_and_show_nobody() {
        let letter = |email: &str| Letter::SignIn { email: email.to_owned() };
        assert_eq!(letter("a@b.c").key(), letter("A@B.c").key());
        assert_ne!(letter("a@b.c").key(), letter("b@b.c").key());
        assert_ne!(letter("a@b.c").key(), Letter::Reset { email: "a@b.c".to_owned() }.key());
        assert!(!letter("a@b.c").key().contains("a@b"));
        assert_eq!(format!("{:?}", letter("a@b.c")), "Letter(sign_in)");
    }
}
