//! Random programs over the pure ledger, beside a small oracle that knows nothing of entries.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tintype_api::ledger::account::GENESIS;
use tintype_api::ledger::post::{self, End, Ended, Stamp};
use tintype_api::ledger::{AMOUNT_MAX, Account, Bucket, Hold, HoldState, LedgerError, Posting, Txn};
use tintype_types::Timestamp;
use uuid::Uuid;

/// One line of a program. Hold numbers are drawn from few, so that doubles and strangers happen.
#[derive(Clone, Debug)]
enum Op {
    Grant(i64),
    Hold { hold: u8, amount: i64 },
    Capture { hold: u8, amount: i64 },
    Void(u8),
    Expire(u8),
}

fn op() -> impl Strategy<Value = Op> {
    let amount =
        || prop_oneof![8 => 1..50_i64, 1 => Just(0), 1 => Just(-3), 1 => Just(AMOUNT_MAX), 1 => Just(i64::MAX)];
    let hold = || 0..6_u8;
    prop_oneof![
        1 => amount().prop_map(Op::Grant),
        3 => (hold(), amount()).prop_map(|(hold, amount)| Op::Hold { hold, amount }),
        3 => (hold(), amount()).prop_map(|(hold, amount)| Op::Capture { hold, amount }),
        1 => hold().prop_map(Op::Void),
        1 => hold().prop_map(Op::Expire),
    ]
}

/// What should be true, kept in the plainest way.
#[derive(Default)]
struct Oracle {
    granted: i64,
    spent: i64,
    holds: BTreeMap<u8, (i64, HoldState)>,
}

impl Oracle {
    fn held(&self) -> i64 {
        self.holds.values().filter(|(_, state)| *state == HoldState::Held).map(|(amount, _)| amount).sum()
    }

    fn available(&self) -> i64 {
        self.granted - self.spent - self.held()
    }
}

/// The ledger under test: what `sql` would have stored.
struct Book {
    account: Account,
    holds: BTreeMap<u8, Hold>,
    txns: Vec<Txn>,
}

impl Book {
    fn stamp(&self) -> Stamp {
        let n = self.txns.len() as u64 + 1;
        Stamp { txn: Uuid::from_u128(u128::from(n)), at: Timestamp(1_000 * n) }
    }

    fn apply(&mut self, posting: Posting, name: Option<u8>) {
        self.account = posting.account;
        self.txns.push(posting.txn);
        if let (Some(name), Some(hold)) = (name, posting.hold) {
            self.holds.insert(name, hold);
        }
    }
}

fn step(book: &mut Book, oracle: &mut Oracle, op: &Op) {
    let valid = |amount: i64| (1..=AMOUNT_MAX).contains(&amount);
    let stamp = book.stamp();
    match *op {
        Op::Grant(amount) => match post::grant(&book.account, amount, format!("grant:{}", book.txns.len()), stamp) {
            Ok(posting) => {
                assert!(valid(amount));
                oracle.granted += amount;
                book.apply(posting, None);
            }
            Err(error) => {
                assert_eq!(error, LedgerError::BadAmount(amount));
                assert!(!valid(amount));
            }
        },
        Op::Hold { hold, amount } => {
            if oracle.holds.contains_key(&hold) {
                return; // `sql::hold` answers false before the pure part is asked.
            }
            match post::hold(&book.account, Uuid::from_u128(u128::from(hold)), amount, Timestamp(0), stamp) {
                Ok(posting) => {
                    assert!(valid(amount) && amount <= oracle.available());
                    oracle.holds.insert(hold, (amount, HoldState::Held));
                    book.apply(posting, Some(hold));
                }
                Err(LedgerError::Insufficient { available, needed }) => {
                    assert_eq!((available, needed), (oracle.available(), amount));
                    assert!(amount > available);
                }
                Err(error) => {
                    assert_eq!(error, LedgerError::BadAmount(amount));
                    assert!(!valid(amount));
                }
            }
        }
        Op::Capture { hold, amount } => end(book, oracle, hold, End::Capture(amount)),
        Op::Void(hold) => end(book, oracle, hold, End::Void),
        Op::Expire(hold) => end(book, oracle, hold, End::Expire),
    }
}

