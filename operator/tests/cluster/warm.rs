//! Models that pools want in memory: a worker with nothing to do is told to load them, and the pool says what became of it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helpers stop the test like the test itself does")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, ListParams, PostParams};
use tintype_crds::{GenerationJob, GpuPool, GpuPoolSpec, GpuWorker};
use tintype_types::FailureReason;
use tintype_types::worker::{WarmUpOrder, WarmUpStanding};

use crate::support::{Bench, MODEL, Worker, until};

async fn make_pool(bench: &Bench) -> (Api<GpuPool>, String) {
    let (pools, name) = (Api::all(bench.client.clone()), format!("warm-{}", bench.namespace));
    let spec = GpuPoolSpec {
        // The operators of the other tests see it too.
        namespace: Some(bench.namespace.clone()),
        warm_models: vec![MODEL.to_owned()],
        ..GpuPoolSpec::default()
    };
    pools.create(&PostParams::default(), &GpuPool::new(&name, spec)).await.unwrap();
    (pools, name)
}

/// What the pool says of its models, once that has this reason.
async fn said(pools: &Api<GpuPool>, pool: &str, reason: &str) -> Condition {
    let found = until(async || {
        let conditions = pools.get(pool).await.ok()?.status?.conditions;
        conditions.into_iter().find(|said| said.type_ == "ModelsWarm" && said.reason == reason)
    });
    found.await.unwrap_or_else(|| panic!("the pool never says {reason}"))
}

/// Claims until it is told to load something.
async fn told(worker: &Worker) -> WarmUpOrder {
    let order = until(async || worker.ask(2_000).await.ok()?.warm_up).await;
    order.expect("it is told to load a model within a minute")
}

#[tokio::test]
async fn an_idle_worker_is_told_to_load_what_its_pool_wants_and_the_pool_says_what_came_of_it() {
    let bench = Bench::new().await;
    let (pools, pool) = make_pool(&bench).await;
    let operator = bench.operator("a", &["--report-every", "100ms"]);
    operator.until_ready("leading").await;
    let mut worker = Worker::new(&operator.url().await, "warm-0");
    worker.pool.clone_from(&pool);
    worker.resident = Some(Vec::new());
    assert_eq!(worker.ask(500).await.unwrap().warm_up, None, "one that does not say that it takes them is not told");
    said(&pools, &pool, "NoWorkerToWarm").await;

    worker.warm_up = Some(WarmUpStanding::Ready);
    assert_eq!(told(&worker).await, WarmUpOrder { model: MODEL.to_owned(), evict: Vec::new() });
    worker.warm_up = Some(WarmUpStanding::Loading { model: MODEL.to_owned() });
    assert_eq!(worker.ask(100).await.unwrap().warm_up, None, "it is at it");
    assert_eq!(said(&pools, &pool, "ModelsLoading").await.status, "False");

    let (reason, message) = (FailureReason::ModelUnreadable, "the file is damaged; fetch it again".to_owned());
    worker.warm_up = Some(WarmUpStanding::Failed { model: MODEL.to_owned(), reason, message });
    assert_eq!(worker.ask(100).await.unwrap().warm_up, None, "not again at once");
    let failed = said(&pools, &pool, "WarmUpFailed").await;
    assert!(failed.message.contains("the file is damaged; fetch it again"), "{}", failed.message);
    assert_eq!(worker.metric(r#"tintype_scheduler_warm_ups_total{outcome="failed"}"#).await, Some(1.0));

    worker.warm_up = Some(WarmUpStanding::Ready);
    assert_eq!(told(&worker).await.model, MODEL, "it is tried again");
    worker.resident = None;
    assert_eq!(worker.ask(100).await.unwrap().warm_up, None);
    assert_eq!(said(&pools, &pool, "ModelsResident").await.status, "True");
    assert_eq!(worker.metric(r#"tintype_scheduler_warm_ups_total{outcome="loaded"}"#).await, Some(1.0));
    let workers: Api<GpuWorker> = Api::namespaced(bench.client.clone(), &bench.namespace);
    let shown = until(async || {
        let status = workers.get("warm-0").await.ok()?.status?;
        status.resident_models.contains(&MODEL.to_owned()).then_some(())
    });
    shown.await.expect("its report shows the model");
    let jobs: Api<GenerationJob> = Api::namespaced(bench.client.clone(), &bench.namespace);
    assert!(jobs.list(&ListParams::default()).await.unwrap().items.is_empty());
}
