//! Which ready job goes to which parked worker: warm where that is possible, cold where waiting would take longer than
//! loading, and never so that a queue gets further ahead of another that could have run than the fairness budget allows
//! (`docs/fairness.md` has the proof).

use std::cmp::Reverse;
use std::time::Duration;

use tintype_types::{JobId, PoolName, QueueKey, WorkerId};

use crate::decision::WarmUp;
use crate::demand::worth_of_copy;
use crate::line::{Class, Stage, Turn};
use crate::state::{Core, SERVED_SCALE};
use crate::worker::Worker;

/// A model another copy of is loaded when its waiting jobs would keep the copies there are busy for this many loads.
const BACKLOG_LOADS: u64 = 3;
/// A load that loses less than this takes nothing from anybody: it is worth it as soon as it is not slower than waiting.
const FREE_LOSS: f64 = 0.1;
/// Holders of a model up to which each is looked at when a wait is estimated; more even out.
const HOLDERS_LOOK_MAX: usize = 8;
/// A worker that runs nothing and asks for nothing is gone, unless it was heard of this lately: it is about to claim.
const CLAIM_GAP: Duration = Duration::from_secs(2);
/// Warm workers looked at for one job: they differ in what else they could do, and that is soon good enough.
const WARM_LOOK_MAX: usize = 64;
/// Least served queues looked at for one that could run; the others have jobs for no worker there is.
const BEHIND_LOOK_MAX: usize = 64;
/// Queues of one class looked at for one within the budget.
const AHEAD_LOOK_MAX: usize = 256;
/// Classes with jobs of higher priority looked at before a warm job is given out.
const ABOVE_LOOK_MAX: usize = 64;
/// Classes with overdue jobs looked at before one assignment.
const OVERDUE_LOOK_MAX: usize = 64;
/// A model is loaded ahead of jobs when that keeps this many more workers busy than what it replaces.
const WARM_GAIN: f64 = 0.4;
/// Part of a GPU's memory that models may fill; the rest is for the pictures being made.
const VRAM_FOR_MODELS: f64 = 0.9;

/// A job and where it goes.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    pub(crate) job: JobId,
    pub(crate) worker: WorkerId,
    /// The worker has to load the model first.
    pub(crate) cold: bool,
}

impl Core {
    /// The next job to give out, if any fits. Queues ahead of the budget wait while one that is not could use a worker.
    pub(crate) fn choose(&self) -> Option<Choice> {
        if self.index.parked.len() == 0 {
            return None;
        }
        let reach = self.reach();
        self.choose_within(reach).or_else(|| {
            let wanted = reach < u64::MAX && self.index.lines.classes().any(|class| self.wanted_within(class, reach));
            if wanted { None } else { self.choose_within(u64::MAX) }
        })
    }

    fn choose_within(&self, reach: u64) -> Option<Choice> {
        let overdue = self.overdue(reach);
        overdue.or_else(|| self.warm(reach)).or_else(|| self.cold(reach))
    }

    /// How far queues may have been served to be given more: the budget beyond the least served that could run.
    fn reach(&self) -> u64 {
        self.least_served().map_or(u64::MAX, |served| served.saturating_add(self.config.fairness_budget_served()))
    }

    /// What the least served queue that could run was served.
    pub(crate) fn least_served(&self) -> Option<u64> {
        let mut behind = self.index.active().take(BEHIND_LOOK_MAX);
        behind.find(|(_, queue)| self.could_run(queue)).map(|(served, _)| served)
    }

    /// Whether a queue has a ready job, its quota lets it run and some worker could run it.
    fn could_run(&self, queue: &QueueKey) -> bool {
        let mut firsts = self.index.lines.firsts_of(queue);
        firsts.any(|(_, class)| self.index.loaders.can(class.pool.as_ref(), &class.model))
    }

