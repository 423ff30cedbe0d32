//! Pools whose workers the operator keeps, beside the real controllers that make and take the pods. There is no kubelet, so
//! they stay Pending.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helpers stop the test like the test itself does")]

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, PodTemplate};
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tintype_crds::{GpuPool, GpuPoolSpec, PoolScaling};
use tintype_kubetest::ControlPlane;
use tintype_types::JobState;

use crate::support::{Bench, Worker, until};

/// Enough that the one with a job would hardly be the one left by chance.
const WORKERS: usize = 6;

/// Makes what workers are made from.
pub(crate) async fn make_template(bench: &Bench, name: &str) {
    let template = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "PodTemplate", "metadata": { "name": name },
        "template": { "metadata": {}, "spec": { "containers": [{ "name": "worker", "image": "registry.invalid/worker" }] } },
    }));
    let templates: Api<PodTemplate> = Api::namespaced(bench.client.clone(), &bench.namespace);
    templates.create(&PostParams::default(), &template.unwrap()).await.unwrap();
}

async fn make_pool(bench: &Bench, replicas: u32, scaling: Option<PoolScaling>) -> (Api<GpuPool>, String) {
    let (pools, name) = (Api::all(bench.client.clone()), format!("of-{}", bench.namespace));
    let spec = GpuPoolSpec {
        // The operators of the other tests see it too.
        namespace: Some(bench.namespace.clone()),
        template: Some("worker".to_owned()),
        replicas: Some(replicas),
        scaling,
        ..GpuPoolSpec::default()
    };
    pools.create(&PostParams::default(), &GpuPool::new(&name, spec)).await.unwrap();
    (pools, name)
}

