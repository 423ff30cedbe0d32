//! Ways in which a job ends other than well, and what is left of it.

use kube::api::{DeleteParams, PostParams};
use tintype_crds::{DiffusionModel, GenerationJob};
use tintype_types::worker::RenewAnswer;
use tintype_types::{Attempt, FailureReason, JobState};

use crate::support::{Bench, Worker, hold, until};

fn condition(job: &GenerationJob, kind: &str) -> Option<(String, String)> {
    let status = job.status.as_ref()?;
    let found = status.conditions.iter().find(|condition| condition.type_ == kind)?;
    Some((found.status.clone(), found.reason.clone()))
}

#[tokio::test]
async fn a_job_with_an_unknown_model_fails_and_says_so() {
    let bench = Bench::new().await;
    let operator = bench.operator("a", &[]);
    operator.until_ready("leading").await;
    bench.make("job", |job| "nobody/knows".clone_into(&mut job.spec.request.model)).await;
    let failed = bench.wait_for("job", |job| job.state() == JobState::Failed).await;
    assert_eq!(condition(&failed, "Failed"), Some(("True".to_owned(), "UnknownModel".to_owned())));
    assert_eq!(condition(&failed, "Complete"), None);
    let failure = failed.status.unwrap().failure.unwrap();
    assert_eq!(failure.reason, FailureReason::UnknownModel);
    assert!(failure.message.contains("nobody/knows"), "{}", failure.message);
    let wait = ["wait", "--for=condition=Failed", "--timeout=1s", "gjob/job", "-n", &bench.namespace];
    assert!(bench.plane.kubectl(&wait).unwrap().status.success());
}

#[tokio::test]
async fn a_model_that_comes_a_moment_after_its_job_is_in_time() {
    let bench = Bench::new().await;
    let operator = bench.operator("a", &[]);
    operator.until_ready("leading").await;
    let name = format!("late-{}", bench.namespace);
    bench.make("job", |job| name.clone_into(&mut job.spec.request.model)).await;
    let models: kube::Api<DiffusionModel> = kube::Api::all(bench.client.clone());
    let mut model = models.get("shapes").await.unwrap();
    model.metadata = kube::api::ObjectMeta { name: Some(name.clone()), ..kube::api::ObjectMeta::default() };
    model.spec.model_name = None;
    models.create(&PostParams::default(), &model).await.unwrap();
    let mut worker = Worker::new(&operator.url().await, "w-1");
    worker.models = vec![name.clone()];
    assert_eq!(worker.claim().await.request.model, name);
}

#[tokio::test]
async fn deleting_a_running_job_stops_the_worker_and_leaves_a_failed_job_to_settle() {
    let bench = Bench::new().await;
    let operator = bench.operator("a", &[]);
    operator.until_ready("leading").await;
    let job = bench.make("job", |_| {}).await;
    hold(&bench.jobs, &job, true).await;
    let worker = Worker::new(&operator.url().await, "w-1");
    let assignment = worker.claim().await;
    bench.jobs.delete("job", &DeleteParams::default()).await.unwrap();

    let told = until(async || match worker.renew(&assignment, 3).await {
        Ok(RenewAnswer::Cancel { reason }) => Some(reason),
        Ok(RenewAnswer::Continue { .. } | RenewAnswer::Preempt) | Err(_) => None,
    });
    assert_eq!(told.await, Some(FailureReason::Cancelled));
    let failed = bench.wait_for("job", |job| job.state() == JobState::Failed).await;
    assert_eq!(condition(&failed, "Failed"), Some(("True".to_owned(), "Cancelled".to_owned())));
    assert!(worker.finish(&assignment).await.is_err(), "what comes late changes nothing");
    // Whoever holds the finalizer lets go of it, and nothing is left.
    hold(&bench.jobs, &job, false).await;
    let gone = until(async || bench.jobs.get_opt("job").await.ok()?.is_none().then_some(()));
    assert!(gone.await.is_some());
}

