//! Making jobs, many in one transaction: the job, its hold and its idempotency key, or a refusal, for each. A batch of one
//! and a batch of a hundred do the same (`tests/it/creation.rs` compares the books byte by byte).
//!
//! [`decide`] is pure: orders and what the database says in, outcomes and postings out. [`sql`] reads and writes; [`lane`]
//! collects what comes at the same time.

pub(crate) mod lane;
pub mod sql;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tintype_crds::WhenLate;
use tintype_types::{ResolvedRequest, Timestamp, Traceparent};
use uuid::Uuid;

use crate::ledger::Book;
use crate::ledger::post::{self, LedgerError, Posting, Stamp};
use crate::records::idempotency::Scope;

/// How long a hold is safe from the sweep, which even then frees it only when its job is gone or over.
const HOLD_TTL: Duration = Duration::from_hours(24);

/// The key a job is asked for with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// Its id.
    pub id: String,
    /// Whether the job counts against a budget of the key's own.
    pub budgeted: bool,
}

impl From<&str> for KeyUse {
    fn from(id: &str) -> Self {
        Self { id: id.to_owned(), budgeted: false }
    }
}

/// By when a job should be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// The moment.
    pub at: Timestamp,
    /// What becomes of the job when that cannot be.
    pub when_late: WhenLate,
}

/// A job to be made: judged and priced, with every id drawn.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// Its id.
    pub id: Uuid,
    /// Whose.
    pub account: Uuid,
    /// The key it is asked for with; none: in a browser.
    pub api_key: Option<KeyUse>,
    /// What to make.
    pub request: ResolvedRequest,
    /// Hash of route and body.
    pub body_sha256: [u8; 32],
    /// Route and idempotency key, if there is one.
    pub repeat: Option<(&'static str, String)>,
    /// What it costs, in milli-credits.
    pub price: i64,
    /// Id and time of the hold's transaction; the job is as old.
    pub stamp: Stamp,
    /// By when it should be done, if it says.
    pub deadline: Option<Deadline>,
    /// How many jobs of the account may be unfinished, this one among them.
    pub open_max: u64,
    /// When it counts as handed to the scheduler; none: it is handed over later.
    pub submitted: Option<Timestamp>,
    /// What it is part of, if it is traced.
    pub traceparent: Option<Traceparent>,
}

impl NewJob {
    fn scope(&self) -> Option<Scope> {
        let (route, key) = self.repeat.as_ref()?;
        Some(Scope { account: self.account, route, key: key.clone() })
    }

    /// The key whose budget counts.
    pub(crate) fn budgeted_key(&self) -> Option<&str> {
        self.api_key.as_ref().filter(|key| key.budgeted).map(|key| key.id.as_str())
    }

    fn at(&self) -> Timestamp {
        self.stamp.at
    }
}

/// What came of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The job is there, its credits are held.
    Made,
    /// Another request had the idempotency key first.
    KeyTaken,
    /// Too many jobs of the account are unfinished.
    TooManyOpen,
    /// The key has too little left of its budget.
    OverBudget {
        /// What is left of it, in milli-credits.
        left: i64,
        /// What the job costs.
        needed: i64,
    },
    /// Too few credits.
    Insufficient {
        /// What is there, in milli-credits.
        available: i64,
        /// What it costs.
        needed: i64,
    },
    /// A payment of the account is disputed.
    Stopped,
}

/// What the database says about the accounts of a batch, whose books are locked.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Their books. A job is unfinished as long as its hold is open.
    pub(crate) accounts: BTreeMap<Uuid, Book>,
    /// Idempotency keys that were used.
    pub(crate) taken: BTreeSet<Scope>,
    /// What is left of the budgets of keys that have one.
    pub(crate) budgets: BTreeMap<String, i64>,
}

/// An order's outcome, and what is to be written if it is made.
pub(crate) type Decided = (Outcome, Option<Box<Posting>>);

/// Decides in the order they came. Each sees what those before it left.
pub(crate) fn decide(orders: &[NewJob], mut known: Known) -> Result<Vec<Decided>, LedgerError> {
    orders.iter().map(|order| decide_one(order, &mut known)).collect()
}

fn decide_one(order: &NewJob, known: &mut Known) -> Result<Decided, LedgerError> {
    let scope = order.scope();
    if scope.as_ref().is_some_and(|scope| known.taken.contains(scope)) {
        return Ok((Outcome::KeyTaken, None));
    }
    // An account without a book has nothing to spend.
    let Some(book) = known.accounts.get_mut(&order.account) else {
        return Ok((Outcome::Insufficient { available: 0, needed: order.price }, None));
    };
    if book.open_holds >= order.open_max {
        return Ok((Outcome::TooManyOpen, None));
    }
    let budget = order.budgeted_key().and_then(|key| known.budgets.get_mut(key));
    if let Some(left) = budget.as_deref().filter(|left| **left < order.price) {
        return Ok((Outcome::OverBudget { left: (*left).max(0), needed: order.price }, None));
    }
    let posting = match post::hold(book, order.id, order.price, order.at().plus(HOLD_TTL), order.stamp) {
        Ok(posting) => posting,
        Err(LedgerError::Insufficient { available, needed }) => {
            return Ok((Outcome::Insufficient { available, needed }, None));
        }
        Err(LedgerError::Stopped) => return Ok((Outcome::Stopped, None)),
        Err(
            error @ (LedgerError::BadAmount(_)
            | LedgerError::CaptureAboveHold { .. }
            | LedgerError::WrongAccount
            | LedgerError::TooManyLots
            | LedgerError::NoLot(_)),
        ) => return Err(error),
    };
    book.take(&posting);
    if let Some(left) = budget {
        *left -= order.price;
    }
    known.taken.extend(scope);
    Ok((Outcome::Made, Some(Box::new(posting))))
}

