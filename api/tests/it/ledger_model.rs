//! Random programs over the pure ledger, beside a small oracle that counts single credits and knows nothing of entries.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tintype_api::ledger::account::GENESIS;
use tintype_api::ledger::post::{self, End, Ended, Stamp, TakeBack};
use tintype_api::ledger::verify::Replay;
use tintype_api::ledger::{
    AMOUNT_MAX, Account, Book, Bucket, DEBT_MAX, Grant, Hold, HoldState, LedgerError, OPEN_LOTS_MAX, Posting, Source,
    Txn,
};
use tintype_types::Timestamp;
use uuid::Uuid;

/// One line of a program. Holds and lots are named by small numbers, so that doubles and strangers happen.
#[derive(Clone, Debug)]
enum Op {
    Grant { source: Source, amount: i64, lasts: Option<u64> },
    Hold { hold: u8, amount: i64 },
    End { hold: u8, how: End },
    Lapse(u8),
    TakeBack { lot: u8, amount: i64 },
    Stop(bool),
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    // Debts have a bound of a hundred thousand: some amounts come near it.
    let amount = || {
        prop_oneof![
            8 => 1..50_i64, 2 => 40_000..90_000_i64, 1 => Just(0), 1 => Just(-3), 1 => Just(AMOUNT_MAX), 1 => Just(i64::MAX)
        ]
    };
    let how = prop_oneof![3 => amount().prop_map(End::Capture), 1 => Just(End::Void), 1 => Just(End::Expire)];
    let source = prop::sample::select(Source::ALL.to_vec());
    let lasts = prop::option::of(0..60_u64);
    let grant = (source, amount(), lasts).prop_map(|(source, amount, lasts)| Op::Grant { source, amount, lasts });
    prop_oneof![
        3 => grant,
        4 => (0..6_u8, amount()).prop_map(|(hold, amount)| Op::Hold { hold, amount }),
        4 => (0..6_u8, how).prop_map(|(hold, how)| Op::End { hold, how }),
        2 => (0..8_u8).prop_map(Op::Lapse),
        2 => (0..8_u8, amount()).prop_map(|(lot, amount)| Op::TakeBack { lot, amount }),
        1 => any::<bool>().prop_map(Op::Stop),
        2 => (1..30_u64).prop_map(Op::Wait),
    ]
}

/// A lot in the oracle: rank in the order of burning, and where its credits are now.
#[derive(Clone, Debug, Default)]
struct OracleLot {
    rank: (u64, usize, u8),
    left: i64,
    set_aside: i64,
    lost: i64,
}

/// What should be true, kept in the plainest way.
#[derive(Default)]
struct Oracle {
    lots: Vec<OracleLot>,
    /// Which lots each hold took of, in order, and how it ended.
    holds: BTreeMap<u8, (Vec<(usize, i64)>, HoldState)>,
    spent: i64,
    owed: i64,
    lost: i64,
    stopped: bool,
    now: u64,
}

impl Oracle {
    fn usable(&self) -> Vec<usize> {
        let mut open: Vec<usize> =
            (0..self.lots.len()).filter(|&n| self.lots[n].left > 0 && self.lots[n].rank.0 > self.now).collect();
        open.sort_by_key(|&n| self.lots[n].rank);
        open
    }

    fn left(&self) -> i64 {
        self.lots.iter().map(|lot| lot.left).sum()
    }

    /// Credits come back to a lot, or pay its loss, then the debt.
    fn give_back(&mut self, lot: usize, amount: i64) {
        let recovered = amount.min(self.lots[lot].lost);
        self.lots[lot].lost -= recovered;
        self.lost -= recovered;
        let paid = (amount - recovered).min(self.owed);
        self.owed -= paid;
        self.lots[lot].left += amount - recovered - paid;
    }

    fn take_back(&mut self, own: Option<usize>, amount: i64) {
        let mut order: Vec<usize> = (0..self.lots.len()).collect();
        order.sort_by_key(|&n| (Some(n) != own, self.lots[n].rank));
        let mut missing = amount;
        for n in order {
            let part = missing.min(self.lots[n].left);
            self.lots[n].left -= part;
            missing -= part;
        }
        let owed = missing.min(DEBT_MAX - self.owed);
        self.owed += owed;
        self.lost += missing - owed;
        if let Some(own) = own.filter(|&own| self.lots[own].set_aside > 0 || self.lots[own].lost > 0) {
            self.lots[own].lost += missing - owed;
        }
    }
}

/// The ledger under test: what `sql` would have stored.
struct Ledger {
    book: Book,
    lots: Vec<Uuid>,
    holds: BTreeMap<u8, Hold>,
    txns: Vec<Txn>,
    now: u64,
}

impl Ledger {
    fn stamp(&self) -> Stamp {
        Stamp { txn: Uuid::from_u128(self.txns.len() as u128 + 1), at: Timestamp(self.now) }
    }

