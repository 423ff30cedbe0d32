//! The whole state, and how jobs and queues get into the indexes.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tintype_types::{PoolName, Timestamp};

use crate::config::Config;
use crate::cost::{Costs, RunOf};
use crate::demand::Demand;
use crate::index::{Delay, Filed, Filing, Index};
use crate::job::{Job, Stand, Stop};
use crate::jobs::Jobs;
use crate::line::{Class, Turn};
use crate::marks::Mark;
use crate::names::{Name, Names, Tag, Used};
use crate::observation::{ModelSeen, PoolSeen, Quota};
use crate::record::Record;
use crate::warm::Failures;
use crate::worker::Worker;

/// Work divided by weight is counted in parts of a millisecond, so that weights up to this differ.
pub(crate) const SERVED_SCALE: u64 = 1 << 10;
/// The window of a queue that names none.
const DAY_MS: u64 = 86_400_000;
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
    /// Models that could not be loaded ahead of jobs.
    pub(crate) unwarmed: Failures,
    /// Served work of the queue served last: what a queue starts at when no other waits.
    pub(crate) served_floor: u64,
    /// Jobs not taken in because there were too many.
    pub(crate) jobs_dropped: u64,
    /// Promises that ended: kept and broken.
    pub(crate) promises: (u64, u64),
}

/// What is known of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Queue<N = Name> {
    pub(crate) weight: u32,
    pub(crate) running_max: Option<u32>,
    /// Whether the record has it; jobs may name a queue it has not.
    pub(crate) declared: bool,
    /// Work served, divided by weight.
    pub(crate) served: u64,
    /// When an attempt was last stopped for one of its jobs.
    pub(crate) preempted_at: Option<Timestamp>,
    pub(crate) parent: Option<N>,
    pub(crate) quota: Quota,
    /// The last window of GPU time something was given out in, and how much: milliseconds.
    pub(crate) spent: (u64, u64),
    /// Since when nothing of it waits.
    pub(crate) idle_since: Option<Timestamp>,
}

impl<N> Default for Queue<N> {
    fn default() -> Self {
        Self {
            weight: 1,
            running_max: None,
            declared: false,
            served: 0,
            preempted_at: None,
            parent: None,
            quota: Quota::default(),
            spent: (0, 0),
            idle_since: None,
        }
    }
}

impl<N> Queue<N> {
    /// What this much GPU time costs this queue; `dearer` by what it is part of.
    pub(crate) fn charge(&self, gpu_ms: u64, dearer: f64) -> u64 {
        let own = gpu_ms.max(1).saturating_mul(SERVED_SCALE) / u64::from(self.weight.max(1));
        (own as f64 * dearer) as u64
    }

    /// Whether its window's GPU time is used up.
    pub(crate) fn is_spent(&self, now: Timestamp) -> bool {
        self.quota.gpu_ms.is_some_and(|most| self.spent.0 == now.0 / self.window_ms() && self.spent.1 >= most)
    }

    /// When the window ends that is now.
    pub(crate) fn window_end(&self, now: Timestamp) -> Timestamp {
        Timestamp((now.0 / self.window_ms() + 1).saturating_mul(self.window_ms()))
    }

    /// GPU time was given out.
    fn spend(&mut self, gpu_ms: u64, now: Timestamp) {
        let window = now.0 / self.window_ms();
        let so_far = if self.spent.0 == window { self.spent.1 } else { 0 };
        self.spent = (window, so_far.saturating_add(gpu_ms));
    }

    fn window_ms(&self) -> u64 {
        if self.quota.window_ms == 0 { DAY_MS } else { self.quota.window_ms }
    }

    /// The same with its parent named otherwise.
    pub(crate) fn of<M>(self, name: impl FnOnce(N) -> M) -> Queue<M> {
        Queue {
            weight: self.weight,
            running_max: self.running_max,
            declared: self.declared,
            served: self.served,
            preempted_at: self.preempted_at,
            parent: self.parent.map(name),
            quota: self.quota,
            spent: self.spent,
            idle_since: self.idle_since,
        }
    }
}

