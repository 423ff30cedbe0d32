//! What the scheduler can answer. A decision is complete: whoever carries it out has nothing left to choose.

use serde::{Deserialize, Serialize};
use tintype_types::{Attempt, BootId, FailureReason, JobId, Output, PoolName, Timestamp, WorkerId};

/// One thing to do. All but `Cancel` and `Preempt` are written to the record before anybody is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decision {
    /// Give the job to the worker whose claim is parked.
    Assign {
        /// The job.
        job: JobId,
        /// The new attempt: one more than the last.
        attempt: Attempt,
        /// Who gets it.
        worker: WorkerId,
        /// Which start of it.
        boot_id: BootId,
        /// The worker's pool.
        pool: PoolName,
        /// When the attempt counts as lost unless heard of.
        lease_end: Timestamp,
        /// Models to give up if the job's own has to be loaded. Empty: the worker chooses, if it must.
        evict: Vec<String>,
        /// When it should end, if its deadline was promised: written, so that the promise binds who decides next.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        promised: Option<Timestamp>,
    },
    /// Write that the attempt is under way. Throttled: a short job never sees it.
    Progress {
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: Attempt,
        /// Steps done.
        step: u32,
        /// Steps in all.
        steps: u32,
    },
    /// The attempt is over without a picture; the job waits again.
    Requeue {
        /// The job.
        job: JobId,
        /// The attempt that ended.
        attempt: Attempt,
        /// Not to be tried again before this.
        not_before: Timestamp,
        /// Why.
        reason: FailureReason,
        /// For people.
        message: String,
        /// The count of failed attempts from now on.
        failed_attempts: u32,
    },
    /// The job is over without a picture.
    Fail {
        /// The job.
        job: JobId,
        /// The last attempt; 0 when there was none.
        attempt: Attempt,
        /// Why.
        reason: FailureReason,
        /// For people.
        message: String,
    },
    /// The job is over and its pictures are stored.
    Complete {
        /// The job.
        job: JobId,
        /// The attempt that made them.
        attempt: Attempt,
        /// Who made them.
        worker: WorkerId,
        /// The pictures.
        outputs: Vec<Output>,
        /// Time the GPU was held, in milliseconds.
        gpu_ms: u64,
    },
    /// Tell the worker, at its next renew, to stop this attempt for good. Not written.
    Cancel {
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: Attempt,
        /// Why.
        reason: FailureReason,
    },
    /// Tell the worker, at its next renew, to stop with a checkpoint. Not written.
    Preempt {
        /// The job.
        job: JobId,
        /// The attempt.
        attempt: Attempt,
    },
}

/// Advice to answer a parked claim with a model to load ahead of any job; the worker claims again when it has it. About
/// no job, not written, and nothing is lost if it never arrives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmUp {
    /// Who is to load it.
    pub worker: WorkerId,
    /// Which start of it.
    pub boot_id: BootId,
    /// The model.
    pub model: String,
    /// Models to give up for it. Empty: the worker chooses, if it must.
    pub evict: Vec<String>,
}

impl Decision {
    /// The decision's word in logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Assign { .. } => "assign",
            Self::Progress { .. } => "progress",
            Self::Requeue { .. } => "requeue",
            Self::Fail { .. } => "fail",
            Self::Complete { .. } => "complete",
            Self::Cancel { .. } => "cancel",
            Self::Preempt { .. } => "preempt",
        }
    }

    /// The job and attempt it is about.
    pub fn subject(&self) -> (&JobId, Attempt) {
        match self {
            Self::Assign { job, attempt, .. }
            | Self::Progress { job, attempt, .. }
            | Self::Requeue { job, attempt, .. }
            | Self::Fail { job, attempt, .. }
            | Self::Complete { job, attempt, .. }
            | Self::Cancel { job, attempt, .. }
            | Self::Preempt { job, attempt } => (job, *attempt),
        }
    }
}
