//! Models whose files are elsewhere: a web server of the test's own has good and bad ones.

#![expect(clippy::unwrap_used, reason = "a test's helpers stop the test like the test itself does")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use tintype_catalogue::Catalogue;
use tintype_crds::{DiffusionModel, GpuPool, GpuPoolSpec};

use crate::support::{Bench, Worker, until};

/// A small file of a LoRA that is in the checkout.
const LORA: &str = "../models/shapes-night/pytorch_lora_weights.safetensors";
/// What a checkpoint's file would hold behind its header; nobody reads so far.
const WEIGHT_BYTES: usize = 64 << 20;
const PIECE: &[u8] = &[0; 64 << 10];

/// Makes a model with a source.
pub(crate) async fn make(bench: &Bench, name: &str, kind: &str, url: &str) -> Api<DiffusionModel> {
    let models = Api::all(bench.client.clone());
    let model = serde_json::from_value(json!({
        "apiVersion": "tintype.dev/v1alpha1", "kind": "DiffusionModel", "metadata": { "name": name },
        "spec": {
            "kind": kind, "family": "sd15",
            "defaults": { "width": 64, "height": 64, "steps": 20, "guidanceScale": 3, "sampler": "euler" },
            "fetch": { "url": url, "sha256": "ab".repeat(32) },
        },
    }));
    models.create(&PostParams::default(), &model.unwrap()).await.unwrap();
    models
}

/// The reason of a model's condition, once it is one of these.
pub(crate) async fn reason(models: &Api<DiffusionModel>, name: &str, wanted: impl Fn(&str) -> bool) -> String {
    let said = until(async || {
        let status = models.get(name).await.ok()?.status?;
        status.conditions.into_iter().map(|condition| condition.reason).find(|reason| wanted(reason))
    });
    said.await.unwrap_or_default()
}

#[tokio::test]
async fn a_model_by_url_is_looked_into_and_workers_are_told_of_it() {
    let bench = Bench::new().await;
    let sent = Arc::new(AtomicUsize::new(0));
    let url = serve(Arc::clone(&sent)).await;
    let operator = bench.operator("a", &[]);
    operator.until_ready("leading").await;
    let named = |what: &str| format!("{what}-{}", bench.namespace);
    let cases = [
        ("whole", "checkpoint", "SourceRead"),
        ("night", "lora", "SourceRead"),
        ("moved", "lora", "SourceRead"),
        ("night", "checkpoint", "SourceMismatch"),
        ("page", "checkpoint", "SourceInvalid"),
        ("short", "lora", "SourceInvalid"),
        ("nothing", "lora", "SourceUnreachable"),
    ];
    let mut models = None;
    for (number, (file, kind, _)) in cases.iter().enumerate() {
        models = Some(make(&bench, &named(&format!("m{number}")), kind, &format!("{url}/{file}")).await);
    }
    let models = models.unwrap();
    for (number, (file, kind, wanted)) in cases.iter().enumerate() {
        let said = reason(&models, &named(&format!("m{number}")), |reason| reason != "SourcePending").await;
        assert_eq!(said, *wanted, "{file} as a {kind}: {}", operator.log());
    }
    let whole = models.get(&named("m0")).await.unwrap();
    assert_eq!(whole.vram_bytes(), WEIGHT_BYTES as u64);
    assert!(sent.load(Ordering::Relaxed) < WEIGHT_BYTES / 2, "weights were read, and not the header alone");

    // Workers have the ConfigMap as a folder.
    let maps: Api<ConfigMap> = Api::namespaced(bench.client.clone(), &bench.namespace);
    let known = async || {
        let cards = maps.get_opt("tintype-operator-models").await.ok()??.data.unwrap_or_default();
        let mut names: Vec<_> = told(&cards).entries().map(|entry| entry.card.name.clone()).collect();
        names.retain(|name| name.ends_with(&named("")));
        Some(names)
    };
    assert_eq!(known().await.unwrap(), [named("m0"), named("m1"), named("m2")]);

    // Corrected, a model is Ready without waiting for the next look at it.
    let right = Patch::Merge(json!({ "spec": { "kind": "lora" } }));
    models.patch(&named("m3"), &PatchParams::default(), &right).await.unwrap();
    assert_eq!(reason(&models, &named("m3"), |reason| reason == "SourceRead").await, "SourceRead");
    models.delete(&named("m0"), &kube::api::DeleteParams::default()).await.unwrap();
    let gone = until(async || (known().await? == [named("m1"), named("m2"), named("m3")]).then_some(()));
    assert!(gone.await.is_some(), "{}", operator.log());
    for number in 1..cases.len() {
        models.delete(&named(&format!("m{number}")), &kube::api::DeleteParams::default()).await.unwrap();
    }
}

