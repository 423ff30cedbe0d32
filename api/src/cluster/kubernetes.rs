//! A Kubernetes cluster: a job is a `GenerationJob` named after the row, the operator places it, we watch how it goes.
//! The only file that knows the client, but for the chore in `secret.rs`.
//!
//! The finalizer keeps a job from vanishing before its money is settled. What the API server says about a refused object
//! may quote the prompt, so only codes and reasons of its answers are logged.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, Preconditions};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use tintype_crds::labels::{GENERATION, MANAGER_API, SETTLEMENT, TRACEPARENT};
use tintype_crds::{DiffusionModel, GenerationJob, GenerationJobSpec, Guarded};
use tintype_dispatch::WorkerSeen;
use tintype_scheduler::{Explanation, Overview};
use tintype_store::Store;
use tintype_types::{FailureReason, JobEvent, JobState, ModelCard, PoolName};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::relay::Relay;
use super::{Cluster, ClusterError, Models, Reply, picture_key, signed_url, store_failed, stored};
use crate::board::Board;
use crate::clock;
use crate::creation::Deadline;
use crate::database::Db;
use crate::reconcile::Bells;
use crate::records::generation::Generation;
use crate::records::progress::{self, Fence, Seen};

/// Longest one call to the API server may take.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest connecting to it may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Seconds after which a watch is begun anew where it was: a connection that died in silence is noticed.
const WATCH_SECONDS: u32 = 60;
/// Objects in one page of a list.
const PAGE: u32 = 500;
/// Pause before an object is taken over again after the database failed.
const DATABASE_PAUSE: Duration = Duration::from_millis(500);

/// What it takes to start.
pub(crate) struct KubernetesConfig {
    pub(crate) kubeconfig: Option<PathBuf>,
    pub(crate) namespace: Option<String>,
    pub(crate) dispatch_url: Option<String>,
    pub(crate) dispatch_token_file: Option<PathBuf>,
    pub(crate) pool: Db,
    pub(crate) store: Option<Store>,
    pub(crate) board: Board,
    pub(crate) bells: Bells,
}

/// The cluster.
pub(crate) struct Kubernetes {
    jobs: Api<GenerationJob>,
    relay: Option<Relay>,
    /// The operator's image store, where we have its folder and secret too; else the operator is asked.
    store: Option<Store>,
    known: Arc<Known>,
}

/// What the watches have told.
#[derive(Debug, Default)]
struct Known {
    models: RwLock<Arc<Models>>,
    jobs_synced: AtomicBool,
    models_synced: AtomicBool,
}

impl Kubernetes {
    /// Connects and starts the watches; they end with `stop`.
    pub(crate) async fn start(config: KubernetesConfig, stop: &CancellationToken) -> anyhow::Result<Self> {
        let KubernetesConfig { kubeconfig, namespace, dispatch_url, dispatch_token_file, pool, store, board, bells } =
            config;
        let client = connect(kubeconfig).await.context("cannot connect to the Kubernetes API server")?;
        let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
        let relay = dispatch_url.map(|url| Relay::new(&url, dispatch_token_file)).transpose()?;
        if relay.is_none() {
            tracing::warn!("no --dispatch-url: event streams tell states and no steps in between");
        }
        let known = Arc::new(Known::default());
        let follower = Follower { pool, board, bells, known: Arc::clone(&known) };
        let guarded = Api::namespaced(client.clone(), &namespace);
        tokio::spawn(stop.clone().run_until_cancelled_owned(follower.follow_jobs(guarded)));
        let models = Api::all(client.clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(follow_models(models, Arc::clone(&known))));
        Ok(Self { jobs: Api::namespaced(client, &namespace), relay, store, known })
    }

    /// The job as it is there now.
    async fn get(&self, id: Uuid) -> Result<Option<GenerationJob>, ClusterError> {
        call(self.jobs.get_opt(&id.to_string())).await
    }

    fn relay(&self) -> Result<&Relay, ClusterError> {
        let unknown = || ClusterError::Unavailable("the operator's address is not known".to_owned());
        self.relay.as_ref().ok_or_else(unknown)
    }

    async fn apply(&self, object: &GenerationJob) -> Result<GenerationJob, ClusterError> {
        let params = PatchParams::apply(MANAGER_API);
        call(self.jobs.patch(&object.name_any(), &params, &Patch::Apply(object))).await
    }
}

impl Cluster for Kubernetes {
    fn submit<'a>(&'a self, job: &'a Generation) -> Reply<'a, Option<String>> {
        Box::pin(async move {
            match self.apply(&object(job, true)).await {
                Ok(made) => owned_uid(job, &made).map(Some),
                Err(error) => {
                    // A conflict, or an answer that was lost: if our job is there, it was taken.
                    let there = self.get(job.id).await?;
                    there.map_or(Err(error), |there| owned_uid(job, &there).map(Some))
                }
            }
        })
    }

