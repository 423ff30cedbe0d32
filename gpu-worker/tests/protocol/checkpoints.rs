//! Checkpoints: a job stops between two steps, at the dispatcher's wish, at the worker's end or by its death, and goes on
//! elsewhere.

use std::process::Stdio;

use tintype_types::FailureReason;
use tintype_types::worker::{Assignment, CheckpointPlan, Outcome, RenewAnswer};

use crate::contract::{self, Contract, Running, assignment, sha256, shapes_models};
use crate::stepper::{Stepper, Steps};

/// The checkpoint's place.
fn place(job: &Assignment) -> String {
    job.checkpoint.as_ref().unwrap().put_url.clone()
}

/// The job again, to be taken up where the attempt before left it.
fn next_attempt(before: &Assignment) -> Assignment {
    let (attempt, mut next) = (before.attempt.next(), before.clone());
    let job = &before.job;
    next.attempt = attempt;
    let put_url = format!("/store/v1/jobs/{job}/{attempt}/checkpoint?expires=1&sig=abc");
    next.checkpoint = Some(CheckpointPlan { put_url, resume_url: Some(place(before)) });
    next
}

/// Steps done in a checkpoint, over all pictures, by its own word.
fn steps_in(file: &[u8]) -> u64 {
    let (_, metadata) = safetensors::SafeTensors::read_metadata(file).unwrap();
    let facts: serde_json::Value = serde_json::from_str(&metadata.metadata().as_ref().unwrap()["tintype"]).unwrap();
    facts["lanes"].as_array().unwrap().iter().map(|lane| lane["evaluations"].as_u64().unwrap()).sum()
}

/// Hashes of the pictures.
fn pictures(outcome: &Outcome) -> Vec<String> {
    match outcome {
        Outcome::Done { outputs } => outputs.iter().map(|output| output.sha256.clone()).collect(),
        Outcome::Preempted { .. } | Outcome::Failed { .. } => unreachable!("no pictures came out: {outcome:?}"),
    }
}

#[tokio::test]
async fn a_preempted_job_stops_within_a_step_and_another_worker_goes_on_from_there() {
    let contract = Contract::start().await;
    let job = assignment("job-1", 1);
    contract.give(job.clone());
    let (stepper, steps) = Stepper::new();
    let worker = Running::with(&contract, stepper);
    steps.allow(3);
    contract.renewed(|renew| renew.step == 3).await;
    contract.answer_renewals(Some(RenewAnswer::Preempt));
    let Outcome::Preempted { checkpoint: Some(left) } = contract.finished("job-1").await.outcome else {
        panic!("it left no checkpoint")
    };
    assert_eq!((left.step, steps.taken()), (3, 3));
    let stored = contract.stored(&place(&job));
    assert_eq!((left.bytes, left.sha256), (stored.bytes.len() as u64, sha256(&stored.bytes)));
    assert_eq!(stored.authorization, None);
    worker.drain().await;

    contract.answer_renewals(None);
    contract.forget_finish("job-1");
    contract.give(next_attempt(&job));
    let (stepper, steps) = Stepper::new();
    let worker = Running::with(&contract, stepper);
    steps.allow(17);
    assert!(matches!(contract.finished("job-1").await.outcome, Outcome::Done { .. }));
    assert_eq!(steps.taken(), 17);
    worker.drain().await;
}

#[tokio::test]
async fn a_job_that_has_not_begun_is_given_back_without_a_checkpoint() {
    let contract = Contract::start().await;
    contract.give(assignment("job-1", 1));
    contract.answer_renewals(Some(RenewAnswer::Preempt));
    let worker = Running::with(&contract, Stepper::new().0);
    assert_eq!(contract.finished("job-1").await.outcome, Outcome::Preempted { checkpoint: None });
    assert_eq!(contract.puts(), 0);
    worker.drain().await;
}

#[tokio::test]
async fn a_drained_worker_leaves_a_checkpoint() {
    let contract = Contract::start().await;
    let job = assignment("job-1", 2);
    contract.give(job.clone());
    let (stepper, steps) = Stepper::new();
    let worker = Running::with(&contract, stepper);
    steps.allow(7);
    contract.renewed(|renew| renew.step == 7).await;
    worker.drain().await;
    let Outcome::Failed { reason, message, retryable: true } = contract.finished("job-1").await.outcome else {
        panic!("it was not given back")
    };
    assert_eq!(reason, FailureReason::WorkerDrained);
    assert!(message.contains("7 steps done"), "{message}");
    assert_eq!(steps_in(&contract.stored(&place(&job)).bytes), 7);
}

