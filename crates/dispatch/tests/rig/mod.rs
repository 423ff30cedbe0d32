//! What the tests of the dispatcher stand on: a record in memory that keeps the contract, and a dispatcher with a store,
//! called through its real routers.
#![allow(dead_code, unused_imports, reason = "each test file uses its part of the rig, which part differs")]

pub(crate) mod record;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};
use tintype_dispatch::{Dispatch, DispatchConfig, JournalConfig, TokenSource};
use tintype_scheduler::{ModelSeen, Observation, WorldSeen};
use tintype_store::{FolderConfig, Secret, Store};
use tintype_telemetry::Telemetry;
use tintype_types::worker::{Assignment, Claim, ClaimAnswer, Finish, Gpu, Outcome, Renew, RenewAnswer};
use tintype_types::{BootId, FailureReason, JobId, Output, WorkerId};
use tokio::task::JoinHandle;
use tower::ServiceExt as _;

pub(crate) use record::{Ended, Fault, MemoryRecord};

/// The model every job of the tests names.
pub(crate) const MODEL: &str = "tintype/shapes";
/// The lease the tests run with.
pub(crate) const LEASE: Duration = Duration::from_secs(30);
pub(crate) const WORKER_TOKEN: &str = "the-token-of-the-workers";
pub(crate) const READER_TOKEN: &str = "the-token-of-the-readers";

/// A dispatcher, its record and its store.
pub(crate) struct Rig {
    pub(crate) dispatch: Dispatch,
    pub(crate) record: Arc<MemoryRecord>,
    pub(crate) store: Store,
    pub(crate) metrics: prometheus::Registry,
    pub(crate) task: JoinHandle<()>,
    pump: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.pump.abort();
        self.task.abort();
    }
}

impl Rig {
    /// One that leads already.
    pub(crate) async fn leading() -> Self {
        let rig = Self::start();
        rig.lead().await;
        rig
    }

    /// One that does not lead yet.
    pub(crate) fn start() -> Self {
        Self::start_with(None, &Telemetry::off())
    }

    /// The same with a decision log, or a collector of traces.
    pub(crate) fn start_with(decision_log: Option<JournalConfig>, telemetry: &Telemetry) -> Self {
        Self::start_all("http://store.test".to_owned(), decision_log, telemetry)
    }

    /// The same with a store that is reached at this address.
    pub(crate) fn start_at(public_url: String, decision_log: Option<JournalConfig>) -> Self {
        Self::start_all(public_url, decision_log, &Telemetry::off())
    }

