//! A model that lies in a hub's mirror alone: looked into by the operator, told to workers, fetched by one file by file, drawn
//! with. The mirror keeps the hub's contract: commits behind branches, listings in pages, sums of large files, redirects to where
//! those lie, ranges.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tintype_worker::testing::shapes::decode_png;

use crate::support::cluster::{Around, Cluster, WAIT};
use crate::support::{copy_dir, models};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const REPO: &str = "team/mirrored";
/// Files that are kept beside a repository, as its `.gitattributes` says.
const LARGE: &str = ".safetensors";
/// What of a listing comes first.
const PAGE: usize = 5;
/// What breaks off the first time.
const BREAKS: &str = "unet/diffusion_pytorch_model.safetensors";

// kubectl blocks its thread, and the mirror answers meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_repository_of_a_mirror_is_fetched_and_draws_what_its_files_draw() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, cache) = (folder.path().join("models"), folder.path().join("cache"));
    copy_dir(&models().join("shapes"), &ours.join("shapes"));
    let worker = vec![("TINTYPE_MODELS_CACHE", cache.display().to_string())];
    let mut cluster = Cluster::start_amid(&ours, Around { worker, ..Around::default() }).await;
    let hub = Hub::start(models().join("shapes")).await;

    let large: u64 =
        hub.files.iter().filter(|(path, _)| path.ends_with(LARGE)).map(|(_, file)| file.len() as u64).sum();
    cluster.apply(&named("mirrored", "sd15", json!({ "hub": { "endpoint": hub.url, "repo": REPO } })));
    cluster.apply(&named("other", "sdxl", json!({ "hub": { "endpoint": hub.url, "repo": REPO, "revision": "v1" } })));
    cluster.apply(&named("gone", "sd15", json!({ "hub": { "endpoint": hub.url, "repo": "team/nothing" } })));
    let refused = cluster.refused(&named(
        "both",
        "sd15",
        json!({ "url": hub.url, "hub": { "endpoint": hub.url, "repo": REPO } }),
    ));
    assert!(refused.contains("or a repository by hub"), "{refused}");
    cluster.kubectl(&["wait", "--for=condition=Ready", WAIT, "diffusionmodel/mirrored"]);
    for (name, reason) in [("other", "SourceMismatch"), ("gone", "SourceUnreachable")] {
        let is = format!("--for=jsonpath={{.status.conditions[0].reason}}={reason}");
        cluster.kubectl(&["wait", &is, WAIT, &format!("diffusionmodel/{name}")]);
    }
    let model = cluster.kubectl(&["get", "diffusionmodel", "mirrored", "--output=jsonpath={.status.weightBytes}"]);
    assert_eq!(model, large.to_string());
    assert!(hub.asked("cdn/").is_empty(), "the operator fetched weights");

    // As the kubelet shows the ConfigMap to a new worker.
    let map: Value =
        serde_json::from_str(&cluster.kubectl(&["get", "configmap", "tintype-operator-models", "--output=json"]))
            .unwrap();
    for (name, card) in map["data"].as_object().unwrap() {
        std::fs::write(ours.join(name), card.as_str().unwrap()).unwrap();
    }
    cluster.worker.kill_9();
    cluster.restart_worker();
    for (name, model) in [("ours", "tintype/shapes"), ("theirs", "team/mirrored")] {
        let request = json!({ "model": model, "prompt": "a red circle on a blue background", "seed": 3, "steps": 8 });
        cluster.apply(&cluster.job(name, request));
    }
    let mut pixels = Vec::new();
    for name in ["ours", "theirs"] {
        cluster.kubectl(&["wait", "--for=condition=Complete", WAIT, &format!("generationjob/{name}")]);
        pixels.push(decode_png(&cluster.picture(name).await).unwrap().pixels);
    }
    assert!(pixels[0] == pixels[1], "the mirror's files draw another picture");

    // Each large file from where it lies; the one that broke off is gone on with, not begun anew.
    let fetched: BTreeSet<_> = hub.asked("cdn/").into_iter().collect();
    let weights = hub.files.keys().filter(|path| path.ends_with(LARGE)).count();
    assert_eq!(fetched.iter().filter(|asked| !asked.contains("bytes=")).count(), weights, "{fetched:?}");
    let again = format!("cdn/{} bytes={}-", sum(&hub.files[BREAKS]), hub.files[BREAKS].len() / 2);
    assert!(fetched.contains(&again), "{again} is not among {fetched:?}");
    assert!(hub.asked("/resolve/main/").is_empty(), "a branch may have moved since it was looked at");
    let kept = walk(&cache).into_iter().filter(|path| path.extension().is_some_and(|end| end == "part")).count();
    assert_eq!(kept, 0, "drafts are left");
}

