//! Answers to questions: why a job is not running, what a worker may go on doing, why a claim got nothing. All data;
//! whoever asks makes the words. Nothing here changes the state.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tintype_types::{Attempt, BootId, FailureReason, JobId, PoolName, QueueKey, Timestamp, WorkerId};

use crate::index::{Delay, Filed};
use crate::job::{Change, Job, Stand, Stop};
use crate::line::{Class, Gate, Turn};
use crate::observation::BudgetWindow;
use crate::state::Core;
use crate::tree::Held;

/// Where a job stands and what it waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Verdict {
    /// An attempt is out.
    Running {
        /// Which.
        attempt: Attempt,
        /// With whom.
        worker: WorkerId,
    },
    /// It is next in its queue and fits a worker that is known; none of those is free.
    WaitingForWorker,
    /// No worker known is in the pool it asks for; without a pool, no worker is known at all.
    NoMatchingWorker {
        /// The pool it asks for.
        pool: Option<PoolName>,
    },
    /// There are workers in its pool, and none can load its model.
    NoWorkerForModel {
        /// The model.
        model: String,
    },
    /// Nobody told of its model.
    UnknownModel {
        /// The model.
        model: String,
        /// The job fails then, unless the model turns up.
        fails_at: Timestamp,
    },
    /// Its queue has as many running as it may.
    WaitingForQuota {
        /// Running now.
        used: u32,
        /// The most that may.
        limit: u32,
    },
    /// Its queue, or one it is part of, has what it may.
    HeldByQuota {
        /// Whose quota it is.
        queue: QueueKey,
        /// What of it.
        what: Held,
    },
    /// Others of its queue go first.
    BehindInQueue {
        /// How many.
        ahead: u32,
    },
    /// A paid provider serves its pool, or every pool with a worker that could run it, and no budget allows more.
    BudgetUsedUp {
        /// The pool; one of them where it may run in several.
        pool: PoolName,
        /// Whose budget: the job goes on when that window ends, or when there is more.
        window: BudgetWindow,
    },
    /// Its last attempt failed a moment ago.
    BackingOff {
        /// It may be tried again then.
        until: Timestamp,
    },
    /// A decision about it is being written.
    Settling,
    /// It is over.
    Ended,
}

/// What an attempt may go on doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptStanding {
    /// Go on. Answered to a *finish*: its end is decided and not seen written, or the record is ahead of us; the
    /// worker is to repeat it.
    Current {
        /// By when the next renew must have been heard.
        lease_end: Timestamp,
    },
    /// Stop for good.
    CancelRequested {
        /// Why.
        reason: FailureReason,
    },
    /// Stop with a checkpoint.
    PreemptRequested,
    /// This attempt's own finish ended it: repeating that changes nothing.
    Ended {
        /// Whether the job is complete by it. False also where nobody remembers (a new leader).
        complete: bool,
    },
    /// Not this worker's any more.
    Stale,
}

impl Core {
    /// Why a job is not running; `None` if it is not known.
    pub(crate) fn verdict(&self, id: &JobId) -> Option<Verdict> {
        let tag = self.state.jobs.find(id)?;
        let job = self.state.jobs.get(tag)?;
        Some(match (job.stand(), self.index.filed(tag)?) {
            (Stand::Out(run), _) => {
                Verdict::Running { attempt: run.attempt, worker: self.state.names.text(run.worker).into() }
            }
            (Stand::Ended, _) => Verdict::Ended,
            (Stand::Waiting, Filed::Ready(class, turn)) => self.verdict_ready(job, class, turn),
            (Stand::Waiting, Filed::Promised(..)) => Verdict::WaitingForWorker,
            (Stand::Waiting, Filed::Delayed(Delay::BackingOff)) => {
                Verdict::BackingOff { until: job.seen.not_before.unwrap_or_default() }
            }
            (Stand::Waiting, Filed::Delayed(Delay::UnknownModel)) => Verdict::UnknownModel {
                model: self.state.names.text(job.seen.model).to_owned(),
                fails_at: job.model_unknown_since.unwrap_or_default().plus(self.config.model_grace),
            },
            (
                Stand::Waiting,
                Filed::Delayed(Delay::Unsettled) | Filed::Out { .. } | Filed::Ending | Filed::Ended(_),
            ) => Verdict::Settling,
        })
    }

    fn verdict_ready(&self, job: &Job, class: Class, turn: Turn) -> Verdict {
        let text = |name| self.state.names.text(name);
        let used_up = self.used_up(class).map(|(pool, window)| Verdict::BudgetUsedUp { pool, window });
        if let Some(used_up) = used_up.clone().filter(|_| !self.index.loaders.can(class.pool, class.model)) {
            return used_up;
        }
        if !self.index.loaders.any(class.pool) {
            return Verdict::NoMatchingWorker { pool: class.pool.map(|pool| text(pool).into()) };
        }
        if !self.index.loaders.can(class.pool, class.model) {
            return Verdict::NoWorkerForModel { model: text(class.model).to_owned() };
        }
        let queue = job.seen.queue;
        let used = self.index.crowd(queue).0;
        if let Some(limit) = self.state.queues.get(&queue).and_then(|queue| queue.running_max)
            && used >= limit
            && !self.index.tree.has(queue)
        {
            return Verdict::WaitingForQuota { used, limit };
        }
        if let Some((holds, what)) = self.index.tree.holds(queue) {
            return Verdict::HeldByQuota { queue: text(holds).into(), what };
        }
        match (used_up, self.index.lines.ahead(queue, turn)) {
            // Those ahead wait for the same, or do not keep it waiting.
            (Some(used_up), _) => used_up,
            (None, 0) => Verdict::WaitingForWorker,
            (None, ahead) => Verdict::BehindInQueue { ahead: u32::try_from(ahead).unwrap_or(u32::MAX) },
        }
    }

