//! What may be tuned, with the reasons for the defaults. It knows nothing of where the numbers are read from.

use std::time::Duration;

use tintype_types::limits::FAILED_ATTEMPTS_MAX;

/// Numbers the scheduler decides by. Two schedulers that are to agree must have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long an attempt may go unheard. Workers renew at a third of it, so two renewals may be lost.
    pub lease: Duration,
    /// Least time before the first and between any two progress writes of an attempt. A shorter job never has one.
    pub progress_interval: Duration,
    /// How long a job may name a model nobody told of: a job and its model may be applied together, in any order.
    pub model_grace: Duration,
    /// How long a job is left alone after a refused write, unless the record is heard of first.
    pub write_retry: Duration,
    /// Wait after the first failed attempt; it doubles with each.
    pub backoff_base: Duration,
    /// Longest wait after a failed attempt.
    pub backoff_cap: Duration,
    /// Failed attempts at which a job fails.
    pub failed_attempts_max: u32,
    /// How long a worker that claims nothing and runs nothing is remembered.
    pub worker_memory: Duration,
    /// Most unfinished jobs known at once; more are counted in [`crate::Scheduler::jobs_dropped`] and not taken in.
    pub jobs_max: usize,
    /// Most workers known at once; claims of more are left to time out.
    pub workers_max: usize,
    /// Ended jobs remembered, so that a repeated finish is answered as the first was.
    pub ended_kept_max: usize,
    /// Most decisions of one step; what is left is due at once ([`crate::Scheduler::next_deadline`]).
    pub decisions_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            progress_interval: Duration::from_secs(3),
            model_grace: Duration::from_secs(5),
            write_retry: Duration::from_millis(500),
            backoff_base: Duration::from_secs(1),
            backoff_cap: Duration::from_mins(1),
            failed_attempts_max: FAILED_ATTEMPTS_MAX,
            worker_memory: Duration::from_mins(2),
            jobs_max: 200_000,
            workers_max: 10_000,
            ended_kept_max: 10_000,
            decisions_max: 256,
        }
    }
}

impl Config {
    /// How long a job waits after its `failed`-th failure (from 1).
    pub(crate) fn backoff(&self, failed: u32) -> Duration {
        let doublings = failed.saturating_sub(1).min(16);
        self.backoff_base.saturating_mul(1 << doublings).min(self.backoff_cap)
    }
}
