//! Models that a card names by a URL: fetched once, gone on with where they broke off, and not believed before their hash.

use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tintype_types::worker::{Assignment, Outcome};
use tintype_types::{FailureReason, LoraUse};

use crate::contract::{Contract, Running, assignment, sha256, shapes_models};
use crate::reason;

/// A server with one file, which breaks off once in its middle.
struct Source {
    url: String,
    sha256: String,
    /// What was asked for each time: the first byte.
    asked: Arc<Mutex<Vec<usize>>>,
    server: tokio::task::JoinHandle<()>,
}

#[derive(Clone)]
struct Served {
    file: Arc<Vec<u8>>,
    asked: Arc<Mutex<Vec<usize>>>,
}

impl Source {
    async fn of(file: Vec<u8>) -> Self {
        let (sha256, asked) = (sha256(&file), Arc::default());
        let served = Served { file: Arc::new(file), asked: Arc::clone(&asked) };
        let routes = Router::new().route("/file", get(serve)).with_state(served);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/file", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { url, sha256, asked, server }
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

async fn serve(State(Served { file, asked }): State<Served>, headers: HeaderMap) -> Response {
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
    let (contract, source, root) = (Contract::start().await, Source::of(night()).await, tempfile::tempdir().unwrap());
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
    let (contract, source, root) = (Contract::start().await, Source::of(night()).await, tempfile::tempdir().unwrap());
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
    let (contract, source, root) = (Contract::start().await, Source::of(night()).await, tempfile::tempdir().unwrap());
    let (folder, cache) = (root.path().join("models"), root.path().join("cache"));
    std::fs::create_dir(&folder).unwrap();
    models(&folder, &format!("{}/none", source.url), &source.sha256);
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
