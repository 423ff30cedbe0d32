//! The whole state, and how jobs and queues get into the indexes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tintype_types::{PoolName, Timestamp};

use crate::config::Config;
use crate::cost::{Costs, RunOf};
use crate::demand::Demand;
use crate::index::{Delay, Filed, Filing, Index};
use crate::job::{Job, Stand};
use crate::jobs::Jobs;
use crate::line::{Class, Turn};
use crate::names::{Name, Names, Tag};
use crate::observation::{ModelSeen, PoolSeen};
use crate::record::Record;
use crate::worker::Worker;

/// Work divided by weight is counted in parts of a millisecond, so that weights up to this differ.
pub(crate) const SERVED_SCALE: u64 = 1 << 10;
/// Queues nobody declared that are remembered while idle; what they were served is forgotten beyond it.
const IDLE_QUEUES_MAX: usize = 10_000;

/// All that is known. The indexes are derived from it; `save` has the form it is kept in.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// The newest moment heard of.
    pub(crate) now: Timestamp,
    pub(crate) names: Names,
    pub(crate) jobs: Jobs,
    pub(crate) queues: BTreeMap<Name, Queue>,
    pub(crate) pools: BTreeMap<PoolName, PoolSeen>,
    pub(crate) models: BTreeMap<Name, ModelSeen>,
    pub(crate) workers: BTreeMap<Name, Worker>,
    pub(crate) costs: Costs,
    pub(crate) demand: Demand,
    /// When a worker was last told to load a model ahead of jobs.
    pub(crate) warmed_at: Timestamp,
    /// Served work of the queue served last: what a queue starts at when no other waits.
    pub(crate) served_floor: u64,
    /// Jobs not taken in because there were too many.
    pub(crate) jobs_dropped: u64,
}

/// What is known of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Queue {
    pub(crate) weight: u32,
    pub(crate) running_max: Option<u32>,
    /// Whether the record has it; jobs may name a queue it has not.
    pub(crate) declared: bool,
    /// Work served, divided by weight.
    pub(crate) served: u64,
}

impl Default for Queue {
    fn default() -> Self {
        Self { weight: 1, running_max: None, declared: false, served: 0 }
    }
}

impl Queue {
    /// What this much GPU time costs this queue.
    pub(crate) fn charge(&self, gpu_ms: u64) -> u64 {
        gpu_ms.max(1).saturating_mul(SERVED_SCALE) / u64::from(self.weight.max(1))
    }
}

/// The state with its indexes.
#[derive(Clone, Debug)]
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) state: State,
    pub(crate) index: Index,
}

impl Core {
    /// Takes over a state and files everything in it.
    pub(crate) fn new(config: Config, state: State) -> Self {
        let mut core = Self { config, state, index: Index::default() };
        for (key, queue) in &core.state.queues {
            core.index.tune(*key, queue.served, queue.running_max);
        }
        for (tag, job) in core.state.jobs.iter() {
            core.index.refile(tag, Some(core.filing(tag, job)));
        }
        for worker in core.state.workers.values() {
            core.index.holders.add(worker.tag, worker.claim.pool, &worker.holds);
            core.index.loaders.add(&worker.claim);
            if worker.parked {
                core.index.parked.add(worker.tag, &worker.claim);
            }
        }
        core
    }

    /// What a job costs is looked up by.
    pub(crate) fn run_of(seen: &Record, kind: Option<Name>) -> RunOf {
        RunOf { kind, model: seen.model, shape: seen.shape, work_steps: seen.work_steps }
    }

    /// Makes the indexes agree with a job that may have changed or gone.
    pub(crate) fn refile(&mut self, tag: Tag) {
        if let Some(job) = self.state.jobs.get_mut(tag) {
            let known = self.state.models.contains_key(&job.seen.model);
            let unknown = !known && matches!(job.stand(), Stand::Waiting);
            job.model_unknown_since = unknown.then(|| job.model_unknown_since.unwrap_or(self.state.now));
        }
        let filing = self.state.jobs.get(tag).map(|job| self.filing(tag, job));
        if let Some(new) = &filing
            && new.waits()
            && !self.index.waits(tag)
        {
            self.lift(new.queue);
        }
        self.index.refile(tag, filing);
    }

