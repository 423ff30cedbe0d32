//! Reading a book again from its first transaction: what does not follow is found and named. Pure.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::account::{Account, Bucket};
use super::entry::Txn;
use super::lot::Lot;

/// What is wrong with a book.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A transaction is missing, or there twice.
    #[error("transaction {found} stands where {expected} should")]
    Gap {
        /// What should come next.
        expected: i64,
        /// What comes.
        found: i64,
    },
    /// It does not carry on from the one before it.
    #[error("transaction {0} does not carry the hash of the one before it")]
    Unchained(i64),
    /// Something in it was changed after it was written.
    #[error("transaction {0} is not what was hashed")]
    Changed(i64),
    /// Its lines do not sum to zero.
    #[error("the lines of transaction {0} do not sum to zero")]
    Unbalanced(i64),
    /// A line says another balance than its amounts come to.
    #[error("transaction {seq} leaves {found} in `{bucket}`, and says {said}")]
    WrongBalance {
        /// Which transaction.
        seq: i64,
        /// Which column.
        bucket: &'static str,
        /// What its amounts come to.
        found: i64,
        /// What it says.
        said: i64,
    },
    /// The book's row is not what its transactions come to.
    #[error("the book's columns or head are not what its {0} transactions come to")]
    WrongBook(i64),
    /// A lot's row is not what the transactions leave in it.
    #[error("lot {0} does not hold what the transactions left in it")]
    WrongLot(Uuid),
}

/// A book being read again.
#[derive(Clone, Debug)]
pub struct Replay {
    book: Account,
    /// What can be spent of each lot, and what is set aside.
    lots: BTreeMap<Uuid, (i64, i64)>,
}

impl Replay {
    /// At its beginning.
    pub fn begin(account: Uuid) -> Self {
        Self { book: Account::open(account), lots: BTreeMap::new() }
    }

    /// The last transaction taken.
    pub fn seq(&self) -> i64 {
        self.book.seq
    }

    /// Takes the next transaction.
    ///
    /// # Errors
    /// What does not follow in it.
    pub fn take(&mut self, txn: &Txn) -> Result<(), Fault> {
        let expected = self.book.seq + 1;
        if txn.seq != expected {
            return Err(Fault::Gap { expected, found: txn.seq });
        }
        if txn.prev_hash != self.book.head {
            return Err(Fault::Unchained(txn.seq));
        }
        if txn.compute_hash() != txn.hash {
            return Err(Fault::Changed(txn.seq));
        }
        if txn.entries.iter().map(|line| i128::from(line.amount)).sum::<i128>() != 0 {
            return Err(Fault::Unbalanced(txn.seq));
        }
        for line in &txn.entries {
            let column = self.book.column(line.bucket);
            *column = column.saturating_add(line.amount);
            if *column != line.balance_after {
                let (bucket, found, said) = (line.bucket.as_str(), *column, line.balance_after);
                return Err(Fault::WrongBalance { seq: txn.seq, bucket, found, said });
            }
            // Lines from before there were lots are of the lot that is called as the account.
            let lot = self.lots.entry(line.lot.unwrap_or(self.book.id)).or_default();
            match line.bucket {
                Bucket::Available => lot.0 = lot.0.saturating_add(line.amount),
                Bucket::Held => lot.1 = lot.1.saturating_add(line.amount),
                Bucket::Granted | Bucket::Spent | Bucket::Owed | Bucket::Lost => {}
            }
        }
        self.book.seq = txn.seq;
        self.book.head = txn.hash;
        Ok(())
    }

    /// All transactions are taken: the book, and the lots in which there is something, must be what they come to.
    ///
    /// # Errors
    /// `WrongBook`, `WrongLot`.
    pub fn end(mut self, book: &Account, open: &[Lot]) -> Result<(), Fault> {
        if self.book != *book {
            return Err(Fault::WrongBook(self.book.seq));
        }
        self.lots.retain(|_, left| *left != (0, 0));
        let mut said: BTreeMap<Uuid, (i64, i64)> =
            open.iter().map(|lot| (lot.id, (lot.remaining, lot.reserved))).collect();
        let wrong = self.lots.iter().find(|(id, left)| said.remove(id) != Some(**left)).map(|(id, _)| *id);
        wrong.or_else(|| said.keys().next().copied()).map_or(Ok(()), |id| Err(Fault::WrongLot(id)))
    }
}

