//! Deadlines that are promised. A job that comes with a deadline is promised it where that is sure: it starts at once, or
//! is put down as the next of a busy worker that has its model and will be free in time. What was put down is kept:
//! whatever comes later gets the time that is left (conservative backfill).
//!
//! A promise is charged to the job's queue when it is made, as an assignment is, so that the bound of `docs/fairness.md`
//! holds with promises as without.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tintype_types::{Attempt, JobId, Timestamp};

use crate::index::Filed;
use crate::job::{Promise, Run};
use crate::line::{Class, Gate, Turn};
use crate::names::{Name, Tag};
use crate::place::Choice;
use crate::state::{Core, State};

/// Busy workers that have a job's model that are looked at for one that is free in time.
const BUSY_LOOK_MAX: usize = 8;
/// Promised jobs looked at for one an idle worker could start before its own is free.
const EARLY_LOOK_MAX: usize = 64;

/// A promise as it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Promised {
    /// When the job should end, as it was when it was promised.
    pub ends: Timestamp,
    /// By when it will.
    pub by: Timestamp,
}

impl Core {
    /// What a job was promised.
    pub(crate) fn promised(&self, id: &JobId) -> Option<Promised> {
        let job = self.state.jobs.get(self.state.jobs.find(id)?)?;
        Some(Promised { ends: job.promise.as_ref()?.ends, by: job.seen.deadline? })
    }

    /// Puts the job that came in this step down as the next of a busy worker, where that keeps its deadline for sure.
    pub(crate) fn promise(&mut self) {
        let Some(tag) = self.fresh.take().filter(|_| self.config.deadlines) else { return };
        let Some((promise, gpu_ms)) = self.next_of_a_busy_worker(tag) else { return };
        let Some(queue) = self.state.jobs.get(tag).map(|job| job.seen.queue) else { return };
        let charge = self.serve(queue, gpu_ms);
        if let Some(job) = self.state.jobs.get_mut(tag) {
            job.promise = Some(Box::new(Promise { charge, ..promise }));
        }
        self.refile(tag);
    }

    fn next_of_a_busy_worker(&self, tag: Tag) -> Option<(Promise, u64)> {
        let job = self.state.jobs.get(tag)?;
        let deadline = job.seen.deadline.filter(|_| job.seen.attempt == Attempt(0))?;
        let Some(Filed::Ready(class, turn)) = self.index.filed(tag) else { return None };
        let reach = self.reach();
        let served = self.state.queues.get(&job.seen.queue).map_or(0, |queue| queue.served);
        if self.index.gate(job.seen.queue) == Gate::Shut || served > reach {
            return None;
        }
        let (now, run_ms) = (self.state.now, u64::from(job.run_ms));
        let busy = self.index.holders.of(class.model, class.pool).take(BUSY_LOOK_MAX);
        let free = busy.filter_map(|worker| Some((self.sure_to_be_free(worker, tag)?, worker)));
        let (free_in, worker) = free.min()?;
        let slack = self.state.costs.spread().p90.max(1.0);
        let whole = ((free_in + run_ms) as f64 * slack) as u64;
        if now.0.saturating_add(whole) > deadline.0 || self.before_it(worker.name(), turn, reach) {
            return None;
        }
        let promise = Promise {
            ends: now.plus(Duration::from_millis(free_in + run_ms)),
            worker: Some(worker.name()),
            start_by: Timestamp(deadline.0.saturating_sub(run_ms).saturating_add(1)),
            charge: 0,
        };
        Some((promise, run_ms))
    }

    /// In how many milliseconds a worker that runs one job, and will run this one next, is free; nothing where that is a
    /// guess or another is its next.
    fn sure_to_be_free(&self, worker: Tag, next: Tag) -> Option<u64> {
        let state = self.state.workers.get(&worker.name())?;
        let mut runs = self.index.runs_of(worker.name());
        let (Some(only), None) = (runs.next(), runs.next()) else { return None };
        let running = self.state.jobs.get(only)?;
        let run = running.run.as_ref()?;
        let kind = state.claim.kind;
        let sure = |tag: Tag| {
            let job = self.state.jobs.get(tag);
            job.is_some_and(|job| self.state.costs.sure_of(Self::run_of(&job.seen, kind)))
        };
        let undisturbed = run.stop.is_none() && !run.doomed && !running.seen.cancelled && run.attempt == Attempt(1);
        let alone = state.slots <= 1 && state.warming.is_none() && !state.parked;
        let load_known = !run.cold || self.state.costs.sure_of_load(running.seen.model);
        let known = alone && undisturbed && load_known && run.ends_at > self.state.now && sure(only) && sure(next);
        let taken = self.index.promised.contains_key(&worker);
        (known && !taken).then(|| run.ends_at.0 - self.state.now.0)
    }

