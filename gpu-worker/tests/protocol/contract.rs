//! A dispatcher and a store in one small server, and a worker that runs against it.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{post, put};
use axum::{Json, Router};
use clap::Parser as _;
use sha2::{Digest as _, Sha256};
use tintype_types::worker::{
    Assignment, CheckpointPlan, Claim, ClaimAnswer, Finish, Renew, RenewAnswer, UploadTarget, WarmUpOrder,
};
use tintype_types::{Attempt, ErrorCode, GenerationRequest, JobId, ModelDefaults, Sampler, Timestamp};
use tintype_worker::Args;
use tintype_worker::pipeline::{CandlePipeline, Pipeline, ResidentLimits};
use tintype_worker::probe::{CpuProbe, GpuProbe};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The secret the worker starts with.
pub(crate) const TOKEN: &str = "a-secret-shared-by-both";
/// What is waited for comes before this or the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);
/// A lease short enough that a test sees many renewals.
const LEASE_MS: u64 = 600;

/// What one PUT brought.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) bytes: Bytes,
    pub(crate) content_type: Option<String>,
    pub(crate) authorization: Option<String>,
}

#[derive(Default)]
struct Seen {
    token: String,
    waiting: VecDeque<Assignment>,
    warm_ups: VecDeque<WarmUpOrder>,
    claims: Vec<Claim>,
    /// Claims of a worker that takes no work.
    unwell: Vec<Claim>,
    /// How many claims had come when a job was given.
    given_at: BTreeMap<String, usize>,
    renewals: Vec<Renew>,
    renew_answer: Option<RenewAnswer>,
    renew_refused: bool,
    finishes: Vec<(String, Finish)>,
    finished: BTreeMap<String, Finish>,
    stored: BTreeMap<String, Stored>,
    puts: usize,
}

/// What handlers and test share.
#[derive(Default)]
pub(crate) struct Shared {
    seen: Mutex<Seen>,
    changed: Notify,
    pub(crate) put_failures: AtomicU32,
    pub(crate) finish_failures: AtomicU32,
    pub(crate) claim_failures: AtomicU32,
}