    fn lot(&self, n: u8) -> Uuid {
        self.lots.get(usize::from(n)).copied().unwrap_or(Uuid::from_u128(u128::MAX))
    }

    fn apply(&mut self, posting: Posting) {
        self.book.take(&posting);
        self.txns.push(posting.txn);
    }
}

fn valid(amount: i64) -> bool {
    (1..=AMOUNT_MAX).contains(&amount)
}

fn step(ledger: &mut Ledger, oracle: &mut Oracle, op: &Op) {
    let stamp = ledger.stamp();
    match *op {
        Op::Grant { source, amount, lasts } => {
            let expires = lasts.map(|lasts| Timestamp(ledger.now + lasts));
            let grant = Grant { source, reference: ledger.txns.len().to_string(), amount, expires };
            let Ok(posting) = post::grant(&ledger.book, &grant, stamp) else { return assert!(!valid(amount)) };
            assert!(valid(amount));
            let n = oracle.lots.len() as u8;
            let rank = (expires.map_or(u64::MAX, |at| at.0), Source::ALL.iter().position(|s| *s == source).unwrap(), n);
            oracle.lots.push(OracleLot { rank, ..OracleLot::default() });
            let paid = amount.min(oracle.owed);
            oracle.owed -= paid;
            oracle.lots[usize::from(n)].left = amount - paid;
            ledger.lots.push(stamp.txn);
            ledger.apply(posting);
        }
        Op::Hold { hold, amount } => start(ledger, oracle, hold, amount),
        Op::End { hold, how } => end(ledger, oracle, hold, how),
        Op::Lapse(lot) => match post::lapse(&ledger.book, ledger.lot(lot), stamp) {
            Ok(Some(posting)) => {
                let lot = &mut oracle.lots[usize::from(lot)];
                assert!(lot.left > 0 && lot.rank.0 <= oracle.now);
                lot.left = 0;
                ledger.apply(posting);
            }
            Ok(None) => {
                let lot = &oracle.lots[usize::from(lot)];
                assert!(lot.left == 0 || lot.rank.0 > oracle.now);
            }
            Err(error) => {
                assert_eq!(error, LedgerError::NoLot(ledger.lot(lot)));
                assert!(oracle.lots.get(usize::from(lot)).is_none_or(|lot| lot.left == 0 && lot.set_aside == 0));
            }
        },
        Op::TakeBack { lot, amount } => {
            let key = format!("back:{}", ledger.txns.len());
            let what = TakeBack { lot: ledger.lot(lot), amount, key };
            let given = -ledger.book.account.granted;
            let Ok(posting) = post::take_back(&ledger.book, what, stamp) else {
                return assert!(!valid(amount) || amount > given);
            };
            assert!(amount <= given);
            let own = usize::from(lot);
            oracle.take_back((own < oracle.lots.len()).then_some(own), amount);
            ledger.apply(posting);
        }
        Op::Stop(stop) => (ledger.book.stopped, oracle.stopped) = (stop, stop),
        Op::Wait(ms) => (ledger.now, oracle.now) = (ledger.now + ms, oracle.now + ms),
    }
}

fn start(ledger: &mut Ledger, oracle: &mut Oracle, name: u8, amount: i64) {
    if oracle.holds.contains_key(&name) {
        return; // `sql::hold` answers false before the pure part is asked.
    }
    let usable: i64 = oracle.usable().iter().map(|&n| oracle.lots[n].left).sum();
    match post::hold(&ledger.book, Uuid::from_u128(u128::from(name)), amount, Timestamp(0), ledger.stamp()) {
        Ok(posting) => {
            assert!(valid(amount) && amount <= usable && !oracle.stopped);
            let (mut parts, mut missing) = (Vec::new(), amount);
            for n in oracle.usable() {
                let part = missing.min(oracle.lots[n].left);
                if part > 0 {
                    (oracle.lots[n].left, oracle.lots[n].set_aside) =
                        (oracle.lots[n].left - part, oracle.lots[n].set_aside + part);
                    parts.push((n, part));
                    missing -= part;
                }
            }
            oracle.holds.insert(name, (parts, HoldState::Held));
            ledger.holds.insert(name, posting.hold.clone().unwrap());
            ledger.apply(posting);
        }
        Err(LedgerError::Insufficient { available, needed }) => {
            assert_eq!((available, needed), (usable, amount));
            assert!(amount > usable);
        }
        Err(LedgerError::Stopped) => assert!(oracle.stopped),
        Err(error) => assert!(error == LedgerError::BadAmount(amount) && !valid(amount)),
    }
}