    /// Whether a job that goes first waits for a model the worker has.
    fn before_it(&self, worker: Name, turn: Turn, reach: u64) -> bool {
        let Some(worker) = self.state.workers.get(&worker) else { return true };
        let pools = [Some(worker.claim.pool), None];
        let classes = worker.holds.iter().flat_map(|model| pools.map(|pool| Class { pool, model: *model }));
        classes.filter_map(|class| self.head_within(class, reach)).any(|head| head < turn)
    }

    /// The promise of a job that starts in the step it came in.
    pub(crate) fn promised_at_once(&self, tag: Tag, run: &Run) -> Option<Promise> {
        let job = self.state.jobs.get(tag)?;
        let deadline = job.seen.deadline.filter(|_| self.config.deadlines && self.fresh == Some(tag))?;
        let kind = self.state.workers.get(&run.worker)?.claim.kind;
        let load_known = !run.cold || self.state.costs.sure_of_load(job.seen.model);
        let sure = self.state.costs.sure_of(Self::run_of(&job.seen, kind)) && load_known;
        let slack = self.state.costs.spread().p90.max(1.0);
        let whole = (run.ends_at.0.saturating_sub(self.state.now.0) as f64 * slack) as u64;
        let kept = sure && self.state.now.0.saturating_add(whole) <= deadline.0;
        let start_by = Timestamp(deadline.0.saturating_sub(u64::from(job.run_ms)));
        kept.then_some(Promise { ends: run.ends_at, worker: None, start_by, charge: 0 })
    }

    /// A free worker's promised job.
    pub(crate) fn owed(&self) -> Option<Choice> {
        let (promised, parked) = (&self.index.promised, &self.index.parked);
        let owed = |worker: Tag| {
            let (job, class) = promised.get(&worker)?;
            let state = self.state.workers.get(&worker.name())?;
            let able = state.parked && state.claim.free_slots > 0 && state.claim.resident.contains(&class.model);
            able.then_some(Choice { job: *job, worker: worker.name(), cold: false, spare: false })
        };
        if parked.len() < promised.len() {
            parked.workers(None).find_map(owed)
        } else {
            promised.keys().find_map(|worker| owed(*worker))
        }
    }

    /// A promised job for a free worker that nobody else wants and that has its model too.
    pub(crate) fn early(&self) -> Option<Choice> {
        let mut promised = self.index.promised.values().take(EARLY_LOOK_MAX);
        let (job, class) = promised.find(|(_, class)| self.index.parked.has_warm(*class))?;
        let worker = self.index.parked.warm(*class).next()?;
        Some(Choice { job: *job, worker: worker.name(), cold: false, spare: false })
    }

    /// Takes a promise back that waits for its worker, and what was charged for it. Whoever calls this files the job anew.
    pub(crate) fn take_back(&mut self, tag: Tag) {
        let Some(job) = self.state.jobs.get_mut(tag) else { return };
        if job.waits_for().is_none() {
            return;
        }
        let (queue, promise) = (job.seen.queue, job.promise.take());
        self.unserve(queue, promise.map_or(0, |promise| promise.charge));
    }

    /// A promise that cannot be kept: its worker is not free in time, or lost the model.
    pub(crate) fn break_promise(&mut self, tag: Tag) {
        self.take_back(tag);
        self.state.promises.1 += 1;
        self.refile(tag);
    }

    /// A worker's models changed: whoever was to use one that is gone waits in line again.
    pub(crate) fn recheck_promise(&mut self, worker: Tag) {
        let Some((tag, class)) = self.index.promised.get(&worker).copied() else { return };
        let held = self.state.workers.get(&worker.name()).is_some_and(|state| state.holds.contains(&class.model));
        if !held {
            self.break_promise(tag);
        }
    }

    /// A job is complete: its promise was kept or not.
    pub(crate) fn count_promise(&mut self, tag: Tag) {
        let State { jobs, promises, now, .. } = &mut self.state;
        let Some(job) = jobs.get_mut(tag).filter(|job| job.promise.is_some()) else { return };
        let kept = job.seen.deadline.is_none_or(|by| *now <= by);
        let count = if kept { &mut promises.0 } else { &mut promises.1 };
        *count += 1;
        job.promise = None;
    }
}