    fn is_here(&self) -> bool {
        false
    }

    fn cancel<'a>(&'a self, job: &'a Generation) -> Reply<'a, ()> {
        Box::pin(async move {
            let preconditions = Preconditions { uid: job.cluster_uid.clone(), resource_version: None };
            let params = DeleteParams::default().preconditions(preconditions);
            match timeout(CALL_TIMEOUT, self.jobs.delete(&job.id.to_string(), &params)).await {
                Ok(Ok(_)) => Ok(()),
                // Gone, or another of that name: the sweep finds that ours is gone.
                Ok(Err(kube::Error::Api(status))) if status.code == 404 || status.code == 409 => Ok(()),
                Ok(Err(error)) => Err(cluster_error(&error)),
                Err(_) => Err(too_slow()),
            }
        })
    }

    fn watch<'a>(&'a self, job: &'a Generation) -> Reply<'a, BoxStream<'static, JobEvent>> {
        Box::pin(async move { self.relay()?.events(uid(job)?).await })
    }

    fn release<'a>(&'a self, job: &'a Generation) -> Reply<'a, ()> {
        Box::pin(async move {
            // Everything we own but the finalizer. The UID keeps the apply from making a new object.
            match self.apply(&object(job, false)).await {
                Ok(_) => Ok(()),
                Err(error) => match self.get(job.id).await? {
                    Some(there) if there.uid() == job.cluster_uid => Err(error),
                    Some(_) | None => Ok(()),
                },
            }
        })
    }

    fn exists<'a>(&'a self, job: &'a Generation) -> Reply<'a, bool> {
        Box::pin(async move {
            let there = self.get(job.id).await?;
            Ok(there.is_some_and(|there| job.cluster_uid.is_none() || there.uid() == job.cluster_uid))
        })
    }

    fn picture_url<'a>(&'a self, job: &'a Generation, n: usize) -> Reply<'a, String> {
        Box::pin(async move {
            match &self.store {
                Some(store) => signed_url(store, picture_key(job, n)?),
                None => self.relay()?.picture_url(uid(job)?, job.attempt, n).await,
            }
        })
    }

    fn picture<'a>(&'a self, job: &'a Generation, n: usize) -> Reply<'a, Bytes> {
        Box::pin(async move {
            if let Some(store) = &self.store {
                return stored(store, job, n).await;
            }
            let relay = self.relay()?;
            relay.fetch(&relay.picture_url(uid(job)?, job.attempt, n).await?).await
        })
    }

    fn put_input<'a>(&'a self, key: &'a str, content: Bytes) -> Reply<'a, ()> {
        Box::pin(async move {
            match &self.store {
                Some(store) => store.put(key, content).await.map_err(store_failed),
                None => self.relay()?.put_input(key, content).await,
            }
        })
    }

    fn object_url<'a>(&'a self, key: &'a str) -> Reply<'a, String> {
        Box::pin(async move {
            match &self.store {
                Some(store) => signed_url(store, key),
                None => self.relay()?.object_url(key).await,
            }
        })
    }

    fn signed_url(&self, key: &str) -> Option<String> {
        self.store.as_ref().and_then(|store| signed_url(store, key).ok())
    }

    fn object<'a>(&'a self, key: &'a str) -> Reply<'a, Bytes> {
        Box::pin(async move {
            if let Some(store) = &self.store {
                return store.read(key).await.map_err(store_failed);
            }
            let relay = self.relay()?;
            relay.fetch(&relay.object_url(key).await?).await
        })
    }

    fn delete_object<'a>(&'a self, key: &'a str) -> Reply<'a, ()> {
        Box::pin(async move {
            match &self.store {
                Some(store) => store.delete_prefix(key).await.map(drop).map_err(store_failed),
                None => self.relay()?.delete_object(key).await,
            }
        })
    }

    fn workers(&self) -> Reply<'_, Vec<WorkerSeen>> {
        Box::pin(async { self.relay()?.workers().await })
    }

    fn overview(&self) -> Reply<'_, Overview> {
        Box::pin(async { self.relay()?.overview().await })
    }

    fn explain<'a>(&'a self, job: &'a Generation) -> Reply<'a, Option<Explanation>> {
        Box::pin(async {
            match &job.cluster_uid {
                Some(uid) => self.relay()?.explain(uid).await,
                None => Ok(None),
            }
        })
    }

    fn models(&self) -> Arc<Models> {
        Arc::clone(&self.known.models.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_ready(&self) -> bool {
        self.known.jobs_synced.load(Ordering::Acquire) && self.known.models_synced.load(Ordering::Acquire)
    }

    fn routes(&self) -> axum::Router {
        self.store.as_ref().map(Store::router).unwrap_or_default()
    }
}

/// The job's name in the cluster.
fn uid(job: &Generation) -> Result<&str, ClusterError> {
    let unknown = || ClusterError::Unavailable("the job is not submitted yet".to_owned());
    job.cluster_uid.as_deref().ok_or_else(unknown)
}

pub(super) async fn connect(kubeconfig: Option<PathBuf>) -> anyhow::Result<Client> {
    let mut config = match kubeconfig {
        Some(file) => {
            let read = Kubeconfig::read_from(&file).with_context(|| format!("reading {}", file.display()))?;
            kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?
        }
        None => kube::Config::infer().await?,
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    Ok(Client::try_from(config)?)
}

async fn call<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, ClusterError> {
    match timeout(CALL_TIMEOUT, request).await {
        Ok(answer) => answer.map_err(|error| cluster_error(&error)),
        Err(_) => Err(too_slow()),
    }
}

fn too_slow() -> ClusterError {
    ClusterError::Unavailable(format!("no answer within {} s", CALL_TIMEOUT.as_secs()))
}

/// Says what kind of error it is without quoting what may hold a prompt.
fn cluster_error(error: &kube::Error) -> ClusterError {
    let kube::Error::Api(status) = error else { return ClusterError::Unavailable(error.to_string()) };
    let what = format!("the API server answers {} {}", status.code, status.reason);
    // Only a verdict on the object itself is final; rights and missing kinds can be mended.
    if matches!(status.code, 400 | 422) { ClusterError::Refused(what) } else { ClusterError::Unavailable(what) }
}

/// The object's UID, if it is this row's.
fn owned_uid(job: &Generation, object: &GenerationJob) -> Result<String, ClusterError> {
    let id = job.id.to_string();
    let ours = object.labels().get(GENERATION) == Some(&id);
    match object.uid().filter(|_| ours) {
        Some(uid) => Ok(uid),
        None => Err(ClusterError::Refused(format!("there is a GenerationJob {id} that somebody else made"))),
    }
}

/// Everything we own of the job: always whole, or the next apply would take fields away.
fn object(job: &Generation, held: bool) -> GenerationJob {
    let mut spec = GenerationJobSpec::new(job.request.clone().into());
    // A queue nobody made has weight 1 and no quota: accounts share alike.
    spec.queue = job.account.to_string();
    spec.priority = job.priority;
    spec.pool = job.pool.clone().map(PoolName);
    if let Some(Deadline { at, when_late }) = job.deadline {
        spec = spec.due(at, when_late);
    }
    let mut object = GenerationJob::new(&job.id.to_string(), spec);
    object.metadata = ObjectMeta {
        labels: Some(BTreeMap::from([(GENERATION.to_owned(), job.id.to_string())])),
        annotations: job.traceparent.map(|part_of| BTreeMap::from([(TRACEPARENT.to_owned(), part_of.to_string())])),
        finalizers: held.then(|| vec![SETTLEMENT.to_owned()]),
        uid: job.cluster_uid.clone(),
        ..object.metadata
    };
    object
}

/// Brings rows in line with the objects.
struct Follower {
    pool: Db,
    board: Board,
    bells: Bells,
    known: Arc<Known>,
}

impl Follower {
    async fn follow_jobs(self, api: Api<Guarded<GenerationJob>>) {
        let config = watcher::Config::default().labels(GENERATION).timeout(WATCH_SECONDS).page_size(PAGE);
        let mut events = watcher(api, config).default_backoff().boxed();
        let mut failing = false;
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
                    failing = false;
                    match object.0 {
                        Ok(job) => self.take_over(&job).await,
                        Err(unread) => tracing::error!(object = unread.name, "a GenerationJob cannot be read"),
                    }
                }
                // Missed deletions are found by the sweep, which asks for each job by name.
                Ok(watcher::Event::Delete(object)) => {
                    if let Ok(job) = object.0 {
                        self.take_over(&job).await;
                        self.bury(&job).await;
                    }
                }
                Ok(watcher::Event::Init) => {}
                Ok(watcher::Event::InitDone) => self.known.jobs_synced.store(true, Ordering::Release),
                Err(error) => tell_once(&mut failing, "jobs", &error),
            }
        }
    }

    /// Writes to the row what the object says. Waits for the database: the watch would not tell it again.
    async fn take_over(&self, job: &GenerationJob) {
        let Some(seen) = seen(job) else { return };
        loop {
            match progress::take_over(&self.pool, &seen, clock::now()).await {
                Ok(changed) => {
                    if changed {
                        self.board.wake(seen.id);
                    }
                    if seen.state.is_terminal() {
                        self.bells.settle.notify_one();
                    }
                    return;
                }
                Err(error) => {
                    tracing::warn!(job.id = %seen.id, %error, "what the cluster says of a job cannot be written yet");
                    tokio::time::sleep(DATABASE_PAUSE).await;
                }
            }
        }
    }
}

