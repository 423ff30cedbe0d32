//! Answers that are lost, and adapters that die: nothing is sent twice.

use tintype_provider_twin::{Fault, until};
use tintype_types::FailureReason;

use crate::rig::Ended;
use crate::stand::{PRICE, Stand};

#[tokio::test]
async fn a_purchase_whose_answer_was_lost_is_found_and_not_bought_again() {
    for (kind, fault) in
        [("replicate", Fault::LoseAnswer), ("replicate", Fault::BadGateway), ("modal", Fault::LoseAnswer)]
    {
        let stand = Stand::new(kind).await;
        stand.twin.next([fault]);
        let mut stand = stand;
        stand.start(&[]);
        let job = stand.rig.record.add("job-1", 1);
        assert!(matches!(stand.ended(&job).await, Ended::Complete(_)), "{kind} {fault:?}");
        assert_eq!((stand.twin.bought().len(), stand.twin.calls("buy")), (1, 1), "{kind} {fault:?}");
    }
}

#[tokio::test]
async fn of_two_like_purchases_that_were_lost_each_finds_its_own() {
    let stand = Stand::new("replicate").await;
    stand.twin.next([Fault::LoseAnswer, Fault::LoseAnswer]);
    let mut stand = stand;
    stand.start(&[]);
    let jobs = ["a", "b"].map(|name| stand.rig.record.add(name, 1));
    for job in &jobs {
        assert!(matches!(stand.ended(job).await, Ended::Complete(_)));
    }
    assert_eq!((stand.twin.bought().len(), stand.twin.calls("buy")), (2, 2));
    until("both are paid", || (stand.spend() == (2 * PRICE, 0)).then_some(())).await;
}

#[tokio::test]
async fn an_outcome_nobody_can_know_fails_the_job_and_stays_counted() {
    for (kind, fault) in [("runpod", Fault::LoseAnswer), ("replicate", Fault::Down)] {
        let stand = Stand::new(kind).await;
        stand.twin.next([fault]);
        let mut stand = stand;
        stand.start(&[]);
        let job = stand.rig.record.add("job-1", 1);
        assert_eq!(stand.ended(&job).await, Ended::Failed(FailureReason::Internal), "{kind}");
        assert_eq!((stand.twin.calls("buy"), stand.spend()), (1, (0, PRICE)), "{kind}");
    }
}

#[tokio::test]
async fn an_adapter_that_dies_while_it_buys_finds_its_purchase_when_it_is_back() {
    let mut stand = Stand::new("replicate").await;
    stand.twin.next([Fault::HoldAnswer]);
    stand.start(&[]);
    let job = stand.rig.record.add("job-1", 1);
    until("the provider has it", || stand.twin.bought().first().cloned()).await;
    stand.crash().await;
    stand.twin.release();
    stand.start(&[]);
    assert!(matches!(stand.ended(&job).await, Ended::Complete(_)));
    assert_eq!((stand.twin.bought().len(), stand.twin.calls("buy")), (1, 1));
    assert_eq!(stand.rig.record.seen(&job).attempt.0, 2, "the job had another attempt");
}

#[tokio::test]
async fn an_adapter_that_is_stopped_hands_its_job_to_the_next_with_its_purchase() {
    let mut stand = Stand::working("modal").await;
    stand.twin.hold_still(true);
    let job = stand.rig.record.add("job-1", 1);
    until("it is taken", || (stand.book().get(&job)?.state.id().is_some()).then_some(())).await;
    stand.stop().await;
    stand.twin.hold_still(false);
    stand.start(&[]);
    assert!(matches!(stand.ended(&job).await, Ended::Complete(_)));
    assert_eq!((stand.twin.bought().len(), stand.rig.record.seen(&job).failed_attempts), (1, 0));
}
