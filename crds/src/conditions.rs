//! Renders a job's conditions. Pure: the time comes in, and a condition that says what it said keeps its time.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use tintype_types::FailureReason;
use tintype_types::worker::Unwell;

use crate::reasons::{
    ASSIGNED, COMPLETE, ENDED, FAILED, GIVEN_TO_WORKER, GPU_WELL, IN_PLACE, MODELS_WARM, PARENT_CYCLE, PICTURES_STORED,
    READY, unwell_reason,
};

/// What the conditions of a job have to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobConditions<'a> {
    /// A worker has it.
    Assigned,
    /// It waits again after an attempt that ended like this.
    Requeued(FailureReason, &'a str),
    /// Its pictures are stored.
    Complete,
    /// It will make none.
    Failed(FailureReason, &'a str),
}

/// Every condition the job should have now. Times of transition are kept from `before` where nothing changed.
pub fn conditions_of(
    job: JobConditions<'_>,
    before: &[Condition],
    generation: Option<i64>,
    now: &Time,
) -> Vec<Condition> {
    let said: Vec<(&str, bool, &str, &str)> = match job {
        JobConditions::Assigned => vec![(ASSIGNED, true, GIVEN_TO_WORKER, "a worker has the job")],
        JobConditions::Requeued(reason, message) => vec![(ASSIGNED, false, reason.as_str(), message)],
        JobConditions::Complete => vec![
            (ASSIGNED, false, ENDED, "the job is over"),
            (COMPLETE, true, PICTURES_STORED, "the pictures are stored"),
        ],
        JobConditions::Failed(reason, message) => {
            vec![(ASSIGNED, false, ENDED, "the job is over"), (FAILED, true, reason.as_str(), message)]
        }
    };
    said.into_iter()
        .map(|(kind, holds, reason, message)| {
            let holds = if holds { Holds::Yes } else { Holds::No };
            condition(kind, (holds, reason, message), before, generation, now)
        })
        .collect()
}

/// The condition of a queue: whether its place among others is understood.
pub fn queue_condition(cyclic: Cyclic, before: &[Condition], generation: Option<i64>, now: &Time) -> Condition {
    let said = match cyclic {
        Cyclic::No => (Holds::Yes, IN_PLACE, "the queue's place among others is understood"),
        Cyclic::Yes => (Holds::No, PARENT_CYCLE, "the queue's parents lead back to itself, so it stands for itself"),
    };
    condition(READY, said, before, generation, now)
}

/// The condition of a pool with models to keep warm. `reason` is one of those documented for it.
pub fn warm_condition(
    said: (Holds, &str, &str),
    before: &[Condition],
    generation: Option<i64>,
    now: &Time,
) -> Condition {
    condition(MODELS_WARM, said, before, generation, now)
}

/// The condition of a worker: whether its GPU is fit for work. Nobody edits a worker's spec, so it has no generation.
pub fn worker_condition(unwell: Option<&Unwell>, before: &[Condition], now: &Time) -> Condition {
    let said = unwell.map_or((Holds::Yes, GPU_WELL, "its GPU is fit for work"), |unwell| {
        (Holds::No, unwell_reason(unwell.reason), unwell.message.as_str())
    });
    condition(READY, said, before, None, now)
}

/// The time of transition is kept from `before` where the status did not change.
fn condition(
    kind: &str,
    (holds, reason, message): (Holds, &str, &str),
    before: &[Condition],
    generation: Option<i64>,
    now: &Time,
) -> Condition {
    let status = match holds {
        Holds::Yes => "True",
        Holds::No => "False",
    };
    let old = before.iter().find(|old| old.type_ == kind && old.status == status);
    Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: generation,
        last_transition_time: old.map_or_else(|| now.clone(), |old| old.last_transition_time.clone()),
    }
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// It does.
    Yes,
    /// It does not.
    No,
}

/// Whether a queue's parents lead back to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cyclic {
    /// They do not.
    No,
    /// They do.
    Yes,
}

#[cfg(test)]
mod tests {
    use tintype_types::worker::UnwellReason;

    use super::*;

    fn at(second: i64) -> Time {
        Time(k8s_openapi::jiff::Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn a_condition_that_says_the_same_keeps_its_time() {
        let first = conditions_of(JobConditions::Assigned, &[], Some(1), &at(10));
        let again = conditions_of(JobConditions::Assigned, &first, Some(1), &at(20));
        assert_eq!(first, again);
        let over = conditions_of(JobConditions::Complete, &again, Some(1), &at(30));
        assert_eq!(over.iter().map(|c| c.last_transition_time.clone()).collect::<Vec<_>>(), [at(30), at(30)]);
    }

    #[test]
    fn a_worker_says_what_ails_its_gpu_and_since_when() {
        let unwell = |message: &str| Unwell { reason: UnwellReason::Hot, message: message.to_owned() };
        let well = worker_condition(None, &[], &at(1));
        let hot = worker_condition(Some(&unwell("91 °C")), &[well], &at(2));
        let hotter = worker_condition(Some(&unwell("93 °C")), std::slice::from_ref(&hot), &at(3));
        assert_eq!((hot.status.as_str(), hot.reason.as_str()), ("False", "GpuHot"));
        assert_eq!((hotter.message.as_str(), hotter.last_transition_time), ("93 °C", at(2)));
    }

    #[test]
    fn a_failed_job_says_why() {
        let said =
            conditions_of(JobConditions::Failed(FailureReason::UnknownModel, "no such model"), &[], None, &at(1));
        let failed = said.iter().find(|c| c.type_ == FAILED).unwrap();
        assert_eq!((failed.status.as_str(), failed.reason.as_str()), ("True", "UnknownModel"));
        assert!(said.iter().all(|c| c.type_ != COMPLETE));
    }
}