fn end(ledger: &mut Ledger, oracle: &mut Oracle, name: u8, how: End) {
    let Some(hold) = ledger.holds.get(&name) else { return assert!(!oracle.holds.contains_key(&name)) };
    let (parts, state) = oracle.holds[&name].clone();
    let amount: i64 = parts.iter().map(|(_, part)| part).sum();
    match post::end(&ledger.book, hold, how, ledger.stamp()) {
        Ok(Ended::Before(was)) => assert_eq!(was, state, "a hold that has ended stays as it is"),
        Ok(Ended::Now(posting)) => {
            assert_eq!(state, HoldState::Held, "a hold ends once");
            let (taken, state) = match how {
                End::Capture(taken) => (taken, HoldState::Captured),
                End::Void => (0, HoldState::Voided),
                End::Expire => (0, HoldState::Expired),
            };
            assert!((0..=amount).contains(&taken));
            let mut to_take = taken;
            for (lot, part) in parts.clone() {
                let spent = to_take.min(part);
                to_take -= spent;
                oracle.lots[lot].set_aside -= part;
                oracle.give_back(lot, part - spent);
            }
            oracle.spent += taken;
            oracle.holds.insert(name, (parts, state));
            ledger.holds.insert(name, posting.hold.clone().unwrap());
            ledger.apply(*posting);
        }
        Err(LedgerError::CaptureAboveHold { held, asked }) => assert!(held == amount && asked > amount),
        Err(error) => assert!(matches!((error, how), (LedgerError::BadAmount(_), End::Capture(taken)) if taken < 0)),
    }
}

fn check(ledger: &Ledger, oracle: &Oracle) {
    let account = &ledger.book.account;
    let held: i64 = oracle.lots.iter().map(|lot| lot.set_aside).sum();
    let of = (account.available, account.held, account.spent, account.owed, account.lost);
    assert_eq!(of, (oracle.left(), held, oracle.spent, -oracle.owed, -oracle.lost));
    assert!(account.owed == 0 || account.available == 0, "who can pay owes nothing");
    assert!((-DEBT_MAX..=0).contains(&account.owed));
    assert_eq!(Bucket::ALL.iter().map(|&bucket| account.balance(bucket)).sum::<i64>(), 0);
    for (n, lot) in oracle.lots.iter().enumerate() {
        let found = ledger.book.lots.iter().find(|found| found.id == ledger.lots[n]);
        let found = found.map_or((0, 0), |found| (found.remaining, found.reserved));
        assert_eq!(found, (lot.left, lot.set_aside), "lot {n}");
    }
    let mut replay = Replay::begin(account.id);
    ledger.txns.iter().try_for_each(|txn| replay.take(txn)).unwrap();
    replay.end(account, &ledger.book.lots).unwrap();
    assert_eq!(ledger.txns.first().map_or(GENESIS, |txn| txn.prev_hash), GENESIS);
    let mut keys: Vec<_> = ledger.txns.iter().map(|txn| &txn.key).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), ledger.txns.len(), "every key is used once");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_program_leaves_a_book_the_oracle_agrees_with(program in prop::collection::vec(op(), 0..80)) {
        let book = Book::empty(Uuid::from_u128(77));
        let mut ledger = Ledger { book, lots: Vec::new(), holds: BTreeMap::new(), txns: Vec::new(), now: 1 };
        let mut oracle = Oracle { now: 1, ..Oracle::default() };
        for op in &program {
            step(&mut ledger, &mut oracle, op);
            check(&ledger, &oracle);
        }
    }
}

fn granted(book: u128, amount: i64) -> (Book, Txn) {
    let stamp = Stamp { txn: Uuid::from_u128(1), at: Timestamp(1) };
    let mut book = Book::new(Account::open(Uuid::from_u128(book)), Vec::new(), false);
    let posting = post::grant(&book, &crate::support::gift(amount, "g"), stamp).unwrap();
    book.take(&posting);
    (book, posting.txn)
}

#[test]
fn a_book_takes_so_many_lots_and_no_more() {
    let mut book = Book::empty(Uuid::from_u128(1));
    let mut give = |n: usize| {
        let gift = Grant { source: Source::Promo, reference: n.to_string(), amount: 1, expires: None };
        let stamp = Stamp { txn: Uuid::from_u128(n as u128), at: Timestamp(1) };
        post::grant(&book, &gift, stamp).map(|posting| book.take(&posting))
    };
    (0..OPEN_LOTS_MAX).for_each(|n| give(n).unwrap());
    assert_eq!(give(OPEN_LOTS_MAX), Err(LedgerError::TooManyLots));
}

#[test]
fn a_hold_cannot_be_ended_on_another_accounts_book() {
    let stamp = Stamp { txn: Uuid::from_u128(2), at: Timestamp(1) };
    let (rich, _) = granted(1, 100);
    let hold = post::hold(&rich, Uuid::from_u128(9), 50, Timestamp(2), stamp).unwrap().hold.unwrap();
    let (other, _) = granted(2, 100);
    assert_eq!(post::end(&other, &hold, End::Void, stamp), Err(LedgerError::WrongAccount));
}

#[test]
fn a_changed_line_breaks_the_hash() {
    let (_, mut txn) = granted(1, 100);
    txn.entries[1].amount += 1;
    assert_ne!(txn.hash, txn.compute_hash());
}
