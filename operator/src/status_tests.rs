//! The table of what may follow what.

use tintype_crds::GenerationJobSpec;
use tintype_types::{BootId, GenerationRequest};

use super::*;

const NOW: Timestamp = Timestamp(1_800_000_000_000);

fn waiting() -> GenerationJob {
    let mut job = GenerationJob::new("j", GenerationJobSpec::new(GenerationRequest::new("m", "p")));
    job.metadata.uid = Some("uid".to_owned());
    job.metadata.generation = Some(1);
    job
}

fn assign(attempt: u32, worker: &str) -> Decision {
    Decision::Assign {
        job: "uid".into(),
        attempt: Attempt(attempt),
        worker: worker.into(),
        boot_id: BootId::from("b"),
        pool: "p".into(),
        lease_end: NOW,
        evict: Vec::new(),
        promised: None,
    }
}

fn promised(attempt: u32, ends: u64) -> Decision {
    let Decision::Assign { job, worker, boot_id, pool, lease_end, evict, .. } = assign(attempt, "w") else {
        unreachable!("it is an assignment")
    };
    let (attempt, promised) = (Attempt(attempt), Some(Timestamp(ends)));
    Decision::Assign { job, attempt, worker, boot_id, pool, lease_end, evict, promised }
}

fn complete(attempt: u32, worker: &str) -> Decision {
    let output = Output { key: "k".to_owned(), sha256: "0".repeat(64), bytes: 1, width: 64, height: 64, seed: 1 };
    Decision::Complete {
        job: "uid".into(),
        attempt: Attempt(attempt),
        worker: worker.into(),
        outputs: vec![output],
        gpu_ms: 7,
    }
}

fn requeue(attempt: u32, failed: u32) -> Decision {
    requeue_for(FailureReason::WorkerLost, attempt, failed)
}

fn requeue_for(reason: FailureReason, attempt: u32, failed: u32) -> Decision {
    Decision::Requeue {
        job: "uid".into(),
        attempt: Attempt(attempt),
        not_before: Timestamp(NOW.0 + 1_500),
        reason,
        message: "gone".to_owned(),
        failed_attempts: failed,
    }
}

fn fail(attempt: u32) -> Decision {
    let (reason, message) = (FailureReason::Cancelled, "deleted".to_owned());
    Decision::Fail { job: "uid".into(), attempt: Attempt(attempt), reason, message }
}

fn progress(attempt: u32, step: u32) -> Decision {
    Decision::Progress { job: "uid".into(), attempt: Attempt(attempt), step, steps: 20 }
}

/// Writes the decisions in order; stops at the first that is refused.
fn after(decisions: impl IntoIterator<Item = Decision>) -> Result<GenerationJob, String> {
    let mut job = waiting();
    for decision in decisions {
        if let Next::Write(status) = next_status(&job, decision, 3, NOW)? {
            job.status = Some(*status);
        }
    }
    Ok(job)
}

#[test]
fn the_way_of_a_job_that_works() {
    let job = after([assign(1, "w"), progress(1, 5), complete(1, "w")]).unwrap();
    let status = job.status.unwrap();
    assert_eq!((status.state, status.attempt, status.leader_epoch), (JobState::Complete, Attempt(1), Some(3)));
    assert_eq!(status.progress, Some(Progress { step: 20, steps: 20 }));
    assert_eq!(status.gpu_milliseconds, Some(7));
    assert!(status.started_at.is_some() && status.finished_at.is_some());
    assert_eq!(status.assignment.unwrap().worker, "w".into());
    assert!(status.conditions.iter().any(|c| c.type_ == "Complete" && c.status == "True"));
}

#[test]
fn a_promise_is_written_with_the_assignment_and_stays_while_it_binds() {
    let mut job = waiting();
    job.spec.deadline = Some(to_time(Timestamp(NOW.0 + 60_000)));
    let mut write = |decision| {
        let Next::Write(status) = next_status(&job, decision, 3, NOW).unwrap() else { panic!("it is shown already") };
        job.status = Some(*status.clone());
        status.promise
    };
    let promise = JobPromise { ends: to_time(Timestamp(NOW.0 + 9_000)), by: to_time(Timestamp(NOW.0 + 60_000)) };
    assert_eq!(write(promised(1, NOW.0 + 9_000)), Some(promise.clone()));
    assert_eq!(write(progress(1, 5)), Some(promise.clone()));
    assert_eq!(write(requeue(1, 1)), Some(promise));
    assert_eq!(write(assign(2, "w")), None, "broken by then");
}

