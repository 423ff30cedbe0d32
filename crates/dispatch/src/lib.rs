//! The server half of the worker protocol: parked claims, leases, fencing, progress streams.
//!
//! It carries what the scheduler decides between workers and the record. It must not know whether the record is a
//! cluster or a database, and it decides nothing itself.

mod actor;
mod answer;
mod auth;
mod bounded;
mod brain;
mod calls;
mod check;
mod checkpoints;
mod claims;
mod clock;
mod dispatch;
mod events;
mod finishes;
mod inputs;
mod journal;
mod labels;
mod metrics;
mod reads;
mod record;
mod replay;
mod routes;
mod scheduling;
mod told;
mod traces;
mod workers;
mod writes;

pub use auth::{TokenError, TokenSource};
pub use dispatch::{Dispatch, DispatchClosed, DispatchConfig, StartError};
pub use events::{JobWatch, TooManyWatchers};
pub use journal::{JOURNAL_VERSION, JOURNAL_WORD, JournalConfig};
pub use labels::Labels;
pub use record::{Given, Record, WriteError, WriteFuture, Written};
pub use replay::{Difference, ReplayError, Replayed, replay};
pub use workers::WorkerSeen;
