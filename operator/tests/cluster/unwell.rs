//! A worker whose GPU is not fit for work: it is there, says why, and gets none.

use kube::Api;
use kube::api::PostParams;
use tintype_crds::{GpuPool, GpuPoolSpec, GpuWorker, GpuWorkerStatus};
use tintype_types::worker::{Gpu, ThrottleReason, Unwell, UnwellReason};

use crate::support::{Bench, Worker, until};

#[tokio::test]
async fn a_worker_that_is_unwell_is_shown_with_its_reason_and_gets_no_job() {
    let bench = Bench::new().await;
    let pools: Api<GpuPool> = Api::all(bench.client.clone());
    let pool = format!("unwell-{}", bench.namespace);
    let spec = GpuPoolSpec { namespace: Some(bench.namespace.clone()), ..GpuPoolSpec::default() };
    pools.create(&PostParams::default(), &GpuPool::new(&pool, spec)).await.unwrap();
    let workers: Api<GpuWorker> = Api::namespaced(bench.client.clone(), &bench.namespace);
    let operator = bench.operator("a", &["--report-every", "100ms"]);
    operator.until_ready("leading").await;

    let mut worker = Worker::new(&operator.url().await, "w-1");
    worker.pool.clone_from(&pool);
    worker.gpu = Gpu {
        uuid: "MIG-1".to_owned(),
        name: "NVIDIA Fake MIG 1g.10gb".to_owned(),
        mig_of: Some("GPU-aa".to_owned()),
        ecc_uncorrected: Some(3),
        page_retirement_pending: true,
        throttle_reasons: vec![ThrottleReason::HwSlowdown],
        last_xid: Some(94),
        xid_count: 1,
        ..Gpu::default()
    };
    let message = "the GPU has memory errors that ECC could not repair";
    worker.unwell = Some(Unwell { reason: UnwellReason::Ecc, message: message.to_owned() });
    let job = bench.make("job", |_| {}).await;
    let answer = worker.ask(500).await.unwrap();
    assert_eq!((answer.assignment, answer.warm_up), (None, None));
    let standing = async |status: &str| {
        let shown: Option<GpuWorkerStatus> = until(async || {
            let seen = workers.get_opt("w-1").await.ok()??.status?;
            let said = seen.conditions.iter().any(|said| said.type_ == "Ready" && said.status == status);
            said.then_some(seen)
        })
        .await;
        shown.expect("the worker is reported")
    };
    let shown = standing("False").await;
    let ready = &shown.conditions[0];
    assert_eq!((ready.reason.as_str(), ready.message.as_str()), ("GpuEcc", message));
    assert_eq!(shown.gpus, [worker.gpu.clone()]);
    counted(&pools, &pool, 1).await;
    // A leader that has told nothing of it so far takes over since when.
    let since = ready.last_transition_time.clone();
    drop(operator);
    let operator = bench.operator("b", &["--report-every", "100ms"]);
    operator.until_ready("leading").await;
    worker.url = operator.url().await;
    let heard = shown.last_heard.clone();
    assert_eq!(worker.ask(500).await.unwrap().assignment, None);
    let again = until(async || {
        let seen = workers.get_opt("w-1").await.ok()??.status?;
        (seen.last_heard > heard).then_some(seen)
    });
    assert_eq!(again.await.expect("the new leader reports it").conditions[0].last_transition_time, since);
    assert_eq!(worker.metric("tintype_operator_workers{which=\"unwell\"}").await, Some(1.0));

    worker.unwell = None;
    let assignment = worker.claim().await;
    assert_eq!(Some(assignment.job.as_str()), job.metadata.uid.as_deref());
    assert_eq!(standing("True").await.conditions[0].reason, "GpuWell");
    counted(&pools, &pool, 0).await;
}

/// Waits until the pool's status counts its one worker so.
async fn counted(pools: &Api<GpuPool>, pool: &str, unwell: u32) {
    let told = until(async || {
        let status = pools.get(pool).await.ok()?.status?;
        (status.workers == 1 && status.unwell_workers == unwell).then_some(())
    });
    assert!(told.await.is_some(), "not counted as {unwell}");
}