    /// How far apart the least and the most served queue that could run are, in GPU milliseconds of weight 1.
    pub(crate) fn fairness_gap_ms(&self) -> u64 {
        let most = self.index.active().rev().take(BEHIND_LOOK_MAX).find(|(_, queue)| self.could_run(queue));
        let (least, most) = (self.least_served(), most.map(|(served, _)| served));
        most.unwrap_or_default().saturating_sub(least.unwrap_or_default()) / SERVED_SCALE
    }

    /// The first job of a class whose queue is within reach.
    fn head_within<'a>(&'a self, class: &Class, reach: u64) -> Option<&'a Turn> {
        let served = |turn: &Turn| self.state.queues.get(&self.state.jobs.get(&turn.job)?.seen.queue);
        let within = |turn: &&Turn| served(turn).is_none_or(|queue| queue.served <= reach);
        self.index.lines.order(class).take(AHEAD_LOOK_MAX).find(within)
    }

    /// Whether a queue within reach has a job of the class that a parked worker could run.
    fn wanted_within(&self, class: &Class, reach: u64) -> bool {
        let mut parked = self.index.parked.workers(class.pool.as_ref()).filter_map(|id| self.state.workers.get(id));
        self.head_within(class, reach).is_some() && parked.any(|worker| worker.can_load(&class.model))
    }

    /// A job that waited longer than anyone should goes first, wherever that is.
    fn overdue(&self, reach: u64) -> Option<Choice> {
        let overdue = |(turn, _): &(&Turn, &Class)| turn.stage == Stage::Overdue;
        let mut heads = self.index.lines.heads().take(OVERDUE_LOOK_MAX).filter(overdue);
        heads.find_map(|(_, class)| {
            let turn = self.head_within(class, reach).filter(|turn| turn.stage == Stage::Overdue)?;
            self.warm_for(turn, class).or_else(|| self.cold_for(turn, class))
        })
    }

    /// The best job whose model a parked worker has resident.
    fn warm(&self, reach: u64) -> Option<Choice> {
        let at_workers = self
            .index
            .parked
            .resident()
            .flat_map(|(pool, model)| [Some(pool.clone()), None].map(|pool| Class { pool, model: model.clone() }));
        let best = at_workers.filter_map(|class| Some((self.head_within(&class, reach)?, class))).min()?;
        self.above(best.0, reach).or_else(|| self.warm_for(best.0, &best.1))
    }

    /// A job of higher priority whose model nobody holds: it has no warm worker to wait for.
    fn above(&self, turn: &Turn, reach: u64) -> Option<Choice> {
        let heads = self.index.lines.heads().take(ABOVE_LOOK_MAX).take_while(|(head, _)| head.priority < turn.priority);
        let cold = heads.filter(|(_, class)| self.index.holders.count(&class.model, class.pool.as_ref()) == 0);
        cold.filter_map(|(_, class)| Some((self.head_within(class, reach)?, class)))
            .filter(|(head, _)| head.priority < turn.priority)
            .find_map(|(head, class)| self.cold_for(head, class))
    }

    /// The warm worker for a job that has least else to do.
    fn warm_for(&self, turn: &Turn, class: &Class) -> Option<Choice> {
        let else_to_do = |worker: &WorkerId| {
            let holds = self.state.workers.get(worker).map(|worker| worker.holds.as_slice()).unwrap_or_default();
            let others = holds.iter().filter(|model| **model != class.model);
            others.map(|model| self.per_copy_ms(model)).sum::<u64>()
        };
        let workers = self.index.parked.warm(class).take(WARM_LOOK_MAX);
        let worker = workers.min_by_key(|worker| (else_to_do(worker), (*worker).clone()))?;
        Some(Choice { job: turn.job.clone(), worker: worker.clone(), cold: false })
    }

    /// Waiting work of a model, and what is usually asked of it, for each copy: milliseconds.
    fn per_copy_ms(&self, model: &str) -> u64 {
        let copies = self.index.holders.count(model, None).max(1);
        let usual = self.demand(model) * 1_000.0;
        (self.index.backlog_ms(model) + usual as u64) / copies as u64
    }

    fn demand(&self, model: &str) -> f64 {
        self.state.demand.of(model, self.state.workers.len(), self.state.now, &self.config)
    }

    /// A job for which loading its model is better than waiting. No parked worker has it resident.
    fn cold(&self, reach: u64) -> Option<Choice> {
        let classes = self.index.lines.classes();
        let mut waits: Vec<_> = classes
            .filter_map(|class| Some((self.head_within(class, reach)?, class)))
            .map(|(turn, class)| (turn.priority, Reverse(self.wait_ms(class)), turn, class))
            .collect();
        waits.sort_unstable();
        waits.into_iter().find_map(|(_, Reverse(wait_ms), turn, class)| {
            let (loss, choice) = self.least_loss(turn, class)?;
            let loads = if loss < FREE_LOSS { 1 } else { BACKLOG_LOADS };
            (wait_ms >= loads * u64::from(self.state.costs.load_ms(&class.model))).then_some(choice)
        })
    }

    /// How long the last waiting job of a class's model waits for the workers that hold it; for ever if none does.
    fn wait_ms(&self, class: &Class) -> u64 {
        let (holders, pool) = (&self.index.holders, class.pool.as_ref());
        let backlog_ms = self.index.backlog_ms(&class.model);
        let copies = holders.count(&class.model, pool);
        if copies > HOLDERS_LOOK_MAX {
            return backlog_ms / copies as u64;
        }
        let free_in: Vec<u64> = holders.of(&class.model, pool).filter_map(|id| self.free_in_ms(id)).collect();
        let first = free_in.iter().min().copied();
        first.map_or(u64::MAX, |first| first + backlog_ms / free_in.len() as u64)
    }

    /// When a worker should be free again; `None` if it may be gone.
    fn free_in_ms(&self, id: &WorkerId) -> Option<u64> {
        let (now, worker) = (self.state.now, self.state.workers.get(id)?);
        let runs = self.index.runs.get(id).into_iter().flatten();
        let ends = runs.filter_map(|job| Some(self.state.jobs.get(job)?.run.as_ref()?.ends_at));
        let heard_of = worker.parked || worker.warming.is_some() || now.since(worker.seen_at) < CLAIM_GAP;
        let end = ends.max().or(heard_of.then_some(now))?;
        Some(end.0.saturating_sub(now.0))
    }

    fn cold_for(&self, turn: &Turn, class: &Class) -> Option<Choice> {
        self.least_loss(turn, class).map(|(_, choice)| choice)
    }

    /// The parked worker where loading a class's model loses least, and what it loses.
    fn least_loss(&self, turn: &Turn, class: &Class) -> Option<(f64, Choice)> {
        let parked = self.index.parked.workers(class.pool.as_ref());
        let known = parked.filter_map(|id| Some((id, self.state.workers.get(id)?)));
        let able = known.filter(|(_, worker)| worker.can_load(&class.model));
        let scored = able.map(|(id, worker)| (self.loss(worker, &class.model), id));
        let (loss, worker) = scored.min_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(b.1)))?;
        Some((loss, Choice { job: turn.job.clone(), worker: worker.clone(), cold: true }))
    }

    /// The models that go when a worker loads one more: those worth least, until it fits. Where sizes are not known the
    /// worker decides for itself.
    pub(crate) fn evictions(&self, worker: &Worker, model: &str) -> Vec<String> {
        let size = |name: &str| self.state.models.get(name).map(|seen| seen.vram_bytes).filter(|bytes| *bytes > 0);
        let memory: u64 = worker.claim.gpus.iter().map(|gpu| gpu.vram_total_bytes).sum();
        let held: Option<u64> = worker.holds.iter().map(|name| size(name)).sum();
        let (Some(held), Some(wanted)) = (held, size(model)) else { return Vec::new() };
        let room = (memory as f64 * VRAM_FOR_MODELS) as u64;
        let mut by_worth: Vec<_> = worker.holds.iter().map(|name| (self.worth(name), name)).collect();
        by_worth.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(a.1)));
        let (mut filled, mut gone) = (held.saturating_add(wanted), Vec::new());
        for (_, name) in by_worth {
            if filled <= room {
                break;
            }
            filled -= size(name).unwrap_or_default();
            gone.push(name.clone());
        }
        gone
    }

    /// What a worker's copy of a model is worth, in workers kept busy; the last copy of one that jobs wait for is never
    /// given up while anything else can be.
    fn worth(&self, model: &str) -> f64 {
        let copies = self.index.holders.count(model, None);
        let needed = copies <= 1 && self.index.backlog_ms(model) > 0;
        worth_of_copy(self.demand(model), copies) + if needed { 1e6 } else { 0.0 }
    }

    /// What loading a model at a worker loses. Where nobody knows whether anything must go, the fuller one loses more.
    fn loss(&self, worker: &Worker, model: &str) -> f64 {
        let gone: f64 = self.evictions(worker, model).iter().map(|name| self.worth(name)).sum();
        gone + worker.holds.len() as f64 * 1e-3
    }

    /// Has a parked worker nobody has work for load the model that is shortest of copies, if that gains enough. At most
    /// once in a while: each looks at every model.
    pub(crate) fn warm_up(&mut self) -> Option<WarmUp> {
        let (now, due) = (self.state.now, self.state.warmed_at.plus(self.config.warm_interval));
        if !self.config.warm_ahead || self.index.parked.len() == 0 || now < due {
            return None;
        }
        self.state.warmed_at = now;
        let (worker, model) = self.worth_warming()?;
        let state = self.state.workers.get(&worker)?;
        let (evict, boot_id) = (self.evictions(state, &model), state.claim.boot_id.clone());
        self.end_claim(&worker, None);
        self.hold(&worker, &model, &evict);
        if let Some(state) = self.state.workers.get_mut(&worker) {
            state.warming = Some((model.clone(), now));
        }
        Some(WarmUp { worker, boot_id, model, evict })
    }

    fn worth_warming(&self) -> Option<(WorkerId, String)> {
        let gain = |model: &str| worth_of_copy(self.demand(model), self.index.holders.count(model, None) + 1);
        let known = self.state.demand.models().filter(|model| self.state.models.contains_key(*model));
        let (most, model) = known.map(|model| (gain(model), model)).max_by(|a, b| a.0.total_cmp(&b.0))?;
        let any: Option<&PoolName> = None;
        let parked = self.index.parked.workers(any).filter_map(|id| Some((id, self.state.workers.get(id)?)));
        let able = parked.filter(|(_, worker)| !worker.holds.contains(model) && worker.can_load(model));
        let scored = able.map(|(id, worker)| (self.loss(worker, model), id));
        let (loss, worker) = scored.min_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(b.1)))?;
        (most - loss > WARM_GAIN).then(|| (worker.clone(), model.clone()))
    }

    /// A worker was given a model: it holds it now, most recently used, and no more what it gave up for it.
    pub(crate) fn hold(&mut self, id: &WorkerId, model: &str, evicted: &[String]) {
        let Some(worker) = self.state.workers.get(id) else { return };
        let kept = worker.holds.iter().filter(|name| *name != model && !evicted.contains(name));
        let holds = std::iter::once(model.to_owned()).chain(kept.cloned()).collect();
        self.set_holds(id, holds);
    }

    /// Sets what a worker holds.
    pub(crate) fn set_holds(&mut self, id: &WorkerId, mut holds: Vec<String>) {
        let Some(worker) = self.state.workers.get_mut(id) else { return };
        let mut seen = std::collections::BTreeSet::new();
        holds.retain(|model| seen.insert(model.clone()));
        let pool = worker.claim.pool.clone();
        let old = std::mem::replace(&mut worker.holds, holds.clone());
        self.index.holders.remove(id, &pool, &old);
        self.index.holders.add(id, &pool, &holds);
    }
}