#[cfg(test)]
mod tests {
    use tintype_types::Timestamp;

    use super::*;
    use crate::ledger::post::{self, End, Ended, Stamp};
    use crate::ledger::{Book, Grant, Source};

    /// Grant, hold, capture in part: the transactions, and the book.
    fn history() -> (Vec<Txn>, Book) {
        let stamp = |n| Stamp { txn: Uuid::from_u128(n), at: Timestamp(5) };
        let mut book = Book::empty(Uuid::from_u128(1));
        let gift = Grant { source: Source::Promo, reference: "a".to_owned(), amount: 100, expires: None };
        let granted = post::grant(&book, &gift, stamp(2)).unwrap();
        book.take(&granted);
        let held = post::hold(&book, Uuid::from_u128(9), 60, Timestamp(9), stamp(3)).unwrap();
        book.take(&held);
        let Ended::Now(ended) = post::end(&book, held.hold.as_ref().unwrap(), End::Capture(40), stamp(4)).unwrap()
        else {
            panic!("it ends now");
        };
        book.take(&ended);
        (vec![granted.txn, held.txn, ended.txn], book)
    }

    fn verify(txns: &[Txn], book: &Book) -> Result<(), Fault> {
        let mut replay = Replay::begin(book.account.id);
        txns.iter().try_for_each(|txn| replay.take(txn))?;
        replay.end(&book.account, &book.lots)
    }

    fn rehashed(mut txn: Txn) -> Txn {
        txn.hash = txn.compute_hash();
        txn
    }

    #[test]
    fn a_sound_book_is_sound_and_every_kind_of_damage_is_found_where_it_is() {
        let (txns, book) = history();
        assert_eq!(verify(&txns, &book), Ok(()));

        assert_eq!(verify(&[txns[0].clone(), txns[2].clone()], &book), Err(Fault::Gap { expected: 2, found: 3 }));
        assert_eq!(verify(&txns[..2], &book), Err(Fault::WrongBook(2)), "the last one was cut off");
        let mut richer = book.clone();
        (richer.account.available, richer.account.granted) = (61, -101);
        assert_eq!(verify(&txns, &richer), Err(Fault::WrongBook(3)));

        let mut changed = txns.clone();
        changed[1].entries[0].amount += 1;
        assert_eq!(verify(&changed, &book), Err(Fault::Changed(2)));
        changed[1] = rehashed(changed[1].clone());
        assert_eq!(verify(&changed, &book), Err(Fault::Unbalanced(2)), "hashed anew, it does not add up");
        changed[1].entries[1].amount -= 1;
        changed[1] = rehashed(changed[1].clone());
        assert!(matches!(verify(&changed, &book), Err(Fault::WrongBalance { seq: 2, .. })));
        let mut moved = txns;
        moved[1].at = Timestamp(6);
        moved[1] = rehashed(moved[1].clone());
        assert_eq!(verify(&moved, &book), Err(Fault::Unchained(3)), "the next one remembers");
    }

    #[test]
    fn lots_that_hold_something_else_are_found() {
        let (txns, book) = history();
        let lot = book.lots[0];
        for lots in [
            vec![],
            vec![Lot { remaining: lot.remaining - 1, ..lot }],
            vec![Lot { remaining: lot.remaining - 1, reserved: 1, ..lot }],
            vec![lot, Lot { id: Uuid::from_u128(7), remaining: 1, ..lot }],
        ] {
            let other = Book { lots, ..book.clone() };
            assert!(matches!(verify(&txns, &other), Err(Fault::WrongLot(_))), "{other:?}");
        }
        let mut renamed = txns[0].clone();
        renamed.entries[0].lot = None;
        assert_eq!(verify(&[renamed], &book), Err(Fault::Changed(1)), "the hash holds the lot's name");
    }
}
