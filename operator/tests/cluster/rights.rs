//! What the operator asks of the API server against what it says it needs, by the server's own account.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ServiceAccount};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Resource, ResourceExt};
use serde_json::json;
use tintype_crds::{GenerationQueue, GpuPool, GpuPoolSpec, GpuWorker};
use tintype_kubetest::Done;
use tintype_operator::rights::{RIGHTS, Right};

use crate::support::{Bench, Worker, until};

/// Models made until the operator under test is the one that says what became of one.
const MODELS_MAX: u32 = 50;

#[tokio::test]
async fn every_right_is_used_and_none_is_missing() {
    let bench = Bench::new().await;
    let namespace = bench.namespace.as_str();
    own_pod(&bench).await;
    let pools: Api<GpuPool> = Api::all(bench.client.clone());
    let pool = format!("pool-of-{namespace}");
    let spec = GpuPoolSpec { namespace: Some(bench.namespace.clone()), ..GpuPoolSpec::default() };
    pools.create(&PostParams::default(), &GpuPool::new(&pool, spec)).await.unwrap();
    let queues: Api<GenerationQueue> = Api::namespaced(bench.client.clone(), namespace);
    let queue = serde_json::from_value(json!({
        "apiVersion": "tintype.dev/v1alpha1", "kind": "GenerationQueue", "metadata": { "name": "default" }, "spec": {},
    }));
    queues.create(&PostParams::default(), &queue.unwrap()).await.unwrap();
    let workers: Api<GpuWorker> = Api::namespaced(bench.client.clone(), namespace);
    let stale = serde_json::from_value(json!({
        "apiVersion": "tintype.dev/v1alpha1", "kind": "GpuWorker", "metadata": { "name": "of-old" },
        "spec": { "worker": "of-old", "pool": "p" },
    }));
    workers.create(&PostParams::default(), &stale.unwrap()).await.unwrap();

    let begins = crate::defaults::begins_with(&bench, &["DiffusionModel", "GpuPool"]).await;
    let flags = [
        "--defaults",
        &begins,
        "--pod-name",
        "operator-0",
        "--report-every",
        "100ms",
        "--learned-every",
        "100ms",
        "--finished-ttl",
        "1s",
    ];
    let operator = bench.operator("a", &flags);
    operator.until_ready("leading").await;
    let mut worker = Worker::new(&operator.url().await, "w-1");
    worker.pool.clone_from(&pool);
    bench.make("job", |_| {}).await;
    let assignment = worker.claim().await;
    worker.finish(&assignment).await.unwrap();

    let labelled = until(async || {
        let pod = Api::<Pod>::namespaced(bench.client.clone(), namespace).get("operator-0").await.ok()?;
        (pod.labels().get("tintype.dev/leader").map(String::as_str) == Some("true")).then_some(())
    });
    assert!(labelled.await.is_some(), "{}", operator.log());
    let reported = until(async || {
        let worker = workers.get("w-1").await.ok()?;
        worker.status.filter(|status| status.last_heard.is_some())
    });
    assert_eq!(reported.await.unwrap().resident_models, ["tintype/shapes"]);
    let counted = until(async || pools.get(&pool).await.ok()?.status.filter(|status| status.workers == 1));
    assert!(counted.await.is_some(), "{}", operator.log());
    let placed = until(async || queues.get("default").await.ok()?.status.filter(|status| status.conditions.len() == 1));
    assert!(placed.await.is_some(), "{}", operator.log());
    let gone = until(async || {
        let job = bench.jobs.get_opt("job").await.ok()?.is_none();
        let stale = workers.get_opt("of-old").await.ok()?.is_none();
        (job && stale).then_some(())
    });
    assert!(gone.await.is_some(), "{}", operator.log());
    let maps: Api<ConfigMap> = Api::namespaced(bench.client.clone(), namespace);
    let kept = until(async || maps.get_opt("tintype-operator-learned").await.ok().flatten());
    assert!(kept.await.is_some(), "{}", operator.log());
    assert!(fetch_models(&bench).await, "of {MODELS_MAX} models the operator said nothing");
    lose_a_node(&bench).await;
    keep_workers(&bench, &pool).await;
    compare(&bench);
}