/// A checkpoint that is not fetched is ready where workers have it, and stays so while their pool has none.
#[tokio::test]
async fn a_model_that_is_not_fetched_is_ready_where_workers_have_it() {
    let bench = Bench::new().await;
    let operator = bench.operator("a", &[]);
    operator.until_ready("leading").await;
    let (name, pool) = (format!("home-{}", bench.namespace), format!("home-{}", bench.namespace));
    let pools: Api<GpuPool> = Api::all(bench.client.clone());
    let spec = GpuPoolSpec { namespace: Some(bench.namespace.clone()), ..GpuPoolSpec::default() };
    pools.create(&PostParams::default(), &GpuPool::new(&pool, spec)).await.unwrap();
    let models: Api<DiffusionModel> = Api::all(bench.client.clone());
    let model = serde_json::from_value(json!({
        "apiVersion": "tintype.dev/v1alpha1", "kind": "DiffusionModel", "metadata": { "name": name },
        "spec": {
            "family": "sd15",
            "defaults": { "width": 64, "height": 64, "steps": 20, "guidanceScale": 3, "sampler": "euler" },
        },
    }));
    models.create(&PostParams::default(), &model.unwrap()).await.unwrap();
    assert_eq!(reason(&models, &name, |_| true).await, "NoWorkerHasIt", "{}", operator.log());

    let mut worker = Worker::new(&operator.url().await, "w-1");
    worker.pool.clone_from(&pool);
    worker.models = vec!["another".to_owned(), name.clone()];
    assert_eq!(worker.ask(0).await.unwrap().assignment, None);
    assert_eq!(reason(&models, &name, |reason| reason != "NoWorkerHasIt").await, "WorkersHaveIt", "{}", operator.log());
    assert_eq!(models.get(&name).await.unwrap().status.unwrap().pools, [pool.as_str()]);

    // The next leader has heard nobody, and believes what was written.
    drop(operator);
    let operator = bench.operator("b", &[]);
    operator.until_ready("leading").await;
    (worker.url, worker.models) = (operator.url().await, vec!["another".to_owned()]);
    let mut other = Worker::new(&worker.url, "w-2");
    other.pool = format!("else-{}", bench.namespace);
    assert_eq!(other.ask(0).await.unwrap().assignment, None);
    assert_eq!(reason(&models, &name, |_| true).await, "WorkersHaveIt", "{}", operator.log());
    // Its workers say otherwise.
    assert_eq!(worker.ask(0).await.unwrap().assignment, None);
    assert_eq!(reason(&models, &name, |reason| reason != "WorkersHaveIt").await, "NoWorkerHasIt", "{}", operator.log());
    let delete = kube::api::DeleteParams::default();
    models.delete(&name, &delete).await.unwrap();
    pools.delete(&pool, &delete).await.unwrap();
}

/// What a worker finds.
fn told(cards: &BTreeMap<String, String>) -> Catalogue {
    let folder = tempfile::tempdir().unwrap();
    for (name, card) in cards {
        std::fs::write(folder.path().join(name), card).unwrap();
    }
    let catalogue = Catalogue::scan(&[folder.path().to_owned()]);
    assert!(catalogue.refused.is_empty(), "{:?}", catalogue.refused);
    catalogue
}

async fn serve(sent: Arc<AtomicUsize>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer).with_state(sent)).await });
    url
}

/// Ranges are not kept to: a plain web server answers with all there is.
async fn answer(State(sent): State<Arc<AtomicUsize>>, uri: Uri) -> Response {
    let lora = || std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(LORA)).unwrap();
    match uri.path() {
        "/whole" => checkpoint(sent),
        "/night" => lora().into_response(),
        "/moved" => Redirect::temporary("/night").into_response(),
        "/short" => lora()[..lora().len() - 1].to_vec().into_response(),
        "/page" => "<html>sign in to see this file</html>".into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

/// A file of two tensors, one of them large; counts what of it is sent to whoever reads most: the operators of
/// other tests see these models too.
fn checkpoint(sent: Arc<AtomicUsize>) -> Response {
    let header = json!({
        "model.diffusion_model.out.2.bias": { "dtype": "U8", "shape": [1], "data_offsets": [0, 1] },
        "cond_stage_model.transformer.x": { "dtype": "U8", "shape": [WEIGHT_BYTES - 1], "data_offsets": [1, WEIGHT_BYTES] },
    })
    .to_string();
    let begin = [(header.len() as u64).to_le_bytes().to_vec(), header.into_bytes()].concat();
    let length = begin.len() + WEIGHT_BYTES;
    let pieces = std::iter::once(begin).chain(std::iter::repeat_n(PIECE.to_vec(), WEIGHT_BYTES / PIECE.len()));
    let mut of_this = 0;
    let counted = futures::stream::iter(pieces).map(move |piece| {
        of_this += piece.len();
        sent.fetch_max(of_this, Ordering::Relaxed);
        Ok::<_, std::io::Error>(piece)
    });
    ([("content-length", length.to_string())], Body::from_stream(counted)).into_response()
}
