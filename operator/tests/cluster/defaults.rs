//! Objects a release begins with: made once, and nobody's but the users' from then on.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use tintype_crds::{DiffusionModel, GpuPool};

use crate::support::{Bench, until};

const MAP: &str = "begins-with";
const MADE: &str = "tintype.dev/made";

/// A default object of a kind, whose name is this test's alone: these kinds have no namespace.
fn object(bench: &Bench, kind: &str) -> Value {
    let spec = match kind {
        "DiffusionModel" => json!({ "modelName": format!("of/{}", bench.namespace), "family": "sd15", "vramBytes": 5,
            "defaults": { "width": 64, "height": 64, "steps": 20, "guidanceScale": 3.0, "sampler": "ddim" } }),
        _ => json!({}),
    };
    let name = format!("{}-{}", kind.to_lowercase(), bench.namespace);
    json!({ "apiVersion": "tintype.dev/v1alpha1", "kind": kind, "metadata": { "name": name }, "spec": spec })
}

/// Makes a ConfigMap with a default object of each kind; its name.
pub(crate) async fn begins_with(bench: &Bench, kinds: &[&str]) -> String {
    let data: BTreeMap<_, _> =
        kinds.iter().map(|kind| (format!("{}.json", kind.to_lowercase()), object(bench, kind).to_string())).collect();
    let mut map = ConfigMap { data: Some(data), ..ConfigMap::default() };
    map.metadata.name = Some(MAP.to_owned());
    maps(bench).create(&PostParams::default(), &map).await.expect("the ConfigMap is made");
    MAP.to_owned()
}

fn maps(bench: &Bench) -> Api<ConfigMap> {
    Api::namespaced(bench.client.clone(), &bench.namespace)
}

/// Waits until these keys are said to be made.
async fn made(bench: &Bench, keys: &str) {
    let said = until(async || {
        let map = maps(bench).get(MAP).await.ok()?;
        (map.annotations().get(MADE).map(String::as_str) == Some(keys)).then_some(())
    });
    assert!(said.await.is_some(), "{keys}: {:?}", maps(bench).get(MAP).await.map(|map| map.metadata.annotations));
}

#[tokio::test]
async fn default_objects_are_made_once_and_are_the_users_from_then_on() {
    let bench = Bench::new().await;
    let models: Api<DiffusionModel> = Api::all(bench.client.clone());
    let pools: Api<GpuPool> = Api::all(bench.client.clone());
    let (model, pool) = (format!("diffusionmodel-{}", bench.namespace), format!("gpupool-{}", bench.namespace));
    // The model is there, and is somebody's.
    let mut theirs: DiffusionModel = serde_json::from_value(object(&bench, "DiffusionModel")).unwrap();
    theirs.spec.vram_bytes = 7;
    models.create(&PostParams::default(), &theirs).await.unwrap();
    begins_with(&bench, &["DiffusionModel", "GpuPool", "ClusterRole"]).await;

    let mut operator = bench.operator("a", &["--defaults", MAP]);
    operator.until_ready("leading").await;
    made(&bench, "diffusionmodel.json,gpupool.json").await;
    assert_eq!(models.get(&model).await.unwrap().spec.vram_bytes, 7);
    assert!(pools.get_opt(&pool).await.unwrap().is_some());
    assert!(operator.log().contains("only a DiffusionModel or a GpuPool"), "{}", operator.log());

    // What a user deletes stays deleted, also for the next leader; what an upgrade brings is made.
    pools.delete(&pool, &DeleteParams::default()).await.unwrap();
    operator.signal("-TERM");
    assert_eq!(operator.ended().await, Some(0));
    let other = json!({
        "apiVersion": "tintype.dev/v1alpha1", "kind": "GpuPool", "metadata": { "name": format!("other-{pool}") }, "spec": {},
    });
    let more = json!({ "data": { "later.json": other.to_string() } });
    maps(&bench).patch(MAP, &PatchParams::default(), &Patch::Merge(more)).await.unwrap();
    let next = bench.operator("b", &["--defaults", MAP]);
    next.until_ready("leading").await;
    made(&bench, "diffusionmodel.json,gpupool.json,later.json").await;
    assert!(pools.get_opt(&format!("other-{pool}")).await.unwrap().is_some());
    assert!(pools.get_opt(&pool).await.unwrap().is_none(), "a deleted default came back");
}