fn scale(bench: &Bench, pool: &str, replicas: usize) {
    let output = bench.plane.kubectl(&["scale", "gpupool", pool, &format!("--replicas={replicas}")]).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Waits until there are so many worker pods; gives their names.
async fn workers(bench: &Bench, pool: &str, count: usize) -> Vec<String> {
    let pods: Api<Pod> = Api::namespaced(bench.client.clone(), &bench.namespace);
    let ours = ListParams::default().labels(&format!("tintype.dev/pool={pool}"));
    let found = until(async || {
        let there =
            pods.list(&ours).await.ok()?.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        let names: Vec<_> = there.map(|pod| pod.name_any()).collect();
        (names.len() == count).then_some(names)
    });
    found.await.unwrap_or_else(|| panic!("there are never {count} workers"))
}

/// The reason of the pool's condition, once it is this one.
async fn has_reason(pools: &Api<GpuPool>, pool: &str, reason: &str) -> bool {
    let said = until(async || {
        let status = pools.get(pool).await.ok()?.status?;
        status.conditions.iter().any(|condition| condition.reason == reason).then_some(())
    });
    said.await.is_some()
}

#[tokio::test]
async fn a_pool_is_scaled_like_a_deployment_and_keeps_the_worker_that_has_a_job() {
    let bench = Bench::on(ControlPlane::shared_with_controllers().await.unwrap()).await;
    make_template(&bench, "worker").await;
    let (pools, pool) = make_pool(&bench, WORKERS as u32, None).await;
    let operator = bench.operator("a", &[]);
    operator.until_ready("leading").await;
    let names = workers(&bench, &pool, WORKERS).await;

    let mut worker = Worker::new(&operator.url().await, &names[WORKERS / 2]);
    worker.pool.clone_from(&pool);
    bench.make("job", |_| {}).await;
    let assignment = worker.claim().await;
    let assigned = |job: &tintype_crds::GenerationJob| {
        job.status.as_ref().is_some_and(|status| status.state == JobState::Assigned && status.assignment.is_some())
    };
    bench.wait_for("job", assigned).await;

    scale(&bench, &pool, 1);
    assert_eq!(workers(&bench, &pool, 1).await, [names[WORKERS / 2].clone()], "the one at work was taken");
    worker.finish(&assignment).await.unwrap();
    scale(&bench, &pool, 0);
    workers(&bench, &pool, 0).await;
    assert!(has_reason(&pools, &pool, "WorkersReady").await, "{}", operator.log());
    let status = pools.get(&pool).await.unwrap().status.unwrap();
    assert_eq!((status.replicas, status.ready_replicas), (Some(0), Some(0)));
    scale(&bench, &pool, 2);
    workers(&bench, &pool, 2).await;
    assert!(has_reason(&pools, &pool, "WorkersChanging").await, "nobody starts them here");
}

#[tokio::test]
async fn a_pool_has_workers_while_there_is_work_and_none_when_there_is_not() {
    let bench = Bench::on(ControlPlane::shared_with_controllers().await.unwrap()).await;
    make_template(&bench, "worker").await;
    let scaling = PoolScaling { min: 0, max: 2, down_after_seconds: 2 };
    let (pools, pool) = make_pool(&bench, 0, Some(scaling)).await;
    let operator = bench.operator("a", &["--scale-horizon", "1s", "--worker-start-time", "1s"]);
    operator.until_ready("leading").await;
    // More jobs than workers there may be, each in this pool alone.
    for number in 0..4 {
        bench.make(&format!("job-{number}"), |job| job.spec.pool = Some(pool.as_str().into())).await;
    }
    let names = workers(&bench, &pool, 2).await;
    let url = operator.url().await;
    let fresh = |name: &String| {
        let mut worker = Worker::new(&url, name);
        worker.pool.clone_from(&pool);
        // What is in memory is worth keeping for as long as loading it takes; these have nothing.
        worker.models.clear();
        worker
    };
    let fresh: Vec<_> = names.iter().map(fresh).collect();
    for worker in fresh.iter().chain(&fresh) {
        let assignment = worker.claim().await;
        assert_eq!(pools.get(&pool).await.unwrap().spec.replicas, Some(2), "there is work: {}", operator.log());
        worker.finish(&assignment).await.unwrap();
    }
    // Workers go on asking until they are taken away, and there is nothing.
    let asking = async {
        loop {
            for worker in &fresh {
                assert!(worker.ask(100).await.unwrap().assignment.is_none());
            }
        }
    };
    tokio::select! {
        _ = workers(&bench, &pool, 0) => {}
        () = asking => {}
    }
    let after = pools.get(&pool).await.unwrap();
    assert_eq!(after.spec.replicas, Some(0), "kubectl get shows how many there are to be");

    bench.make("again", |job| job.spec.pool = Some(pool.as_str().into())).await;
    workers(&bench, &pool, 1).await;
    scale(&bench, &pool, 2);
    let back = until(async || (pools.get(&pool).await.ok()?.spec.replicas == Some(1)).then_some(()));
    assert!(back.await.is_some(), "a hand that scales such a pool is overruled: {}", operator.log());
    let bounds = Patch::Merge(json!({ "spec": { "scaling": { "min": 3, "max": 2 } } }));
    let refused = pools.patch(&pool, &PatchParams::default(), &bounds).await.unwrap_err().to_string();
    assert!(refused.contains("spec.scaling.min is more than spec.scaling.max"), "{refused}");
}

#[tokio::test]
async fn a_pool_says_why_it_cannot_be_kept_and_what_others_change_is_put_right() {
    let bench = Bench::on(ControlPlane::shared_with_controllers().await.unwrap()).await;
    let (pools, pool) = make_pool(&bench, 2, None).await;
    let operator = bench.operator("a", &[]);
    operator.until_ready("leading").await;
    let status = until(async || pools.get(&pool).await.ok()?.status.filter(|status| !status.conditions.is_empty()));
    let status = status.await.unwrap_or_else(|| panic!("{}", operator.log()));
    assert_eq!(status.conditions[0].reason, "TemplateNotFound");
    assert!(status.conditions[0].message.contains("there is no PodTemplate worker"), "{status:?}");

    make_template(&bench, "worker").await;
    workers(&bench, &pool, 2).await;
    let deployments: Api<Deployment> = Api::namespaced(bench.client.clone(), &bench.namespace);
    let object = format!("pool-{pool}");
    let patch = |replicas: Value| Patch::Merge(json!({ "spec": { "replicas": replicas } }));
    deployments.patch(&object, &PatchParams::default(), &patch(json!(4))).await.unwrap();
    let back = until(async || deployments.get(&object).await.ok()?.spec?.replicas.filter(|replicas| *replicas == 2));
    assert!(back.await.is_some(), "a hand that scaled the Deployment was let be");

    let refused = pools.patch(&pool, &PatchParams::default(), &patch(Value::Null)).await.unwrap_err().to_string();
    assert!(refused.contains("say how many workers the pool is to have"), "{refused}");
    let nobody = Patch::Merge(json!({ "spec": { "template": null } }));
    pools.patch(&pool, &PatchParams::default(), &nobody).await.unwrap();
    let gone = until(async || deployments.get_opt(&object).await.ok()?.is_none().then_some(()));
    assert!(gone.await.is_some(), "the Deployment outlives the template");
}
