//! Nodes that are about to go. There is no kubelet: pods are bound by hand, and one that is ended stays until its grace is over.

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use tintype_crds::GenerationJob;
use tintype_types::worker::Outcome;
use tintype_types::{Attempt, JobState};

use crate::support::{Bench, Worker, until};

/// A node of the test's own, and a pod on it.
pub(crate) async fn make_node(bench: &Bench, node: &str, pod: &str) {
    let nodes: Api<Node> = Api::all(bench.client.clone());
    let object = serde_json::from_value(json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": node } }));
    nodes.create(&PostParams::default(), &object.expect("it is a node")).await.expect("the node is made");
    let object = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": pod },
        "spec": {
            "nodeName": node, "automountServiceAccountToken": false,
            "containers": [{ "name": "worker", "image": "registry.invalid/worker" }],
        },
    }));
    let pods: Api<Pod> = Api::namespaced(bench.client.clone(), &bench.namespace);
    pods.create(&PostParams::default(), &object.expect("it is a pod")).await.expect("the pod is made");
}

/// Gives notice.
pub(crate) async fn taint(bench: &Bench, node: &str, key: &str) {
    let taints = json!({ "spec": { "taints": [{ "key": key, "effect": "NoSchedule" }] } });
    let nodes: Api<Node> = Api::all(bench.client.clone());
    nodes.patch(node, &PatchParams::default(), &Patch::Merge(taints)).await.expect("the node is tainted");
}

/// Nodes outlive namespaces.
pub(crate) async fn remove(bench: &Bench, node: &str) {
    let nodes: Api<Node> = Api::all(bench.client.clone());
    nodes.delete(node, &DeleteParams::default()).await.expect("the node is removed");
}

/// Waits until the pod is told to go, or is gone.
pub(crate) async fn is_ended(bench: &Bench, pod: &str) -> bool {
    let pods: Api<Pod> = Api::namespaced(bench.client.clone(), &bench.namespace);
    let ended = until(async || match pods.get_opt(pod).await.ok()? {
        Some(pod) => pod.metadata.deletion_timestamp.map(drop),
        None => Some(()),
    });
    ended.await.is_some()
}

#[tokio::test]
async fn the_workers_of_a_node_that_is_to_go_are_ended_at_once_and_their_job_goes_on_elsewhere() {
    let bench = Bench::on(tintype_kubetest::ControlPlane::shared_with_controllers().await.unwrap()).await;
    let (spot, other) = (format!("spot-{}", bench.namespace), format!("other-{}", bench.namespace));
    let account = until(async || {
        let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> =
            Api::namespaced(bench.client.clone(), &bench.namespace);
        accounts.get_opt("default").await.ok().flatten()
    });
    assert!(account.await.is_some());
    for (node, worker) in [(&spot, "worker-on-spot"), (&other, "worker-on-other"), (&format!("x-{other}"), "bystander")]
    {
        make_node(&bench, node, worker).await;
    }
    let operator = bench.operator("a", &[]);
    operator.until_ready("leading").await;
    let url = operator.url().await;
    let (on_spot, on_other) = (Worker::new(&url, "worker-on-spot"), Worker::new(&url, "worker-on-other"));
    bench.make("job", |_| {}).await;
    let first = on_spot.claim().await;
    on_spot.renew(&first, 3).await.unwrap();
    taint(&bench, &format!("x-{other}"), "cloud.google.com/impending-node-termination").await;
    taint(&bench, &spot, "aws-node-termination-handler/spot-itn").await;
    assert!(is_ended(&bench, "worker-on-spot").await, "{}", operator.log());

    // What a worker does that is told to go.
    on_spot.end(first.job.as_str(), first.attempt, Outcome::Preempted { checkpoint: None }).await.unwrap();
    let second = on_other.claim().await;
    assert_eq!((second.job.clone(), second.attempt), (first.job.clone(), Attempt(2)));
    on_other.finish(&second).await.unwrap();
    let done = |job: &GenerationJob| job.status.as_ref().is_some_and(|status| status.state == JobState::Complete);
    let job = bench.wait_for("job", done).await;
    assert_eq!(job.status.unwrap().failed_attempts, 0, "a notice is nobody's failure");
    let pods: Api<Pod> = Api::namespaced(bench.client.clone(), &bench.namespace);
    for stays in ["worker-on-other", "bystander"] {
        let pod = pods.get(stays).await.unwrap();
        assert!(pod.metadata.deletion_timestamp.is_none(), "{stays} was ended: {}", operator.log());
    }
    for node in [&spot, &other, &format!("x-{other}")] {
        remove(&bench, node).await;
    }
}
