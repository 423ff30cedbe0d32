//! `gpu-worker runpod` against a platform of ours that speaks RunPod's worker protocol as its Python worker does.

#![expect(clippy::unwrap_used, reason = "a test's helpers stop the test like the test itself does")]

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path as Segment, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Parser as _;
use serde_json::{Value, json};
use tintype_types::{GenerationRequest, ModelDefaults, ResolvedRequest, Sampler};
use tintype_worker::{RunpodArgs, runpod};
use tokio_util::sync::CancellationToken;

const KEY: &str = "the-platforms-key";

#[derive(Default)]
struct Seen {
    jobs: VecDeque<Value>,
    /// Results that are not heard before one is.
    deaf: u32,
    done: Vec<(String, Value)>,
    taken_by: Vec<String>,
    pings: Vec<String>,
}

type Platform = Arc<Mutex<Seen>>;

fn is_ours(headers: &HeaderMap) -> bool {
    headers.get("authorization").is_some_and(|value| value == KEY)
}

async fn take(
    State(platform): State<Platform>,
    Segment(worker): Segment<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    assert!(is_ours(&headers), "the key stands bare");
    assert_eq!(query.as_deref(), Some("gpu=X&job_in_progress=0"));
    let mut seen = platform.lock().unwrap();
    seen.taken_by.push(worker);
    match seen.jobs.pop_front() {
        Some(job) => axum::Json(job).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

async fn done(
    State(platform): State<Platform>,
    Segment((worker, job)): Segment<(String, String)>,
    headers: HeaderMap,
    body: String,
) -> StatusCode {
    assert!(is_ours(&headers) && worker == "pod-1");
    assert_eq!(headers["content-type"], "application/x-www-form-urlencoded");
    let mut seen = platform.lock().unwrap();
    if seen.deaf > 0 {
        seen.deaf -= 1;
        return StatusCode::BAD_GATEWAY;
    }
    seen.done.push((job, serde_json::from_str(&body).unwrap()));
    StatusCode::OK
}

async fn ping(State(platform): State<Platform>, RawQuery(query): RawQuery) -> StatusCode {
    platform.lock().unwrap().pings.push(query.unwrap());
    StatusCode::OK
}

fn request(images: u32) -> ResolvedRequest {
    let defaults = ModelDefaults { width: 64, height: 64, steps: 2, guidance_scale: 1.0, sampler: Sampler::Ddim };
    let request =
        GenerationRequest { images: Some(images), ..GenerationRequest::new("tintype/shapes", "a red circle") };
    request.resolve(&defaults, 7)
}

#[tokio::test]
async fn jobs_are_taken_drawn_and_answered_and_a_result_is_said_until_it_is_heard() {
    let platform = Platform::default();
    let bad = ResolvedRequest { width: 65, ..request(1) };
    platform.lock().unwrap().jobs.extend([
        json!({ "id": "job-1", "input": { "request": request(2) } }),
        json!({ "id": "no good id/", "input": {} }),
        json!({ "id": "job-2", "input": { "prompt": "a red circle" } }),
        json!({ "id": "job-3", "input": { "request": bad } }),
    ]);
    platform.lock().unwrap().deaf = 1;
    let routes = Router::new()
        .route("/job-take/{worker}", get(take))
        .route("/job-done/{worker}/{job}", post(done))
        .route("/ping/{worker}", get(ping))
        .with_state(Arc::clone(&platform));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });

    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let args = RunpodArgs::try_parse_from([
        "gpu-worker runpod".to_owned(),
        format!("--get-job={url}/job-take/$ID?gpu=X"),
        format!("--post-output={url}/job-done/$RUNPOD_POD_ID/$ID?gpu=X"),
        format!("--ping={url}/ping/$RUNPOD_POD_ID"),
        "--ping-interval=100".to_owned(),
        "--pod-id=pod-1".to_owned(),
        format!("--api-key={KEY}"),
        format!("--models-dir={}", models.display()),
        "--device=cpu".to_owned(),
        "--c2pa=off".to_owned(),
    ]);
    let stop = CancellationToken::new();
    let running = tokio::spawn(runpod::run(args.unwrap(), stop.clone()));
    let started = std::time::Instant::now();
    while platform.lock().unwrap().done.len() < 3 || platform.lock().unwrap().pings.is_empty() {
        assert!(
            started.elapsed() < Duration::from_mins(2) && !running.is_finished(),
            "waited in vain for three answers"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.cancel();
    running.await.unwrap().unwrap();

    let seen = platform.lock().unwrap();
    assert!(seen.taken_by.iter().all(|worker| worker == "pod-1"));
    let ids: Vec<_> = seen.done.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(
        ids,
        ["job-1", "job-2", "job-3"],
        "one that was not heard was said again, and what is no job is passed over"
    );
    let images = seen.done[0].1["output"]["images"].as_array().unwrap();
    assert_eq!((images.len(), &images[1]["seed"], &images[0]["mediaType"]), (2, &json!(8), &json!("image/png")));
    let file = STANDARD.decode(images[0]["image"].as_str().unwrap()).unwrap();
    let picture = tintype_worker::images::decode("answer", &file).unwrap();
    assert_eq!((picture.width, picture.height), (64, 64));
    for (answer, said) in [(&seen.done[1].1, "no `request`"), (&seen.done[2].1, "65 is not a side")] {
        assert!(answer["error"].as_str().unwrap().contains(said) && answer.get("output").is_none(), "{answer}");
    }
}
