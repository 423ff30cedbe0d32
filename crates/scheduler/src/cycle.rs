//! What follows from the state: overdue things are settled, then ready jobs meet parked claims. Everything here is
//! level-triggered: it looks at what is, not at what happened.

use std::time::Duration;

use tintype_types::{Attempt, FailureReason, JobId, Timestamp};

use crate::decision::Decision;
use crate::job::{Change, Run, Stand, Stop};
use crate::place::Choice;
use crate::state::Core;

/// What is due for a job.
enum Due {
    ForgetAssumed,
    TellCancel(Attempt),
    FailCancelled,
    FailUnknownModel,
    Lose { restarted: bool },
    Nothing,
}

impl Core {
    /// Settles jobs whose timer is due, as many as one step may decide about.
    pub(crate) fn expire(&mut self, out: &mut Vec<Decision>) {
        let room = self.config.decisions_max.saturating_sub(out.len());
        for id in self.index.due(self.state.now, room) {
            self.settle(&id, out);
        }
    }

    /// Gives ready jobs to parked claims, best job first, until nothing fits or the step is full.
    pub(crate) fn match_jobs(&mut self, out: &mut Vec<Decision>) {
        while out.len() < self.config.decisions_max {
            let Some(choice) = self.choose() else { return };
            out.extend(self.assign(&choice));
        }
    }

    /// Forgets ended jobs beyond the limit and, once each `worker_memory`, workers not heard of for that long.
    pub(crate) fn forget(&mut self, before: Timestamp) {
        let (now, memory) = (self.state.now, self.config.worker_memory);
        let turn = |at: Timestamp| u128::from(at.0) / memory.as_millis().max(1);
        if turn(before) != turn(now) {
            let Self { state, index, .. } = self;
            state.workers.retain(|id, worker| {
                let kept = worker.parked || index.runs.contains_key(id) || now.since(worker.seen_at) < memory;
                if !kept {
                    index.holders.remove(id, &worker.claim.pool, &worker.holds);
                    index.loaders.remove(&worker.claim);
                }
                kept
            });
        }
        while self.index.ended.len() > self.config.ended_kept_max
            && let Some((_, id)) = self.index.ended.first().cloned()
        {
            self.state.jobs.remove(&id);
            self.refile(&id);
        }
    }

    fn settle(&mut self, id: &JobId, out: &mut Vec<Decision>) {
        let now = self.state.now;
        if let Some(job) = self.state.jobs.get_mut(id)
            && job.held_until.is_some_and(|until| until <= now)
        {
            job.held_until = None;
        }
        match self.due(id, now) {
            Due::Nothing => self.refile(id),
            Due::ForgetAssumed => self.forget_assumed(id),
            Due::TellCancel(attempt) => {
                let reason = FailureReason::Cancelled;
                if let Some(run) = self.state.jobs.get_mut(id).and_then(|job| job.run.as_mut()) {
                    run.stop = Some(Stop::Cancel(reason));
                }
                self.refile(id);
                out.push(Decision::Cancel { job: id.clone(), attempt, reason });
            }
            Due::FailCancelled => {
                out.extend(self.end_attempt(id, FailureReason::Cancelled, String::new(), false));
            }
            Due::FailUnknownModel => {
                let model = self.state.jobs.get(id).map(|job| job.seen.model.clone()).unwrap_or_default();
                let message =
                    format!("no model named {model:?} is known here; see the list of models for those that are");
                out.extend(self.fail(id, FailureReason::UnknownModel, message, false));
            }
            Due::Lose { restarted } => {
                let message = self.lost_message(id, restarted);
                if !restarted {
                    self.gone_quiet(id);
                }
                out.extend(self.end_attempt(id, FailureReason::WorkerLost, message, false));
            }
        }
    }

    fn due(&self, id: &JobId, now: Timestamp) -> Due {
        let Some(job) = self.state.jobs.get(id) else { return Due::Nothing };
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
            Stand::Out(_) | Stand::Waiting | Stand::Ended => Due::Nothing,
        }
    }

    fn lost_message(&self, id: &JobId, restarted: bool) -> String {
        let run = self.state.jobs.get(id).and_then(|job| job.run.as_ref());
        let worker = run.map(|run| run.worker.as_str()).unwrap_or_default();
        if restarted {
            format!("worker {worker} restarted while it ran this; see the log of its previous start")
        } else {
            format!("worker {worker} was not heard from for {} s; see whether it runs", self.config.lease.as_secs())
        }
    }

    /// An attempt ended without a picture (or, cancelled, the job never got one): the job waits again or fails.
    pub(crate) fn end_attempt(
        &mut self,
        id: &JobId,
        reason: FailureReason,
        message: String,
        reported: bool,
    ) -> Option<Decision> {
        let job = self.state.jobs.get(id)?;
        let (now, attempt) = (self.state.now, job.attempt());
        if job.seen.cancelled {
            return self.fail(id, FailureReason::Cancelled, "cancelled by its owner".to_owned(), reported);
        }
        let counts = reason.counts();
        let failed_attempts = job.seen.failed_attempts.saturating_add(u32::from(counts));
        if counts && failed_attempts >= self.config.failed_attempts_max {
            let message = format!("{failed_attempts} attempts failed, the last with {}: {message}", reason.as_str());
            return self.fail(id, FailureReason::TooManyAttempts, message, reported);
        }
        let not_before = if counts { now.plus(self.config.backoff(failed_attempts)) } else { now };
        self.assume(id, attempt, Change::Requeued { reported });
        Some(Decision::Requeue { job: id.clone(), attempt, not_before, reason, message, failed_attempts })
    }

    /// The job is over without a picture.
    pub(crate) fn fail(
        &mut self,
        id: &JobId,
        reason: FailureReason,
        message: String,
        reported: bool,
    ) -> Option<Decision> {
        let attempt = self.state.jobs.get(id)?.attempt();
        self.assume(id, attempt, Change::Ended { complete: false, reported });
        Some(Decision::Fail { job: id.clone(), attempt, reason, message })
    }

    fn assign(&mut self, choice: &Choice) -> Option<Decision> {
        let Choice { job: id, worker, cold } = choice;
        let state = self.state.workers.get(worker)?;
        let (boot_id, pool) = (state.claim.boot_id.clone(), state.claim.pool.clone());
        let (now, lease_end) = (self.state.now, self.state.now.plus(self.config.lease));
        let job = self.state.jobs.get(id)?;
        let (queue, model, attempt) = (job.seen.queue.clone(), job.seen.model.clone(), job.seen.attempt.next());
        let load_ms = if *cold { self.state.costs.load_ms(&model) } else { 0 };
        let gpu_ms = u64::from(job.run_ms) + u64::from(load_ms);
        let evict = if *cold { self.evictions(state, &model) } else { Vec::new() };
        self.end_claim(worker, None);
        self.hold(worker, &model, &evict);
        let charge = self.serve(&queue, |queue| queue.charge(gpu_ms));
        let run = Run::assigned(attempt, worker.clone(), boot_id.clone(), now, &self.config);
        self.state.jobs.get_mut(id)?.run =
            Some(Run { charge, cold: *cold, ends_at: now.plus(Duration::from_millis(gpu_ms)), ..run });
        self.assume(id, attempt, Change::Assigned);
        Some(Decision::Assign { job: id.clone(), attempt, worker: worker.clone(), boot_id, pool, lease_end, evict })
    }
}
