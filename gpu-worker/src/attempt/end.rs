//! Why attempts end, and the words the dispatcher is told.

use tintype_types::worker::{CheckpointLeft, Outcome};
use tintype_types::{FailureReason, Output};

use crate::pipeline::PipelineError;
use crate::probe::{Toll, Trouble};

/// Why an attempt was stopped from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The GPU had a fault that what was drawn may have brought about.
    GpuFault,
    /// The GPU is not fit to draw any more, for this reason; what was drawn so far holds.
    Unfit(String),
    /// The same, and what was drawn lately does not hold.
    Distrusted(String),
    /// The GPU was to end its step, and does not.
    Stuck,
    /// This worker shuts down.
    Drained,
    /// The dispatcher wants the GPU for something else.
    Preempted,
    /// The job is not wanted any more.
    Cancelled(FailureReason),
    /// The attempt is somebody else's by now; nobody waits for its end.
    NotOurs,
}

impl Stop {
    /// What a trouble of the GPU means for the attempt.
    pub(super) fn of(trouble: &Trouble) -> Self {
        match trouble.toll() {
            Toll::Failure => Self::GpuFault,
            Toll::GivenBack => Self::Unfit(trouble.to_string()),
            Toll::Distrusted => Self::Distrusted(trouble.to_string()),
        }
    }
}

/// What the work of an attempt came to.
#[derive(Debug)]
pub(super) enum Worked {
    /// Every picture is in the store.
    Done(Vec<Output>),
    /// It stopped because it was asked to, and may have left a checkpoint.
    Left(Option<CheckpointLeft>),
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

/// What is said of an attempt that was stopped and has left this checkpoint; nothing when nobody waits for it.
pub(super) fn stopped(stop: Stop, checkpoint: Option<CheckpointLeft>) -> Option<Outcome> {
    let failure = match stop {
        Stop::GpuFault => {
            let what = "the GPU had a fault while it drew; another worker may try";
            Failure::new(FailureReason::GpuFault, what, true)
        }
        Stop::Drained => given_back("the worker is shutting down", checkpoint),
        Stop::Unfit(why) | Stop::Distrusted(why) => given_back(&why, checkpoint),
        Stop::Stuck => given_back("the GPU does not end its step", checkpoint),
        Stop::Preempted => return Some(Outcome::Preempted { checkpoint }),
        Stop::Cancelled(reason) => Failure::new(reason, "the job was called off while it ran", false),
        Stop::NotOurs => return None,
    };
    Some(failure.outcome())
}

/// No failure: it is not the job's doing, and does not count against it.
fn given_back(why: &str, checkpoint: Option<CheckpointLeft>) -> Failure {
    let left = checkpoint.map_or_else(String::new, |left| format!(", {} steps done", left.step));
    Failure::new(FailureReason::WorkerDrained, format!("{why}; the job was given back{left}"), true)
}

pub(super) fn outcome_name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done { .. } => "done",
        Outcome::Preempted { .. } => "preempted",
        Outcome::Failed { reason, .. } => reason.as_str(),
    }
}
