//! Why attempts end, and the words the dispatcher is told.

use tintype_types::FailureReason;
use tintype_types::worker::Outcome;

use crate::pipeline::PipelineError;

/// Why an attempt was stopped from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The GPU is not to be trusted any more, or gone.
    GpuFault,
    /// This worker shuts down.
    Drained,
    /// The dispatcher wants the GPU for something else.
    Preempted,
    /// The job is not wanted any more.
    Cancelled(FailureReason),
    /// The attempt is somebody else's by now; nobody waits for its end.
    NotOurs,
}

/// Why an attempt made no pictures.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) reason: FailureReason,
    pub(super) message: String,
    pub(super) retryable: bool,
}

impl Failure {
    pub(super) fn new(reason: FailureReason, message: impl Into<String>, retryable: bool) -> Self {
        Self { reason, message: message.into(), retryable }
    }

    pub(super) fn upload(message: String, retryable: bool) -> Self {
        Self::new(FailureReason::UploadFailed, message, retryable)
    }

    pub(super) fn pipeline(error: &PipelineError) -> Self {
        let (reason, retryable) = error.reason();
        Self::new(reason, error.to_string(), retryable)
    }

    pub(super) fn outcome(self) -> Outcome {
        let Self { reason, message, retryable } = self;
        Outcome::Failed { reason, message, retryable }
    }
}

/// What is said of an attempt that was stopped; nothing when nobody waits for it.
pub(super) fn stopped(stop: Stop) -> Option<Failure> {
    let given_back = |why: &str| Failure::new(FailureReason::WorkerDrained, why, true);
    match stop {
        Stop::GpuFault => {
            let what = "the GPU had a fault while it drew; another worker may try";
            Some(Failure::new(FailureReason::GpuFault, what, true))
        }
        Stop::Drained => Some(given_back("the worker is shutting down and gave the job back")),
        // There are no checkpoints yet, so the job starts again from its first step.
        Stop::Preempted => Some(given_back("the GPU was wanted for a more urgent job; this one was given back")),
        Stop::Cancelled(reason) => Some(Failure::new(reason, "the job was called off while it ran", false)),
        Stop::NotOurs => None,
    }
}

pub(super) fn outcome_name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done { .. } => "done",
        Outcome::Failed { reason, .. } => reason.as_str(),
    }
}
