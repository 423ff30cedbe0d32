//! The front door: users, keys, credits, image endpoints; submits and settles jobs.

pub mod database;
pub mod ledger;
pub mod price;
