//! What may be posted: grant, hold, capture, void, expire, lapse, take back. Pure: books and holds in, a posting out.
//!
//! Ending a hold that has ended is not an error but an answer ([`Ended::Before`]): settlement and the sweep may meet.

use tintype_types::Timestamp;
use uuid::Uuid;

use super::account::{Account, Book, Bucket};
use super::entry::{Entry, Txn, TxnKind};
use super::hold::{Hold, HoldState, Part};
use super::lot::{Grant, Lot};
use super::{AMOUNT_MAX, DEBT_MAX, OPEN_LOTS_MAX};

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
    /// A payment of the account is disputed: it makes no holds.
    #[error("the account is stopped")]
    Stopped,
    /// As many lots are open as may be.
    #[error("{OPEN_LOTS_MAX} grants of the account are not used up; it can take no more")]
    TooManyLots,
    /// The lot is not among the account's open ones.
    #[error("lot {0} is not open on this account")]
    NoLot(Uuid),
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
    /// The columns afterwards.
    pub account: Account,
    /// The new transaction.
    pub txn: Txn,
    /// The hold afterwards, when it is about one.
    pub hold: Option<Hold>,
    /// The lots it changes, as they are afterwards.
    pub lots: Vec<Lot>,
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

/// Gives credits: a new lot. What is owed is paid from it first.
///
/// # Errors
/// Not an amount, or too many lots.
pub fn grant(book: &Book, grant: &Grant, stamp: Stamp) -> Result<Posting, LedgerError> {
    let Grant { source, reference: _, amount, expires } = grant;
    check_amount(*amount)?;
    // No column is ever larger than what was granted in all, so this is the only place where a sum could overflow.
    if book.account.granted.checked_sub(*amount).is_none() {
        return Err(LedgerError::BadAmount(*amount));
    }
    if book.lots.len() >= OPEN_LOTS_MAX {
        return Err(LedgerError::TooManyLots);
    }
    let mut moves = Moves::of(book);
    let lot = Lot { id: stamp.txn, source: *source, remaining: 0, reserved: 0, expires: *expires, lost: 0 };
    moves.add(Bucket::Granted, -amount, Some(lot.id));
    let paid = moves.pay(Bucket::Owed, *amount);
    moves.add(Bucket::Available, amount - paid, Some(lot.id));
    moves.lots.push(Lot { remaining: amount - paid, ..lot });
    Ok(moves.post(TxnKind::Grant, grant.key(), stamp))
}

/// Sets credits aside for the job `id`, from the lots that are burned first and have not lapsed.
///
/// # Errors
/// Not an amount, too few credits, or the account is stopped.
pub fn hold(book: &Book, id: Uuid, amount: i64, expires: Timestamp, stamp: Stamp) -> Result<Posting, LedgerError> {
    check_amount(amount)?;
    if book.stopped {
        return Err(LedgerError::Stopped);
    }
    let usable = book.lots.iter().filter(|lot| lot.remaining > 0 && !lot.has_lapsed(stamp.at));
    let (mut moves, mut parts, mut missing) = (Moves::of(book), Vec::new(), amount);
    for lot in usable.clone() {
        let part = missing.min(lot.remaining);
        if part == 0 {
            break;
        }
        missing -= part;
        parts.push(Part { lot: lot.id, amount: part });
        moves.add(Bucket::Available, -part, Some(lot.id));
        moves.add(Bucket::Held, part, Some(lot.id));
        moves.lots.push(Lot { remaining: lot.remaining - part, reserved: lot.reserved + part, ..*lot });
    }
    if missing > 0 {
        let available = usable.map(|lot| lot.remaining).sum();
        return Err(LedgerError::Insufficient { available, needed: amount });
    }
    let mut posting = moves.post(TxnKind::Hold, Hold::start_key(id), stamp);
    let (account, created) = (book.account.id, stamp.at);
    let state = HoldState::Held;
    posting.hold = Some(Hold { id, account, amount, captured: 0, state, created, expires, ended: None, parts });
    Ok(posting)
}

