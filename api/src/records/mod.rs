//! What is kept in Postgres beside the ledger: accounts, persons, sessions, keys, generations, idempotency keys. The only SQL on them.

pub mod account;
pub(crate) mod alarm;
pub mod asset;
pub(crate) mod audit;
pub(crate) mod batch;
pub mod generation;
pub(crate) mod history;
pub mod idempotency;
pub(crate) mod identity;
pub mod key;
pub(crate) mod link;
pub(crate) mod notice;
pub(crate) mod org;
pub(crate) mod payment;
pub(crate) mod person;
pub(crate) mod prediction;
pub mod progress;
pub(crate) mod promo;
pub(crate) mod reconciled;
pub(crate) mod refund;
pub(crate) mod session;
pub(crate) mod stripe_event;
pub(crate) mod tariff;
pub(crate) mod top_up;
pub mod usage;
pub mod wallet;
