//! What follows from the state: overdue things are settled, then ready jobs meet parked claims. Everything here is
//! level-triggered: it looks at what is, not at what happened.

use std::time::Duration;

use tintype_types::{Attempt, FailureReason, PoolName, Timestamp};

use crate::decision::Decision;
use crate::job::{Change, Run, Stand, Stop};
use crate::marks::{Mark, ModelAt};
use crate::names::Tag;
use crate::place::Choice;
use crate::state::Core;

/// What is due for a job.
enum Due {
    ForgetAssumed,
    TellCancel(Attempt),
    FailCancelled,
    FailUnknownModel,
    BreakPromise,
    Judge,
    FailLate,
    Lose { restarted: bool },
    Nothing,
}

impl Core {
    /// Settles jobs whose timer is due, as many as one step may decide about.
    pub(crate) fn expire(&mut self, out: &mut Vec<Decision>) {
        let room = self.config.decisions_max.saturating_sub(out.len());
        for tag in self.index.due(self.state.now, room) {
            self.settle(tag, out);
        }
    }

    /// Gives ready jobs to parked claims, best job first, until nothing fits or the step is full.
    pub(crate) fn match_jobs(&mut self, out: &mut Vec<Decision>) {
        while out.len() < self.config.decisions_max {
            let Some(choice) = self.choose() else { return };
            out.extend(self.assign(choice));
        }
    }

    /// Forgets ended jobs beyond the limit and, once each `worker_memory`, workers not heard of for that long.
    pub(crate) fn forget(&mut self, before: Timestamp) {
        let (now, memory) = (self.state.now, self.config.worker_memory);
        let memory_ms = u64::try_from(memory.as_millis()).unwrap_or(u64::MAX).max(1);
        let turn = |at: Timestamp| at.0 / memory_ms;
        if turn(before) != turn(now) {
            let Self { state, index, .. } = self;
            state.workers.retain(|name, worker| {
                let kept = worker.parked || index.runs_any(*name) || now.since(worker.seen_at) < memory;
                if !kept {
                    index.holders.remove(worker.tag, worker.claim.pool, &worker.holds);
                    index.loaders.remove(&worker.claim);
                }
                kept
            });
        }
        while self.index.ended.len() > self.config.ended_kept_max
            && let Some((_, tag)) = self.index.ended.first().copied()
        {
            self.remove(tag);
        }
        self.sweep_names();
    }

    fn settle(&mut self, tag: Tag, out: &mut Vec<Decision>) {
        let now = self.state.now;
        if let Some(job) = self.state.jobs.get_mut(tag)
            && job.held_until.is_some_and(|until| until <= now)
        {
            job.held_until = None;
        }
        match self.due(tag, now) {
            Due::Nothing => self.refile(tag),
            Due::ForgetAssumed => self.forget_assumed(tag),
            Due::TellCancel(attempt) => {
                let reason = FailureReason::Cancelled;
                if let Some(run) = self.state.jobs.get_mut(tag).and_then(|job| job.run.as_mut()) {
                    run.stop = Some(Stop::Cancel(reason));
                }
                self.refile(tag);
                if let Some(job) = self.state.jobs.get(tag) {
                    out.push(Decision::Cancel { job: job.id.job_id(), attempt, reason });
                }
            }
            Due::FailCancelled => {
                out.extend(self.end_attempt(tag, FailureReason::Cancelled, String::new(), false));
            }
            Due::FailUnknownModel => {
                let model =
                    self.state.jobs.get(tag).map(|job| self.state.names.text(job.seen.model)).unwrap_or_default();
                let message =
                    format!("no model named {model:?} is known here; see the list of models for those that are");
                out.extend(self.fail(tag, FailureReason::UnknownModel, message, false));
            }
            Due::BreakPromise => self.break_promise(tag),
            Due::Judge => out.extend(self.judge(tag)),
            Due::FailLate => out.extend(self.fail_late(tag)),
            Due::Lose { restarted } => {
                let message = self.lost_message(tag, restarted);
                if !restarted {
                    self.gone_quiet(tag);
                }
                out.extend(self.end_attempt(tag, FailureReason::WorkerLost, message, false));
            }
        }
    }

    fn due(&self, tag: Tag, now: Timestamp) -> Due {
        let Some(job) = self.state.jobs.get(tag) else { return Due::Nothing };
        if let Some(assumed) = &job.assumed {
            return if assumed.until <= now { Due::ForgetAssumed } else { Due::Nothing };
        }
        let grace_over = |since: Timestamp| since.plus(self.config.model_grace) <= now;
        match job.stand() {
            Stand::Out(run) if job.seen.cancelled && run.stop.is_none() => Due::TellCancel(run.attempt),
            _ if job.held_until.is_some() => Due::Nothing,
            Stand::Out(run) if run.doomed => Due::Lose { restarted: true },
            Stand::Out(run) if run.lease_end <= now => Due::Lose { restarted: false },
            Stand::Waiting if job.seen.cancelled => Due::FailCancelled,
            Stand::Waiting if job.model_unknown_since.is_some_and(grace_over) => Due::FailUnknownModel,
            Stand::Waiting if job.waits_for().is_some_and(|promise| promise.start_by <= now) => Due::BreakPromise,
            Stand::Waiting if job.refused_at(&self.config).is_some_and(|at| at <= now) => {
                let judged = job.judged || job.seen.attempt > Attempt(0);
                if judged { Due::FailLate } else { Due::Judge }
            }
            Stand::Out(_) | Stand::Waiting | Stand::Ended => Due::Nothing,
        }
    }

