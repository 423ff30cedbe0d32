//! The smallest record a script can play against: it applies decisions, refuses what a real record would refuse, and
//! can hold writes back.

use std::collections::BTreeMap;

use tintype_scheduler::{Decision, JobSeen, ModelSeen, Place, PoolSeen, QueueSeen, WorldSeen};
use tintype_types::JobId;

/// What is written.
#[derive(Default)]
pub(crate) struct Record {
    pub(crate) jobs: BTreeMap<JobId, JobSeen>,
    pub(crate) queues: BTreeMap<String, QueueSeen>,
    pub(crate) pools: BTreeMap<String, PoolSeen>,
    pub(crate) models: BTreeMap<String, ModelSeen>,
}

impl Record {
    /// Everything, as a new leader lists it.
    pub(crate) fn world(&self) -> WorldSeen {
        WorldSeen {
            jobs: self.jobs.values().cloned().collect(),
            queues: self.queues.values().cloned().collect(),
            pools: self.pools.values().cloned().collect(),
            models: self.models.values().cloned().collect(),
        }
    }

    /// Writes a decision, if there is anything to write, and answers the job as it then is.
    pub(crate) fn write(&mut self, decision: &Decision) -> Result<Option<JobSeen>, Refused> {
        let (id, attempt, assigns) = match decision {
            Decision::Assign { job, attempt, .. } => (job, *attempt, true),
            Decision::Requeue { job, attempt, .. }
            | Decision::Fail { job, attempt, .. }
            | Decision::Complete { job, attempt, .. } => (job, *attempt, false),
            Decision::Progress { .. } | Decision::Cancel { .. } | Decision::Preempt { .. } => return Ok(None),
        };
        let job = self.jobs.get_mut(id).ok_or(Refused)?;
        let fits = if assigns && job.place == Place::Queued { job.attempt.next() } else { job.attempt };
        if job.place == Place::Ended || attempt != fits {
            return Err(Refused);
        }
        job.attempt = attempt;
        match decision {
            Decision::Assign { worker, .. } => job.place = Place::Assigned(worker.clone()),
            Decision::Requeue { not_before, failed_attempts, .. } => {
                job.place = Place::Queued;
                job.not_before = Some(*not_before);
                job.failed_attempts = *failed_attempts;
            }
            Decision::Fail { .. } | Decision::Complete { .. } => job.place = Place::Ended,
            Decision::Progress { .. } | Decision::Cancel { .. } | Decision::Preempt { .. } => {}
        }
        Ok(Some(job.clone()))
    }
}

/// The record holds something the write does not follow from.
pub(crate) struct Refused;

/// The job a decision is about.
pub(crate) fn about(decision: &Decision) -> (&JobId, tintype_types::Attempt) {
    match decision {
        Decision::Assign { job, attempt, .. }
        | Decision::Progress { job, attempt, .. }
        | Decision::Requeue { job, attempt, .. }
        | Decision::Fail { job, attempt, .. }
        | Decision::Complete { job, attempt, .. }
        | Decision::Cancel { job, attempt, .. }
        | Decision::Preempt { job, attempt } => (job, *attempt),
    }
}
