//! How many workers each pool should have, by the plan one horizon further: enough that what waits begins within the
//! horizon, and of the idle ones those that cost less to keep than to bring back. Nothing is decided here; whoever runs
//! pools acts on it.
//!
//! Idle workers are kept by the ski-rental rule: for as long as bringing one back takes (starting it and loading its
//! models), then let go. Whatever comes next, that costs at most twice what knowing the future would (Karlin, Manasse,
//! Rudolph and Sleator, 1988). A pool with nothing to do goes to zero; what waits for it is known all the same, and is what
//! brings it back.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tintype_types::PoolName;

use crate::line::Class;
use crate::names::Name;
use crate::observation::PoolSeen;
use crate::state::Core;
use crate::worker::Worker;

/// How many workers a pool should have, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolPlan {
    /// The pool.
    pub pool: PoolName,
    /// Workers it has: heard of lately.
    pub workers: u32,
    /// Of those, the ones that run something.
    pub busy: u32,
    /// Of the idle ones, those that cost less to keep than to bring back.
    pub kept: u32,
    /// Of the idle ones, those that take no work because their GPU is unwell: each takes the place of one that would.
    #[serde(default)]
    pub unwell: u32,
    /// Jobs that wait for it.
    pub waiting: u32,
    /// What those should take on one worker, loads included, in milliseconds.
    pub waiting_ms: u64,
    /// Workers it should have.
    pub wanted: u32,
}

/// Ready jobs of one pool.
#[derive(Default)]
struct Waiting {
    jobs: u32,
    work_ms: u64,
    models: BTreeSet<Name>,
}

/// How it is known that a pool can run a model, the surest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Able {
    Told,
    Wants,
    Unknown,
}

impl Core {
    /// How many workers each pool should have, by name.
    pub(crate) fn scale(&self) -> Vec<PoolPlan> {
        let mut workers: BTreeMap<&str, Vec<&Worker>> = BTreeMap::new();
        for pool in self.state.pools.keys() {
            workers.entry(pool.as_str()).or_default();
        }
        for worker in self.state.workers.values() {
            workers.entry(self.state.names.text(worker.claim.pool)).or_default().push(worker);
        }
        let waiting = self.waiting_by_pool(&workers);
        let none = Waiting::default();
        workers.iter().map(|(pool, here)| self.plan_of(pool, here, waiting.get(pool).unwrap_or(&none))).collect()
    }

    fn plan_of(&self, pool: &str, here: &[&Worker], waiting: &Waiting) -> PoolPlan {
        let runs = |worker: &&&Worker| self.index.runs_any(worker.tag.name());
        let busy = here.iter().filter(runs).count() as u32;
        let idle = here.iter().filter(|worker| !runs(worker));
        let (unwell, idle): (Vec<&Worker>, Vec<&Worker>) = idle.partition(|worker| worker.claim.unwell.is_some());
        let kept = idle.iter().filter(|worker| self.is_worth_keeping(worker)).count() as u32;
        let cold = |model: &&Name| !here.iter().any(|worker| worker.holds.contains(model));
        let loads = waiting.models.iter().filter(cold).map(|model| u64::from(self.state.costs.load_ms(*model)));
        let waiting_ms = waiting.work_ms.saturating_add(loads.sum());
        let horizon_ms = u64::try_from(self.config.scale_horizon.as_millis()).unwrap_or(u64::MAX).max(1);
        let for_work = u32::try_from(waiting_ms.div_ceil(horizon_ms)).unwrap_or(u32::MAX).min(waiting.jobs);
        // A worker that draws nothing is kept only beside others: its place is taken by one more while there is work.
        let at_work = busy.saturating_add(for_work.max(kept));
        let unwell = unwell.len() as u32;
        PoolPlan {
            pool: pool.into(),
            workers: here.len() as u32,
            busy,
            kept,
            unwell,
            waiting: waiting.jobs,
            waiting_ms,
            wanted: if at_work > 0 { at_work.saturating_add(unwell) } else { 0 },
        }
    }

    /// Whether an idle worker has cost less so far than bringing it back would.
    fn is_worth_keeping(&self, worker: &Worker) -> bool {
        let Some(since) = worker.idle_since else { return true };
        let loads: u64 = worker.holds.iter().map(|model| u64::from(self.state.costs.load_ms(*model))).sum();
        let back_ms = u64::try_from(self.config.start_time.as_millis()).unwrap_or(u64::MAX).saturating_add(loads);
        self.state.now.since(since).as_millis() < u128::from(back_ms)
    }

    /// Ready jobs by the pool they go to: the one they name, else the one most likely to run their model.
    fn waiting_by_pool<'a>(&'a self, workers: &BTreeMap<&'a str, Vec<&Worker>>) -> BTreeMap<&'a str, Waiting> {
        let mut classes: BTreeMap<Class, u32> = BTreeMap::new();
        let mut by_model: BTreeMap<Name, u32> = BTreeMap::new();
        for (class, _, jobs) in self.index.lines.sizes() {
            *classes.entry(class).or_default() += jobs;
            *by_model.entry(class.model).or_default() += jobs;
        }
        let able = |class: Class| {
            let ranked = workers.iter().filter_map(|(pool, here)| Some((self.able(pool, here, class.model)?, *pool)));
            ranked.min().map(|(_, pool)| pool)
        };
        let mut waiting: BTreeMap<&str, Waiting> = BTreeMap::new();
        for (class, jobs) in classes {
            let named = class.pool.map(|pool| self.state.names.text(pool));
            let Some(pool) = named.or_else(|| able(class)) else { continue };
            let all = u64::from(by_model.get(&class.model).copied().unwrap_or(jobs).max(1));
            let here = waiting.entry(pool).or_default();
            here.jobs = here.jobs.saturating_add(jobs);
            here.work_ms = here.work_ms.saturating_add(self.index.backlog_ms(class.model) / all * u64::from(jobs));
            here.models.insert(class.model);
        }
        waiting
    }

    /// Whether a pool can run a model, the surest first: a worker of it says so, it wants the model warm, or none of its
    /// workers is there to say no.
    fn able(&self, pool: &str, here: &[&Worker], model: Name) -> Option<Able> {
        let text = self.state.names.text(model);
        let wants = |pool: &PoolSeen| pool.warm_models.iter().any(|warm| warm == text);
        if here.iter().any(|worker| worker.can_load(model)) {
            Some(Able::Told)
        } else if self.state.pools.get(&PoolName::from(pool)).is_some_and(wants) {
            Some(Able::Wants)
        } else {
            here.is_empty().then_some(Able::Unknown)
        }
    }
}
