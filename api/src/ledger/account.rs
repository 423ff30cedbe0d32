//! One account's book: four columns that sum to zero, and the head of its hash chain.

use uuid::Uuid;

/// A column of the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bucket {
    /// Credits given: negative, where all others come from.
    Granted,
    /// Credits that can be spent.
    Available,
    /// Credits set aside for jobs that have not ended.
    Held,
    /// Credits captured.
    Spent,
}

impl Bucket {
    /// Every column.
    pub const ALL: [Self; 4] = [Self::Granted, Self::Available, Self::Held, Self::Spent];

    /// The column of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bucket| bucket.as_str() == name)
    }

    /// Its name in the database and in the hash.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Available => "available",
            Self::Held => "held",
            Self::Spent => "spent",
        }
    }
}

/// SHA-256 of a transaction.
pub type Hash = [u8; 32];

/// The head of an empty chain.
pub const GENESIS: Hash = [0; 32];

/// What is on one account's book, in milli-credits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Whose.
    pub id: Uuid,
    /// See [`Bucket::Granted`]; never positive.
    pub granted: i64,
    /// See [`Bucket::Available`]; never negative.
    pub available: i64,
    /// See [`Bucket::Held`]; never negative.
    pub held: i64,
    /// See [`Bucket::Spent`]; never negative.
    pub spent: i64,
    /// Transactions posted so far.
    pub seq: i64,
    /// Hash of the last one.
    pub head: Hash,
}

impl Account {
    /// An empty book.
    pub fn open(id: Uuid) -> Self {
        Self { id, granted: 0, available: 0, held: 0, spent: 0, seq: 0, head: GENESIS }
    }

    /// What is in a column.
    pub fn balance(&self, bucket: Bucket) -> i64 {
        match bucket {
            Bucket::Granted => self.granted,
            Bucket::Available => self.available,
            Bucket::Held => self.held,
            Bucket::Spent => self.spent,
        }
    }

    /// The column, to be changed by a posting and nobody else.
    pub(super) fn column(&mut self, bucket: Bucket) -> &mut i64 {
        match bucket {
            Bucket::Granted => &mut self.granted,
            Bucket::Available => &mut self.available,
            Bucket::Held => &mut self.held,
            Bucket::Spent => &mut self.spent,
        }
    }
}