fn end(book: &mut Book, oracle: &mut Oracle, name: u8, how: End) {
    let Some(hold) = book.holds.get(&name) else {
        assert!(!oracle.holds.contains_key(&name));
        return;
    };
    let (amount, state) = oracle.holds[&name];
    match post::end(&book.account, hold, how, book.stamp()) {
        Ok(Ended::Before(was)) => assert_eq!(was, state, "a hold that has ended stays as it is"),
        Ok(Ended::Now(posting)) => {
            assert_eq!(state, HoldState::Held, "a hold ends once");
            let (taken, state) = match how {
                End::Capture(taken) => (taken, HoldState::Captured),
                End::Void => (0, HoldState::Voided),
                End::Expire => (0, HoldState::Expired),
            };
            assert!((0..=amount).contains(&taken));
            oracle.spent += taken;
            oracle.holds.insert(name, (amount, state));
            book.apply(*posting, Some(name));
        }
        Err(LedgerError::CaptureAboveHold { held, asked }) => assert!(held == amount && asked > amount),
        Err(error) => assert!(matches!((error, how), (LedgerError::BadAmount(_), End::Capture(taken)) if taken < 0)),
    }
}

fn check(book: &Book, oracle: &Oracle) {
    let account = &book.account;
    assert_eq!(account.granted, -oracle.granted);
    assert_eq!(account.available, oracle.available());
    assert_eq!(account.held, oracle.held());
    assert_eq!(account.spent, oracle.spent);
    assert!(account.available >= 0 && account.held >= 0);
    assert_eq!(Bucket::ALL.iter().map(|&bucket| account.balance(bucket)).sum::<i64>(), 0);

    let mut head = GENESIS;
    let mut balances: BTreeMap<Bucket, i64> = BTreeMap::new();
    for (n, txn) in book.txns.iter().enumerate() {
        assert_eq!((txn.seq, txn.prev_hash), (n as i64 + 1, head), "the chain has no gap");
        assert_eq!(txn.hash, txn.compute_hash());
        head = txn.hash;
        assert_eq!(txn.entries.iter().map(|line| line.amount).sum::<i64>(), 0);
        for line in &txn.entries {
            let balance = balances.entry(line.bucket).or_default();
            *balance += line.amount;
            assert_eq!(*balance, line.balance_after);
        }
    }
    assert_eq!(head, account.head);
    for bucket in Bucket::ALL {
        assert_eq!(balances.get(&bucket).copied().unwrap_or(0), account.balance(bucket));
    }
    let mut keys: Vec<_> = book.txns.iter().map(|txn| &txn.key).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), book.txns.len(), "every key is used once");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_program_leaves_a_book_the_oracle_agrees_with(program in prop::collection::vec(op(), 0..60)) {
        let account = Account::open(Uuid::from_u128(77));
        let mut book = Book { account, holds: BTreeMap::new(), txns: Vec::new() };
        let mut oracle = Oracle::default();
        for op in &program {
            step(&mut book, &mut oracle, op);
            check(&book, &oracle);
        }
    }
}

#[test]
fn a_hold_cannot_be_ended_on_another_accounts_book() {
    let stamp = Stamp { txn: Uuid::from_u128(1), at: Timestamp(1) };
    let rich = post::grant(&Account::open(Uuid::from_u128(1)), 100, "g".to_owned(), stamp).unwrap().account;
    let hold = post::hold(&rich, Uuid::from_u128(9), 50, Timestamp(2), stamp).unwrap().hold.unwrap();
    let other = Account::open(Uuid::from_u128(2));
    assert_eq!(post::end(&other, &hold, End::Void, stamp), Err(LedgerError::WrongAccount));
}

#[test]
fn a_changed_line_breaks_the_hash() {
    let stamp = Stamp { txn: Uuid::from_u128(1), at: Timestamp(1) };
    let mut txn = post::grant(&Account::open(Uuid::from_u128(1)), 100, "g".to_owned(), stamp).unwrap().txn;
    txn.entries[1].amount += 1;
    assert_ne!(txn.hash, txn.compute_hash());
}
