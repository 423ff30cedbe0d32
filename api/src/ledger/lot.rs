//! Lots: which credits are which. Every grant is one, and they are burned in one order.

use tintype_types::Timestamp;
use uuid::Uuid;

/// Where credits come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Given away: the welcome of a new user, a code.
    Promo,
    /// Given by the administrator.
    Admin,
    /// Given back for pictures that were charged.
    Refund,
    /// A month of a subscription.
    Subscription,
    /// Bought.
    Purchase,
}

impl Source {
    /// Every source, in the order they are burned when they lapse at the same time: given before paid.
    pub const ALL: [Self; 5] = [Self::Promo, Self::Admin, Self::Refund, Self::Subscription, Self::Purchase];

    /// Its name in the database and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Promo => "promo",
            Self::Admin => "admin",
            Self::Refund => "refund",
            Self::Subscription => "subscription",
            Self::Purchase => "purchase",
        }
    }

    /// The source of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.as_str() == name)
    }
}

/// A lot as decisions see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lot {
    /// The transaction that granted it.
    pub id: Uuid,
    /// Where it comes from.
    pub source: Source,
    /// What of it can be spent, in milli-credits.
    pub remaining: i64,
    /// What of it is set aside for jobs that have not ended.
    pub reserved: i64,
    /// When what remains lapses. A hold made before may still capture.
    pub expires: Option<Timestamp>,
    /// What was taken back of its payment and found neither credits nor room for debt. What comes back to it pays this.
    pub lost: i64,
}

impl Lot {
    /// Lots are burned by this: what lapses first, then what was given before what was paid, then the oldest.
    pub fn burn_key(&self) -> (u64, Source, Uuid) {
        (self.expires.map_or(u64::MAX, |at| at.0), self.source, self.id)
    }

    /// Whether there is anything in it.
    pub fn is_open(&self) -> bool {
        self.remaining > 0 || self.reserved > 0
    }

    /// Whether what remains of it has lapsed.
    pub fn has_lapsed(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }
}

/// Credits to be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Where they come from.
    pub source: Source,
    /// What for; the same thing gives once, whoever asks.
    pub reference: String,
    /// How many, in milli-credits.
    pub amount: i64,
    /// When what is left of them lapses.
    pub expires: Option<Timestamp>,
}

impl Grant {
    /// The key of the transaction that gives them.
    pub fn key(&self) -> String {
        format!("grant:{}", self.reference)
    }
}