/// Models whose source is nowhere: port 9 of this machine is nobody's. Models belong to no namespace, so the operators of tests
/// beside this one see them too, and whoever says first what became of one spares the others the saying: one after another,
/// until it was ours.
async fn fetch_models(bench: &Bench) -> bool {
    for number in 0..MODELS_MAX {
        let name = format!("from-nowhere-{number}-{}", bench.namespace);
        let models = crate::models::make(bench, &name, "checkpoint", "http://127.0.0.1:9/a.safetensors").await;
        assert_eq!(
            crate::models::reason(&models, &name, |reason| reason != "SourcePending").await,
            "SourceUnreachable"
        );
        models.delete(&name, &kube::api::DeleteParams::default()).await.expect("the model is deleted");
        let done = bench.plane.done_by(&bench.user).expect("the log is read");
        if done.asked.contains("patch diffusionmodels/status") {
            return true;
        }
    }
    false
}

/// The one worker there is runs on a node that is about to go.
async fn lose_a_node(bench: &Bench) {
    let node = format!("node-of-{}", bench.namespace);
    crate::nodes::make_node(bench, &node, "w-1").await;
    crate::nodes::taint(bench, &node, "karpenter.sh/disrupted").await;
    assert!(crate::nodes::is_ended(bench, "w-1").await);
    crate::nodes::remove(bench, &node).await;
}

/// The pool gets workers of its own, as many as its bounds say, then fewer, then none.
async fn keep_workers(bench: &Bench, pool: &str) {
    let pools: Api<GpuPool> = Api::all(bench.client.clone());
    let deployments: Api<Deployment> = Api::namespaced(bench.client.clone(), &bench.namespace);
    let object = format!("pool-{pool}");
    crate::pools::make_template(bench, "worker").await;
    for replicas in [2, 1] {
        // The first number is what the operator makes of it, the second what a hand says once nobody scales it any more.
        let scaling = (replicas == 2).then(|| json!({ "min": 2, "max": 2 }));
        let spec = json!({ "spec": { "template": "worker", "replicas": 1, "scaling": scaling } });
        pools.patch(pool, &PatchParams::default(), &Patch::Merge(spec)).await.expect("the pool is changed");
        let kept = until(async || {
            let spec = deployments.get_opt(&object).await.ok()??.spec?;
            (spec.replicas == Some(replicas)).then_some(())
        });
        assert!(kept.await.is_some(), "no Deployment of {replicas}");
    }
    let nobody = json!({ "spec": { "template": null } });
    pools.patch(pool, &PatchParams::default(), &Patch::Merge(nobody)).await.expect("the pool is changed");
    let gone = until(async || deployments.get_opt(&object).await.ok()?.is_none().then_some(()));
    assert!(gone.await.is_some(), "the Deployment outlives the template");
}

/// The grants and the log side by side. Resources of two groups with one name would be one here; there are none.
fn compare(bench: &Bench) {
    let Done { asked, refused } = bench.plane.done_by(&bench.user).expect("the log is read");
    assert!(refused.is_empty(), "{refused:#?}");
    let of = |right: &Right| {
        let pairs =
            right.resources.iter().flat_map(|name| right.verbs.iter().map(move |verb| format!("{verb} {name}")));
        pairs.collect::<Vec<_>>()
    };
    let granted: BTreeSet<String> = RIGHTS.iter().flat_map(of).collect();
    // A read of a job again comes only after a conflict, which no test can bring about at will. Server-side apply is a patch in
    // the log; making an object by it asks for `create` as well.
    let unseen = ["get generationjobs", "create gpuworkers", "create configmaps", "create deployments"];
    let unused: Vec<_> = granted.difference(&asked).filter(|right| !unseen.contains(&right.as_str())).collect();
    assert!(unused.is_empty(), "granted and never used: {unused:#?}");
    assert!(asked.is_subset(&granted), "not granted by the list: {:?}", asked.difference(&granted));
}

/// A pod for the operator to label. No controllers run here, so its account is made by hand, and nobody starts it.
async fn own_pod(bench: &Bench) {
    let accounts: Api<ServiceAccount> = Api::namespaced(bench.client.clone(), &bench.namespace);
    let mut account = ServiceAccount::default();
    account.meta_mut().name = Some("default".to_owned());
    accounts.create(&PostParams::default(), &account).await.expect("the account is made");
    let pod = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "operator-0" },
        "spec": { "containers": [{ "name": "operator", "image": "operator" }] },
    }));
    let pods: Api<Pod> = Api::namespaced(bench.client.clone(), &bench.namespace);
    pods.create(&PostParams::default(), &pod.expect("it is a pod")).await.expect("the pod is made");
}
