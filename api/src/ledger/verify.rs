//! Reading a book again from its first transaction: what does not follow is found and named. Pure.

use uuid::Uuid;

use super::account::Account;
use super::entry::Txn;

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
}

/// A book being read again.
#[derive(Clone, Debug)]
pub struct Replay {
    book: Account,
}

impl Replay {
    /// At its beginning.
    pub fn begin(account: Uuid) -> Self {
        Self { book: Account::open(account) }
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
        }
        self.book.seq = txn.seq;
        self.book.head = txn.hash;
        Ok(())
    }

    /// All transactions are taken: the book must be what they come to.
    ///
    /// # Errors
    /// `WrongBook`.
    pub fn end(self, book: &Account) -> Result<(), Fault> {
        if self.book == *book { Ok(()) } else { Err(Fault::WrongBook(self.book.seq)) }
    }
}

#[cfg(test)]
mod tests {
    use tintype_types::Timestamp;

    use super::*;
    use crate::ledger::post::{self, End, Ended, Stamp};

    /// Grant, hold, capture in part: the transactions, and the book.
    fn history() -> (Vec<Txn>, Account) {
        let stamp = |n| Stamp { txn: Uuid::from_u128(n), at: Timestamp(5) };
        let empty = Account::open(Uuid::from_u128(1));
        let granted = post::grant(&empty, 100, "grant:a".to_owned(), stamp(2)).unwrap();
        let held = post::hold(&granted.account, Uuid::from_u128(9), 60, Timestamp(9), stamp(3)).unwrap();
        let Ended::Now(ended) = post::end(&held.account, &held.hold.unwrap(), End::Capture(40), stamp(4)).unwrap()
        else {
            panic!("it ends now");
        };
        (vec![granted.txn, held.txn, ended.txn], ended.account)
    }

    fn verify(txns: &[Txn], book: &Account) -> Result<(), Fault> {
        let mut replay = Replay::begin(book.id);
        txns.iter().try_for_each(|txn| replay.take(txn))?;
        replay.end(book)
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
        let richer = Account { available: book.available + 1, granted: book.granted - 1, ..book.clone() };
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
}
