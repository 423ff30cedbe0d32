//! What is seen of queues and pools is written to their status: what runs and waits, circles of parents, and how many
//! workers a pool should have.

use kube::api::{Api, PostParams};
use tintype_crds::{GenerationQueue, GpuPool, GpuPoolSpec, WhenLate};
use tintype_operator::convert::{now, to_time};
use tintype_types::{FailureReason, JobState};

use crate::support::{Bench, Worker, until};

fn queue(name: &str, parent: &str) -> GenerationQueue {
    serde_json::from_value(serde_json::json!({
        "apiVersion": "tintype.dev/v1alpha1", "kind": "GenerationQueue",
        "metadata": { "name": name }, "spec": { "parent": parent, "quota": { "running": 1 } }
    }))
    .expect("it is a queue")
}

#[tokio::test]
async fn a_circle_of_queues_is_a_condition_and_jobs_in_it_run_all_the_same() {
    let bench = Bench::new().await;
    let queues: Api<GenerationQueue> = Api::namespaced(bench.client.clone(), &bench.namespace);
    for (name, parent) in [("day", "night"), ("night", "day")] {
        queues.create(&PostParams::default(), &queue(name, parent)).await.unwrap();
    }
    let operator = bench.operator("a", &["--report-every", "100ms"]);
    operator.until_ready("leading").await;
    bench.make("job", |job| "day".clone_into(&mut job.spec.queue)).await;
    let told = until(async || {
        let status = queues.get("day").await.ok()?.status?;
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready")?;
        (ready.reason == "ParentCycle" && ready.status == "False" && status.waiting == 1).then_some(())
    });
    assert!(told.await.is_some(), "{:?}", queues.get("day").await.map(|queue| queue.status));
    let worker = Worker::new(&operator.url().await, "w-1");
    let assignment = worker.claim().await;
    worker.finish(&assignment).await.unwrap();
    bench.wait_for("job", |job| job.state() == JobState::Complete).await;
}

#[tokio::test]
async fn a_pool_with_nothing_but_a_job_that_waits_is_told_to_have_a_worker() {
    let bench = Bench::new().await;
    let pools: Api<GpuPool> = Api::all(bench.client.clone());
    let pool = format!("pool-of-{}", bench.namespace);
    let spec = GpuPoolSpec { namespace: Some(bench.namespace.clone()), ..GpuPoolSpec::default() };
    pools.create(&PostParams::default(), &GpuPool::new(&pool, spec)).await.unwrap();
    let operator = bench.operator("a", &["--report-every", "100ms"]);
    operator.until_ready("leading").await;
    bench.make("job", |job| job.spec.pool = Some(pool.as_str().into())).await;
    let wanted = until(async || {
        let status = pools.get(&pool).await.ok()?.status?;
        ((status.workers, status.desired_workers, status.waiting) == (0, 1, 1)).then_some(())
    });
    assert!(wanted.await.is_some(), "{:?}", pools.get(&pool).await.map(|pool| pool.status));
}

#[tokio::test]
async fn a_deadline_that_cannot_be_met_is_refused_at_once_with_what_would_help() {
    let bench = Bench::new().await;
    let operator = bench.operator("a", &[]);
    operator.until_ready("leading").await;
    let worker = Worker::new(&operator.url().await, "w-1");
    bench.make("first", |_| {}).await;
    let first = worker.claim().await;
    worker.renew(&first, 1).await.unwrap();
    bench
        .make("late", |job| {
            job.spec.deadline = Some(to_time(now().plus(std::time::Duration::from_secs(2))));
            job.spec.when_late = WhenLate::Refuse;
        })
        .await;
    let failed = bench.wait_for("late", |job| job.state() == JobState::Failed).await.status.unwrap().failure.unwrap();
    assert_eq!(failed.reason, FailureReason::DeadlineExceeded);
    assert!(failed.message.contains("it would be with a deadline"), "{}", failed.message);
}
