//! The gallery: pictures as things of their own, starred, collected, deleted, found again.
//!
//! Rows are written by the database as jobs complete (migration 6). Everything here is bound to one account: somebody
//! else's picture or collection is not there. What they show is also in Typesense's index, where that is named. SQL lives here; it must not know HTTP.

pub(crate) mod bare;
pub mod collection;
pub mod image;
pub(crate) mod index;
pub mod keeping;
pub mod prompts;
pub(crate) mod search;
mod words;

/// Pictures one bulk action may name.
pub const BULK_MAX: usize = 500;
/// Collections an account may have.
pub const COLLECTIONS_MAX: i64 = 1_000;
/// How long a deletion may be taken back, in milliseconds.
pub const RESTORE_MS: i64 = 60_000;
/// How long after its deletion a picture is taken from the store: later than it may be restored, by more than the clocks
/// of two replicas differ.
pub const SWEEP_AFTER_MS: i64 = 120_000;
