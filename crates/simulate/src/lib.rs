//! Replays a trace of requests through the production scheduler on a simulated fleet, beside simple policies of others
//! and bounds nobody can beat, and reports figures an outside checker can recompute from the schedule.
//!
//! The rules are those of the *standard replay*: a GPU keeps [`RESIDENT_MODELS`] models and runs one request at a
//! time; a load takes what the model takes; a run takes a fixed part and equal steps. Times are whole milliseconds, and
//! nothing here reads a clock or draws a number, so the same trace gives the same bytes.

pub mod bounds;
mod drive;
mod figures;
mod html;
mod latencies;
mod peers;
mod plot;
mod promises;
mod report;
mod schedule;
pub mod standing;
mod time;
mod trace;
mod work;

pub use drive::{DriveError, Driven, drive};
pub use figures::Figures;
pub use html::page;
pub use latencies::{Latencies, LatenciesError};
pub use peers::{Peer, run_peer};
pub use promises::Promises;
pub use report::{Report, table};
pub use schedule::{Doing, Row, Schedule};
pub use trace::{Trace, TraceError, read_trace};
pub use work::{Fleet, Model, Request, SpeedError, Work};

/// Models a GPU of the standard replay keeps in memory; loading one more evicts one.
pub const RESIDENT_MODELS: usize = 2;
/// Milliseconds it takes to save a run at a step boundary, and to take it up again.
pub const SAVE_MS: u64 = 200;
