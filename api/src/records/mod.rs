//! What is kept in Postgres beside the ledger: accounts, keys, generations, idempotency keys. The only SQL on them.

pub mod account;
pub mod asset;
pub mod generation;
pub mod idempotency;
pub mod key;
pub mod progress;
