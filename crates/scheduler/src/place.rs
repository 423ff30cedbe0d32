//! Which ready job goes to which parked worker: warm where that is possible, cold where waiting would take longer than
//! loading, and never so that a queue gets further ahead of another that could have run than the fairness budget allows
//! (`docs/fairness.md` has the proof).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::demand::worth_of_copy;
use crate::line::{Class, Gate, Turn};
use crate::names::{Name, Tag};
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
/// Parked workers looked at for one where a load loses least: in a fleet with more idle ones any of these will do.
const COLD_LOOK_MAX: usize = 64;
/// Classes whose jobs wait longer than a load that are looked at for one worth loading now, the longest wait first.
const COLD_CLASSES_MAX: usize = 32;
/// Part of a GPU's memory that models may fill; the rest is for the pictures being made.
pub(crate) const VRAM_FOR_MODELS: f64 = 0.9;

/// Parked workers of a pool with what a load of so many bytes loses there, the least first. Kept while one choice is made.
pub(crate) type Losses = BTreeMap<(Option<Name>, u64), Vec<(f64, Tag)>>;

/// A job and where it goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice {
    pub(crate) job: Tag,
    pub(crate) worker: Name,
    /// The worker has to load the model first.
    pub(crate) cold: bool,
    /// Its queue is ahead of the budget and gets a worker all others passed over: it is not charged for it.
    pub(crate) spare: bool,
}

impl Core {
    /// The next job to give out, if any fits: one that was promised the worker, one in line, or one that was promised
    /// another worker.
    pub(crate) fn choose(&self) -> Option<Choice> {
        if self.index.parked.len() == 0 {
            return None;
        }
        self.owed().or_else(|| self.choose_in_line()).or_else(|| self.early())
    }

    /// Queues ahead of the budget wait while one that is not could use a worker; a worker all those pass over is spare,
    /// and serves the others for nothing.
    fn choose_in_line(&self) -> Option<Choice> {
        if self.index.lines.heads_len() == 0 {
            return None;
        }
        let reach = self.reach();
        let within = self.choose_within(reach);
        if within.is_some() || reach == u64::MAX {
            return within;
        }
        if self.index.lines.heads().any(|(_, class)| self.wanted_within(class, reach)) {
            // Warm jobs only: a load would be work given away.
            let (turn, class) = self.first_warm(u64::MAX)?;
            return self.warm_for(turn, class).map(|choice| Choice { spare: true, ..choice });
        }
        self.choose_within(u64::MAX)
    }

    fn choose_within(&self, reach: u64) -> Option<Choice> {
        let overdue = self.overdue(reach);
        overdue.or_else(|| self.warm(reach)).or_else(|| self.cold(reach))
    }

    /// How far queues may have been served to be given more: the budget beyond the least served that could run.
    pub(crate) fn reach(&self) -> u64 {
        self.least_served().map_or(u64::MAX, |served| served.saturating_add(self.config.fairness_budget_served()))
    }

    /// What the least served queue that could run was served.
    pub(crate) fn least_served(&self) -> Option<u64> {
        let mut behind = self.index.active().take(BEHIND_LOOK_MAX);
        behind.find(|(_, queue)| self.could_run(*queue)).map(|(served, _)| served)
    }

    /// Whether a queue has a ready job, its quota lets it run and some worker could run it.
    fn could_run(&self, queue: Name) -> bool {
        let mut classes = self.index.lines.classes_of(queue);
        self.index.gate(queue) == Gate::Open && classes.any(|class| self.index.loaders.can(class.pool, class.model))
    }

    /// How far apart the least and the most served queue that could run are, in GPU milliseconds of weight 1.
    pub(crate) fn fairness_gap_ms(&self) -> u64 {
        let most = self.index.active().rev().take(BEHIND_LOOK_MAX).find(|(_, queue)| self.could_run(*queue));
        let (least, most) = (self.least_served(), most.map(|(served, _)| served));
        most.unwrap_or_default().saturating_sub(least.unwrap_or_default()) / SERVED_SCALE
    }