    fn start_all(public_url: String, decision_log: Option<JournalConfig>, telemetry: &Telemetry) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let secret = Secret::from_bytes(vec![5; 32]).unwrap();
        let store = Store::folder(FolderConfig { root: folder.path().join("store"), secret, public_url }).unwrap();
        let config = DispatchConfig {
            scheduler: tintype_scheduler::Config { lease: LEASE, ..Default::default() },
            worker_token: TokenSource::bytes(WORKER_TOKEN).unwrap(),
            reader_token: Some(TokenSource::bytes(READER_TOKEN).unwrap()),
            output_ttl: Duration::from_hours(1),
            decision_log,
            telemetry: telemetry.clone(),
        };
        let (record, mut changes) = MemoryRecord::new();
        let metrics = prometheus::Registry::new();
        let (dispatch, task) = Dispatch::start(config, record.clone(), store.clone(), &metrics).unwrap();
        let observer = dispatch.clone();
        let pump = tokio::spawn(async move {
            while let Some(seen) = changes.recv().await {
                if observer.observe(Observation::Job(Box::new(seen))).await.is_err() {
                    return;
                }
            }
        });
        Self { dispatch, record, store, metrics, task, pump, _folder: folder }
    }

    /// Waits until the dispatcher's task has ended.
    pub(crate) async fn ended(mut self) {
        (&mut self.task).await.unwrap();
    }

    pub(crate) async fn lead(&self) {
        let models = vec![ModelSeen { name: MODEL.to_owned(), vram_bytes: 0 }];
        let world = WorldSeen { jobs: self.record.jobs(), models, ..WorldSeen::default() };
        self.dispatch.lead(world).await.unwrap();
    }

    /// Waits until the scheduler knows the job.
    pub(crate) async fn knows(&self, job: &JobId) {
        let started = std::time::Instant::now();
        while self.dispatch.verdict(job).await.is_none() {
            assert!(started.elapsed() < Duration::from_secs(30), "{job} never became known");
            tokio::task::yield_now().await;
        }
    }

    /// Calls a worker route.
    pub(crate) async fn worker_call(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        let request = Request::post(path)
            .header(header::AUTHORIZATION, format!("Bearer {WORKER_TOKEN}"))
            .body(Body::from(body.to_string()))
            .unwrap();
        answer(self.dispatch.worker_router().oneshot(request).await.unwrap()).await
    }

    /// Calls a read route.
    pub(crate) async fn read(&self, path: &str) -> Response {
        let request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {READER_TOKEN}"));
        self.dispatch.read_router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    pub(crate) async fn claim(&self, claim: &Claim) -> ClaimAnswer {
        let (status, body) = self.worker_call("/worker/v1/claim", &json!(claim)).await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_value(body).unwrap()
    }

    /// A claim that must be answered with work.
    pub(crate) async fn assigned(&self, worker: &Runner) -> Assignment {
        self.claim(&worker.claim()).await.assignment.expect("the claim must be answered with an assignment")
    }

    /// A claim in a task of its own; to abort it is to hang up.
    pub(crate) fn spawn_claim(&self, claim: &Claim) -> JoinHandle<ClaimAnswer> {
        let (router, body) = (self.dispatch.worker_router(), json!(claim).to_string());
        tokio::spawn(async move {
            let request =
                Request::post("/worker/v1/claim").header(header::AUTHORIZATION, format!("Bearer {WORKER_TOKEN}"));
            let response = router.oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
            let (status, body) = answer(response).await;
            assert_eq!(status, 200, "{body}");
            serde_json::from_value(body).unwrap()
        })
    }

    pub(crate) async fn renew(
        &self,
        worker: &Runner,
        assignment: &Assignment,
        step: u32,
    ) -> Result<RenewAnswer, StatusCode> {
        let renew = Renew {
            worker: worker.worker.clone(),
            boot_id: worker.boot_id.clone(),
            step,
            steps: 20,
            gpus: vec![Gpu::default()],
            previews: Vec::new(),
        };
        let (status, body) = self.worker_call(&path(assignment, "renew"), &json!(renew)).await;
        if status == 200 { Ok(serde_json::from_value(body).unwrap()) } else { Err(status) }
    }

    pub(crate) async fn finish(&self, worker: &Runner, assignment: &Assignment, outcome: Outcome) -> StatusCode {
        self.finish_says(worker, assignment, outcome).await.0
    }

    pub(crate) async fn finish_says(
        &self,
        worker: &Runner,
        assignment: &Assignment,
        outcome: Outcome,
    ) -> (StatusCode, Value) {
        let finish = Finish { worker: worker.worker.clone(), boot_id: worker.boot_id.clone(), outcome, gpu_ms: 1_200 };
        self.worker_call(&path(assignment, "finish"), &json!(finish)).await
    }

    /// Calls the store by a signed URL.
    pub(crate) async fn store_call(&self, request: axum::http::request::Builder, body: &'static str) -> StatusCode {
        self.store.router().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap().status()
    }

    /// Uploads every picture of the assignment and answers the outcome to report.
    pub(crate) async fn draw(&self, assignment: &Assignment) -> Outcome {
        let mut outputs = Vec::new();
        for (n, target) in assignment.outputs.iter().enumerate() {
            let content = format!("picture {n} of {}", assignment.job);
            let path = target.put_url.strip_prefix("http://store.test").unwrap();
            let request = Request::put(path).body(Body::from(content.clone())).unwrap();
            assert_eq!(self.store.router().oneshot(request).await.unwrap().status(), 200);
            outputs.push(output(&target.key, content.len() as u64));
        }
        Outcome::Done { outputs }
    }

    /// The value of one sample, found by its name and label values.
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> u64 {
        let families = self.metrics.gather();
        // One that has counted nothing yet is not gathered at all.
        let Some(family) = families.iter().find(|family| family.name() == name) else { return 0 };
        let fits = |m: &&prometheus::proto::Metric| m.get_label().iter().all(|label| labels.contains(&label.value()));
        let value = |m: &prometheus::proto::Metric| {
            let histogram = m.get_histogram().get_sample_count();
            if histogram > 0 { histogram } else { (m.get_counter().get_value() + m.get_gauge().get_value()) as u64 }
        };
        family.get_metric().iter().find(fits).map_or(0, value)
    }
}

/// One start of one worker.
#[derive(Clone, Debug)]
pub(crate) struct Runner {
    pub(crate) worker: WorkerId,
    pub(crate) boot_id: BootId,
}

impl Runner {
    pub(crate) fn new(worker: &str, boot_id: &str) -> Self {
        Self { worker: worker.into(), boot_id: boot_id.into() }
    }

    pub(crate) fn claim(&self) -> Claim {
        Claim {
            worker: self.worker.clone(),
            boot_id: self.boot_id.clone(),
            pool: "cpu".into(),
            gpus: vec![Gpu { uuid: "cpu-0".to_owned(), name: "CPU".to_owned(), ..Gpu::default() }],
            resident_models: vec![MODEL.to_owned()],
            residents: Vec::new(),
            loadable_models: vec![MODEL.to_owned()],
            free_slots: 1,
            wait_ms: 20_000,
            warm_up: None,
            unwell: None,
        }
    }
}

pub(crate) fn output(key: &str, bytes: u64) -> Output {
    Output { key: key.to_owned(), sha256: "ab".repeat(32), bytes, width: 64, height: 64, seed: 7 }
}

pub(crate) fn failed(reason: FailureReason, retryable: bool) -> Outcome {
    Outcome::Failed { reason, message: "it did not work; see the log".to_owned(), retryable }
}

pub(crate) fn path(assignment: &Assignment, call: &str) -> String {
    attempt_path(&assignment.job, assignment.attempt.0, call)
}

pub(crate) fn attempt_path(job: &JobId, attempt: u32, call: &str) -> String {
    format!("/worker/v1/jobs/{job}/attempts/{attempt}/{call}")
}

pub(crate) async fn answer(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

/// What must come within a minute, be it of a paused clock: a test that waits in vain fails instead of hanging.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_mins(1), what).await.expect("it must come within a minute")
}

/// Lets everything else run until the condition holds. Moves no clock.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let started = std::time::Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(30), "waited in vain until {what}");
        tokio::task::yield_now().await;
    }
}
