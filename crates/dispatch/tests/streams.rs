//! Event streams and the other reads as a client meets them, and many workers at once, over real HTTP.
#![expect(clippy::unwrap_used, reason = "what fails in a test fails the test")]

mod rig;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::body::Body;
use futures::StreamExt as _;
use rig::{Ended, MODEL, READER_TOKEN, Rig, Runner, WORKER_TOKEN, failed, path, soon, until};
use serde_json::json;
use tintype_scheduler::{Decision, JobSeen, Observation, Place};
use tintype_types::worker::{ClaimAnswer, Finish, Outcome, Renew, RenewAnswer};
use tintype_types::{Attempt, FailureReason, GenerationRequest, ImageFormat, JobEvent, JobId, JobState, Preview};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Workers and jobs of the crowd test.
const WORKERS: usize = 32;
const JOBS: usize = 200;

#[tokio::test]
async fn a_stream_tells_every_stage_in_order_and_ends_with_the_job() {
    let rig = Rig::leading().await;
    let served = Served::start(&rig).await;
    let worker = Runner::new("w1", "b1");
    let job = rig.record.add("j1", 1);
    let response = served.events("j1").await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut events = Events::of(response);
    assert_eq!(events.next().await.unwrap().1.state, JobState::Queued);
    let first = rig.assigned(&worker).await;
    assert_eq!(events.next().await.unwrap().1.state, JobState::Assigned);
    rig.renew(&worker, &first, 5).await.unwrap();
    let (_, running) = events.next().await.unwrap();
    assert_eq!((running.state, running.step, running.steps), (JobState::Running, 5, 20));
    rig.renew(&worker, &first, 4).await.unwrap();
    assert_eq!(rig.finish(&worker, &first, failed(FailureReason::OutOfMemory, true)).await, 200);
    let (_, queued) = events.next().await.unwrap();
    assert_eq!((queued.state, queued.attempt.0), (JobState::Queued, 1));
    let second = rig.assigned(&worker).await;
    assert_eq!(events.next().await.unwrap().1.attempt.0, 2);
    let outcome = rig.draw(&second).await;
    assert_eq!(rig.finish(&worker, &second, outcome).await, 200);
    let (last_id, complete) = events.next().await.unwrap();
    assert_eq!((complete.state, complete.outputs.len()), (JobState::Complete, 1));
    assert!(events.next().await.is_none(), "the stream must end");
    assert!(events.ids.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", events.ids);

    // Who comes late gets the end alone.
    let mut late = Events::of(served.events("j1").await);
    assert_eq!(late.next().await.unwrap(), (last_id, complete));
    assert!(late.next().await.is_none());
    assert_eq!(served.events("unheard-of").await.status(), 404);
    assert!(matches!(rig.record.ended(&job), Some(Ended::Complete(_))));
}

#[tokio::test]
async fn previews_reach_who_watches_and_no_record() {
    let rig = Rig::leading().await;
    let served = Served::start(&rig).await;
    let worker = Runner::new("w1", "b1");
    let job = rig.record.add("j1", 1);
    let assignment = rig.assigned(&worker).await;
    assert!(!assignment.watched, "nobody watches yet");
    let answer = rig.renew(&worker, &assignment, 1).await.unwrap();
    assert!(matches!(answer, RenewAnswer::Continue { watched: false, .. }), "{answer:?}");
    let mut events = Events::of(served.events("j1").await);
    assert_eq!(events.next().await.unwrap().1.step, 1);
    let preview = Preview { image: 0, step: 2, format: ImageFormat::Jpeg, data: "/9j/4AAQ".to_owned() };
    let mut renew = Renew {
        worker: worker.worker.clone(),
        boot_id: worker.boot_id.clone(),
        step: 2,
        steps: 20,
        gpus: Vec::new(),
        previews: vec![preview.clone()],
    };
    let call = path(&assignment, "renew");
    let (status, answer) = rig.worker_call(&call, &json!(renew)).await;
    assert_eq!((status.as_u16(), &answer["watched"]), (200, &json!(true)), "{answer}");
    let (_, shown) = events.next().await.unwrap();
    assert_eq!((shown.state, shown.step, shown.previews), (JobState::Running, 2, vec![preview]));
    renew.previews[0].data = "<script>".to_owned();
    assert_eq!(rig.worker_call(&call, &json!(renew)).await.0, 400);
    // A job that is watched before it is given away is so from its first step.
    rig.record.add("j2", 1);
    let _early = Events::of(served.events("j2").await);
    assert!(rig.assigned(&worker).await.watched);
    assert!(rig.record.ended(&job).is_none());
}

#[tokio::test]
async fn a_stream_ends_at_shutdown() {
    let rig = Rig::leading().await;
    let served = Served::start(&rig).await;
    rig.record.add("j1", 1);
    let mut events = Events::of(served.events("j1").await);
    assert_eq!(events.next().await.unwrap().1.state, JobState::Queued);
    assert_eq!(rig.metric("tintype_dispatch_event_watchers", &[]), 1);
    rig.dispatch.shutdown().await;
    assert!(events.next().await.is_none());
    until("the stream is let go", || rig.metric("tintype_dispatch_event_watchers", &[]) == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_says_that_it_is_alive() {
    let rig = Rig::leading().await;
    let job = rig.record.add("j1", 1);
    rig.knows(&job).await;
    let mut frames = rig.read("/dispatch/v1/jobs/j1/events").await.into_body().into_data_stream();
    let first = frames.next().await.unwrap().unwrap();
    assert!(first.starts_with(b"id: 1\ndata: {") || first.starts_with(b"data: {"), "{first:?}");
    let started = tokio::time::Instant::now();
    let heartbeat = frames.next().await.unwrap().unwrap();
    assert!(heartbeat.starts_with(b":"), "{heartbeat:?}");
    assert_eq!(started.elapsed().as_secs(), 15);
}

#[tokio::test]
async fn a_picture_is_reached_by_its_job_and_number() {
    let rig = Rig::leading().await;
    let worker = Runner::new("w1", "b1");
    rig.record.add("j1", 1);
    let assignment = rig.assigned(&worker).await;
    assert_eq!(rig.read("/dispatch/v1/jobs/j1/image/0").await.status(), 404);
    let outcome = rig.draw(&assignment).await;
    assert_eq!(rig.finish(&worker, &assignment, outcome).await, 200);
    for query in ["", "?attempt=1"] {
        let response = rig.read(&format!("/dispatch/v1/jobs/j1/image/0{query}")).await;
        assert_eq!(response.status(), 302);
        let url = response.headers()["location"].to_str().unwrap().to_owned();
        let path = url.strip_prefix("http://store.test").unwrap();
        let get = axum::http::Request::get(path).body(Body::empty()).unwrap();
        let response = tower::ServiceExt::oneshot(rig.store.router(), get).await.unwrap();
        let picture = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        assert_eq!(picture, "picture 0 of j1");
    }
    for missing in ["1", "0?attempt=2"] {
        assert_eq!(rig.read(&format!("/dispatch/v1/jobs/j1/image/{missing}")).await.status(), 404);
    }
}

#[tokio::test]
async fn a_picture_of_another_format_has_its_ending_and_its_media_type() {
    for (id, format, ending) in [("j1", ImageFormat::Webp, "webp"), ("j2", ImageFormat::Jpeg, "jpg")] {
        let rig = Rig::leading().await;
        let worker = Runner::new("w1", "b1");
        rig.record.add_request(id, GenerationRequest { format: Some(format), ..GenerationRequest::new(MODEL, "x") });
        let assignment = rig.assigned(&worker).await;
        assert_eq!(assignment.outputs[0].key, format!("jobs/{id}/1/0.{ending}"));
        let outcome = rig.draw(&assignment).await;
        assert_eq!(rig.finish(&worker, &assignment, outcome).await, 200);
        for query in ["", "?attempt=1"] {
            let response = rig.read(&format!("/dispatch/v1/jobs/{id}/image/0{query}")).await;
            let url = response.headers()["location"].to_str().unwrap().to_owned();
            let path = url.strip_prefix("http://store.test").unwrap();
            let get = axum::http::Request::get(path).body(Body::empty()).unwrap();
            let response = tower::ServiceExt::oneshot(rig.store.router(), get).await.unwrap();
            assert_eq!(response.headers()["content-type"], format.media_type());
        }
    }
}

#[tokio::test]
async fn a_connection_that_drops_ends_its_claim() {
    let rig = Rig::leading().await;
    let served = Served::start(&rig).await;
    let body = json!(Runner::new("w1", "b1").claim()).to_string();
    let mut stream = tokio::net::TcpStream::connect(served.address).await.unwrap();
    let head = format!("POST /worker/v1/claim HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {WORKER_TOKEN}\r\n");
    let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    until("the claim is parked", || rig.metric("tintype_dispatch_parked_claims", &[]) == 1).await;
    drop(stream);
    until("the claim has ended", || rig.metric("tintype_dispatch_parked_claims", &[]) == 0).await;
    assert_eq!(rig.metric("tintype_dispatch_claims_total", &["gone"]), 1);
}

#[tokio::test(start_paused = true)]
async fn what_the_shell_alone_knows_is_told_too() {
    let rig = Rig::leading().await;
    let (told, untold, deleted) = (rig.record.add("told", 1), rig.record.add("untold", 1), rig.record.add("gone", 1));
    let mut watches = Vec::new();
    for job in [&told, &untold, &deleted] {
        rig.knows(job).await;
        let mut watch = rig.dispatch.watch_job(job).unwrap();
        assert_eq!(soon(watch.next()).await.unwrap().state, JobState::Queued);
        watches.push(watch);
    }
    // Ended by a leader before this one: the shell reads how from the record, or does not know.
    let (failure, message) = (Some(FailureReason::GpuFault), Some("lost".to_owned()));
    let (state, attempt, outputs) = (JobState::Failed, Attempt(1), Vec::new());
    let previews = Vec::new();
    let end = JobEvent { job: told.clone(), state, attempt, step: 0, steps: 0, failure, message, outputs, previews };
    rig.dispatch.announce(end.clone());
    for job in [&told, &untold] {
        let seen = JobSeen { place: Place::Ended, attempt, ..rig.record.seen(job) };
        rig.dispatch.observe(Observation::Job(Box::new(seen))).await.unwrap();
    }
    rig.dispatch.observe(Observation::JobGone(deleted)).await.unwrap();
    let lasts = [soon(watches[0].next()).await, soon(watches[1].next()).await, soon(watches[2].next()).await];
    assert_eq!(lasts, [Some(end), None, None]);
    assert_eq!(
        soon(rig.dispatch.watch_job(&untold).unwrap().next()).await,
        None,
        "who asks late does not wait for ever"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_workers_at_once_do_each_job_once() {
    let rig = Rig::leading().await;
    let served = Served::start(&rig).await;
    let jobs: BTreeSet<_> = (0..JOBS).map(|n| rig.record.add(&format!("j{n}"), 1)).collect();
    let started = Instant::now();
    let workers: Vec<_> = (0..WORKERS).map(|n| tokio::spawn(served.client(&format!("w{n}")).work())).collect();
    let (mut done, mut took) = (BTreeMap::new(), Duration::ZERO);
    for worker in workers {
        for (job, attempt, ended) in worker.await.unwrap() {
            assert!(done.insert(job, attempt).is_none(), "a job was done twice");
            took = took.max(ended - started);
        }
    }
    println!("{JOBS} jobs by {WORKERS} workers in {} ms", took.as_millis());
    assert_eq!(done.keys().cloned().collect::<BTreeSet<_>>(), jobs);
    assert!(done.values().all(|attempt| *attempt == 1), "an attempt was lost: {done:?}");
    let assigns = rig.record.done().iter().filter(|done| matches!(done, Decision::Assign { .. })).count();
    assert_eq!(assigns, JOBS);
    assert!(jobs.iter().all(|job| matches!(rig.record.ended(job), Some(Ended::Failed(_)))));
}

/// The dispatcher's routers on a loopback port.
struct Served {
    address: SocketAddr,
    http: reqwest::Client,
    server: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Served {
    async fn start(rig: &Rig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = rig.dispatch.worker_router().merge(rig.dispatch.read_router());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        // The client wants a TLS provider even for plain HTTP; a second install is refused, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(Duration::from_mins(1)).no_proxy().build().unwrap();
        Self { address, http, server }
    }

    async fn events(&self, job: &str) -> reqwest::Response {
        let url = format!("http://{}/dispatch/v1/jobs/{job}/events", self.address);
        self.http.get(url).bearer_auth(READER_TOKEN).send().await.unwrap()
    }

    fn client(&self, worker: &str) -> Client {
        Client { base: format!("http://{}", self.address), http: self.http.clone(), runner: Runner::new(worker, "b1") }
    }
}

/// A worker that speaks the protocol and draws nothing.
struct Client {
    base: String,
    http: reqwest::Client,
    runner: Runner,
}

impl Client {
    /// Works until there is nothing to do for a second. Answers the jobs it ended, with their attempts, and when.
    async fn work(self) -> Vec<(JobId, u32, Instant)> {
        let mut done = Vec::new();
        let mut claim = self.runner.claim();
        claim.wait_ms = 1_000;
        loop {
            let answer = self.call("/worker/v1/claim", json!(claim)).await;
            assert_eq!(answer.status(), 200);
            let Some(assignment) = answer.json::<ClaimAnswer>().await.unwrap().assignment else { return done };
            let Runner { worker, boot_id } = self.runner.clone();
            let (gpus, previews) = (Vec::new(), Vec::new());
            let renew = Renew { worker: worker.clone(), boot_id: boot_id.clone(), step: 1, steps: 20, gpus, previews };
            assert_eq!(self.call(&path(&assignment, "renew"), json!(renew)).await.status(), 200);
            let outcome: Outcome = failed(FailureReason::InvalidRequest, false);
            let finish = Finish { worker, boot_id, outcome, gpu_ms: 1 };
            assert_eq!(self.call(&path(&assignment, "finish"), json!(finish)).await.status(), 200);
            done.push((assignment.job, assignment.attempt.0, Instant::now()));
        }
    }

    async fn call(&self, path: &str, body: serde_json::Value) -> reqwest::Response {
        let url = format!("{}{path}", self.base);
        self.http.post(url).bearer_auth(WORKER_TOKEN).body(body.to_string()).send().await.unwrap()
    }
}

/// Server-sent events, read one at a time.
struct Events {
    chunks: futures::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    buffer: String,
    ids: Vec<u64>,
}

impl Events {
    fn of(response: reqwest::Response) -> Self {
        Self { chunks: response.bytes_stream().boxed(), buffer: String::new(), ids: Vec::new() }
    }

    async fn next(&mut self) -> Option<(u64, JobEvent)> {
        let frame = loop {
            if let Some((frame, rest)) = self.buffer.split_once("\n\n") {
                let (frame, rest) = (frame.to_owned(), rest.to_owned());
                self.buffer = rest;
                if !frame.starts_with(':') {
                    break frame;
                }
            } else {
                self.buffer.push_str(std::str::from_utf8(&self.chunks.next().await?.unwrap()).unwrap());
            }
        };
        let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
        let id = field("id: ").parse().unwrap();
        self.ids.push(id);
        Some((id, serde_json::from_str(&field("data: ")).unwrap()))
    }
}
