//! The brain: [`Scheduler::step`] is told what was observed and answers with what should be.
//!
//! It never waits, never reads a clock, never draws a random number and knows nothing of Kubernetes, HTTP, Postgres or
//! money. The same observations give the same decisions, byte for byte.
//!
//! What its shell has to do:
//! - tell it every fact once it is seen, and [`Observation::Tick`] no later than [`Scheduler::next_deadline`];
//! - carry decisions out in order, those about one job one after the other: *write first, tell second*. A write that
//!   was refused (compare with the version the decision was made from, carried forward over our own writes) or whose
//!   answer was lost is told as [`Observation::WriteFailed`]; the shell never retries by itself.
//!   A written record may be told back at once as [`Observation::Job`]; it need not wait for the watch;
//! - answer a claim only with an `Assign` that is written. If the write fails, end the claim empty. An `Assign` of an
//!   attempt the record already shows for that worker is the same assignment told again: written, so tell it;
//! - answer renew and finish from [`Scheduler::attempt`] after telling it of them.

mod check;
mod config;
mod cost;
mod cycle;
mod deadline;
mod decision;
mod demand;
mod estimate;
mod exact;
mod explain;
mod index;
mod job;
mod jobs;
mod learned;
mod line;
mod marks;
mod names;
mod observation;
mod observe;
mod overview;
mod pending;
mod place;
mod preempt;
mod promise;
mod record;
mod save;
mod scale;
mod state;
mod tree;
mod verdict;
mod warm;
mod worker;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tintype_types::{Attempt, BootId, JobId, QueueKey, Timestamp, WorkerId};

pub use check::Violation;
pub use config::{Config, WarmAhead};
pub use deadline::Change;
pub use decision::{Decision, WarmUp};
pub use estimate::Estimate;
pub use explain::{Explanation, Remedy};
pub use learned::Learned;
pub use marks::{Mark, ModelAt, PreemptedFor, Side, ToldBy, WarmUpEnd};
pub use observation::{
    BudgetWindow, ClaimSeen, FinishedSeen, JobSeen, ModelSeen, Observation, Place, PoolSeen, QueueSeen, Quota,
    RenewedSeen, Shape, WorldSeen,
};
pub use overview::{Overview, QueueLoad, WorkerLoad};
pub use pending::{Pending, PendingReason};
pub use promise::Promised;
pub use scale::PoolPlan;
pub use tree::Held;
pub use verdict::{AttemptStanding, Verdict};
pub use warm::{WarmStanding, WarmWish};

use save::Saved;
use state::{Core, SERVED_SCALE, State};

/// Under debug assertions the invariants are checked after each step while no more jobs than this are known: the check
/// looks at everything.
const DEBUG_CHECK_JOBS_MAX: usize = 100;

/// Decides which job runs where. One writer, the whole state in memory.
#[derive(Clone, Debug)]
pub struct Scheduler {
    core: Core,
    /// The last step was full: more may be decided at once.
    more: bool,
    /// Advice of the last step.
    warm_up: Option<WarmUp>,
}

/// The whole state of a scheduler, to be kept, shown or replayed. Its inside is not a contract.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Snapshot(Saved);

impl Scheduler {
    /// A scheduler that knows nothing yet. Tell it the record with [`Observation::Reset`].
    pub fn new(config: Config) -> Self {
        Self { core: Core::new(config, State::default()), more: false, warm_up: None }
    }

    /// Takes in one fact and answers with all that follows from it, in the order to carry out. A `now` before the last
    /// one counts as the last one.
    pub fn step(&mut self, now: Timestamp, seen: Observation) -> Vec<Decision> {
        let before = self.core.state.now;
        self.core.state.now = before.max(now);
        let mut out = Vec::new();
        self.core.marks.clear();
        self.core.open_windows();
        self.core.observe(seen, &mut out);
        self.core.expire(&mut out);
        self.core.match_jobs(&mut out);
        self.core.promise();
        self.core.preempt(&mut out);
        self.warm_up = if out.is_empty() { self.core.warm_up() } else { None };
        self.core.forget(before);
        self.more = out.len() >= self.core.config.decisions_max;
        debug_assert_eq!(self.debug_check(), Ok(()), "an invariant broke in this step");
        out
    }

    /// When [`Observation::Tick`] is due if nothing else happens, and why.
    pub fn next_deadline(&self) -> Option<(Timestamp, &'static str)> {
        if self.more {
            return Some((self.core.state.now, "decisions left over"));
        }
        let retry = self.core.warm_retry_at().map(|at| (at, "a warm-up may be tried again"));
        self.core.index.next_timer().into_iter().chain(retry).min_by_key(|(at, _)| *at)
    }

