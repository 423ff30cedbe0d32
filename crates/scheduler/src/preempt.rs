//! Stopping an attempt for a more urgent job. An attempt that is stopped leaves a checkpoint between two steps and goes on
//! from there on any worker, so little is lost: saving and taking up again, and the loads that the change of model costs.
//!
//! It is done only where it brings the urgent job forward by more than it costs, to the attempt for which it costs least, no
//! more than a few times to one job, and no more often for one queue than its pace.

use crate::decision::Decision;
use crate::job::{Job, Run, Stand, Stop};
use crate::line::{Class, Gate};
use crate::marks::{Mark, PreemptedFor};
use crate::names::{Name, Tag};
use crate::state::Core;

/// Classes with urgent jobs looked at in one step.
const URGENT_LOOK_MAX: usize = 16;
/// Attempts looked at for the one that costs least, the lowest priority first.
const VICTIMS_LOOK_MAX: usize = 64;
/// What saving a checkpoint and taking it up again costs.
const RESUME_MS: u64 = 400;
/// How long it takes until a worker that does steps hears that it is to stop, and has stopped.
const HEARD_IN_MS: u64 = 2_000;

/// What stopping one attempt for a job would be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Victim {
    priority: i32,
    /// Work lost, and loads it brings about.
    cost_ms: u64,
    /// When the job could start.
    starts_in_ms: u64,
    job: Tag,
}

impl Core {
    /// Stops attempts for jobs that are more urgent and would wait longer than it costs.
    pub(crate) fn preempt(&mut self, out: &mut Vec<Decision>) {
        while out.len() < self.config.decisions_max {
            let Some((urgent, victim, reason)) = self.worth_stopping() else { return };
            let (now, queue) = (self.state.now, self.state.jobs.get(urgent).map(|job| job.seen.queue));
            let Some(run) = self.state.jobs.get_mut(victim).and_then(|job| job.run.as_mut()) else { return };
            run.stop = Some(Stop::Preempt);
            let attempt = run.attempt;
            if let Some(queue) = queue {
                self.state.queues.entry(queue).or_default().preempted_at = Some(now);
            }
            self.refile(victim);
            if let Some(job) = self.state.jobs.get(victim) {
                let queue = self.declared(job.seen.queue);
                self.marks.push(Mark::Preempted { queue, reason });
                out.push(Decision::Preempt { job: job.id.job_id(), attempt });
            }
        }
    }

    /// A waiting job and the attempt to stop for it: one that is more urgent, or one of a queue that runs less than its own.
    fn worth_stopping(&self) -> Option<(Tag, Tag, PreemptedFor)> {
        let for_it = |reason: PreemptedFor| move |(urgent, victim): (Tag, Tag)| (urgent, victim, reason);
        let urgent = self.urgent().map(for_it(PreemptedFor::Priority));
        urgent.or_else(|| self.reclaim().map(for_it(PreemptedFor::Reclaimed)))
    }

    /// Attempts that are stopping already make way for the first jobs.
    fn urgent(&self) -> Option<(Tag, Tag)> {
        let lowest = self.index.running.first()?.0;
        let urgent = self.index.lines.heads().take_while(|(head, _)| head.priority() > lowest);
        let mut urgent = urgent.take(URGENT_LOOK_MAX).skip(self.index.stopping.len()).peekable();
        urgent.peek()?;
        let reach = self.reach();
        urgent.find_map(|(_, class)| {
            let turn = self.head_within(class, reach).filter(|turn| turn.priority() > lowest)?;
            let job = self.state.jobs.get(turn.job)?;
            let lower = |(priority, _): &&(i32, Tag)| *priority < turn.priority();
            let lower = self.index.running.iter().take_while(lower).take(VICTIMS_LOOK_MAX).copied();
            Some((turn.job, self.victim(job, class, lower.collect())?))
        })
    }

    /// What a queue lent is taken back one at a time.
    fn reclaim(&self) -> Option<(Tag, Tag)> {
        let tree = &self.index.tree;
        let served = |queue: &Name| self.state.queues.get(queue).map_or(0, |queue| queue.served);
        let mut owed: Vec<_> =
            tree.owed.iter().map(|queue| (served(queue), self.state.names.tag(*queue), *queue)).collect();
        owed.sort_unstable();
        owed.into_iter().take(URGENT_LOOK_MAX).find_map(|(_, _, queue)| {
            let (turn, class) = self.index.lines.first_in(queue)?;
            let job = self.state.jobs.get(turn.job)?;
            let above = tree.full_above(queue)?;
            let borrows = |tag: Tag| self.index.queue_of(tag).is_some_and(|other| tree.borrows_below(above, other));
            if !self.index.loaders.can(class.pool, class.model) || self.index.stopping.iter().any(|tag| borrows(*tag)) {
                return None;
            }
            let borrowers = self.index.running.iter().filter(|(_, tag)| borrows(*tag)).take(VICTIMS_LOOK_MAX).copied();
            Some((turn.job, self.victim(job, class, borrowers.collect())?))
        })
    }

