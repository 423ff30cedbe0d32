//! Jobs that wait, by queue and by what they wait for: sums, where a verdict speaks of one job. Nothing here changes the state.

use std::collections::BTreeMap;

use tintype_types::{QueueKey, Timestamp};

use crate::line::{Class, Gate};
use crate::names::Name;
use crate::state::Core;

/// What a job waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PendingReason {
    /// A worker that could run it is free, or its turn.
    Worker,
    /// A worker in its pool, or any at all.
    NoMatchingWorker,
    /// A worker that can load its model.
    NoWorkerForModel,
    /// Its queue's quota.
    Quota,
    /// The budget of a paid provider.
    Budget,
    /// The end of a pause after a failure, a decision's write, a model that is not known yet, or the worker it was promised.
    Held,
}

impl PendingReason {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Worker, Self::NoMatchingWorker, Self::NoWorkerForModel, Self::Quota, Self::Budget, Self::Held];

    /// Its word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::NoMatchingWorker => "no_matching_worker",
            Self::NoWorkerForModel => "no_worker_for_model",
            Self::Quota => "quota",
            Self::Budget => "budget",
            Self::Held => "held",
        }
    }
}

/// Jobs of one queue that wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// How many, by what they wait for.
    pub jobs: BTreeMap<PendingReason, u32>,
    /// Since when the first in line has waited, if one could run.
    pub first_since: Option<Timestamp>,
}

impl Core {
    /// Jobs that wait, by queue. Those of queues nobody declared are summed up under none.
    pub(crate) fn pending(&self) -> BTreeMap<Option<QueueKey>, Pending> {
        let mut ready: BTreeMap<Name, u32> = BTreeMap::new();
        let mut pending: BTreeMap<Option<QueueKey>, Pending> = BTreeMap::new();
        for (class, queue, jobs) in self.index.lines.sizes() {
            *ready.entry(queue).or_default() += jobs;
            let of_queue = pending.entry(self.declared(queue)).or_default();
            *of_queue.jobs.entry(self.pending_reason(class, queue)).or_default() += jobs;
        }
        for queue in self.state.queues.keys() {
            let waiting = self.index.crowd(*queue).1;
            let held = waiting.saturating_sub(ready.get(queue).copied().unwrap_or(0));
            let declared = self.declared(*queue);
            if held > 0 {
                *pending.entry(declared.clone()).or_default().jobs.entry(PendingReason::Held).or_default() += held;
            }
            let first = self.index.lines.first_of(*queue).and_then(|turn| self.state.jobs.get(turn.job));
            if let Some(since) = first.map(|job| job.seen.submitted) {
                let of_queue = pending.entry(declared).or_default();
                of_queue.first_since = Some(of_queue.first_since.map_or(since, |before| before.min(since)));
            }
        }
        pending
    }

    /// The queue's name, if the record declares it.
    pub(crate) fn declared(&self, queue: Name) -> Option<QueueKey> {
        self.state.queues.get(&queue).filter(|queue| queue.declared)?;
        Some(self.state.names.text(queue).into())
    }

    fn pending_reason(&self, class: Class, queue: Name) -> PendingReason {
        let can = self.index.loaders.can(class.pool, class.model);
        if self.used_up(class).is_some() {
            PendingReason::Budget
        } else if !self.index.loaders.any(class.pool) {
            PendingReason::NoMatchingWorker
        } else if !can {
            PendingReason::NoWorkerForModel
        } else if self.index.gate(queue) == Gate::Shut {
            PendingReason::Quota
        } else {
            PendingReason::Worker
        }
    }
}