#[test]
fn a_lost_attempt_leads_to_the_next_one() {
    let job = after([assign(1, "w"), requeue(1, 1)]).unwrap();
    let status = job.status.unwrap();
    assert_eq!((status.state, status.failed_attempts), (JobState::Queued, 1));
    assert_eq!(status.assignment, None);
    assert_eq!(status.not_before, Some(to_time(Timestamp(NOW.0 + 2_000))));
    assert_eq!(status.failure.unwrap().reason, FailureReason::WorkerLost);
    let again = after([assign(1, "w"), requeue(1, 1), assign(2, "v")]).unwrap().status.unwrap();
    assert_eq!((again.state, again.attempt, again.failure), (JobState::Assigned, Attempt(2), None));
    assert_eq!(again.failed_attempts, 1);
}

#[test]
fn a_job_that_stopped_with_a_checkpoint_is_preempted_until_it_is_taken_up() {
    let stopped = || requeue_for(FailureReason::Preempted, 1, 0);
    let status = after([assign(1, "w"), stopped()]).unwrap().status.unwrap();
    assert_eq!((status.state, status.failed_attempts, status.assignment), (JobState::Preempted, 0, None));
    let again = after([assign(1, "w"), stopped(), assign(2, "v")]).unwrap().status.unwrap();
    assert_eq!((again.state, again.attempt), (JobState::Assigned, Attempt(2)));
}

#[test]
fn what_the_record_shows_is_not_written_again() {
    for decisions in [
        vec![assign(1, "w")],
        vec![assign(1, "w"), progress(1, 4)],
        vec![assign(1, "w"), requeue(1, 1)],
        vec![assign(1, "w"), complete(1, "w")],
        vec![assign(1, "w"), fail(1)],
    ] {
        let last = decisions.last().unwrap().clone();
        let job = after(decisions).unwrap();
        assert_eq!(next_status(&job, last, 3, NOW), Ok(Next::Shown));
    }
}

#[test]
fn what_the_record_contradicts_is_refused() {
    let refused = [
        vec![assign(2, "w")],
        vec![complete(1, "w")],
        vec![assign(1, "w"), assign(1, "v")],
        vec![assign(1, "w"), assign(2, "v")],
        vec![assign(1, "w"), complete(1, "v")],
        vec![assign(1, "w"), requeue(1, 1), complete(1, "w")],
        vec![assign(1, "w"), requeue(1, 1), assign(2, "w"), complete(1, "w")],
        vec![assign(1, "w"), requeue(1, 1), assign(2, "w"), progress(1, 3)],
        vec![assign(1, "w"), complete(1, "w"), fail(1)],
        vec![assign(1, "w"), fail(1), complete(1, "w")],
        vec![assign(1, "w"), fail(1), assign(2, "w")],
        vec![assign(1, "w"), fail(0)],
    ];
    for decisions in refused {
        let (last, before) = decisions.split_last().unwrap();
        let job = after(before.to_vec()).unwrap();
        let answer = next_status(&job, last.clone(), 3, NOW);
        assert!(answer.is_err(), "{last:?} was taken after {before:?}");
    }
}

#[test]
fn a_leader_of_an_earlier_term_is_refused() {
    let job = after([assign(1, "w")]).unwrap();
    assert!(next_status(&job, complete(1, "w"), 2, NOW).is_err());
    assert!(next_status(&job, complete(1, "w"), 4, NOW).is_ok());
}

#[test]
fn a_job_being_deleted_is_not_given_out_but_can_be_failed() {
    let mut job = waiting();
    job.metadata.deletion_timestamp = Some(to_time(NOW));
    assert!(next_status(&job, assign(1, "w"), 1, NOW).is_err());
    assert!(matches!(next_status(&job, fail(0), 1, NOW), Ok(Next::Write(_))));
}

#[test]
fn a_message_longer_than_the_schema_allows_is_cut() {
    let decision = Decision::Fail {
        job: "uid".into(),
        attempt: Attempt(0),
        reason: FailureReason::Internal,
        message: "é".repeat(5_000),
    };
    let Ok(Next::Write(status)) = next_status(&waiting(), decision, 1, NOW) else { panic!("refused") };
    assert_eq!(status.failure.unwrap().message.chars().count(), MESSAGE_CHARS_MAX);
}