    /// What the last step advises an idle worker to load. Its claim is taken for answered: a shell that cannot carry this out
    /// passes on no [`ClaimSeen::warm_up`].
    pub fn take_warm_up(&mut self) -> Option<WarmUp> {
        self.warm_up.take()
    }

    /// What came about in the last step, to be counted.
    pub fn take_marks(&mut self) -> Vec<Mark> {
        std::mem::take(&mut self.core.marks)
    }

    /// Why a job is not running; `None` if it is not known.
    pub fn verdict(&self, job: &JobId) -> Option<Verdict> {
        self.core.verdict(job)
    }

    /// Why a job is not running, what would start it and when it should; `None` if it is not known.
    pub fn explain(&self, job: &JobId) -> Option<Explanation> {
        self.core.explain(job)
    }

    /// When a job should start and end; `None` if it is not known, has ended, or nothing here can run it.
    pub fn estimate(&self, job: &JobId) -> Option<Estimate> {
        self.core.estimate(job)
    }

    /// What a job was promised when it came; `None` if nothing was, it was broken, or the job has ended.
    pub fn promise(&self, job: &JobId) -> Option<Promised> {
        self.core.promised(job)
    }

    /// Queues and workers as they stand.
    pub fn overview(&self) -> Overview {
        self.core.overview()
    }

    /// How many workers each pool should have, by name.
    pub fn scale(&self) -> Vec<PoolPlan> {
        self.core.scale()
    }

    /// What was learned of what work costs, to be told to the next scheduler as [`Observation::Learned`]: at most this many
    /// runs and as many loads.
    pub fn learned(&self, most: usize) -> Learned {
        Learned::heaviest(&self.core.state.costs, &self.core.state.names, most)
    }

    /// What an attempt may go on doing. Ask after telling of the renew or finish that is to be answered.
    pub fn attempt(&self, job: &JobId, attempt: Attempt, worker: &WorkerId, boot_id: &BootId) -> AttemptStanding {
        self.core.attempt(job, attempt, worker, boot_id)
    }

    /// The attempt that is out, the steps it has done and the steps it takes (0 while unknown).
    pub fn progress(&self, job: &JobId) -> Option<(Attempt, u32, u32)> {
        let jobs = &self.core.state.jobs;
        let run = jobs.get(jobs.find(job)?)?.run.as_ref()?;
        Some((run.attempt, run.step, run.steps))
    }

    /// Why waiting jobs were not given to this worker: reason to number of jobs.
    pub fn skipped(&self, worker: &WorkerId) -> BTreeMap<String, u32> {
        self.core.skipped(worker)
    }

    /// How far apart the least and the most served queues are now, of those that have a job some worker could run, in GPU
    /// time of a queue of weight 1. `docs/fairness.md` has its bound.
    pub fn fairness_gap(&self) -> Duration {
        Duration::from_millis(self.core.fairness_gap_ms())
    }

    /// What [`Self::fairness_gap`] is never beyond where every worker can run every model: the fairness budget, and the largest
    /// charge there was.
    pub fn fairness_bound(&self) -> Duration {
        self.core.config.fairness_budget + Duration::from_millis(self.core.charged_most / SERVED_SCALE)
    }

    /// Jobs that wait, by queue and by what they wait for. Those of queues nobody declared are summed up under none.
    pub fn pending(&self) -> BTreeMap<Option<QueueKey>, Pending> {
        self.core.pending()
    }

    /// Jobs not taken in because [`Config::jobs_max`] were known. Not zero: tell everything again once there is room.
    pub fn jobs_dropped(&self) -> u64 {
        self.core.state.jobs_dropped
    }

    /// The whole state.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(Saved::of(&self.core.state))
    }

    /// A scheduler that goes on where the snapshot was taken, given the same configuration.
    pub fn restore(config: Config, snapshot: Snapshot) -> Self {
        Self { core: Core::new(config, snapshot.0.state()), more: true, warm_up: None }
    }

    /// Checks the invariants. Looks at everything.
    pub fn check(&self) -> Result<(), Violation> {
        self.core.check()
    }

    fn debug_check(&self) -> Result<(), Violation> {
        if self.core.state.jobs.len() > DEBUG_CHECK_JOBS_MAX {
            return Ok(());
        }
        self.check()
    }
}