    fn lost_message(&self, tag: Tag, restarted: bool) -> String {
        let run = self.state.jobs.get(tag).and_then(|job| job.run.as_ref());
        let worker = run.map(|run| self.state.names.text(run.worker)).unwrap_or_default();
        if restarted {
            format!("worker {worker} restarted while it ran this; see the log of its previous start")
        } else {
            format!("worker {worker} was not heard from for {} s; see whether it runs", self.config.lease.as_secs())
        }
    }

    /// An attempt ended without a picture (or, cancelled, the job never got one): the job waits again or fails.
    pub(crate) fn end_attempt(
        &mut self,
        tag: Tag,
        reason: FailureReason,
        message: String,
        reported: bool,
    ) -> Option<Decision> {
        let job = self.state.jobs.get(tag)?;
        let (now, attempt) = (self.state.now, job.attempt());
        if job.seen.cancelled {
            return self.fail(tag, FailureReason::Cancelled, "cancelled by its owner".to_owned(), reported);
        }
        let counts = reason.counts();
        let failed_attempts = job.seen.failed_attempts.saturating_add(u32::from(counts));
        if counts && failed_attempts >= self.config.failed_attempts_max {
            let message = format!("{failed_attempts} attempts failed, the last with {}: {message}", reason.as_str());
            return self.fail(tag, FailureReason::TooManyAttempts, message, reported);
        }
        let not_before = if counts { now.plus(self.config.backoff(failed_attempts)) } else { now };
        self.assume(tag, attempt, Change::Requeued { reported });
        let id = self.state.jobs.get(tag)?.id.job_id();
        Some(Decision::Requeue { job: id, attempt, not_before, reason, message, failed_attempts })
    }

    /// The job is over without a picture.
    pub(crate) fn fail(
        &mut self,
        tag: Tag,
        reason: FailureReason,
        message: String,
        reported: bool,
    ) -> Option<Decision> {
        self.take_back(tag);
        let job = self.state.jobs.get(tag)?;
        let (id, attempt) = (job.id.job_id(), job.attempt());
        self.assume(tag, attempt, Change::Ended { complete: false, reported });
        Some(Decision::Fail { job: id, attempt, reason, message })
    }

    fn assign(&mut self, choice: Choice) -> Option<Decision> {
        let Choice { job: tag, worker, cold, spare } = choice;
        let state = self.state.workers.get(&worker)?;
        let (boot_id, pool) = (state.claim.boot_id.clone(), state.claim.pool);
        let (now, lease_end) = (self.state.now, self.state.now.plus(self.config.lease));
        let job = self.state.jobs.get(tag)?;
        let (id, queue, model, attempt) = (job.id.job_id(), job.seen.queue, job.seen.model, job.seen.attempt.next());
        let waited = (attempt == Attempt(1)).then(|| now.since(job.seen.submitted));
        let load_ms = if cold { self.state.costs.load_ms(model) } else { 0 };
        let gpu_ms = u64::from(job.run_ms) + u64::from(load_ms);
        let evict = if cold { self.evictions(state, model) } else { Vec::new() };
        self.end_claim(worker, None);
        if let Some(state) = self.state.workers.get_mut(&worker) {
            state.idle_since = None;
        }
        self.hold(worker, model, &evict);
        let charged = self.state.jobs.get(tag)?.waits_for().map(|promise| promise.charge);
        let charge = match charged {
            Some(charge) => charge,
            None if spare => 0,
            None => self.serve(queue, gpu_ms),
        };
        let run = Run::assigned(attempt, worker, boot_id.clone(), now, &self.config);
        let run = Run { charge, cold, ends_at: now.plus(Duration::from_millis(gpu_ms)), ..run };
        let promise = self.promised_at_once(tag, &run);
        let job = self.state.jobs.get_mut(tag)?;
        match &mut job.promise {
            Some(promise) => (promise.worker, promise.charge) = (None, 0),
            none => *none = promise.map(Box::new),
        }
        job.run = Some(Box::new(run));
        let promised = job.promise.as_ref().map(|promise| promise.ends);
        self.assume(tag, attempt, Change::Assigned);
        let text = |name| self.state.names.text(name);
        let evict = evict.into_iter().map(|model| text(model).to_owned()).collect();
        let (worker, pool): (_, PoolName) = (text(worker).into(), text(pool).into());
        let model = if cold { ModelAt::ToLoad } else { ModelAt::Resident };
        self.mark(Mark::Admitted { queue: self.declared(queue), pool: pool.clone(), model, waited });
        Some(Decision::Assign { job: id, attempt, worker, boot_id, pool, lease_end, evict, promised })
    }
}