/// The state with its indexes.
#[derive(Clone, Debug)]
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) state: State,
    pub(crate) index: Index,
    /// The job that came in this step.
    pub(crate) fresh: Option<Tag>,
    /// What came about in this step.
    pub(crate) marks: Vec<Mark>,
    /// The largest charge there was, as queues' counters have it. Nothing is decided by it.
    pub(crate) charged_most: u64,
}

impl Core {
    /// Takes over a state and files everything in it.
    pub(crate) fn new(config: Config, state: State) -> Self {
        let mut core = Self { config, state, index: Index::default(), fresh: None, marks: Vec::new(), charged_most: 0 };
        for (key, queue) in &core.state.queues {
            core.index.tune(*key, queue.served, queue.running_max);
        }
        core.index.plant(&core.state.queues, core.state.now);
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

    /// Notes something to be counted.
    pub(crate) fn mark(&mut self, mark: Mark) {
        self.marks.push(mark);
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
        let mut filing = self.state.jobs.get(tag).map(|job| self.filing(tag, job));
        let promised = self.state.jobs.get(tag).is_some_and(|job| job.waits_for().is_some());
        if promised && !matches!(&filing, Some(Filing { place: Filed::Promised(..), .. })) {
            self.take_back(tag);
            filing = self.state.jobs.get(tag).map(|job| self.filing(tag, job));
        }
        if let Some(new) = &filing
            && new.waits()
            && !self.index.waits(tag)
        {
            self.lift(new.queue);
        }
        let queue = self.index.queue_of(tag).filter(|_| self.index.waits(tag));
        self.index.refile(tag, filing);
        if let Some(queue) = queue.filter(|queue| self.index.crowd(*queue).1 == 0)
            && let Some(queue) = self.state.queues.get_mut(&queue)
        {
            queue.idle_since = queue.idle_since.or(Some(self.state.now));
        }
    }

    /// Takes a job out of the state and the indexes.
    pub(crate) fn remove(&mut self, tag: Tag) {
        self.take_back(tag);
        self.index.refile(tag, None);
        self.state.jobs.remove(tag);
    }

    /// Adds to what a queue was served.
    pub(crate) fn serve(&mut self, key: Name, gpu_ms: u64) -> u64 {
        self.spend(key, gpu_ms);
        let dearer = self.index.tree.dearer(key);
        let queue = self.state.queues.entry(key).or_default();
        let charge = queue.charge(gpu_ms, dearer);
        self.state.served_floor = self.state.served_floor.max(queue.served);
        queue.served = queue.served.saturating_add(charge);
        self.index.tune(key, queue.served, queue.running_max);
        self.charged_most = self.charged_most.max(charge);
        charge
    }

    /// Counts GPU time against the windows of a queue and those above it.
    fn spend(&mut self, key: Name, gpu_ms: u64) {
        let now = self.state.now;
        let mut shut = false;
        if self.index.tree.has(key) {
            for name in self.index.tree.path(key) {
                let Some(queue) = self.state.queues.get_mut(&name).filter(|queue| queue.quota.gpu_ms.is_some()) else {
                    continue;
                };
                queue.spend(gpu_ms, now);
                shut |= queue.is_spent(now);
            }
        }
        if shut {
            self.index.plant(&self.state.queues, now);
        }
    }

    /// Opens queues whose window of GPU time has ended.
    pub(crate) fn open_windows(&mut self) {
        if self.index.tree.opens_at.is_some_and(|at| at <= self.state.now) {
            self.index.plant(&self.state.queues, self.state.now);
        }
    }

    /// Gives back what was charged for an attempt that never was.
    pub(crate) fn unserve(&mut self, key: Name, charge: u64) {
        if let Some(queue) = self.state.queues.get_mut(&key) {
            queue.served = queue.served.saturating_sub(charge);
            self.index.tune(key, queue.served, queue.running_max);
        }
    }

    /// A queue that had nothing waiting gets no credit for the time it was idle (as in VTC, OSDI 2024), and what it had
    /// been served beyond others is forgotten by half in each half-life of it.
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
        let (now, half_life) = (self.state.now, self.config.usage_half_life.as_secs_f64().max(1.0));
        let queue = self.state.queues.entry(key).or_default();
        let ahead = queue.served.saturating_sub(floor);
        let idle_for = queue.idle_since.take().map_or(Duration::ZERO, |since| now.since(since));
        let kept = if idle_for.is_zero() { 1.0 } else { (-idle_for.as_secs_f64() / half_life).exp2() };
        queue.served = floor.saturating_add((ahead as f64 * kept) as u64).max(floor);
        self.index.tune(key, queue.served, queue.running_max);
    }

