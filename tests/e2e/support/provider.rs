//! A pool that a paid provider serves: the provider's twin, and the adapter that buys there, as a process.

use serde_json::json;
use tintype_provider_twin::{KEY, Twin};

use super::cluster::{Cluster, model};
use super::programs::{Running, command};

/// The pool.
pub(crate) const POOL: &str = "burst";
/// The model it has and no worker of ours.
pub(crate) const MODEL: &str = "acme/paint";
/// What a picture costs, in millionths of a US dollar.
pub(crate) const PRICE: u64 = 3_000;

/// Makes model and pool, and starts the adapter within this budget of a day.
pub(crate) async fn start(cluster: &Cluster, day_micro_usd: u64) -> (Twin, Running) {
    let twin = Twin::start().await;
    let defaults = json!({ "width": 64, "height": 64, "steps": 4, "guidanceScale": 3.0, "sampler": "ddim" });
    let licence = json!({ "name": MODEL, "family": "sd15", "defaults": defaults, "licence": "CC0-1.0", "description": "Elsewhere." });
    cluster.apply(&model("paint", &licence));
    cluster.apply(&json!({
        "apiVersion": "tintype.dev/v1alpha1", "kind": "GpuPool", "metadata": { "name": POOL },
        "spec": { "provider": {
            "kind": "replicate", "baseUrl": twin.url("/v1"), "concurrencyMax": 2,
            "budget": { "dayMicroUsd": day_micro_usd, "monthMicroUsd": 1_000_000 },
            "models": [{
                "name": MODEL, "target": "acme/paint:abc", "pricePerImageMicroUsd": PRICE,
                "input": { "prompt": "prompt", "images": "num_outputs", "seed": "seed" },
            }],
        }},
    }));
    let folder = cluster.folder.path();
    std::fs::write(folder.join("provider-key"), KEY).unwrap();
    let mut adapter = command("tintype-provider", ["--pool", POOL, "--listen", "127.0.0.1:0"]);
    adapter
        .args(["--poll-ms", "50", "--sweep-ms", "200", "--namespace", &cluster.namespace])
        .args(["--dispatch-url", &format!("http://{}", cluster.address)])
        .arg("--kubeconfig")
        .arg(cluster.plane.kubeconfig_path())
        .arg("--token-file")
        .arg(folder.join("worker-token"))
        .arg("--key-file")
        .arg(folder.join("provider-key"))
        .arg("--c2pa-dir")
        .arg(folder.join("provider-c2pa"));
    (twin, Running::start("provider", &mut adapter, folder))
}
