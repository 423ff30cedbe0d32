//! Models that a card names by a URL: fetched once, gone on with where they broke off, and not believed before their hash.

use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tintype_types::worker::{Assignment, Outcome};
use tintype_types::{ControlUse, FailureReason, LoraUse};
use tintype_worker::testing::follow::hint;

use crate::contract::{Contract, Running, assignment, sha256, shapes_models};
use crate::reason;

/// A server with some files, which breaks off once in the middle of one.
struct Source {
    address: String,
    /// Of the first file.
    url: String,
    sha256: String,
    /// What was asked for each time: the first byte.
    asked: Arc<Mutex<Vec<usize>>>,
    server: tokio::task::JoinHandle<()>,
}

#[derive(Clone)]
struct Served {
    files: Arc<Vec<Vec<u8>>>,
    asked: Arc<Mutex<Vec<usize>>>,
}

impl Source {
    async fn of(files: Vec<Vec<u8>>) -> Self {
        let (sha256, asked) = (sha256(&files[0]), Arc::default());
        let served = Served { files: Arc::new(files), asked: Arc::clone(&asked) };
        let routes = Router::new().route("/{index}", get(serve)).with_state(served);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { url: format!("{address}/0"), address, sha256, asked, server }
    }

    fn asked(&self) -> Vec<usize> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(
    State(Served { files, asked }): State<Served>,
    UrlPath(index): UrlPath<usize>,
    headers: HeaderMap,
) -> Response {
    let Some(file) = files.get(index) else { return StatusCode::NOT_FOUND.into_response() };
    let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok()?.strip_prefix("bytes="));
    let from: usize = range.map_or(0, |range| range.strip_suffix('-').unwrap().parse().unwrap());
    let first = {
        let mut asked = asked.lock().unwrap();
        asked.push(from);
        asked.len() == 1
    };
    let rest = file[from..].to_vec();
    let length = (header::CONTENT_LENGTH, rest.len().to_string());
    let range = (header::CONTENT_RANGE, format!("bytes {from}-{}/{}", file.len() - 1, file.len()));
    let status = if from > 0 { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    if !first {
        return (status, [length, range], rest).into_response();
    }
    let half = rest[..rest.len() / 2].to_vec();
    let broken = futures::stream::unfold(Some(half), |half| async move {
        // While it waits, what it has is sent.
        tokio::task::yield_now().await;
        match half {
            Some(half) if half.is_empty() => Some((Err(std::io::Error::other("it breaks off")), None)),
            Some(half) => Some((Ok(half), Some(Vec::new()))),
            None => None,
        }
    });
    (status, [length, range], Body::from_stream(broken)).into_response()
}

/// The small model, and a card of a LoRA that lies elsewhere.
fn models(folder: &Path, url: &str, sha256: &str) {
    std::os::unix::fs::symlink(shapes_models().join("shapes").canonicalize().unwrap(), folder.join("shapes")).unwrap();
    let card = format!(
        r#"{{"name": "far/night", "kind": "lora", "family": "sd15", "source": "{url}", "sha256": "{sha256}",
        "defaults": {{"width": 64, "height": 64, "steps": 20, "guidanceScale": 3.0, "sampler": "ddim"}}}}"#
    );
    std::fs::write(folder.join("night.tintype.json"), card).unwrap();
}

fn job(name: &str, lora: &str) -> Assignment {
    let mut job = assignment(name, 1);
    job.request.loras = vec![LoraUse { name: lora.to_owned(), weight: 1.0 }];
    job.request.embed_parameters = false;
    job
}

fn night() -> Vec<u8> {
    std::fs::read(shapes_models().join("shapes-night/pytorch_lora_weights.safetensors")).unwrap()
}

#[tokio::test]
async fn a_file_is_fetched_once_and_gone_on_with_where_it_broke_off() {
    let (contract, source, root) =
        (Contract::start().await, Source::of(vec![night()]).await, tempfile::tempdir().unwrap());
    let (folder, cache) = (root.path().join("models"), root.path().join("cache"));
    std::fs::create_dir(&folder).unwrap();
    models(&folder, &source.url, &source.sha256);
    let flags = ["--models-cache", cache.to_str().unwrap(), "--c2pa", "off"];
    let worker = Running::with_models_flags(&contract, &folder, &flags);
    for name in ["first", "second"] {
        contract.give(job(name, "far/night"));
        assert!(matches!(contract.finished(name).await.outcome, Outcome::Done { .. }), "{name}");
    }
    worker.drain().await;
    assert_eq!(source.asked(), [0, night().len() / 2], "from the beginning, then from where it broke off");
    let kept: Vec<_> = std::fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(kept, [format!("{}.safetensors", source.sha256).as_str()]);
    // It is the LoRA that ships.
    let worker = Running::with_shapes(&contract);
    contract.give(job("near", "tintype/night"));
    let drawn = |outcome: Outcome| match outcome {
        Outcome::Done { outputs } => outputs[0].sha256.clone(),
        Outcome::Preempted { .. } | Outcome::Failed { .. } => unreachable!("no picture: {outcome:?}"),
    };
    let near = drawn(contract.finished("near").await.outcome);
    assert_eq!(drawn(contract.finished("second").await.outcome), near);
    worker.drain().await;
}

