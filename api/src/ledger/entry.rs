//! A transaction and its entries, and the hash that chains one to the last.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};
use tintype_types::Timestamp;
use uuid::Uuid;

use super::account::{Bucket, Hash};

/// Room for the text of a hold of one lot, the most frequent transaction.
const TEXT_BYTES: usize = 512;

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TxnKind {
    /// Credits given, for money or for nothing.
    Grant,
    /// Credits set aside.
    Hold,
    /// Credits taken.
    Capture,
    /// Credits given back because the job failed.
    Void,
    /// Credits given back because the job is gone.
    Expire,
    /// What remained of a lot when its time came.
    Lapse,
    /// Credits taken back because their payment was.
    TakeBack,
}

impl TxnKind {
    /// Every kind.
    pub const ALL: [Self; 7] =
        [Self::Grant, Self::Hold, Self::Capture, Self::Void, Self::Expire, Self::Lapse, Self::TakeBack];

    /// The kind of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Its name in the database and in the hash.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Grant => "grant",
            Self::Hold => "hold",
            Self::Capture => "capture",
            Self::Void => "void",
            Self::Expire => "expire",
            Self::Lapse => "lapse",
            Self::TakeBack => "take_back",
        }
    }
}

/// One line: a column changes by an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which column.
    pub bucket: Bucket,
    /// By how much; never zero.
    pub amount: i64,
    /// What is in the column afterwards.
    pub balance_after: i64,
    /// Of which lot. None: what was owed or lost, and in lines from before there were lots.
    pub lot: Option<Uuid>,
}

impl Entry {
    fn write(&self, text: &mut String) {
        let Self { bucket, amount, balance_after, lot } = self;
        // Writing to a string cannot fail, here and below.
        let _ = write!(text, "{}:{amount}:{balance_after}", bucket.as_str());
        if let Some(lot) = lot {
            let _ = write!(text, ":{lot}");
        }
    }
}

/// Lines that belong together and sum to zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Txn {
    /// Its own id.
    pub id: Uuid,
    /// On whose book.
    pub account: Uuid,
    /// Its number on that book, from 1.
    pub seq: i64,
    /// What it is for.
    pub kind: TxnKind,
    /// What makes doing it twice doing it once; unique over all books.
    pub key: String,
    /// When.
    pub at: Timestamp,
    /// Hash of the one before it on that book.
    pub prev_hash: Hash,
    /// Hash of this one.
    pub hash: Hash,
    /// The lines.
    pub entries: Vec<Entry>,
}

impl Txn {
    /// The hash over everything else in it. `tests/it/support.rs` computes the same in SQL: change both or neither.
    pub fn compute_hash(&self) -> Hash {
        let Self { id, account, seq, kind, key, at, prev_hash, hash: _, entries } = self;
        let mut text = String::with_capacity(TEXT_BYTES);
        let (prev_hash, kind) = (hex::encode(prev_hash), kind.as_str());
        let _ = write!(text, "{prev_hash}|{id}|{account}|{seq}|{kind}|{key}|{}|", at.0);
        for (n, line) in entries.iter().enumerate() {
            if n > 0 {
                text.push(',');
            }
            line.write(&mut text);
        }
        Sha256::digest(text.as_bytes()).into()
    }
}