/// Ends a hold, unless it has ended. What is given back goes to the lots it came from, lapsed or not, or pays a debt.
///
/// # Errors
/// Not an amount, more than is held, or a hold of another book.
pub fn end(book: &Book, hold: &Hold, how: End, stamp: Stamp) -> Result<Ended, LedgerError> {
    if hold.account != book.account.id {
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
    let (mut moves, mut to_take) = (Moves::of(book), taken);
    for part in &hold.parts {
        let lot = book.lots.iter().find(|lot| lot.id == part.lot && lot.reserved >= part.amount);
        let lot = lot.ok_or(LedgerError::NoLot(part.lot))?;
        let spent = to_take.min(part.amount);
        to_take -= spent;
        let given_back = part.amount - spent;
        moves.add(Bucket::Held, -part.amount, Some(lot.id));
        moves.add(Bucket::Spent, spent, Some(lot.id));
        let recovered = moves.pay(Bucket::Lost, given_back.min(lot.lost));
        let paid = recovered + moves.pay(Bucket::Owed, given_back - recovered);
        moves.add(Bucket::Available, given_back - paid, Some(lot.id));
        let (remaining, reserved) = (lot.remaining + given_back - paid, lot.reserved - part.amount);
        moves.lots.push(Lot { remaining, reserved, lost: lot.lost - recovered, ..*lot });
    }
    let mut posting = moves.post(kind, Hold::end_key(hold.id), stamp);
    posting.hold = Some(Hold { captured: taken, state, ended: Some(stamp.at), ..hold.clone() });
    Ok(Ended::Now(Box::new(posting)))
}

/// Takes out what remains of a lot whose time has come; nothing when it has not, or nothing remains.
///
/// # Errors
/// The lot is not open.
pub fn lapse(book: &Book, lot: Uuid, stamp: Stamp) -> Result<Option<Posting>, LedgerError> {
    let lot = book.lots.iter().find(|open| open.id == lot).ok_or(LedgerError::NoLot(lot))?;
    if lot.remaining == 0 || !lot.has_lapsed(stamp.at) {
        return Ok(None);
    }
    let mut moves = Moves::of(book);
    moves.withdraw(lot, lot.remaining);
    // More may come back to it from holds, and lapse in its turn.
    let key = format!("lapse:{}:{}", lot.id, book.account.seq + 1);
    Ok(Some(moves.post(TxnKind::Lapse, key, stamp)))
}

/// Credits to be taken back, because what was paid for them was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakeBack {
    /// The lot that was paid for. It need not be open any more.
    pub lot: Uuid,
    /// How many, in milli-credits.
    pub amount: i64,
    /// The key of the transaction.
    pub key: String,
}

/// Takes credits back: what remains of their own lot, then of the others as they are burned; then the account owes, up
/// to [`DEBT_MAX`]; the rest is lost.
///
/// # Errors
/// Not an amount, or more than was ever given and has not lapsed.
pub fn take_back(book: &Book, what: TakeBack, stamp: Stamp) -> Result<Posting, LedgerError> {
    let TakeBack { lot: own, amount, key } = what;
    check_amount(amount)?;
    if amount > -book.account.granted {
        return Err(LedgerError::BadAmount(amount));
    }
    let (mut moves, mut missing) = (Moves::of(book), amount);
    let first = book.lots.iter().find(|lot| lot.id == own);
    for lot in first.into_iter().chain(book.lots.iter().filter(|lot| lot.id != own)) {
        let part = missing.min(lot.remaining);
        if part > 0 {
            missing -= part;
            moves.withdraw(lot, part);
        }
    }
    let owed = missing.min(DEBT_MAX + book.account.owed);
    if let Some(lot) = first.filter(|_| missing > owed) {
        // Nothing remains of it when something is missing; what is set aside may come back.
        moves.lots.retain(|changed| changed.id != own);
        moves.lots.push(Lot { remaining: 0, lost: lot.lost + missing - owed, ..*lot });
    }
    for (bucket, part) in [(Bucket::Owed, owed), (Bucket::Lost, missing - owed)] {
        moves.add(Bucket::Granted, part, Some(own));
        moves.add(bucket, -part, None);
    }
    Ok(moves.post(TxnKind::TakeBack, key, stamp))
}

fn check_amount(amount: i64) -> Result<(), LedgerError> {
    if (1..=AMOUNT_MAX).contains(&amount) { Ok(()) } else { Err(LedgerError::BadAmount(amount)) }
}

/// A transaction being put together.
struct Moves {
    after: Account,
    entries: Vec<Entry>,
    lots: Vec<Lot>,
}

impl Moves {
    fn of(book: &Book) -> Self {
        Self { after: book.account.clone(), entries: Vec::new(), lots: Vec::new() }
    }

    /// Changes a column. A move of nothing leaves no line.
    fn add(&mut self, bucket: Bucket, amount: i64, lot: Option<Uuid>) {
        if amount != 0 {
            let column = self.after.column(bucket);
            *column += amount;
            self.entries.push(Entry { bucket, amount, balance_after: *column, lot });
        }
    }

    /// Pays what is owed or lost, from at most `limit`; answers how much.
    fn pay(&mut self, debt: Bucket, limit: i64) -> i64 {
        let paid = limit.min(-self.after.balance(debt));
        self.add(debt, paid, None);
        paid
    }

    /// Takes a part of a lot out of the book.
    fn withdraw(&mut self, lot: &Lot, part: i64) {
        self.add(Bucket::Granted, part, Some(lot.id));
        self.add(Bucket::Available, -part, Some(lot.id));
        self.lots.push(Lot { remaining: lot.remaining - part, ..*lot });
    }

    /// Chains the transaction to the last.
    fn post(self, kind: TxnKind, key: String, stamp: Stamp) -> Posting {
        let Self { mut after, entries, lots } = self;
        debug_assert_eq!(entries.iter().map(|line| line.amount).sum::<i64>(), 0, "a transaction sums to zero");
        let prev_hash = after.head;
        after.seq += 1;
        let (account, seq) = (after.id, after.seq);
        let mut txn = Txn { id: stamp.txn, account, seq, kind, key, at: stamp.at, prev_hash, hash: [0; 32], entries };
        txn.hash = txn.compute_hash();
        after.head = txn.hash;
        Posting { account: after, txn, hold: None, lots }
    }
}