#[cfg(test)]
mod tests {
    use tintype_types::{GenerationRequest, ModelDefaults, Sampler};

    use super::*;
    use crate::ledger::{Grant, Source};

    fn order(n: u128, price: i64, key: Option<&str>) -> NewJob {
        let defaults = ModelDefaults { width: 64, height: 64, steps: 20, guidance_scale: 3.0, sampler: Sampler::Euler };
        NewJob {
            id: Uuid::from_u128(n),
            account: Uuid::from_u128(1),
            api_key: Some("k".into()),
            request: GenerationRequest::new("m", "p").resolve(&defaults, 0),
            body_sha256: [0; 32],
            repeat: key.map(|key| ("route", key.to_owned())),
            price,
            stamp: Stamp { txn: Uuid::from_u128(1_000 + n), at: Timestamp(5) },
            deadline: None,
            open_max: 100,
            submitted: None,
            traceparent: None,
        }
    }

    fn known(available: i64, open_holds: u64) -> Known {
        let stamp = Stamp { txn: Uuid::from_u128(9), at: Timestamp(1) };
        let mut book = Book::empty(Uuid::from_u128(1));
        let gift = Grant { source: Source::Promo, reference: "g".to_owned(), amount: available, expires: None };
        book.take(&post::grant(&book, &gift, stamp).unwrap());
        Known {
            accounts: BTreeMap::from([(book.account.id, Book { open_holds, ..book })]),
            taken: BTreeSet::new(),
            budgets: BTreeMap::new(),
        }
    }

    fn outcomes(orders: &[NewJob], known: Known) -> Vec<Outcome> {
        decide(orders, known).unwrap().into_iter().map(|(outcome, _)| outcome).collect()
    }

    #[test]
    fn each_sees_what_those_before_it_left() {
        let orders = [order(1, 60, None), order(2, 60, None), order(3, 40, None), order(4, 1, None)];
        let short = |available, needed| Outcome::Insufficient { available, needed };
        assert_eq!(outcomes(&orders, known(100, 0)), [Outcome::Made, short(40, 60), Outcome::Made, short(0, 1)]);
        let decided = decide(&orders, known(100, 0)).unwrap();
        let chain: Vec<_> = decided.iter().filter_map(|(_, posting)| posting.as_ref()).collect();
        assert_eq!(chain[1].txn.prev_hash, chain[0].txn.hash, "one chain, in the order they came");
        assert_eq!((chain[1].txn.seq, chain[1].account.held), (3, 100));
    }

    #[test]
    fn a_key_used_before_or_in_the_same_batch_makes_no_second_job() {
        let orders = [order(1, 1, Some("a")), order(2, 1, Some("a")), order(3, 1, Some("b"))];
        let mut used = known(10, 0);
        used.taken.insert(orders[2].scope().unwrap());
        assert_eq!(outcomes(&orders, used), [Outcome::Made, Outcome::KeyTaken, Outcome::KeyTaken]);
        // A refused order has not used its key.
        let orders = [order(1, 99, Some("a")), order(2, 1, Some("a"))];
        assert_eq!(outcomes(&orders, known(10, 0))[1], Outcome::Made);
    }

    #[test]
    fn open_jobs_and_unknown_accounts_are_bounds() {
        let orders = [order(1, 1, None), order(2, 1, None)];
        assert_eq!(outcomes(&orders, known(10, 99)), [Outcome::Made, Outcome::TooManyOpen]);
        let nobody = Outcome::Insufficient { available: 0, needed: 1 };
        assert_eq!(outcomes(&orders, Known::default()), [nobody, nobody]);
        let mut stopped = known(10, 0);
        stopped.accounts.values_mut().for_each(|book| book.stopped = true);
        assert_eq!(outcomes(&orders, stopped), [Outcome::Stopped, Outcome::Stopped]);
    }

    #[test]
    fn a_budget_is_spent_by_its_own_key_alone() {
        let with_key = |n, price, key: &str, budgeted| {
            let api_key = Some(KeyUse { id: key.to_owned(), budgeted });
            NewJob { api_key, ..order(n, price, None) }
        };
        let orders = [
            with_key(1, 6, "a", true),
            with_key(2, 6, "a", true),
            with_key(3, 6, "b", false),
            with_key(4, 4, "a", true),
            with_key(5, 1, "a", true),
        ];
        let mut bounded = known(100, 0);
        bounded.budgets = BTreeMap::from([("a".to_owned(), 10), ("b".to_owned(), 0)]);
        let over = |left, needed| Outcome::OverBudget { left, needed };
        assert_eq!(outcomes(&orders, bounded), [Outcome::Made, over(4, 6), Outcome::Made, Outcome::Made, over(0, 1)]);
        // What is refused for want of credits has used nothing of the budget.
        let mut poor = known(5, 0);
        poor.budgets = BTreeMap::from([("a".to_owned(), 10)]);
        let orders = [with_key(1, 9, "a", true), with_key(2, 5, "a", true)];
        assert_eq!(outcomes(&orders, poor)[1], Outcome::Made);
    }
}
