//! The Kubernetes shell around the scheduler: watches in, server-side applies out, one leader at a time.
//!
//! It decides nothing about jobs itself and knows nothing of users or money.

pub mod admin;
pub mod args;
pub mod check;
pub mod convert;
pub mod costs;
pub mod defaults;
pub mod election;
pub mod index;
pub mod lease;
pub mod memory;
pub mod metrics;
pub mod models;
pub mod nodes;
pub mod pod;
pub mod pools;
mod refusal;
pub mod report;
pub mod resolve;
pub mod rights;
mod run;
pub mod shell;
pub mod status;
pub mod term;
pub mod ttl;
mod warmth;
pub mod watches;
pub mod writer;

pub use args::Args;
pub use run::run;
