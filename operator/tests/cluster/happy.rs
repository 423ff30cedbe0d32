//! The way of a job that works, and the words people get when one does not.

use tintype_types::{Attempt, JobState};

use crate::support::{Bench, Worker};

#[tokio::test]
async fn a_job_is_placed_and_completed_with_three_writes() {
    let bench = Bench::new().await;
    let operator = bench.operator("a", &[]);
    operator.until_ready("leading").await;
    let worker = Worker::new(&operator.url().await, "w-1");
    let job = bench.make("job", |_| {}).await;

    let assignment = worker.claim().await;
    assert_eq!(Some(assignment.job.as_str()), job.metadata.uid.as_deref());
    assert_eq!(assignment.attempt, Attempt(1));
    assert_eq!((assignment.request.width, assignment.request.steps), (64, 20), "the model's defaults fill the gaps");
    let shown = bench.wait_for("job", |job| job.state() == JobState::Assigned).await;
    assert_eq!(shown.status.unwrap().assignment.unwrap().worker, "w-1".into());
    worker.renew(&assignment, 10).await.unwrap();
    worker.finish(&assignment).await.unwrap();

    let done = bench.jobs.get("job").await.unwrap().status.unwrap();
    assert_eq!(done.state, JobState::Complete, "a finish is answered once it is written");
    assert_eq!((done.outputs.len(), done.gpu_milliseconds), (1, Some(1_234)));
    assert_eq!(done.outputs[0].seed, assignment.request.seed);
    assert_eq!(done.leader_epoch, Some(1));

    let wait = ["wait", "--for=condition=Complete", "--timeout=1s", "gjob/job", "-n", &bench.namespace];
    assert!(bench.plane.kubectl(&wait).unwrap().status.success());
    let writes = bench.writes("job").await;
    let seen: Vec<_> = writes.iter().map(|w| (w.verb.as_str(), w.subresource.as_str(), w.code)).collect();
    assert_eq!(seen, [("create", "", 201), ("patch", "status", 200), ("patch", "status", 200)]);
    // The same finish again: the same answer, and nothing is written.
    worker.finish(&assignment).await.unwrap();
    assert_eq!(bench.writes("job").await.len(), 3);
}