    /// The first job of a class whose queue is within reach.
    pub(crate) fn head_within(&self, class: Class, reach: u64) -> Option<Turn> {
        let within = |queue: Name| self.state.queues.get(&queue).is_none_or(|queue| queue.served <= reach);
        let (head, queue) = self.index.lines.head(class)?;
        if within(queue) {
            return Some(head);
        }
        let mut order = self.index.lines.order(class).take(AHEAD_LOOK_MAX).skip(1);
        order.find(|(_, queue)| within(*queue)).map(|(turn, _)| turn)
    }

    /// Whether a queue within reach has a job of the class that a parked worker could run.
    fn wanted_within(&self, class: Class, reach: u64) -> bool {
        let parked = self.index.parked.workers(class.pool);
        let mut parked = parked.filter_map(|worker| self.state.workers.get(&worker.name()));
        self.head_within(class, reach).is_some() && parked.any(|worker| worker.can_load(class.model))
    }

    /// A job that waited longer than anyone should goes first, wherever that is.
    fn overdue(&self, reach: u64) -> Option<Choice> {
        let overdue = |(turn, _): &(Turn, Class)| turn.overdue();
        let mut heads = self.index.lines.heads().take(OVERDUE_LOOK_MAX).filter(overdue);
        heads.find_map(|(_, class)| {
            let turn = self.head_within(class, reach).filter(|turn| turn.overdue())?;
            self.warm_for(turn, class).or_else(|| self.cold_for(turn, class))
        })
    }

    /// The best job whose model a parked worker has resident, or one of higher priority that has nobody to wait for.
    fn warm(&self, reach: u64) -> Option<Choice> {
        let (turn, class) = self.first_warm(reach)?;
        self.above(turn, reach).or_else(|| self.warm_for(turn, class))
    }

    /// The best job whose model a parked worker has resident, and its class.
    fn first_warm(&self, reach: u64) -> Option<(Turn, Class)> {
        let (lines, parked) = (&self.index.lines, &self.index.parked);
        let resident = parked.resident();
        if resident.len() < lines.heads_len() {
            let classes = resident.flat_map(|(model, pool)| [Some(pool), None].map(|pool| Class { pool, model }));
            classes.filter_map(|class| Some((self.head_within(class, reach)?, class))).min()
        } else {
            self.warm_by_heads(reach)
        }
    }

    /// The same, found by looking at the lines, best first: there are fewer of them.
    fn warm_by_heads(&self, reach: u64) -> Option<(Turn, Class)> {
        let mut best: Option<(Turn, Class)> = None;
        for (head, class) in self.index.lines.heads() {
            if best.is_some_and(|(turn, _)| turn < head) {
                break;
            }
            if self.index.parked.has_warm(class)
                && let Some(turn) = self.head_within(class, reach)
                && best.is_none_or(|best| (turn, class) < best)
            {
                best = Some((turn, class));
            }
        }
        best
    }

    /// A job of higher priority whose model nobody holds: it has no warm worker to wait for.
    fn above(&self, turn: Turn, reach: u64) -> Option<Choice> {
        let heads = self.index.lines.heads().take(ABOVE_LOOK_MAX).take_while(|(head, _)| head.lower() < turn.lower());
        let cold = heads.filter(|(_, class)| self.index.holders.count(class.model, class.pool) == 0);
        cold.filter_map(|(_, class)| Some((self.head_within(class, reach)?, class)))
            .filter(|(head, _)| head.lower() < turn.lower())
            .find_map(|(head, class)| self.cold_for(head, class))
    }

    /// The warm worker for a job that has least else to do.
    fn warm_for(&self, turn: Turn, class: Class) -> Option<Choice> {
        let else_to_do = |worker: &Tag| {
            let holds = self.state.workers.get(&worker.name()).map(|worker| worker.holds.as_slice());
            let others = holds.unwrap_or_default().iter().filter(|model| **model != class.model);
            (others.map(|model| self.per_copy_ms(*model)).sum::<u64>(), *worker)
        };
        let worker = self.index.parked.warm(class).take(WARM_LOOK_MAX).min_by_key(else_to_do)?;
        Some(Choice { job: turn.job, worker: worker.name(), cold: false, spare: false })
    }

