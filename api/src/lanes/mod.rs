//! Background lanes: errands that follow from a transaction, done after it, with tries, pauses and an end.
//!
//! An errand is a row, written in the transaction it follows from ([`errand::send`]), so there is one exactly when that
//! committed. A lane is one kind of errand and how it is done. Every replica runs every lane; `for update skip locked`
//! gives each errand to one of them, for as long as the lane's lease. It is done at least once: whoever is too slow, or
//! dies, leaves it to the next, so what a lane does must bear being done twice. It must not know what lanes there are.

pub mod errand;
pub mod metrics;

mod bell;
mod run;

use std::time::Duration;

use futures::future::BoxFuture;

pub use bell::Bell;
pub use errand::{Errand, NewErrand};
pub use metrics::LaneMetrics;
pub use run::{Alive, LanesConfig, start};

/// One kind of errand.
pub trait Lane: Send + Sync + 'static {
    /// Its name in the database and in metrics: one of a closed set.
    fn name(&self) -> &'static str;
    /// How it is done.
    fn rules(&self) -> Rules;
    /// Does an errand. Dropped when it takes longer than the lease.
    fn run<'a>(&'a self, errand: &'a Errand) -> BoxFuture<'a, Result<(), Failed>>;
}

/// How a lane does its errands.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Longest one try may take; then it counts as dropped.
    pub lease: Duration,
    /// Errands one replica does at a time.
    pub at_a_time: usize,
    /// The pause after each failed try; after one more try than there are pauses the errand is dead.
    pub pauses: &'static [Duration],
    /// For lanes whose errand comes by the clock: one is always waiting, and this long after it was done the next is due.
    pub every: Option<Duration>,
}

/// Why an errand was not done.
#[derive(Debug)]
pub struct Failed {
    /// For whoever runs the server: what happened. Never an address, a prompt or a key.
    pub error: String,
    /// Whether it may be done later.
    pub again: Again,
}

/// Whether, and when, a failed errand is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// After the lane's next pause.
    Later,
    /// After this pause, without counting as a try: nothing was attempted.
    Postponed(Duration),
    /// Not at all: no repetition can mend it.
    Never,
}

impl Failed {
    /// A failure that may pass.
    pub fn later(error: impl Into<String>) -> Self {
        Self { error: error.into(), again: Again::Later }
    }

    /// A failure for good.
    pub fn never(error: impl Into<String>) -> Self {
        Self { error: error.into(), again: Again::Never }
    }
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Self::later(format!("the database: {error}"))
    }
}