#[tokio::test]
async fn a_checkpoint_that_cannot_be_used_costs_its_steps_and_not_the_job() {
    let contract = Contract::start().await;
    let (job, other) = (assignment("job-1", 1), assignment("job-2", 1));
    contract.put_by_hand(&place(&job), b"no checkpoint at all".to_vec());
    contract.give(next_attempt(&job));
    // Nothing was ever put there.
    contract.give(next_attempt(&other));
    let (stepper, steps) = Stepper::new();
    let worker = Running::with(&contract, stepper);
    steps.allow(40);
    for job in ["job-1", "job-2"] {
        assert!(matches!(contract.finished(job).await.outcome, Outcome::Done { .. }), "{job}");
    }
    assert_eq!(steps.taken(), 40);
    worker.drain().await;
}

#[tokio::test]
async fn a_picture_is_the_same_to_the_byte_with_and_without_a_preemption() {
    let contract = Contract::start().await;
    let mut job = assignment("undisturbed", 2);
    (job.request.steps, job.request.sampler) = (40, tintype_types::Sampler::EulerA);
    contract.give(job.clone());
    let worker = Running::with_shapes(&contract);
    let undisturbed = pictures(&contract.finished("undisturbed").await.outcome);
    worker.drain().await;

    job.job = "preempted".into();
    let (steps, pipeline) = (Steps::default(), contract::shapes());
    let worker = Running::with(&contract, steps.gate(pipeline));
    contract.forget_renewals();
    contract.give(job.clone());
    steps.allow(13);
    contract.renewed(|renew| renew.step == 26).await;
    contract.answer_renewals(Some(RenewAnswer::Preempt));
    let Outcome::Preempted { checkpoint: Some(left) } = contract.finished("preempted").await.outcome else {
        panic!("it left no checkpoint")
    };
    assert_eq!(left.step, 26);
    worker.drain().await;

    contract.answer_renewals(None);
    contract.forget_finish("preempted");
    contract.give(next_attempt(&job));
    let worker = Running::with_shapes(&contract);
    assert_eq!(pictures(&contract.finished("preempted").await.outcome), undisturbed);
    worker.drain().await;
}

#[tokio::test]
async fn a_worker_that_is_killed_loses_one_step_at_most() {
    let contract = Contract::start().await;
    let mut job = assignment("undisturbed", 1);
    job.request.steps = 60;
    contract.give(job.clone());
    let worker = Running::with_shapes(&contract);
    let undisturbed = pictures(&contract.finished("undisturbed").await.outcome);
    worker.drain().await;

    job.job = "killed".into();
    for kill_after in [2, 20, 40] {
        contract.forget_renewals();
        let (mut program, _folder) = contract.program(&shapes_models());
        program.args(["--checkpoint-every", "1"]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = program.kill_on_drop(true).spawn().unwrap();
        contract.give(job.clone());
        contract.put(&place(&job), |stored| steps_in(&stored.bytes) >= kill_after).await;
        child.start_kill().unwrap();
        child.wait().await.unwrap();
        let left = steps_in(&contract.stored(&place(&job)).bytes);
        let told = contract.most_renewed();
        assert!(left + 1 >= u64::from(told), "step {told} was told of, and {left} are left");
        job = next_attempt(&job);
        // The next attempt goes on from there: it never tells of an earlier step.
        contract.forget_renewals();
        let (mut program, _folder) = contract.program(&shapes_models());
        program.args(["--checkpoint-every", "1"]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = program.kill_on_drop(true).spawn().unwrap();
        contract.give(job.clone());
        let again = contract.put(&place(&job), |_| true).await;
        assert!(steps_in(&again.bytes) > left, "it began before step {left}");
        child.start_kill().unwrap();
        child.wait().await.unwrap();
        job = next_attempt(&job);
    }
    contract.give(job);
    let worker = Running::with_shapes(&contract);
    assert_eq!(pictures(&contract.finished("killed").await.outcome), undisturbed);
    worker.drain().await;
}
