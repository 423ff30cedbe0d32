//! A paid provider's adapter as a pod: made by the operator from the chart's template, under the strictest rules and with the rights
//! and Secrets the chart gives it. It reads its pool and claims work; what it buys is looked at elsewhere (`tests/e2e/providers.rs`):
//! a key goes over https alone, and no provider on this node has a certificate.

use std::fs;

use serde_json::{Value, json};

use crate::node::Cluster;
use crate::release::{NAMESPACE, chart};

const POOL: &str = "burst";

/// The adapter comes up, is reported as the pool's worker, and comes again when its pod is deleted.
pub(crate) fn a_provider_s_adapter_stands_by(cluster: &Cluster) {
    cluster.namespaced(&["create", "secret", "generic", "replicate", "--from-literal=token=r8_test"]);
    let values = cluster.folder.path().join("providers.json");
    let pools = json!([{ "name": POOL, "keySecret": { "name": "replicate", "key": "token" } }]);
    fs::write(&values, json!({ "providers": { "pools": pools } }).to_string()).unwrap();
    let values = values.display().to_string();
    cluster.helm(&["upgrade", "pictures", &chart("tintype"), "--reuse-values", "--values", &values]);
    cluster.apply(&pool());
    let first = stands_by(cluster, "");
    cluster.namespaced(&["delete", "pod", &first, "--timeout=120s"]);
    stands_by(cluster, &first);
    let off = json!({ "spec": { "replicas": 0 } }).to_string();
    cluster.kubectl(&["patch", "gpupool", POOL, "--type=merge", "--patch", &off]);
    cluster.until("the adapter to go", || adapters(cluster).trim().is_empty());
}

fn adapters(cluster: &Cluster) -> String {
    let chosen = format!("--selector=app.kubernetes.io/component=provider,tintype.dev/pool={POOL}");
    cluster.namespaced(&["get", "pods", "--output=jsonpath={.items[*].metadata.name}", &chosen])
}

/// The pod of the adapter, once it is ready and reported, and is not `other`.
fn stands_by(cluster: &Cluster, other: &str) -> String {
    let mut pod = String::new();
    cluster.until("an adapter to be reported as the pool's worker", || {
        adapters(cluster).trim().clone_into(&mut pod);
        let reports: Value =
            serde_json::from_str(&cluster.namespaced(&["get", "gpuworkers", "--output=json"])).unwrap();
        let its = |report: &Value| report["spec"]["pool"] == POOL;
        !pod.is_empty() && pod != other && reports["items"].as_array().unwrap().iter().any(its)
    });
    cluster.rolled_out(&format!("deployment/pool-{POOL}"));
    pod
}

fn pool() -> Value {
    json!({
        "apiVersion": "tintype.dev/v1alpha1", "kind": "GpuPool", "metadata": { "name": POOL },
        "spec": {
            "namespace": NAMESPACE, "template": format!("pictures-tintype-provider-{POOL}"), "replicas": 1,
            "provider": {
                "kind": "replicate", "baseUrl": "https://provider.invalid/v1", "concurrencyMax": 2,
                "budget": { "dayMicroUsd": 30_000, "monthMicroUsd": 300_000 },
                "models": [{
                    "name": "acme/paint", "target": "acme/paint:abc", "pricePerImageMicroUsd": 3_000,
                    "input": { "prompt": "prompt", "images": "num_outputs", "seed": "seed" },
                }],
            },
        },
    })
}