    /// Where a job belongs in the indexes. A function of the state alone.
    fn filing(&self, tag: Tag, job: &Job) -> Filing {
        let now = self.state.now;
        let timer = job.timer(now, &self.config);
        let place = match job.stand() {
            Stand::Ended if job.assumed.is_some() => Filed::Ending,
            Stand::Ended => Filed::Ended(job.ended_at),
            Stand::Out(run) => {
                let stopping = run.stop == Some(Stop::Preempt);
                Filed::Out { worker: run.worker, priority: job.seen.priority, stopping }
            }
            Stand::Waiting if job.assumed.is_some() || job.held_until.is_some() || job.seen.cancelled => {
                Filed::Delayed(Delay::Unsettled)
            }
            Stand::Waiting if job.model_unknown_since.is_some() => Filed::Delayed(Delay::UnknownModel),
            Stand::Waiting if job.seen.not_before.is_some_and(|until| until > now) => Filed::Delayed(Delay::BackingOff),
            Stand::Waiting => {
                if let Some(worker) = job.waits_for().and_then(|promise| promise.worker) {
                    Filed::Promised(self.state.names.tag(worker), Class::of(&job.seen))
                } else {
                    let turn = Turn::of(tag, job.seen.priority, job.when(now, &self.config));
                    Filed::Ready(Class::of(&job.seen), turn)
                }
            }
        };
        let vram_mib = match place {
            Filed::Promised(..) | Filed::Out { .. } => {
                let bytes = self.state.models.get(&job.seen.model).map_or(0, |model| model.vram_bytes);
                u32::try_from(bytes >> 20).unwrap_or(u32::MAX)
            }
            Filed::Ready(..) | Filed::Delayed(_) | Filed::Ending | Filed::Ended(_) => 0,
        };
        Filing { queue: job.seen.queue, model: job.seen.model, place, timer, run_ms: job.run_ms, vram_mib }
    }

    /// Drops names nobody uses any more, once there are many.
    pub(crate) fn sweep_names(&mut self) {
        if !self.state.names.crowded() {
            return;
        }
        let State { jobs, queues, models, workers, costs, demand, unwarmed, .. } = &self.state;
        let mut used = Used::default();
        used.extend(queues.keys().chain(models.keys()).copied());
        used.extend(queues.values().filter_map(|queue| queue.parent));
        used.extend(costs.names().chain(demand.models()).chain(unwarmed.names()));
        for job in jobs.each() {
            used.extend(job.seen.names());
            used.extend(job.run.as_ref().map(|run| run.worker));
            used.extend(job.closed.as_ref().map(|closed| closed.worker));
            used.extend(job.promise.as_ref().and_then(|promise| promise.worker));
        }
        for (name, worker) in workers {
            let claim = &worker.claim;
            used.extend([*name, claim.pool].into_iter().chain(claim.kind));
            used.extend(claim.resident.iter().chain(&claim.loadable).chain(&worker.holds).copied());
            used.extend(worker.warming.as_ref().map(|(model, _)| *model));
        }
        self.state.names.keep(&used);
    }
}
