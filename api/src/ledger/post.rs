//! What may be posted: grant, hold, capture, void, expire. Pure: books and holds in, a posting out.
//!
//! Ending a hold that has ended is not an error but an answer ([`Ended::Before`]): settlement and the sweep may meet.

use tintype_types::Timestamp;
use uuid::Uuid;

use super::AMOUNT_MAX;
use super::account::{Account, Bucket};
use super::entry::{Entry, Txn, TxnKind};
use super::hold::{Hold, HoldState};

/// Why nothing is posted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// More is asked than there is.
    #[error("{needed} milli-credits are needed and {available} are available")]
    Insufficient {
        /// What is there.
        available: i64,
        /// What was asked.
        needed: i64,
    },
    /// Not an amount: zero, negative or absurdly large.
    #[error("{0} is not an amount that can be posted")]
    BadAmount(i64),
    /// A capture of more than was held.
    #[error("cannot capture {asked} of the {held} held")]
    CaptureAboveHold {
        /// What is held.
        held: i64,
        /// What was asked.
        asked: i64,
    },
    /// The hold is on another account's book.
    #[error("the hold is not on this account")]
    WrongAccount,
}

/// When a transaction happens and what it is called: drawn at the edge, used here.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// The new transaction's id.
    pub txn: Uuid,
    /// Now.
    pub at: Timestamp,
}

/// What to write, all of it in one database transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posting {
    /// The book afterwards.
    pub account: Account,
    /// The new transaction.
    pub txn: Txn,
    /// The hold afterwards, when it is about one.
    pub hold: Option<Hold>,
}

/// How a hold was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Take this many milli-credits (at most what is held) and give the rest back.
    Capture(i64),
    /// Give all of it back: the job made nothing.
    Void,
    /// Give all of it back: the job is gone.
    Expire,
}

/// What came of ending a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It ends with this posting.
    Now(Box<Posting>),
    /// It had ended already, this way; nothing is posted.
    Before(HoldState),
}

/// Gives credits.
pub fn grant(account: &Account, amount: i64, key: String, stamp: Stamp) -> Result<Posting, LedgerError> {
    check_amount(amount)?;
    // No column is ever larger than what was granted in all, so this is the only place where a sum could overflow.
    if account.granted.checked_sub(amount).is_none() {
        return Err(LedgerError::BadAmount(amount));
    }
    let moves = [(Bucket::Granted, -amount), (Bucket::Available, amount)];
    Ok(posting(account, TxnKind::Grant, key, stamp, &moves))
}

/// Sets credits aside for the job `id`.
pub fn hold(
    account: &Account,
    id: Uuid,
    amount: i64,
    expires: Timestamp,
    stamp: Stamp,
) -> Result<Posting, LedgerError> {
    check_amount(amount)?;
    if account.available < amount {
        return Err(LedgerError::Insufficient { available: account.available, needed: amount });
    }
    let moves = [(Bucket::Available, -amount), (Bucket::Held, amount)];
    let mut posting = posting(account, TxnKind::Hold, Hold::start_key(id), stamp, &moves);
    posting.hold = Some(Hold {
        id,
        account: account.id,
        amount,
        captured: 0,
        state: HoldState::Held,
        created: stamp.at,
        expires,
        ended: None,
    });
    Ok(posting)
}

/// Ends a hold, unless it has ended.
pub fn end(account: &Account, hold: &Hold, how: End, stamp: Stamp) -> Result<Ended, LedgerError> {
    if hold.account != account.id {
        return Err(LedgerError::WrongAccount);
    }
    if hold.state != HoldState::Held {
        return Ok(Ended::Before(hold.state));
    }
    let (kind, state, taken) = match how {
        End::Capture(taken) => (TxnKind::Capture, HoldState::Captured, taken),
        End::Void => (TxnKind::Void, HoldState::Voided, 0),
        End::Expire => (TxnKind::Expire, HoldState::Expired, 0),
    };
    if taken < 0 {
        return Err(LedgerError::BadAmount(taken));
    }
    if taken > hold.amount {
        return Err(LedgerError::CaptureAboveHold { held: hold.amount, asked: taken });
    }
    let moves = [(Bucket::Held, -hold.amount), (Bucket::Spent, taken), (Bucket::Available, hold.amount - taken)];
    let mut posting = posting(account, kind, Hold::end_key(hold.id), stamp, &moves);
    posting.hold = Some(Hold { captured: taken, state, ended: Some(stamp.at), ..hold.clone() });
    Ok(Ended::Now(Box::new(posting)))
}

fn check_amount(amount: i64) -> Result<(), LedgerError> {
    if (1..=AMOUNT_MAX).contains(&amount) { Ok(()) } else { Err(LedgerError::BadAmount(amount)) }
}

/// Moves amounts between columns and chains the transaction to the last. Moves of nothing leave no line.
fn posting(account: &Account, kind: TxnKind, key: String, stamp: Stamp, moves: &[(Bucket, i64)]) -> Posting {
    debug_assert_eq!(moves.iter().map(|&(_, amount)| amount).sum::<i64>(), 0, "a transaction sums to zero");
    let mut after = account.clone();
    after.seq += 1;
    let mut entries = Vec::with_capacity(moves.len());
    for &(bucket, amount) in moves.iter().filter(|&&(_, amount)| amount != 0) {
        let column = after.column(bucket);
        *column += amount;
        entries.push(Entry { bucket, amount, balance_after: *column });
    }
    let mut txn = Txn {
        id: stamp.txn,
        account: account.id,
        seq: after.seq,
        kind,
        key,
        at: stamp.at,
        prev_hash: account.head,
        hash: [0; 32],
        entries,
    };
    txn.hash = txn.compute_hash();
    after.head = txn.hash;
    Posting { account: after, txn, hold: None }
}
