//! Models loaded ahead of jobs: told of when they are there, stopped for a job, and said why when they cannot be had.

use tintype_types::FailureReason;
use tintype_types::worker::{Claim, Outcome, WarmUpStanding};

use crate::contract::{Contract, Running, assignment};
use crate::stepper::{SLOW, Stepper};

#[tokio::test]
async fn a_model_is_loaded_ahead_of_jobs_and_told_of_at_once() {
    let contract = Contract::start().await;
    contract.warm("tintype/shapes");
    let worker = Running::with_shapes(&contract);
    let claim = contract.claimed_with(|claim| !claim.resident_models.is_empty()).await;
    assert_eq!(claim.resident_models, ["tintype/shapes"]);
    assert_eq!((claim.warm_up, claim.free_slots), (Some(WarmUpStanding::Ready), 1));
    assert!(claim.residents[0].load_ms > 0);
    worker.drain().await;
}

#[tokio::test]
async fn a_job_stops_the_load_of_another_model() {
    let contract = Contract::start().await;
    contract.warm(SLOW);
    let (stepper, steps) = Stepper::new();
    steps.allow(20);
    let worker = Running::with(&contract, stepper);
    let loading = WarmUpStanding::Loading { model: SLOW.to_owned() };
    let claim = contract.claimed_with(|claim| claim.warm_up.as_ref() == Some(&loading)).await;
    assert_eq!(claim.free_slots, 1, "it asks for work all the same");
    contract.give(assignment("job-1", 1));
    assert!(matches!(contract.finished("job-1").await.outcome, Outcome::Done { .. }));
    let superseded = WarmUpStanding::Superseded { model: SLOW.to_owned() };
    contract.claimed_with(|claim| claim.warm_up.as_ref() == Some(&superseded)).await;
    worker.drain().await;
}

#[tokio::test]
async fn what_cannot_be_loaded_is_said_once_with_its_reason() {
    let contract = Contract::start().await;
    contract.warm("nobody/has-it");
    let worker = Running::with_shapes(&contract);
    let failed = |claim: &Claim| matches!(claim.warm_up, Some(WarmUpStanding::Failed { .. }));
    let claim = contract.claimed_with(failed).await;
    let Some(WarmUpStanding::Failed { model, reason, message }) = claim.warm_up else {
        unreachable!("it was looked for")
    };
    assert_eq!((model.as_str(), reason), ("nobody/has-it", FailureReason::UnknownModel));
    assert!(message.contains("no model named nobody/has-it"), "{message}");
    contract.give(assignment("job-1", 1));
    let (told, next) = contract.claims_around("job-1").await;
    assert!(failed(&told) && next.warm_up == Some(WarmUpStanding::Ready), "{:?}", next.warm_up);
    worker.drain().await;
}

#[tokio::test]
async fn a_worker_that_ends_does_not_wait_for_a_load() {
    let contract = Contract::start().await;
    contract.warm(SLOW);
    let worker = Running::with(&contract, Stepper::new().0);
    contract.claimed_with(|claim| matches!(claim.warm_up, Some(WarmUpStanding::Loading { .. }))).await;
    worker.drain().await;
}
