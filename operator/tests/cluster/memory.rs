//! What one operator learned of the cost of work, the next one knows; and what a model's object says of it counts before.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tintype_crds::DiffusionModel;

use crate::support::{Bench, MODEL, Operator, Worker, until};

/// What the worker says its runs take.
const GPU_MS: u64 = 1_234;

#[tokio::test]
async fn a_restarted_operator_knows_what_runs_take() {
    let bench = Bench::new().await;
    let often = ["--learned-every", "100ms"];
    let mut first = bench.operator("first", &often);
    first.until_ready("leading").await;
    bench.make("one", |_| {}).await;
    let worker = Worker::new(&first.url().await, "w-1");
    let assignment = worker.claim().await;
    worker.finish(&assignment).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(bench.client.clone(), &bench.namespace);
    let kept = until(async || {
        let map = maps.get_opt("tintype-operator-learned").await.ok().flatten()?;
        let learned: Value = serde_json::from_str(map.data?.get("learned.json")?).ok()?;
        // What other tests' models say of themselves may be kept before.
        let run = |run: &Value| run[0][0] == "CPU" && run[0][1] == MODEL;
        learned["runs"].as_array()?.iter().any(run).then_some(())
    });
    assert!(kept.await.is_some(), "the run was not kept: {}", first.log());
    first.signal("-KILL");
    first.ended().await;

    let second = bench.operator("second", &often);
    second.until_ready("leading").await;
    let worker = Worker::new(&second.url().await, "w-1");
    bench.make("two", |_| {}).await;
    let assignment = worker.claim().await;
    let eta = read(&second, &format!("eta?job={}", assignment.job)).await;
    assert_eq!(eta["runMs"], GPU_MS, "{eta}");
}

#[tokio::test]
async fn what_a_models_object_says_counts_until_it_was_seen() {
    let bench = Bench::new().await;
    // A model of its own: the others are everybody's.
    let name = format!("hinted-{}", bench.namespace);
    let object = json!({
        "apiVersion": "tintype.dev/v1alpha1", "kind": "DiffusionModel", "metadata": { "name": name },
        "spec": {
            "family": "sd15", "hints": { "stepMs": 77, "loadMs": 4_000 },
            "defaults": { "width": 64, "height": 64, "steps": 20, "guidanceScale": 3, "sampler": "euler" },
        },
    });
    let models: Api<DiffusionModel> = Api::all(bench.client.clone());
    models.patch(&name, &PatchParams::apply("test"), &Patch::Apply(object)).await.unwrap();
    let operator = bench.operator("first", &[]);
    operator.until_ready("leading").await;
    bench.make("one", |job| job.spec.request.model.clone_from(&name)).await;
    let mut worker = Worker::new(&operator.url().await, "w-1");
    worker.models = vec![name];
    let assignment = worker.claim().await;
    let eta = read(&operator, &format!("eta?job={}", assignment.job)).await;
    assert_eq!(eta["runMs"], 20 * 77, "{eta}");
}

async fn read(operator: &Operator, path: &str) -> Value {
    let http =
        reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().expect("a client is made");
    let answer = http.get(format!("{}/dispatch/v1/{path}", operator.url().await)).send().await.expect("it answers");
    assert!(answer.status().is_success(), "{}: {}", answer.status(), operator.log());
    serde_json::from_str(&answer.text().await.expect("it has a body")).expect("it is JSON")
}
