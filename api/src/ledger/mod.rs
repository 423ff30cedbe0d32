//! The credit ledger: double entry in whole milli-credits.
//!
//! [`post`] decides, purely: what is on the book and what is asked in, what is to be written out. [`sql`] is its only
//! IO. It must not know HTTP, prices or clusters; a hold's id is a job's id, and that is all it knows of jobs.

pub mod account;
pub mod entry;
pub mod hold;
pub mod lot;
pub mod post;
pub mod sql;
pub mod verify;

pub use account::{Account, Book, Bucket};
pub use entry::{Entry, Txn, TxnKind};
pub use hold::{Hold, HoldState, Part};
pub use lot::{Grant, Lot, Source};
pub use post::{LedgerError, Posting};

/// One credit in the ledger's unit.
pub const MILLI_PER_CREDIT: i64 = 1_000;
/// What a new user is given.
pub const WELCOME_GRANT: i64 = 10 * MILLI_PER_CREDIT;
/// The most an account can owe, in milli-credits; what is taken back beyond it is lost. The database has the same number.
pub const DEBT_MAX: i64 = 100 * MILLI_PER_CREDIT;
/// Lots an account may have open: a decision reads all of them.
pub const OPEN_LOTS_MAX: usize = 1_000;
/// The most one transaction may move: far beyond any price, and a thousand of them still fit an `i64`.
pub const AMOUNT_MAX: i64 = 1_000_000_000_000_000;
