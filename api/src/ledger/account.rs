//! One account's book: six columns that sum to zero, the head of its hash chain, and the lots its credits are in.

use uuid::Uuid;

use super::hold::HoldState;
use super::lot::Lot;

/// A column of the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bucket {
    /// Credits given, less what lapsed or was taken back: negative, where all others come from.
    Granted,
    /// Credits that can be spent.
    Available,
    /// Credits set aside for jobs that have not ended.
    Held,
    /// Credits captured.
    Spent,
    /// Credits spent whose payment was taken back: negative; the next credits that come pay it.
    Owed,
    /// The same beyond [`super::DEBT_MAX`]: negative, and nobody pays it.
    Lost,
}

impl Bucket {
    /// Every column.
    pub const ALL: [Self; 6] = [Self::Granted, Self::Available, Self::Held, Self::Spent, Self::Owed, Self::Lost];

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
            Self::Owed => "owed",
            Self::Lost => "lost",
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
    /// See [`Bucket::Owed`]; never positive, and zero while anything is available.
    pub owed: i64,
    /// See [`Bucket::Lost`]; never positive.
    pub lost: i64,
    /// Transactions posted so far.
    pub seq: i64,
    /// Hash of the last one.
    pub head: Hash,
}

impl Account {
    /// An empty book.
    pub fn open(id: Uuid) -> Self {
        Self { id, granted: 0, available: 0, held: 0, spent: 0, owed: 0, lost: 0, seq: 0, head: GENESIS }
    }

    /// What is in a column.
    pub fn balance(&self, bucket: Bucket) -> i64 {
        match bucket {
            Bucket::Granted => self.granted,
            Bucket::Available => self.available,
            Bucket::Held => self.held,
            Bucket::Spent => self.spent,
            Bucket::Owed => self.owed,
            Bucket::Lost => self.lost,
        }
    }

    /// The column, to be changed by a posting and nobody else.
    pub(super) fn column(&mut self, bucket: Bucket) -> &mut i64 {
        match bucket {
            Bucket::Granted => &mut self.granted,
            Bucket::Available => &mut self.available,
            Bucket::Held => &mut self.held,
            Bucket::Spent => &mut self.spent,
            Bucket::Owed => &mut self.owed,
            Bucket::Lost => &mut self.lost,
        }
    }
}

/// An account with what decisions about it need: its open lots, and whether it may spend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Book {
    /// Columns and head.
    pub account: Account,
    /// Its open lots, in the order they are burned.
    pub lots: Vec<Lot>,
    /// A payment of its owner's is disputed: no holds.
    pub stopped: bool,
    /// Holds of it that have not ended. The database counts them.
    pub open_holds: u64,
}

impl Book {
    /// A book with lots in any order.
    pub fn new(account: Account, mut lots: Vec<Lot>, stopped: bool) -> Self {
        lots.sort_by_key(Lot::burn_key);
        Self { account, lots, stopped, open_holds: 0 }
    }

    /// An empty one.
    pub fn empty(id: Uuid) -> Self {
        Self::new(Account::open(id), Vec::new(), false)
    }

    /// The book after a posting.
    pub fn take(&mut self, posting: &super::Posting) {
        self.account = posting.account.clone();
        match posting.hold.as_ref().map(|hold| hold.state) {
            Some(HoldState::Held) => self.open_holds += 1,
            Some(HoldState::Captured | HoldState::Voided | HoldState::Expired) => {
                self.open_holds = self.open_holds.saturating_sub(1);
            }
            None => {}
        }
        for changed in &posting.lots {
            match self.lots.iter_mut().find(|lot| lot.id == changed.id) {
                Some(lot) => *lot = *changed,
                None => self.lots.push(*changed),
            }
        }
        self.lots.retain(Lot::is_open);
        self.lots.sort_by_key(Lot::burn_key);
    }
}
