//! What may be tuned, with the reasons for the defaults. It knows nothing of where the numbers are read from.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tintype_types::limits::FAILED_ATTEMPTS_MAX;

use crate::state::SERVED_SCALE;

/// Whether models are loaded by forecast, where no pool wants them in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WarmAhead {
    /// Not at all.
    Never,
    /// Into memory that is free or holds what nobody asks for.
    IntoSpare,
    /// Also in the place of models that are asked for less. What is given up has to be loaded again when it is asked for, so
    /// this is worth it where the forecast is good.
    ForGain,
}

/// Numbers the scheduler decides by. Two schedulers that are to agree must have the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// How far a queue may get ahead of another that could have run instead, in GPU time of a queue of weight 1: what
    /// locality and deadlines may cost in fairness. `docs/fairness.md` has the bound that follows.
    pub fairness_budget: Duration,
    /// What a queue was served beyond others is forgotten by half in this time while nothing of it waits.
    pub usage_half_life: Duration,
    /// A job without a deadline should be done within this and ..
    pub patience: Duration,
    /// .. this many times its own length of its submission.
    pub patience_factor: u32,
    /// Whether deadlines are promised and refused. Without, they only order jobs.
    pub deadlines: bool,
    /// How long after it came a job may still be told that its deadline cannot be met. Later only time refuses it.
    pub refuse_within: Duration,
    /// Times one job is stopped for more urgent ones at most; 0 and nothing ever is. Drains count too, as nothing in the
    /// record tells them apart.
    pub preemptions_max: u32,
    /// Least time between two attempts stopped for jobs of one queue.
    pub preempt_interval: Duration,
    /// A job that waited this long goes before all others of its priority.
    pub overdue_after: Duration,
    /// How long work asked of a model counts when copies of it are weighed: it fades to a third in this time.
    pub demand_memory: Duration,
    /// Whether idle workers are told to load models that no pool wants in memory, because they are likely to be asked for
    /// next ([`crate::Scheduler::take_warm_up`]).
    pub warm_ahead: WarmAhead,
    /// Least time between two of those.
    pub warm_interval: Duration,
    /// Within this what waits should begin, by the number of workers pools are told they should have.
    pub scale_horizon: Duration,
    /// How long a worker takes from being wanted until it claims. Idle ones are kept for so long and the loads of their
    /// models.
    pub start_time: Duration,
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
            fairness_budget: Duration::from_mins(30),
            usage_half_life: Duration::from_hours(1),
            patience: Duration::from_secs(10),
            patience_factor: 3,
            deadlines: true,
            refuse_within: Duration::from_secs(5),
            preemptions_max: 2,
            preempt_interval: Duration::from_secs(10),
            overdue_after: Duration::from_mins(15),
            demand_memory: Duration::from_hours(3),
            warm_ahead: WarmAhead::Never,
            warm_interval: Duration::from_secs(1),
            scale_horizon: Duration::from_mins(1),
            start_time: Duration::from_mins(1),
            jobs_max: 200_000,
            workers_max: 10_000,
            ended_kept_max: 10_000,
            decisions_max: 256,
        }
    }
}

impl Config {
    /// The fairness budget as queues' counters have it.
    pub(crate) fn fairness_budget_served(&self) -> u64 {
        u64::try_from(self.fairness_budget.as_millis()).unwrap_or(u64::MAX).saturating_mul(SERVED_SCALE)
    }

    /// How long a job waits after its `failed`-th failure (from 1).
    pub(crate) fn backoff(&self, failed: u32) -> Duration {
        let doublings = failed.saturating_sub(1).min(16);
        self.backoff_base.saturating_mul(1 << doublings).min(self.backoff_cap)
    }
}