/// The server.
pub(crate) struct Contract {
    pub(crate) shared: Arc<Shared>,
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Drop for Contract {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Contract {
    pub(crate) async fn start() -> Self {
        let seen = Mutex::new(Seen { token: TOKEN.to_owned(), ..Seen::default() });
        let shared = Arc::new(Shared { seen, ..Shared::default() });
        let routes = Router::new()
            .route(tintype_types::worker::CLAIM_PATH, post(claim))
            .route(tintype_types::worker::RENEW_PATH, post(renew))
            .route(tintype_types::worker::FINISH_PATH, post(finish))
            .route("/store/{*key}", put(store).get(fetch))
            .with_state(Arc::clone(&shared));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { shared, address, server }
    }

    /// The program itself, set to call this server. Its token lies in the folder.
    pub(crate) fn program(&self, models: &Path) -> (tokio::process::Command, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        std::fs::write(&token, TOKEN).unwrap();
        let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_gpu-worker"));
        program.env("TINTYPE_DISPATCH_URL", format!("http://{}", self.address));
        program.env("TINTYPE_WORKER_TOKEN_FILE", token).env("TINTYPE_MODELS_DIR", models);
        (program, folder)
    }

    pub(crate) fn give(&self, assignment: Assignment) {
        self.shared.seen.lock().unwrap().waiting.push_back(assignment);
        self.shared.changed.notify_waiters();
    }

    /// Tells the next claim to load a model ahead of jobs.
    pub(crate) fn warm(&self, model: &str) {
        let order = WarmUpOrder { model: model.to_owned(), evict: Vec::new() };
        self.shared.seen.lock().unwrap().warm_ups.push_back(order);
        self.shared.changed.notify_waiters();
    }

    pub(crate) fn answer_renewals(&self, answer: Option<RenewAnswer>) {
        self.shared.seen.lock().unwrap().renew_answer = answer;
    }

    pub(crate) fn refuse_renewals(&self) {
        self.shared.seen.lock().unwrap().renew_refused = true;
    }

    pub(crate) fn set_token(&self, token: &str) {
        token.clone_into(&mut self.shared.seen.lock().unwrap().token);
        // Claims held open were let in with the old one; they end now.
        self.shared.changed.notify_waiters();
    }

    pub(crate) async fn finished(&self, job: &str) -> Finish {
        self.until(job, |seen| seen.finished.get(job).cloned()).await
    }

    pub(crate) async fn renewed(&self, wanted: impl Fn(&Renew) -> bool) -> Renew {
        self.until("a renewal", |seen| seen.renewals.iter().find(|renew| wanted(renew)).cloned()).await
    }

    pub(crate) async fn claimed(&self, times: usize) {
        self.until("claims", |seen| (seen.claims.len() >= times).then_some(())).await;
    }

    /// A claim like this, of a worker that is well or not.
    pub(crate) async fn claimed_with(&self, wanted: impl Fn(&Claim) -> bool) -> Claim {
        let all = |seen: &Seen| seen.claims.iter().chain(&seen.unwell).find(|claim| wanted(claim)).cloned();
        self.until("a claim", all).await
    }

    /// The claim a job was given to, and the one after it.
    pub(crate) async fn claims_around(&self, job: &str) -> (Claim, Claim) {
        self.until("the claim after a job", |seen| {
            let given = *seen.given_at.get(job)?;
            Some((seen.claims[given - 1].clone(), seen.claims.get(given)?.clone()))
        })
        .await
    }

    /// Waits for an object to be put, or put again until it is as wanted.
    pub(crate) async fn put(&self, url: &str, wanted: impl Fn(&Stored) -> bool) -> Stored {
        self.until(url, |seen| seen.stored.get(url).filter(|stored| wanted(stored)).cloned()).await
    }

    pub(crate) fn put_by_hand(&self, url: &str, bytes: Vec<u8>) {
        let stored = Stored { bytes: bytes.into(), content_type: None, authorization: None };
        self.shared.seen.lock().unwrap().stored.insert(url.to_owned(), stored);
    }

    /// The furthest step told of.
    pub(crate) fn most_renewed(&self) -> u32 {
        self.shared.seen.lock().unwrap().renewals.iter().map(|renew| renew.step).max().unwrap_or(0)
    }

    pub(crate) fn renewals(&self) -> Vec<Renew> {
        self.shared.seen.lock().unwrap().renewals.clone()
    }

    /// Forgets how a job ended, so that its next attempt can be waited for.
    pub(crate) fn forget_finish(&self, job: &str) {
        self.shared.seen.lock().unwrap().finished.remove(job);
    }

    /// Forgets the renewals that came.
    pub(crate) fn forget_renewals(&self) {
        self.shared.seen.lock().unwrap().renewals.clear();
    }

    pub(crate) fn stored(&self, url: &str) -> Stored {
        self.shared.seen.lock().unwrap().stored[url].clone()
    }

    pub(crate) fn puts(&self) -> usize {
        self.shared.seen.lock().unwrap().puts
    }

    /// Free slots of each claim, in order.
    pub(crate) fn free_slots(&self) -> Vec<u32> {
        self.shared.seen.lock().unwrap().claims.iter().map(|claim| claim.free_slots).collect()
    }

    pub(crate) fn claims(&self) -> usize {
        self.shared.seen.lock().unwrap().claims.len()
    }

    pub(crate) fn finishes(&self, job: &str) -> usize {
        self.shared.seen.lock().unwrap().finishes.iter().filter(|(name, _)| name == job).count()
    }

    async fn until<T>(&self, what: &str, wanted: impl Fn(&Seen) -> Option<T>) -> T {
        let waiting = async {
            loop {
                let changed = self.shared.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if let Some(found) = wanted(&self.shared.seen.lock().unwrap()) {
                    return found;
                }
                changed.await;
            }
        };
        let came = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(came.is_ok(), "{what} did not come");
        came.unwrap()
    }
}

async fn claim(State(shared): State<Arc<Shared>>, headers: HeaderMap, Json(claim): Json<Claim>) -> Response {
    if !admitted(&shared, &headers) {
        return refuse(ErrorCode::InvalidApiKey);
    }
    if stumble(&shared.claim_failures) {
        return refuse(ErrorCode::Unavailable);
    }
    let unwell = claim.unwell.is_some();
    let token = {
        let mut seen = shared.seen.lock().unwrap();
        if unwell {
            seen.unwell.push(claim);
        } else {
            seen.claims.push(claim);
        }
        seen.token.clone()
    };
    shared.changed.notify_waiters();
    if unwell {
        // It is held open and answered with nothing; whoever sent it lets go of it.
        std::future::pending::<()>().await;
    }
    loop {
        let changed = shared.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        {
            let mut seen = shared.seen.lock().unwrap();
            if seen.token != token {
                return Json(ClaimAnswer::default()).into_response();
            }
            if let Some(assignment) = seen.waiting.pop_front() {
                let claims = seen.claims.len();
                seen.given_at.insert(assignment.job.0.clone(), claims);
                return Json(ClaimAnswer { assignment: Some(assignment), ..ClaimAnswer::default() }).into_response();
            }
            if let Some(order) = seen.warm_ups.pop_front() {
                return Json(ClaimAnswer { warm_up: Some(order), ..ClaimAnswer::default() }).into_response();
            }
        }
        changed.await;
    }
}

async fn renew(State(shared): State<Arc<Shared>>, headers: HeaderMap, Json(renew): Json<Renew>) -> Response {
    if !admitted(&shared, &headers) {
        return refuse(ErrorCode::InvalidApiKey);
    }
    let answer = {
        let mut seen = shared.seen.lock().unwrap();
        seen.renewals.push(renew);
        if seen.renew_refused {
            return refuse(ErrorCode::StaleAttempt);
        }
        seen.renew_answer.clone().unwrap_or(RenewAnswer::Continue { lease_end: Timestamp(0), watched: false })
    };
    shared.changed.notify_waiters();
    Json(answer).into_response()
}

async fn finish(
    State(shared): State<Arc<Shared>>,
    UrlPath((job, _attempt)): UrlPath<(String, u32)>,
    headers: HeaderMap,
    Json(finish): Json<Finish>,
) -> Response {
    if !admitted(&shared, &headers) {
        return refuse(ErrorCode::InvalidApiKey);
    }
    let mut seen = shared.seen.lock().unwrap();
    seen.finishes.push((job.clone(), finish.clone()));
    if stumble(&shared.finish_failures) {
        return refuse(ErrorCode::Unavailable);
    }
    if job == "stale" {
        return refuse(ErrorCode::StaleAttempt);
    }
    seen.finished.insert(job, finish);
    drop(seen);
    shared.changed.notify_waiters();
    Json(serde_json::json!({})).into_response()
}

async fn store(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, bytes: Bytes) -> Response {
    let mut seen = shared.seen.lock().unwrap();
    seen.puts += 1;
    if stumble(&shared.put_failures) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    if uri.path().contains("forbidden") {
        return refuse(ErrorCode::InvalidSignature);
    }
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let (content_type, authorization) = (text(header::CONTENT_TYPE), text(header::AUTHORIZATION));
    seen.stored.insert(uri.to_string(), Stored { bytes, content_type, authorization });
    drop(seen);
    shared.changed.notify_waiters();
    StatusCode::CREATED.into_response()
}

async fn fetch(State(shared): State<Arc<Shared>>, uri: Uri) -> Response {
    match shared.seen.lock().unwrap().stored.get(&uri.to_string()) {
        Some(stored) => stored.bytes.clone().into_response(),
        None => refuse(ErrorCode::NotFound),
    }
}

fn admitted(shared: &Shared, headers: &HeaderMap) -> bool {
    let expected = format!("Bearer {}", shared.seen.lock().unwrap().token);
    headers.get(header::AUTHORIZATION).is_some_and(|value| value.as_bytes() == expected.as_bytes())
}

fn stumble(left: &AtomicU32) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

fn refuse(code: ErrorCode) -> Response {
    (StatusCode::from_u16(code.status()).unwrap(), Json(code.body("no"))).into_response()
}

/// A job of some pictures, with a place for each.
pub(crate) fn assignment(job: &str, images: u32) -> Assignment {
    let defaults =
        ModelDefaults { width: 64, height: 64, steps: 20, guidance_scale: 3.0, sampler: Sampler::Dpmpp2mKarras };
    let mut request = GenerationRequest::new("tintype/shapes", "a red circle").resolve(&defaults, 7);
    request.images = images;
    let target = |index| UploadTarget {
        key: format!("jobs/{job}/1/{index}.png"),
        put_url: format!("/store/v1/jobs/{job}/1/{index}.png?expires=1&sig=abc"),
    };
    Assignment {
        job: JobId::from(job),
        attempt: Attempt(1),
        request,
        lease_end: Timestamp(0),
        lease_ms: LEASE_MS,
        outputs: (0..images).map(target).collect(),
        inputs: BTreeMap::new(),
        checkpoint: Some(CheckpointPlan {
            put_url: format!("/store/v1/jobs/{job}/1/checkpoint?expires=1&sig=abc"),
            resume_url: None,
        }),
        watched: false,
        traceparent: None,
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The models directory of the project.
pub(crate) fn shapes_models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models")
}

/// The pipeline over it.
pub(crate) fn shapes() -> CandlePipeline {
    CandlePipeline::new(vec![shapes_models()], ResidentLimits { count: 1, bytes: 0 }).unwrap()
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// An address nobody else takes: the worker prints its own, but to a log this test does not read. A port that was free a
/// moment ago may be another test's by now, so the host is one of this process and call alone.
pub(crate) async fn free_address() -> SocketAddr {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let [_, a, b, c] = (std::process::id() * 64 + CALLS.fetch_add(1, Ordering::Relaxed) % 64).to_be_bytes();
    // 127.0.x.y is where everybody else is.
    let host = Ipv4Addr::new(127, a | 128, b, c);
    tokio::net::TcpListener::bind((host, 0)).await.unwrap().local_addr().unwrap()
}

/// A worker under test.
pub(crate) struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
    folder: tempfile::TempDir,
    listen: Option<SocketAddr>,
}

impl Running {
    pub(crate) fn with(contract: &Contract, pipeline: impl Pipeline) -> Self {
        Self::with_probe(contract, pipeline, Box::new(CpuProbe::default()), None)
    }

    /// With room for so many jobs at a time.
    pub(crate) fn with_slots(contract: &Contract, pipeline: impl Pipeline, slots: u32) -> Self {
        let (args, folder) = args(contract, &shapes_models(), None);
        let (args, shutdown) = (Args { slots, ..args }, CancellationToken::new());
        let probe = Box::new(CpuProbe::default());
        let task = tokio::spawn(tintype_worker::run_with(args, pipeline, probe, shutdown.clone()));
        Self { shutdown, task, folder, listen: None }
    }

    /// With another probe too.
    pub(crate) fn with_probe(
        contract: &Contract,
        pipeline: impl Pipeline,
        probe: Box<dyn GpuProbe>,
        listen: Option<SocketAddr>,
    ) -> Self {
        let (args, folder) = args(contract, &shapes_models(), listen);
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(tintype_worker::run_with(args, pipeline, probe, shutdown.clone()));
        Self { shutdown, task, folder, listen }
    }

    /// With more flags than the usual ones.
    pub(crate) fn with_flags(contract: &Contract, pipeline: impl Pipeline, flags: &[&str]) -> Self {
        let (mut args, folder) = args(contract, &shapes_models(), None);
        args.update_from(std::iter::once(&"gpu-worker").chain(flags));
        let shutdown = CancellationToken::new();
        let probe = Box::new(CpuProbe::default());
        let task = tokio::spawn(tintype_worker::run_with(args, pipeline, probe, shutdown.clone()));
        Self { shutdown, task, folder, listen: None }
    }

    /// With other models and more flags than the usual ones.
    pub(crate) fn with_models_flags(contract: &Contract, models: &Path, flags: &[&str]) -> Self {
        let (mut args, folder) = args(contract, models, None);
        args.update_from(std::iter::once(&"gpu-worker").chain(flags));
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(tintype_worker::run(args, shutdown.clone()));
        Self { shutdown, task, folder, listen: None }
    }

    pub(crate) fn with_shapes(contract: &Contract) -> Self {
        Self::with_models(contract, &shapes_models())
    }

    pub(crate) fn with_models(contract: &Contract, models: &Path) -> Self {
        Self::with_real(contract, models, None)
    }

    /// Also serves its probes, and waits until it does.
    pub(crate) async fn with_models_listening(contract: &Contract, models: &Path) -> Self {
        let running = Self::with_real(contract, models, Some(free_address().await));
        running.listening().await;
        running
    }

    /// Waits until it serves its probes.
    pub(crate) async fn listening(&self) {
        let up = async {
            while tokio::net::TcpStream::connect(self.listen.unwrap()).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, up).await.unwrap();
    }

    fn with_real(contract: &Contract, models: &Path, listen: Option<SocketAddr>) -> Self {
        let (args, folder) = args(contract, models, listen);
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(tintype_worker::run(args, shutdown.clone()));
        Self { shutdown, task, folder, listen }
    }

    pub(crate) fn token_file(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let client = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
        let answer = client.get(format!("http://{}{path}", self.listen.unwrap())).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Stops the worker and waits for its end, which must be a good one.
    pub(crate) async fn drain(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap();
    }
}

fn args(contract: &Contract, models: &Path, listen: Option<SocketAddr>) -> (Args, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, format!("{TOKEN}\n")).unwrap();
    let url = format!("http://{}", contract.address);
    let mut words = vec!["gpu-worker".to_owned(), "--dispatch-url".to_owned(), url];
    words.extend(["--worker-id", "worker-0", "--token-file"].map(str::to_owned));
    words.push(token.display().to_string());
    words.extend(["--models-dir".to_owned(), models.display().to_string()]);
    // A signature is new each time; these tests compare whole files.
    words.extend(["--c2pa", "off"].map(str::to_owned));
    words.extend(listen.into_iter().flat_map(|address| ["--listen".to_owned(), address.to_string()]));
    (Args::try_parse_from(words).unwrap(), folder)
}