    /// The attempt of these to stop for a job, if it is worth that and its queue's pace allows it.
    fn victim(&self, job: &Job, class: Class, running: Vec<(i32, Tag)>) -> Option<Tag> {
        let now = self.state.now;
        let last = self.state.queues.get(&job.seen.queue).and_then(|queue| queue.preempted_at);
        if last.is_some_and(|last| now.since(last) < self.config.preempt_interval) {
            return None;
        }
        let candidates: Vec<(i32, Tag, &Job, &Run)> = running
            .into_iter()
            .filter_map(|(lower, tag)| {
                let job = self.state.jobs.get(tag)?;
                let Stand::Out(run) = job.stand() else { return None };
                Some((lower, tag, job, run))
            })
            .collect();
        let undisturbed = match self.index.gate(job.seen.queue) {
            Gate::Open => self.undisturbed_ms(class, candidates.iter().map(|(.., run)| run.worker))?,
            Gate::Shut => u64::MAX,
        };
        let victims = candidates.into_iter().filter(|(_, _, job, run)| self.may_stop(job, run));
        let best = victims.filter_map(|(lower, tag, job, run)| self.weigh(class, (lower, tag), job, run)).min()?;
        (undisturbed > best.starts_in_ms.saturating_add(best.cost_ms)).then_some(best.job)
    }

    /// Whether an attempt may be stopped at all.
    fn may_stop(&self, job: &Job, run: &Run) -> bool {
        let stopped_before = run.attempt.0.saturating_sub(1).saturating_sub(job.seen.failed_attempts);
        let settled = job.assumed.is_none() && run.stop.is_none() && !run.doomed && !job.seen.cancelled;
        let next = self.index.promised.contains_key(&self.state.names.tag(run.worker));
        settled && job.promise.is_none() && !next && stopped_before < self.config.preemptions_max
    }

    /// What stopping the attempt costs, and when a job of the class starts then; nothing where its worker cannot run it.
    fn weigh(&self, class: Class, (priority, tag): (i32, Tag), job: &Job, run: &Run) -> Option<Victim> {
        let worker = self.state.workers.get(&run.worker)?;
        if !worker.in_pool(class) || !worker.can_load(class.model) {
            return None;
        }
        // The worker hears of it when it renews next: no later than at a third of its lease, and with each second's steps.
        let heard_in_ms = (self.config.lease.as_millis() as u64 / 3).min(HEARD_IN_MS);
        let load_ms = |model: Name| u64::from(self.state.costs.load_ms(model));
        let cold = !worker.holds.contains(&class.model);
        let load = if cold { load_ms(class.model) } else { 0 };
        let reload = if cold && self.evictions(worker, class.model).contains(&job.seen.model) {
            load_ms(job.seen.model)
        } else {
            0
        };
        let cost_ms = RESUME_MS + load + reload;
        Some(Victim { priority, cost_ms, starts_in_ms: heard_in_ms + load, job: tag })
    }

    /// When a job of the class should start if nothing is stopped, in milliseconds; nothing if no worker is known that
    /// could run it. Of a large fleet only those that hold its model and the victims' workers are looked at.
    fn undisturbed_ms(&self, class: Class, workers: impl Iterator<Item = Name>) -> Option<u64> {
        let holders = self.index.holders.of(class.model, class.pool).take(VICTIMS_LOOK_MAX);
        let parked = self.index.parked.workers(class.pool).take(1);
        let looked_at = holders.chain(parked).map(Tag::name).chain(workers);
        let starts = looked_at.filter_map(|name| {
            let worker = self.state.workers.get(&name)?;
            let able = worker.in_pool(class) && worker.can_load(class.model);
            let cold = !worker.holds.contains(&class.model);
            let load = if cold { u64::from(self.state.costs.load_ms(class.model)) } else { 0 };
            able.then_some(self.free_in_ms(worker.tag)? + load)
        });
        starts.min()
    }

    /// An attempt was stopped: its queue gets back what was charged for the steps that are still to do, and the job is no
    /// longer than those.
    pub(crate) fn stopped(&mut self, tag: Tag) {
        let Some(job) = self.state.jobs.get_mut(tag) else { return };
        let Some(run) = job.run.as_mut() else { return };
        let (done, steps) = (u64::from(run.step.min(run.steps)), u64::from(run.steps.max(1)));
        let part = |whole: u64| (u128::from(whole) * u128::from(steps - done) / u128::from(steps)) as u64;
        let back = part(run.charge);
        run.charge -= back;
        job.run_ms = u32::try_from(part(u64::from(job.run_ms)) + RESUME_MS).unwrap_or(u32::MAX);
        let queue = job.seen.queue;
        self.unserve(queue, back);
    }
}
