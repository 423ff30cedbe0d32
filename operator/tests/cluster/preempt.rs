//! An attempt that makes way for a more urgent job, and goes on on another worker.

use tintype_types::worker::{CheckpointLeft, Outcome, RenewAnswer};
use tintype_types::{Attempt, JobState};

use crate::support::{Bench, Worker, until};

#[tokio::test]
async fn an_urgent_job_takes_the_worker_and_the_other_goes_on_elsewhere() {
    let bench = Bench::new().await;
    let operator = bench.operator("a", &[]);
    operator.until_ready("leading").await;
    let url = operator.url().await;
    let first = Worker::new(&url, "w-1");
    bench.make("patient", |_| {}).await;
    let patient = first.claim().await;
    first.renew(&patient, 3).await.unwrap();

    bench.make("urgent", |job| job.spec.priority = 100).await;
    let stop = until(async || matches!(first.renew(&patient, 4).await, Ok(RenewAnswer::Preempt)).then_some(())).await;
    assert!(stop.is_some(), "it is never told to stop: {}", operator.log());
    let checkpoint = Some(CheckpointLeft { step: 4, bytes: 5, sha256: "ab".repeat(32) });
    first.end(patient.job.as_str(), patient.attempt, Outcome::Preempted { checkpoint }).await.unwrap();
    let waits = bench.wait_for("patient", |job| job.state() == JobState::Preempted).await.status.unwrap();
    assert_eq!((waits.attempt, waits.failed_attempts), (Attempt(1), 0));

    let urgent = first.claim().await;
    assert_eq!(urgent.request.prompt, patient.request.prompt);
    assert_ne!(urgent.job, patient.job);
    first.finish(&urgent).await.unwrap();
    let second = Worker::new(&url, "w-2");
    let again = second.claim().await;
    assert_eq!((&again.job, again.attempt), (&patient.job, Attempt(2)));
    second.finish(&again).await.unwrap();
    for name in ["patient", "urgent"] {
        bench.wait_for(name, |job| job.state() == JobState::Complete).await;
    }
}