    /// Waiting work of a model, and what is usually asked of it, for each copy: milliseconds.
    fn per_copy_ms(&self, model: Name) -> u64 {
        let copies = self.index.holders.count(model, None).max(1);
        let usual = self.demand(model) * 1_000.0;
        (self.index.backlog_ms(model) + usual as u64) / copies as u64
    }

    fn demand(&self, model: Name) -> f64 {
        self.state.demand.of(model, self.state.workers.len())
    }

    /// A job for which loading its model is better than waiting. No parked worker has it resident.
    fn cold(&self, reach: u64) -> Option<Choice> {
        let load_ms = |class: Class| u64::from(self.state.costs.load_ms(class.model));
        let mut waits: Vec<_> = self
            .index
            .lines
            .heads()
            .map(|(_, class)| (Reverse(self.wait_ms(class)), class))
            .filter(|(Reverse(wait_ms), class)| *wait_ms >= load_ms(*class))
            .filter_map(|(wait_ms, class)| Some((self.head_within(class, reach)?, wait_ms, class)))
            .map(|(turn, wait_ms, class)| (turn.lower(), wait_ms, turn, class))
            .collect();
        waits.sort_unstable();
        let mut losses = Losses::new();
        waits.into_iter().take(COLD_CLASSES_MAX).find_map(|(_, Reverse(wait_ms), turn, class)| {
            let (loss, worker) = self.least_loss(&mut losses, class)?;
            let choice = Choice { job: turn.job, worker, cold: true, spare: false };
            let loads = if loss < FREE_LOSS { 1 } else { BACKLOG_LOADS };
            (wait_ms >= loads * load_ms(class)).then_some(choice)
        })
    }

    /// How long the last waiting job of a class's model waits for the workers that hold it; for ever if none does.
    fn wait_ms(&self, class: Class) -> u64 {
        let holders = &self.index.holders;
        let backlog_ms = self.index.backlog_ms(class.model);
        let copies = holders.count(class.model, class.pool);
        if copies > HOLDERS_LOOK_MAX {
            return backlog_ms / copies as u64;
        }
        let (mut first, mut there) = (u64::MAX, 0_u64);
        for free_in in holders.of(class.model, class.pool).filter_map(|worker| self.free_in_ms(worker)) {
            (first, there) = (first.min(free_in), there + 1);
        }
        backlog_ms.checked_div(there).map_or(u64::MAX, |each| first + each)
    }

    /// When a worker should be free again; `None` if it may be gone.
    pub(crate) fn free_in_ms(&self, worker: Tag) -> Option<u64> {
        let (now, name) = (self.state.now, worker.name());
        let worker = self.state.workers.get(&name)?;
        let runs = self.index.runs_of(name);
        let ends = runs.filter_map(|job| Some(self.state.jobs.get(job)?.run.as_ref()?.ends_at));
        let lately = now.since(worker.seen_at) < CLAIM_GAP && worker.claim.unwell.is_none();
        let heard_of = worker.parked || worker.warming.is_some() || lately;
        let end = ends.max().or(heard_of.then_some(now))?;
        Some(end.0.saturating_sub(now.0))
    }

    fn cold_for(&self, turn: Turn, class: Class) -> Option<Choice> {
        let (_, worker) = self.least_loss(&mut Losses::new(), class)?;
        Some(Choice { job: turn.job, worker, cold: true, spare: false })
    }

    /// The parked worker where loading a class's model loses least, and what it loses.
    pub(crate) fn least_loss(&self, losses: &mut Losses, class: Class) -> Option<(f64, Name)> {
        let (model, pool) = (class.model, class.pool);
        let size = self.state.models.get(&model).map_or(0, |seen| seen.vram_bytes);
        let workers = |first: usize| self.index.parked.workers(pool).skip(first);
        let known = losses.entry((pool, size)).or_insert_with(|| {
            let looked_at = workers(0).take(COLD_LOOK_MAX).filter_map(|tag| self.state.workers.get(&tag.name()));
            let mut losses: Vec<_> = looked_at.map(|worker| (self.loss(worker, size), worker.tag)).collect();
            losses.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
            losses
        });
        let worker = |tag: Tag| self.state.workers.get(&tag.name());
        let able = |worker: &Worker| !worker.holds.contains(&model) && worker.can_load(model);
        let least = known.iter().find(|(_, tag)| worker(*tag).is_some_and(able)).copied();
        let (loss, tag) = least.or_else(|| {
            // None of those can: any that can will do.
            let mut others = workers(COLD_LOOK_MAX).filter_map(worker).filter(|worker| able(worker));
            others.next().map(|worker| (self.loss(worker, size), worker.tag))
        })?;
        Some((loss, tag.name()))
    }