impl Follower {
    /// The object is gone: if the job had not ended, it has now.
    async fn bury(&self, job: &GenerationJob) {
        let Some(seen) = seen(job).filter(|seen| !seen.state.is_terminal()) else { return };
        let fence = Fence { job: seen.id, attempt: seen.attempt };
        match progress::vanish(&self.pool, fence, &seen.cluster_uid, clock::now()).await {
            Ok(true) => {
                tracing::warn!(job.id = %seen.id, "a job was deleted in the cluster before it ended");
                self.board.wake(seen.id);
                self.bells.settle.notify_one();
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(job.id = %seen.id, %error, "a deletion cannot be written yet; the sweep will"),
        }
    }
}

fn seen(job: &GenerationJob) -> Option<Seen> {
    let id = job.labels().get(GENERATION)?.parse().ok()?;
    let status = job.status_or_new();
    let told = status.failure.map(|failure| (failure.reason, failure.message));
    let failure = match status.state {
        JobState::Failed => Some(told.unwrap_or((FailureReason::Internal, "the cluster gave no reason".to_owned()))),
        JobState::Queued | JobState::Assigned | JobState::Running | JobState::Preempted | JobState::Complete => told,
    };
    Some(Seen {
        id,
        cluster_uid: job.uid()?,
        state: status.state,
        attempt: status.attempt,
        failed_attempts: status.failed_attempts,
        worker: status.assignment.map(|assignment| assignment.worker),
        progress: status.progress.map(|progress| (progress.step, progress.steps)),
        outputs: status.outputs,
        failure,
        gpu_ms: status.gpu_milliseconds.unwrap_or(0),
    })
}

async fn follow_models(api: Api<Guarded<DiffusionModel>>, known: Arc<Known>) {
    let config = watcher::Config::default().timeout(WATCH_SECONDS).page_size(PAGE);
    let mut events = watcher(api, config).default_backoff().boxed();
    // By object name, for a deletion names no more.
    let mut by_object: BTreeMap<String, ModelCard> = BTreeMap::new();
    let mut failing = false;
    let mut listing = true;
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => {
                by_object.clear();
                listing = true;
            }
            Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
                failing = false;
                match object.0 {
                    Ok(model) => {
                        by_object.insert(model.name_any(), card(&model));
                    }
                    Err(unread) => tracing::error!(object = unread.name, "a DiffusionModel cannot be read"),
                }
            }
            Ok(watcher::Event::Delete(object)) => {
                by_object.remove(&object.name_any());
            }
            Ok(watcher::Event::InitDone) => listing = false,
            Err(error) => tell_once(&mut failing, "models", &error),
        }
        if !listing {
            let cards: Models = by_object.values().map(|card| (card.name.clone(), card.clone())).collect();
            *known.models.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(cards);
            known.models_synced.store(true, Ordering::Release);
        }
    }
}

fn card(model: &DiffusionModel) -> ModelCard {
    let spec = &model.spec;
    ModelCard {
        name: model.request_name().to_owned(),
        kind: spec.kind,
        family: spec.family,
        defaults: spec.defaults,
        licence: spec.licence.clone(),
        description: spec.description.clone(),
        vram_bytes: spec.vram_bytes,
    }
}

/// Once when it begins: a watch that is broken says so every few seconds.
fn tell_once(failing: &mut bool, what: &str, error: &watcher::Error) {
    if !std::mem::replace(failing, true) {
        tracing::warn!(%error, "the watch of {what} is broken; it begins again by itself");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_verdict_on_the_object_is_final() {
        let answer = |code: u16| {
            let status = kube::core::Status {
                code,
                reason: "R".to_owned(),
                message: "a secret prompt".to_owned(),
                ..kube::core::Status::default()
            };
            cluster_error(&kube::Error::Api(Box::new(status)))
        };
        assert!(matches!(answer(422), ClusterError::Refused(_)));
        for code in [403, 404, 409, 429, 500, 503] {
            assert!(matches!(answer(code), ClusterError::Unavailable(_)), "{code}");
        }
        assert!(!answer(422).to_string().contains("prompt"));
    }
}