fn named(name: &str, family: &str, fetch: Value) -> Value {
    json!({
        "apiVersion": "tintype.dev/v1alpha1", "kind": "DiffusionModel", "metadata": { "name": name },
        "spec": {
            "modelName": format!("team/{name}"), "family": family, "fetch": fetch,
            "defaults": { "width": 64, "height": 64, "steps": 20, "guidanceScale": 3.0, "sampler": "dpmpp-2m-karras" },
        },
    })
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() { found.extend(walk(&entry)) } else { found.push(entry) }
    }
    found
}

fn sum(file: &[u8]) -> String {
    hex::encode(Sha256::digest(file))
}

/// A mirror with one repository.
#[derive(Clone)]
struct Hub {
    url: String,
    files: Arc<BTreeMap<String, Bytes>>,
    /// Paths that were asked for, without what leads there; with the range, if one was asked for.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Hub {
    async fn start(folder: PathBuf) -> Self {
        let path = |file: &Path| file.strip_prefix(&folder).unwrap().display().to_string();
        let files = walk(&folder).into_iter().filter(|file| !file.ends_with("tintype.json"));
        let files: BTreeMap<_, _> = files.map(|file| (path(&file), std::fs::read(&file).unwrap().into())).collect();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let hub = Self { url, files: Arc::new(files), asked: Arc::default() };
        let routes = Router::new().fallback(answer).with_state(hub.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        hub
    }

    fn asked(&self, what: &str) -> Vec<String> {
        self.asked.lock().unwrap().iter().filter(|asked| asked.contains(what)).cloned().collect()
    }

    /// A page of the listing: the first, and where it goes on, or the rest.
    fn listing(&self, query: &str) -> Response {
        let listed = |(path, file): (&String, &Bytes)| {
            let mut listed = json!({ "type": "file", "oid": "00ff", "size": file.len(), "path": path });
            if path.ends_with(LARGE) {
                listed["lfs"] = json!({ "oid": sum(file), "size": file.len(), "pointerSize": 134 });
            }
            listed
        };
        let mut all: Vec<Value> = vec![json!({ "type": "directory", "oid": "00ff", "size": 0, "path": "unet" })];
        all.extend(self.files.iter().map(listed));
        let rest = all.split_off(PAGE);
        if query.contains("cursor=") {
            return axum::Json(rest).into_response();
        }
        let next = format!("<{}/api/models/{REPO}/tree/{COMMIT}?recursive=true&cursor={PAGE}>; rel=\"next\"", self.url);
        ([(header::LINK, next)], axum::Json(all)).into_response()
    }

    fn resolve(&self, path: &str) -> Response {
        let Some(file) = self.files.get(path) else { return StatusCode::NOT_FOUND.into_response() };
        if !path.ends_with(LARGE) {
            return file.clone().into_response();
        }
        let about = [("x-repo-commit", COMMIT.to_owned()), ("x-linked-etag", format!("\"{}\"", sum(file)))];
        let to = [(header::LOCATION, format!("{}/cdn/{}", self.url, sum(file)))];
        (StatusCode::FOUND, about, to).into_response()
    }

    /// A large file, or what is left of it; one breaks off in its middle the first time.
    fn large(&self, wanted: &str, from: Option<usize>) -> Response {
        let Some((path, file)) = self.files.iter().find(|(_, file)| sum(file) == wanted) else {
            return StatusCode::NOT_FOUND.into_response();
        };
        let tag = [(header::ETAG, format!("\"{wanted}\""))];
        if let Some(from) = from {
            let range = format!("bytes {from}-{}/{}", file.len() - 1, file.len());
            return (StatusCode::PARTIAL_CONTENT, tag, [(header::CONTENT_RANGE, range)], file.slice(from..))
                .into_response();
        }
        if path == BREAKS && self.asked(wanted).len() == 1 {
            let half = [Ok(file.slice(..file.len() / 2)), Err(std::io::Error::other("the line broke"))];
            let length = [(header::CONTENT_LENGTH, file.len().to_string())];
            return (tag, length, Body::from_stream(futures::stream::iter(half))).into_response();
        }
        (tag, file.clone()).into_response()
    }
}

async fn answer(State(hub): State<Hub>, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path().trim_start_matches('/');
    let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    let asked = range.map_or_else(|| path.to_owned(), |range| format!("{path} {range}"));
    hub.asked.lock().unwrap().push(asked);
    let from = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let api = format!("api/models/{REPO}");
    if let Some(revision) = path.strip_prefix(&format!("{api}/revision/")) {
        let known = ["main", "v1"].contains(&revision);
        return if known {
            axum::Json(json!({ "id": REPO, "sha": COMMIT })).into_response()
        } else {
            StatusCode::NOT_FOUND.into_response()
        };
    }
    if path == format!("{api}/tree/{COMMIT}") {
        return hub.listing(uri.query().unwrap_or_default());
    }
    match (path.strip_prefix(&format!("{REPO}/resolve/{COMMIT}/")), path.strip_prefix("cdn/")) {
        (Some(path), _) => hub.resolve(path),
        (None, Some(wanted)) => hub.large(wanted, from),
        (None, None) => StatusCode::NOT_FOUND.into_response(),
    }
}
