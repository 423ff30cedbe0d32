//! Leaders come and go: what is under way goes on, and who has been replaced changes nothing.

use std::time::Duration;

use kube::api::{Api, ListParams, Patch, PatchParams};
use reqwest::StatusCode;
use serde_json::json;
use tintype_operator::convert::{now, to_time};
use tintype_types::worker::Assignment;
use tintype_types::{Attempt, JobState};

use crate::support::{Bench, Worker, until};

#[tokio::test]
async fn an_attempt_goes_on_when_the_leader_is_killed_and_another_takes_over() {
    let bench = Bench::new().await;
    let mut first = bench.operator("first", &[]);
    first.until_ready("leading").await;
    let second = bench.operator("second", &[]);
    second.until_ready("standby").await;
    bench.make("job", |_| {}).await;
    let mut worker = Worker::new(&first.url().await, "w-1");
    let assignment = worker.claim().await;

    let standby = Worker::new(&second.url().await, "w-2");
    assert_eq!(standby.ask(0).await.unwrap_err().0, StatusCode::SERVICE_UNAVAILABLE, "only one leads");
    first.signal("-KILL");
    assert_eq!(first.ended().await, None);
    second.until_ready("leading").await;

    worker.url = second.url().await;
    worker.renew(&assignment, 5).await.unwrap();
    worker.finish(&assignment).await.unwrap();
    let status = bench.jobs.get("job").await.unwrap().status.unwrap();
    assert_eq!((status.state, status.attempt, status.failed_attempts), (JobState::Complete, Attempt(1), 0));
    assert_eq!(status.leader_epoch, Some(2), "the second leader's term is in what it wrote");
    assert_eq!(status.assignment.unwrap().leader_epoch, 1, "the first leader gave it out");
}

/// Makes jobs with a deadline for a worker that waits, until one is promised it: that takes some runs to learn from, and a
/// worker whose claim did not end just before.
async fn promised(bench: &Bench, worker: &Worker) -> (String, Assignment) {
    let mut number = 0;
    let found = until(async || {
        number += 1;
        let name = format!("due-{number}");
        let make = async {
            let waits = async || (worker.read("/dispatch/v1/top").await["workers"][0]["idle"] == true).then_some(());
            until(waits).await.expect("the worker waits within a minute");
            let deadline = to_time(now().plus(Duration::from_mins(30)));
            bench.make(&name, |job| job.spec.deadline = Some(deadline)).await;
        };
        let (assignment, ()) = tokio::join!(worker.claim(), make);
        let job = bench.jobs.get(&name).await.expect("the job is there");
        let status = job.status.expect("it was given out");
        if status.promise.is_none() {
            worker.finish(&assignment).await.expect("it is at work on it");
        }
        status.promise.map(|_| (name, assignment))
    });
    found.await.expect("a deadline is promised within a minute")
}

#[tokio::test]
async fn what_a_killed_leader_promised_binds_the_next() {
    let bench = Bench::new().await;
    let mut first = bench.operator("first", &["--attempt-lease", "60s"]);
    first.until_ready("leading").await;
    let second = bench.operator("second", &["--attempt-lease", "60s"]);
    second.until_ready("standby").await;
    let mut worker = Worker::new(&first.url().await, "w-1");
    let (name, assignment) = promised(&bench, &worker).await;

    first.signal("-KILL");
    assert_eq!(first.ended().await, None);
    second.until_ready("leading").await;
    worker.url = second.url().await;
    worker.renew(&assignment, 5).await.unwrap();
    let told = worker.read(&format!("/dispatch/v1/explain?job={}", assignment.job)).await;
    assert_eq!(told["promised"], true, "{told}");
    worker.finish(&assignment).await.unwrap();
    let told = worker.read("/dispatch/v1/top").await;
    assert_eq!((&told["promisesKept"], &told["promisesBroken"]), (&json!(1), &json!(0)), "{told}");
    let writes = bench.writes(&name).await;
    assert_eq!(writes.len(), 3, "made, given out with the promise, complete: {writes:#?}");
}

#[tokio::test]
async fn a_leader_that_is_asked_to_go_hands_over_at_once() {
    let bench = Bench::new().await;
    // With a lease of an hour, only one that was given back can be taken over within the test.
    let hour = ["--leader-lease", "1h"];
    let mut first = bench.operator("first", &hour);
    first.until_ready("leading").await;
    let second = bench.operator("second", &hour);
    second.until_ready("standby").await;
    bench.make("job", |_| {}).await;
    let mut worker = Worker::new(&first.url().await, "w-1");
    let assignment = worker.claim().await;
    first.signal("-TERM");
    assert_eq!(first.ended().await, Some(0));
    second.until_ready("leading").await;
    // Nothing was lost although the new leader began within a moment of the old one's last write.
    worker.url = second.url().await;
    worker.finish(&assignment).await.unwrap();
    assert_eq!(bench.jobs.get("job").await.unwrap().state(), JobState::Complete);
}

#[tokio::test]
async fn a_leader_that_slept_through_its_term_writes_nothing_and_ends() {
    let bench = Bench::new().await;
    let mut first = bench.operator("first", &[]);
    first.until_ready("leading").await;
    let second = bench.operator("second", &[]);
    second.until_ready("standby").await;
    bench.make("job", |_| {}).await;
    let worker = Worker::new(&first.url().await, "w-1");
    let assignment = worker.claim().await;

    first.signal("-STOP");
    second.until_ready("leading").await;
    let before = bench.writes("job").await.len();
    first.signal("-CONT");
    // It wakes up with a finish in its socket, its old index in its memory, and every right in the cluster.
    let answer = worker.finish(&assignment).await;
    assert!(answer.is_err(), "the finish was taken by one who does not lead: {}", first.log());
    assert_eq!(first.ended().await, Some(1), "it must end: {}", first.log());
    assert!(first.log().contains("the leader lease was lost"), "{}", first.log());
    let writes = bench.writes("job").await;
    assert_eq!(writes.len(), before, "{writes:#?}");
    assert_eq!(bench.jobs.get("job").await.unwrap().state(), JobState::Assigned);
}

#[tokio::test]
async fn a_deleted_lease_does_not_bring_an_old_term_back() {
    let bench = Bench::new().await;
    bench.make("job", |_| {}).await;
    let old = json!({ "status": { "state": "Queued", "attempt": 3, "leaderEpoch": 41 } });
    bench.jobs.patch_status("job", &PatchParams::default(), &Patch::Merge(old)).await.unwrap();
    let operator = bench.operator("a", &[]);
    operator.until_ready("leading").await;
    let worker = Worker::new(&operator.url().await, "w-1");
    let assignment = worker.claim().await;
    assert_eq!(assignment.attempt, Attempt(4));
    worker.finish(&assignment).await.unwrap();
    assert_eq!(bench.jobs.get("job").await.unwrap().status.unwrap().leader_epoch, Some(42));
    let leases: Api<k8s_openapi::api::coordination::v1::Lease> =
        Api::namespaced(bench.client.clone(), &bench.namespace);
    let lease = leases.list(&ListParams::default()).await.unwrap().items.pop().unwrap();
    assert_eq!(lease.spec.unwrap().lease_transitions, Some(42));
}
