//! What a job is in, why it failed, and what it made.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Summary of where a job stands. Derived from its assignment and conditions, for people and field selectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum JobState {
    /// Waiting for a worker.
    Queued,
    /// Given to a worker; no step has been reported yet.
    Assigned,
    /// A worker has reported a step.
    Running,
    /// Stopped at a step boundary with a checkpoint; waits to go on.
    Preempted,
    /// Pictures are stored. Terminal.
    Complete,
    /// It will make no pictures. Terminal.
    Failed,
}

impl JobState {
    /// Whether nothing will change any more.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Complete | Self::Failed => true,
            Self::Queued | Self::Assigned | Self::Running | Self::Preempted => false,
        }
    }

    /// The PascalCase word it is on the wire, in the database and for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "Queued",
            Self::Assigned => "Assigned",
            Self::Running => "Running",
            Self::Preempted => "Preempted",
            Self::Complete => "Complete",
            Self::Failed => "Failed",
        }
    }
}

/// Why a job, or one attempt of it, failed. The PascalCase name is the condition's reason: stable, documented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum FailureReason {
    /// The request asks for something the model cannot do (a size it has no memory for, a sampler it lacks).
    InvalidRequest,
    /// No model of that name is known.
    UnknownModel,
    /// The model's files are missing, damaged or of a kind the worker does not read.
    ModelUnreadable,
    /// The GPU or the host ran out of memory.
    OutOfMemory,
    /// The GPU reported a fault that what was drawn may have brought about.
    GpuFault,
    /// The picture could not be stored.
    UploadFailed,
    /// The worker was not heard from within its lease.
    WorkerLost,
    /// The worker is shutting down, or its GPU is not fit any more, and gave the job back.
    WorkerDrained,
    /// The worker stopped between two steps because its GPU was wanted for a more urgent job, and left a checkpoint.
    Preempted,
    /// The installation's safety filter held the picture back, or could not judge it.
    ContentRefused,
    /// The pipeline broke in a way it should not have. The log of the worker says more.
    Internal,
    /// The attempt limit was reached.
    TooManyAttempts,
    /// The owner cancelled the job.
    Cancelled,
    /// The deadline passed before a worker was free.
    DeadlineExceeded,
}

impl FailureReason {
    /// Every reason, in the order of documentation.
    pub const ALL: [Self; 14] = [
        Self::InvalidRequest,
        Self::UnknownModel,
        Self::ModelUnreadable,
        Self::OutOfMemory,
        Self::GpuFault,
        Self::UploadFailed,
        Self::WorkerLost,
        Self::WorkerDrained,
        Self::Preempted,
        Self::ContentRefused,
        Self::Internal,
        Self::TooManyAttempts,
        Self::Cancelled,
        Self::DeadlineExceeded,
    ];

    /// Whether an attempt that ends so counts towards the limit of failed attempts. Giving a job back is no failure.
    pub fn counts(self) -> bool {
        !matches!(self, Self::WorkerDrained | Self::Preempted)
    }

    /// Where a job stands that waits again for this reason.
    pub fn state_after(self) -> JobState {
        if self == Self::Preempted { JobState::Preempted } else { JobState::Queued }
    }

    /// The PascalCase word used in conditions, metrics and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "InvalidRequest",
            Self::UnknownModel => "UnknownModel",
            Self::ModelUnreadable => "ModelUnreadable",
            Self::OutOfMemory => "OutOfMemory",
            Self::GpuFault => "GpuFault",
            Self::UploadFailed => "UploadFailed",
            Self::WorkerLost => "WorkerLost",
            Self::WorkerDrained => "WorkerDrained",
            Self::Preempted => "Preempted",
            Self::ContentRefused => "ContentRefused",
            Self::Internal => "Internal",
            Self::TooManyAttempts => "TooManyAttempts",
            Self::Cancelled => "Cancelled",
            Self::DeadlineExceeded => "DeadlineExceeded",
        }
    }
}

/// One stored picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// Key in the image store: `jobs/<job>/<attempt>/<n>.<png|webp|jpg>`.
    pub key: String,
    /// SHA-256 of the file, 64 lower-case hex digits.
    pub sha256: String,
    /// Length of the file in bytes.
    pub bytes: u64,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// The seed this very picture can be made again with.
    pub seed: u64,
}