    /// The models that go when a worker loads one more: those worth least, until it fits. Where sizes are not known the
    /// worker decides for itself.
    pub(crate) fn evictions(&self, worker: &Worker, model: Name) -> Vec<Name> {
        self.evicted_for(worker, self.state.models.get(&model).map_or(0, |seen| seen.vram_bytes))
    }

    /// The same for a model of this size; 0 is not known.
    fn evicted_for(&self, worker: &Worker, wanted: u64) -> Vec<Name> {
        let size = |name: Name| self.state.models.get(&name).map(|seen| seen.vram_bytes).filter(|bytes| *bytes > 0);
        let memory: u64 = worker.claim.gpus.iter().map(|gpu| gpu.vram_total_bytes).sum();
        let held: Option<u64> = worker.holds.iter().map(|name| size(*name)).sum();
        let Some(held) = held.filter(|_| wanted > 0) else { return Vec::new() };
        let room = (memory as f64 * VRAM_FOR_MODELS) as u64;
        if held.saturating_add(wanted) <= room {
            return Vec::new();
        }
        let mut by_worth: Vec<_> = worker.holds.iter().map(|name| (self.worth(*name), *name)).collect();
        let text = |name| self.state.names.text(name);
        by_worth.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| text(b.1).cmp(text(a.1))));
        let (mut filled, mut gone) = (held.saturating_add(wanted), Vec::new());
        for (_, name) in by_worth {
            if filled <= room {
                break;
            }
            filled -= size(name).unwrap_or_default();
            gone.push(name);
        }
        gone
    }

    /// What a worker's copy of a model is worth, in workers kept busy; the last copy of one that jobs wait for is never
    /// given up while anything else can be.
    pub(crate) fn worth(&self, model: Name) -> f64 {
        let copies = self.index.holders.count(model, None);
        let needed = copies <= 1 && self.index.backlog_ms(model) > 0;
        worth_of_copy(self.demand(model), copies) + if needed { 1e6 } else { 0.0 }
    }

    /// What loading a model of this size at a worker loses. Where nobody knows whether anything must go, the fuller one loses more.
    fn loss(&self, worker: &Worker, size: u64) -> f64 {
        let gone: f64 = self.evicted_for(worker, size).iter().map(|name| self.worth(*name)).sum();
        gone + worker.holds.len() as f64 * 1e-3
    }

    /// A worker was given a model: it holds it now, most recently used, and no more what it gave up for it.
    pub(crate) fn hold(&mut self, name: Name, model: Name, evicted: &[Name]) {
        let Some(worker) = self.state.workers.get(&name) else { return };
        if worker.holds.first() == Some(&model) && evicted.is_empty() {
            return;
        }
        let kept = worker.holds.iter().filter(|name| **name != model && !evicted.contains(name));
        let holds = std::iter::once(model).chain(kept.copied()).collect();
        self.set_holds(name, holds);
    }

    /// Sets what a worker holds.
    pub(crate) fn set_holds(&mut self, name: Name, mut holds: Vec<Name>) {
        let Some(worker) = self.state.workers.get_mut(&name) else { return };
        if worker.holds == holds {
            let tag = worker.tag;
            return self.recheck_promise(tag);
        }
        let mut seen = BTreeSet::new();
        holds.retain(|model| seen.insert(*model));
        let (tag, pool) = (worker.tag, worker.claim.pool);
        let gone: Vec<Name> = worker.holds.iter().filter(|model| !holds.contains(model)).copied().collect();
        let new: Vec<Name> = holds.iter().filter(|model| !worker.holds.contains(model)).copied().collect();
        self.index.holders.remove(tag, pool, &gone);
        self.index.holders.add(tag, pool, &new);
        worker.holds = holds;
        self.recheck_promise(tag);
    }
}