    /// The pool whose budget keeps jobs of a class waiting: theirs; or where any pool will do, the first of those that have a worker
    /// for the model, if no budget is left in any.
    pub(crate) fn used_up(&self, class: Class) -> Option<(PoolName, BudgetWindow)> {
        let of = |pool: &PoolName| self.state.pools.get(pool).and_then(|pool| pool.used_up);
        if let Some(pool) = class.pool {
            let pool = PoolName::from(self.state.names.text(pool));
            return of(&pool).map(|window| (pool, window));
        }
        if self.state.pools.values().all(|pool| pool.used_up.is_none()) {
            return None;
        }
        let able = self.state.workers.values().filter(|worker| worker.can_load(class.model));
        let pools: BTreeSet<_> = able.map(|worker| PoolName::from(self.state.names.text(worker.claim.pool))).collect();
        let windows: Option<Vec<_>> = pools.iter().map(of).collect();
        pools.into_iter().zip(windows?).next()
    }

    /// What an attempt may go on doing.
    pub(crate) fn attempt(&self, id: &JobId, attempt: Attempt, worker: &WorkerId, boot_id: &BootId) -> AttemptStanding {
        let known = self.state.jobs.find(id).and_then(|tag| self.state.jobs.get(tag));
        let Some(job) = known else { return AttemptStanding::Stale };
        let worker = self.state.names.find(worker.as_str());
        if attempt > job.attempt() {
            // Workers are told only after the write, so the record is ahead of us; it will catch us up.
            return AttemptStanding::Current { lease_end: self.state.now.plus(self.config.lease) };
        }
        if attempt < job.attempt() {
            return AttemptStanding::Stale;
        }
        if let Some(run) = job.run.as_ref().filter(|run| run.attempt == attempt) {
            if !worker.is_some_and(|worker| run.is_by(worker, boot_id)) {
                return AttemptStanding::Stale;
            }
            let cancelled = job.seen.cancelled.then_some(Stop::Cancel(FailureReason::Cancelled));
            return match (job.assumed.as_ref().map(|assumed| &assumed.change), run.stop.or(cancelled)) {
                (Some(Change::Requeued { reported: false } | Change::Ended { reported: false, .. }), _) => {
                    AttemptStanding::Stale
                }
                (Some(Change::Requeued { .. } | Change::Ended { .. }), _) | (_, None) => {
                    AttemptStanding::Current { lease_end: run.lease_end }
                }
                (Some(Change::Assigned) | None, Some(Stop::Cancel(reason))) => {
                    AttemptStanding::CancelRequested { reason }
                }
                (Some(Change::Assigned) | None, Some(Stop::Preempt)) => AttemptStanding::PreemptRequested,
            };
        }
        match (&job.closed, job.stand()) {
            (Some(closed), _) if closed.attempt == attempt => {
                let same_boot = closed.boot_id.as_ref().is_none_or(|known| known == boot_id);
                if Some(closed.worker) == worker && same_boot {
                    AttemptStanding::Ended { complete: closed.complete }
                } else {
                    AttemptStanding::Stale
                }
            }
            (_, Stand::Ended) if job.forgot_how_it_ended => AttemptStanding::Ended { complete: false },
            (_, Stand::Ended | Stand::Waiting | Stand::Out(_)) => AttemptStanding::Stale,
        }
    }

    /// Why waiting jobs were not given to this worker: reason to number of jobs.
    pub(crate) fn skipped(&self, id: &WorkerId) -> BTreeMap<String, u32> {
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        let mut add = |reason: &str, count: u32| *counts.entry(reason.to_owned()).or_default() += count;
        for (delay, count) in &self.index.delays {
            let reason = match delay {
                Delay::BackingOff => "backing_off",
                Delay::UnknownModel => "unknown_model",
                Delay::Unsettled => "settling",
            };
            add(reason, *count);
        }
        let worker = self.state.names.find(id.as_str()).and_then(|name| self.state.workers.get(&name));
        for (class, queue, jobs) in self.index.lines.sizes() {
            let reason = match worker {
                None => "unknown_worker",
                Some(worker) if worker.claim.unwell.is_some() => "worker_unwell",
                Some(worker) if !worker.in_pool(class) => "other_pool",
                Some(worker) if !worker.can_load(class.model) => "model_not_loadable",
                Some(_) if self.index.gate(queue) == Gate::Shut => "queue_quota",
                Some(worker) if worker.claim.free_slots == 0 => "no_free_slot",
                Some(_) => "not_its_turn",
            };
            add(reason, jobs);
        }
        counts
    }
}