    /// Takes a job out of the state and the indexes.
    pub(crate) fn remove(&mut self, tag: Tag) {
        self.index.refile(tag, None);
        self.state.jobs.remove(tag);
    }

    /// Adds to what a queue was served.
    pub(crate) fn serve(&mut self, key: Name, charge: impl FnOnce(&Queue) -> u64) -> u64 {
        let queue = self.state.queues.entry(key).or_default();
        let charge = charge(queue);
        self.state.served_floor = self.state.served_floor.max(queue.served);
        queue.served = queue.served.saturating_add(charge);
        self.index.tune(key, queue.served, queue.running_max);
        charge
    }

    /// Gives back what was charged for an attempt that never was.
    pub(crate) fn unserve(&mut self, key: Name, charge: u64) {
        if let Some(queue) = self.state.queues.get_mut(&key) {
            queue.served = queue.served.saturating_sub(charge);
            self.index.tune(key, queue.served, queue.running_max);
        }
    }

    /// A queue that had nothing waiting gets no credit for the time it was idle (as in VTC, OSDI 2024).
    fn lift(&mut self, key: Name) {
        if self.index.crowd(key).1 > 0 {
            return;
        }
        if self.state.queues.len() >= IDLE_QUEUES_MAX && !self.state.queues.contains_key(&key) {
            let index = &mut self.index;
            self.state.queues.retain(|key, queue| {
                let kept = queue.declared || index.crowd(*key) != (0, 0);
                if !kept {
                    index.tune(*key, 0, None);
                }
                kept
            });
        }
        let floor = self.least_served().unwrap_or(self.state.served_floor);
        let queue = self.state.queues.entry(key).or_default();
        queue.served = queue.served.max(floor);
        self.index.tune(key, queue.served, queue.running_max);
    }

    /// Where a job belongs in the indexes. A function of the state alone.
    fn filing(&self, tag: Tag, job: &Job) -> Filing {
        let now = self.state.now;
        let timer = job.timer(now, &self.config);
        let place = match job.stand() {
            Stand::Ended if job.assumed.is_some() => Filed::Ending,
            Stand::Ended => Filed::Ended(job.ended_at),
            Stand::Out(run) => Filed::Out(run.worker),
            Stand::Waiting if job.assumed.is_some() || job.held_until.is_some() || job.seen.cancelled => {
                Filed::Delayed(Delay::Unsettled)
            }
            Stand::Waiting if job.model_unknown_since.is_some() => Filed::Delayed(Delay::UnknownModel),
            Stand::Waiting if job.seen.not_before.is_some_and(|until| until > now) => Filed::Delayed(Delay::BackingOff),
            Stand::Waiting => {
                let turn = Turn::of(tag, job.seen.priority, job.when(now, &self.config));
                Filed::Ready(Class::of(&job.seen), turn)
            }
        };
        Filing { queue: job.seen.queue, model: job.seen.model, place, timer, run_ms: job.run_ms }
    }

    /// Drops names nobody uses any more, once there are many.
    pub(crate) fn sweep_names(&mut self) {
        if !self.state.names.crowded() {
            return;
        }
        let State { jobs, queues, models, workers, costs, demand, .. } = &self.state;
        let mut used: BTreeSet<Name> = queues.keys().chain(models.keys()).copied().collect();
        used.extend(costs.names().chain(demand.models()));
        for (_, job) in jobs.iter() {
            used.extend(job.seen.names());
            used.extend(job.run.as_ref().map(|run| run.worker));
            used.extend(job.closed.as_ref().map(|closed| closed.worker));
        }
        for (name, worker) in workers {
            let claim = &worker.claim;
            used.extend([*name, claim.pool].into_iter().chain(claim.kind));
            used.extend(claim.resident.iter().chain(&claim.loadable).chain(&worker.holds));
            used.extend(worker.warming.as_ref().map(|(model, _)| *model));
        }
        self.state.names.keep(&used);
    }
}