#[tokio::test]
async fn a_worker_that_falls_silent_loses_its_attempt_to_the_next_one() {
    let bench = Bench::new().await;
    let operator = bench.operator("a", &["--attempt-lease", "1s"]);
    operator.until_ready("leading").await;
    bench.make("job", |_| {}).await;
    let silent = Worker::new(&operator.url().await, "silent");
    let lost = silent.claim().await;
    let next = Worker::new(&operator.url().await, "next");
    let assignment = next.claim().await;
    assert_eq!(assignment.attempt, Attempt(2));
    assert!(silent.renew(&lost, 1).await.is_err());
    assert!(silent.finish(&lost).await.is_err(), "a late finish is stale");
    next.finish(&assignment).await.unwrap();
    let status = bench.jobs.get("job").await.unwrap().status.unwrap();
    assert_eq!((status.state, status.attempt, status.failed_attempts), (JobState::Complete, Attempt(2), 1));
    assert!(status.outputs[0].key.contains("/2/"), "{}", status.outputs[0].key);
}

#[tokio::test]
async fn a_job_whose_attempts_all_fail_ends_with_the_last_reason_told() {
    let bench = Bench::new().await;
    let operator = bench.operator("a", &[]);
    operator.until_ready("leading").await;
    bench.make("job", |_| {}).await;
    let worker = Worker::new(&operator.url().await, "w-1");
    for attempt in 1..=3 {
        let assignment = worker.claim().await;
        assert_eq!(assignment.attempt, Attempt(attempt));
        worker.fail(&assignment, FailureReason::OutOfMemory).await.unwrap();
    }
    let failed = bench.wait_for("job", |job| job.state() == JobState::Failed).await;
    assert_eq!(condition(&failed, "Failed").unwrap().0, "True");
    assert_eq!(failed.status.unwrap().attempt, Attempt(3));
}

#[tokio::test]
async fn ended_jobs_are_deleted_after_their_time() {
    let bench = Bench::new().await;
    let operator = bench.operator("a", &["--finished-ttl", "never"]);
    operator.until_ready("leading").await;
    let worker = Worker::new(&operator.url().await, "w-1");
    for (name, ttl) in [("short", Some(1)), ("long", Some(3_600)), ("usual", None)] {
        bench.make(name, |job| job.spec.ttl_seconds_after_finished = ttl).await;
        let assignment = worker.claim().await;
        worker.finish(&assignment).await.unwrap();
    }
    let gone = until(async || bench.jobs.get_opt("short").await.ok()?.is_none().then_some(()));
    assert!(gone.await.is_some(), "{}", operator.log());
    assert!(bench.jobs.get_opt("long").await.unwrap().is_some());
    assert!(bench.jobs.get_opt("usual").await.unwrap().is_some(), "never is never");
    let deletes: Vec<_> = bench.writes("short").await.into_iter().filter(|write| write.verb == "delete").collect();
    assert_eq!(deletes.len(), 1);
    assert_eq!(deletes[0].user, bench.user);

    // The cluster's default is for jobs that do not say; another leader brings another default.
    drop(operator);
    let operator = bench.operator("b", &["--finished-ttl", "1s"]);
    operator.until_ready("leading").await;
    let gone = until(async || bench.jobs.get_opt("usual").await.ok()?.is_none().then_some(()));
    assert!(gone.await.is_some(), "{}", operator.log());
    assert!(bench.jobs.get_opt("long").await.unwrap().is_some());
}

#[tokio::test]
async fn a_label_put_on_a_job_while_it_is_finished_costs_no_work() {
    let bench = Bench::new().await;
    let operator = bench.operator("a", &[]);
    operator.until_ready("leading").await;
    let worker = Worker::new(&operator.url().await, "w-1");
    let job = bench.make("job", |_| {}).await;
    let assignment = worker.claim().await;
    // Each of these changes the resourceVersion, and the operator may or may not have seen it when the finish comes.
    for on in [true, false, true, false, true] {
        hold(&bench.jobs, &job, on).await;
    }
    let done = until(async || worker.finish(&assignment).await.ok());
    assert!(done.await.is_some(), "{}", operator.log());
    assert_eq!(bench.jobs.get("job").await.unwrap().state(), JobState::Complete);
}
