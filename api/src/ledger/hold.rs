//! Credits set aside for one job, and the only ways that ends.

use tintype_types::Timestamp;
use uuid::Uuid;

/// Where a hold stands. It leaves `Held` once and for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HoldState {
    /// Open.
    Held,
    /// The job made its pictures: some or all of it was taken, the rest given back.
    Captured,
    /// The job made none: all of it was given back.
    Voided,
    /// The job was gone, and all of it was given back.
    Expired,
}

impl HoldState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Held, Self::Captured, Self::Voided, Self::Expired];

    /// Its name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Captured => "captured",
            Self::Voided => "voided",
            Self::Expired => "expired",
        }
    }

    /// The state of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// A hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The job's id.
    pub id: Uuid,
    /// Whose credits.
    pub account: Uuid,
    /// How many, in milli-credits.
    pub amount: i64,
    /// How many of them were taken in the end.
    pub captured: i64,
    /// Where it stands.
    pub state: HoldState,
    /// When it was made.
    pub created: Timestamp,
    /// From when on a sweep looks whether its job still exists.
    pub expires: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// From which lots, in the order they are burned; sums to the amount.
    pub parts: Vec<Part>,
}

/// What of a hold is from one lot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The lot.
    pub lot: Uuid,
    /// How much of it, in milli-credits.
    pub amount: i64,
}

impl Hold {
    /// The key of the transaction that makes it.
    pub fn start_key(id: Uuid) -> String {
        format!("hold:{id}:start")
    }

    /// The one key under which it ends, however it ends.
    pub fn end_key(id: Uuid) -> String {
        format!("hold:{id}:end")
    }
}