#[tokio::test]
async fn a_file_that_is_another_is_refused_for_good_and_not_kept() {
    let (contract, source, root) =
        (Contract::start().await, Source::of(vec![night()]).await, tempfile::tempdir().unwrap());
    let (folder, cache) = (root.path().join("models"), root.path().join("cache"));
    std::fs::create_dir(&folder).unwrap();
    models(&folder, &source.url, &sha256(b"another file"));
    let worker = Running::with_models_flags(&contract, &folder, &["--models-cache", cache.to_str().unwrap()]);
    contract.give(job("other", "far/night"));
    let outcome = contract.finished("other").await.outcome;
    assert_eq!(reason(&outcome), (FailureReason::ModelUnreadable, false));
    let Outcome::Failed { message, .. } = outcome else { unreachable!() };
    assert!(message.contains("far/night") && message.contains(&source.sha256), "{message}");
    assert!(!message.contains("http"), "a URL may be signed: {message}");
    assert_eq!(std::fs::read_dir(&cache).unwrap().count(), 0, "something of it was kept");
    worker.drain().await;
}

#[tokio::test]
async fn a_source_that_says_no_is_asked_once_and_without_a_cache_there_is_no_such_model() {
    let (contract, source, root) =
        (Contract::start().await, Source::of(vec![night()]).await, tempfile::tempdir().unwrap());
    let (folder, cache) = (root.path().join("models"), root.path().join("cache"));
    std::fs::create_dir(&folder).unwrap();
    models(&folder, &format!("{}/9", source.address), &source.sha256);
    for (name, flags, expected) in [
        ("no", vec!["--models-cache", cache.to_str().unwrap()], FailureReason::ModelUnreadable),
        ("without", vec![], FailureReason::UnknownModel),
    ] {
        let worker = Running::with_models_flags(&contract, &folder, &flags);
        contract.give(job(name, "far/night"));
        let outcome = contract.finished(name).await.outcome;
        assert_eq!(reason(&outcome), (expected, false), "{outcome:?}");
        worker.drain().await;
    }
    assert_eq!(source.asked(), [0; 0]);
}

#[tokio::test]
async fn a_controlnet_comes_file_by_file_and_is_the_one_that_ships() {
    let ships = shapes_models().join("shapes-control");
    let names = ["config.json", "diffusion_pytorch_model.safetensors"];
    let files = names.map(|name| std::fs::read(ships.join(name)).unwrap());
    let (contract, root) = (Contract::start().await, tempfile::tempdir().unwrap());
    let source = Source::of(files.to_vec()).await;
    let (folder, cache) = (root.path().join("models"), root.path().join("cache"));
    std::fs::create_dir(&folder).unwrap();
    for name in ["shapes", "shapes-control"] {
        std::os::unix::fs::symlink(shapes_models().join(name).canonicalize().unwrap(), folder.join(name)).unwrap();
    }
    control_card(&folder, "far", &source.address, &[names[0], names[1]], &files.each_ref().map(|file| sha256(file)));
    control_card(&folder, "bad", &source.address, &[names[0], names[1]], &[sha256(&files[0]), sha256(b"another")]);
    let flags = ["--models-cache", cache.to_str().unwrap(), "--c2pa", "off"];
    let worker = Running::with_models_flags(&contract, &folder, &flags);
    let mut drawn = Vec::new();
    for (name, control) in [("far", Some("my/far")), ("near", Some("tintype/shapes-control")), ("none", None)] {
        contract.give(controlled(&contract, name, control));
        match contract.finished(name).await.outcome {
            Outcome::Done { outputs } => drawn.push(outputs[0].sha256.clone()),
            Outcome::Preempted { .. } | Outcome::Failed { .. } => unreachable!("{name} has no picture"),
        }
    }
    assert_eq!(drawn[0], drawn[1], "what was fetched is not what ships");
    assert_ne!(drawn[0], drawn[2], "the ControlNet did nothing");
    assert_eq!(source.asked(), [0, files[0].len() / 2, 0], "each file once, the first in two parts");
    contract.give(controlled(&contract, "bad", Some("my/bad")));
    let outcome = contract.finished("bad").await.outcome;
    assert_eq!(reason(&outcome), (FailureReason::ModelUnreadable, false), "{outcome:?}");
    let kept =
        std::fs::read_dir(&cache).unwrap().map(|model| std::fs::read_dir(model.unwrap().path()).unwrap().count());
    let mut kept: Vec<usize> = kept.collect();
    kept.sort_unstable();
    assert_eq!(kept, [1, 2], "the config of the bad one and both files of the good one");
    worker.drain().await;
}

/// A card of a ControlNet whose files lie elsewhere, in this order.
fn control_card(folder: &Path, name: &str, address: &str, files: &[&str; 2], digests: &[String; 2]) {
    let [first, second] = files;
    let card = serde_json::json!({
        "name": format!("my/{name}"), "kind": "controlnet", "family": "sd15",
        "source": { *first: format!("{address}/0"), *second: format!("{address}/1") },
        "sha256": { *first: digests[0], *second: digests[1] },
        "defaults": { "width": 64, "height": 64, "steps": 20, "guidanceScale": 3.0, "sampler": "ddim" },
    });
    std::fs::write(folder.join(format!("{name}.tintype.json")), card.to_string()).unwrap();
}

/// A job that follows a hint: a square in the upper left.
fn controlled(contract: &Contract, name: &str, control: Option<&str>) -> Assignment {
    let mut job = assignment(name, 1);
    job.request.embed_parameters = false;
    let square: Vec<bool> = (0..64 * 64).map(|at| at % 64 < 24 && at / 64 < 24).collect();
    let hint = tintype_worker::output::encode(&hint(&square, 64), &job.request, 0).unwrap();
    let (key, url) = ("inputs/hint.png", "/store/v1/inputs/hint.png?expires=1&sig=abc");
    contract.put_by_hand(url, hint);
    job.inputs.insert(key.to_owned(), url.to_owned());
    let used =
        |name: &str| ControlUse { name: name.to_owned(), image: key.to_owned(), weight: 1.0, start: 0.0, end: 1.0 };
    job.request.controls = control.map(used).into_iter().collect();
    job
}
