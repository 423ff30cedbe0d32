//! One machine: Postgres is the record, the dispatcher runs in this process, workers and pictures are served beside
//! the API.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use tintype_crds::WhenLate;
use tintype_dispatch::{
    Dispatch, DispatchClosed, DispatchConfig, Record, WorkerSeen, WriteError, WriteFuture, Written,
};
use tintype_scheduler::{Decision, Explanation, JobSeen, ModelSeen, Observation, Overview, Place, Shape, WorldSeen};
use tintype_store::Store;
use tintype_types::{Attempt, JobEvent, JobId, JobState, ModelCard, ModelKind, PoolName, QueueKey, Timestamp};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Cluster, ClusterError, Models, Reply, catalogue, picture_key, signed_url, store_failed, stored};
use crate::board::Board;
use crate::clock;
use crate::database::Db;
use crate::reconcile::Bells;
use crate::records::generation::{self, Generation};
use crate::records::progress::{self, Fence};

/// How often the models directories are looked through.
const SCAN_INTERVAL: Duration = Duration::from_secs(10);

/// The cluster that is this process.
#[derive(Debug)]
pub(crate) struct Local {
    dispatch: Dispatch,
    store: Store,
    models: Arc<RwLock<Arc<Models>>>,
    changed: Arc<Changed>,
    /// Whether there is a token for those who ask what waits and why.
    readers: bool,
}

/// What it takes to start one.
pub(crate) struct LocalConfig {
    pub(crate) dispatch: DispatchConfig,
    pub(crate) models_dirs: Vec<PathBuf>,
    pub(crate) pool: Db,
    pub(crate) store: Store,
    pub(crate) board: Board,
    pub(crate) bells: Bells,
    pub(crate) registry: prometheus::Registry,
}

impl Local {
    /// Starts the dispatcher from what Postgres holds. Its tasks end with `stop`.
    pub(crate) async fn start(config: LocalConfig, stop: &CancellationToken) -> anyhow::Result<Self> {
        let LocalConfig { dispatch, models_dirs, pool, store, board, bells, registry } = config;
        let (changed, readers) = (Arc::new(Changed::default()), dispatch.reader_token.is_some());
        let record = LocalRecord { pool: pool.clone(), changed: Arc::clone(&changed), board, bells };
        let (dispatch, task) = Dispatch::start(dispatch, Arc::new(record), store.clone(), &registry)
            .context("cannot start the dispatcher")?;
        let found = scan(models_dirs.clone()).await;
        if found.is_empty() {
            tracing::warn!("no models found; requests will be refused until there are some");
        }
        let jobs = generation::open(&pool).await.context("cannot read the jobs that have not ended")?;
        tracing::info!(jobs = jobs.len(), models = found.len(), "taking up the work");
        let world = WorldSeen {
            jobs: jobs.iter().map(job_seen).collect(),
            models: checkpoints(&found).map(model_seen).collect(),
            ..WorldSeen::default()
        };
        dispatch.lead(world).await.context("the dispatcher has ended")?;
        let models = Arc::new(RwLock::new(Arc::new(found)));
        let local = Self {
            dispatch: dispatch.clone(),
            store,
            models: Arc::clone(&models),
            changed: Arc::clone(&changed),
            readers,
        };
        tokio::spawn(stop.clone().run_until_cancelled_owned(forward(changed, pool, dispatch.clone())));
        tokio::spawn(stop.clone().run_until_cancelled_owned(rescan(models_dirs, models, dispatch.clone())));
        let stop = stop.clone();
        tokio::spawn(async move {
            stop.cancelled().await;
            dispatch.shutdown().await;
            // It has nothing left to say.
            let _ = task.await;
        });
        Ok(local)
    }

    fn tell(&self, job: &Generation) {
        self.changed.push(job.id);
    }
}

impl Cluster for Local {
    fn submit<'a>(&'a self, job: &'a Generation) -> Reply<'a, Option<String>> {
        Box::pin(async move {
            self.dispatch
                .observe(Observation::Job(Box::new(job_seen(job))))
                .await
                .map_err(|error| ClusterError::Unavailable(error.to_string()))?;
            Ok(None)
        })
    }

    fn is_here(&self) -> bool {
        true
    }

    fn cancel<'a>(&'a self, job: &'a Generation) -> Reply<'a, ()> {
        self.tell(job);
        Box::pin(async { Ok(()) })
    }

    fn watch<'a>(&'a self, job: &'a Generation) -> Reply<'a, BoxStream<'static, JobEvent>> {
        let watch =
            self.dispatch.watch_job(&job.job_id()).map_err(|error| ClusterError::Unavailable(error.to_string()));
        Box::pin(async move { Ok(watch?.into_stream().boxed()) })
    }

    fn release<'a>(&'a self, _job: &'a Generation) -> Reply<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn exists<'a>(&'a self, _job: &'a Generation) -> Reply<'a, bool> {
        // The row is the job.
        Box::pin(async { Ok(true) })
    }

    fn picture_url<'a>(&'a self, job: &'a Generation, n: usize) -> Reply<'a, String> {
        Box::pin(async move { signed_url(&self.store, picture_key(job, n)?) })
    }

    fn picture<'a>(&'a self, job: &'a Generation, n: usize) -> Reply<'a, Bytes> {
        Box::pin(stored(&self.store, job, n))
    }

    fn put_input<'a>(&'a self, key: &'a str, content: Bytes) -> Reply<'a, ()> {
        Box::pin(async move { self.store.put(key, content).await.map_err(store_failed) })
    }

    fn object_url<'a>(&'a self, key: &'a str) -> Reply<'a, String> {
        Box::pin(async move { signed_url(&self.store, key) })
    }

    fn signed_url(&self, key: &str) -> Option<String> {
        signed_url(&self.store, key).ok()
    }

    fn object<'a>(&'a self, key: &'a str) -> Reply<'a, Bytes> {
        Box::pin(async move { self.store.read(key).await.map_err(store_failed) })
    }

    fn delete_object<'a>(&'a self, key: &'a str) -> Reply<'a, ()> {
        Box::pin(async move { self.store.delete_prefix(key).await.map(drop).map_err(store_failed) })
    }

    fn workers(&self) -> Reply<'_, Vec<WorkerSeen>> {
        Box::pin(async { Ok(self.dispatch.workers().await) })
    }

    fn overview(&self) -> Reply<'_, Overview> {
        Box::pin(async { Ok(self.dispatch.overview().await) })
    }

    fn explain<'a>(&'a self, job: &'a Generation) -> Reply<'a, Option<Explanation>> {
        Box::pin(async { Ok(self.dispatch.explain(&job.job_id()).await) })
    }

    fn models(&self) -> Arc<Models> {
        Arc::clone(&self.models.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_ready(&self) -> bool {
        self.dispatch.is_leading()
    }

    fn routes(&self) -> axum::Router {
        let routes = self.dispatch.worker_router().merge(self.store.router());
        if self.readers { routes.merge(self.dispatch.read_router()) } else { routes }
    }
}

/// Jobs whose row has changed since the scheduler was told. A set: a job that changes twice is told once.
#[derive(Debug, Default)]
struct Changed {
    jobs: Mutex<BTreeSet<Uuid>>,
    bell: Notify,
}

impl Changed {
    fn push(&self, job: Uuid) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).insert(job);
        self.bell.notify_one();
    }

    fn take(&self) -> BTreeSet<Uuid> {
        std::mem::take(&mut *self.jobs.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Tells the scheduler of changed rows, as a watch would. Many at a time: told one by one it would fall behind the writes of a busy
/// database, and what it has not heard of it writes again.
async fn forward(changed: Arc<Changed>, pool: Db, dispatch: Dispatch) {
    /// Pause after the database failed.
    const PAUSE: Duration = Duration::from_millis(500);
    /// Rows read at a time.
    const AT_ONCE: usize = 500;
    loop {
        changed.bell.notified().await;
        let taken: Vec<Uuid> = changed.take().into_iter().collect();
        for ids in taken.chunks(AT_ONCE) {
            match generation::find_all(&pool, ids).await {
                Ok(jobs) => {
                    let mut jobs: BTreeMap<Uuid, Generation> = jobs.into_iter().map(|job| (job.id, job)).collect();
                    for id in ids {
                        if tell(&dispatch, *id, jobs.remove(id)).await.is_err() {
                            return;
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(jobs = ids.len(), %error, "cannot read changed jobs; trying again");
                    tokio::time::sleep(PAUSE).await;
                    for id in ids {
                        changed.push(*id);
                    }
                }
            }
        }
    }
}

/// Tells of one row, or that there is none.
async fn tell(dispatch: &Dispatch, id: Uuid, job: Option<Generation>) -> Result<(), DispatchClosed> {
    let Some(job) = job else { return dispatch.observe(Observation::JobGone(JobId(id.to_string()))).await };
    if job.state.is_terminal() {
        // Those who watch hear how it ended before the scheduler forgets the job.
        dispatch.announce(job.event());
    }
    dispatch.observe(Observation::Job(Box::new(job_seen(&job)))).await
}

async fn scan(directories: Vec<PathBuf>) -> Models {
    // Only a panic in it could fail this; an empty catalogue is then as good as any.
    tokio::task::spawn_blocking(move || catalogue::scan(&directories)).await.unwrap_or_default()
}

async fn rescan(directories: Vec<PathBuf>, models: Arc<RwLock<Arc<Models>>>, dispatch: Dispatch) {
    loop {
        tokio::time::sleep(SCAN_INTERVAL).await;
        let found = Arc::new(scan(directories.clone()).await);
        let before =
            std::mem::replace(&mut *models.write().unwrap_or_else(PoisonError::into_inner), Arc::clone(&found));
        let still = |name: &str| found.get(name).is_some_and(|card| card.kind == ModelKind::Checkpoint);
        let gone = checkpoints(&before).filter(|card| !still(&card.name));
        let gone = gone.map(|card| Observation::ModelGone(card.name.clone()));
        let new = checkpoints(&found).filter(|card| before.get(&card.name) != Some(*card));
        for seen in new.map(|card| Observation::Model(model_seen(card))).chain(gone) {
            if dispatch.observe(seen).await.is_err() {
                return;
            }
        }
    }
}

/// What the scheduler is told of: jobs are placed by their checkpoint.
fn checkpoints(models: &Models) -> impl Iterator<Item = &ModelCard> {
    models.values().filter(|card| card.kind == ModelKind::Checkpoint)
}

fn model_seen(card: &ModelCard) -> ModelSeen {
    ModelSeen { name: card.name.clone(), vram_bytes: card.vram_bytes }
}

fn job_seen(job: &Generation) -> JobSeen {
    JobSeen {
        id: job.job_id(),
        queue: QueueKey(job.account.to_string()),
        priority: job.priority,
        model: job.request.model.clone(),
        pool: job.pool.clone().map(PoolName),
        work_steps: job.request.steps.saturating_mul(job.request.images),
        submitted: job.created,
        place: match (job.state, &job.worker) {
            (JobState::Complete | JobState::Failed, _) => Place::Ended,
            (JobState::Assigned | JobState::Running, Some(worker)) => Place::Assigned(worker.clone()),
            (JobState::Assigned | JobState::Running | JobState::Queued | JobState::Preempted, _) => Place::Queued,
        },
        shape: Shape {
            pixels: job.request.width.saturating_mul(job.request.height),
            images: u16::try_from(job.request.images).unwrap_or(u16::MAX),
            adapters: u16::try_from(job.request.loras.len() + job.request.controls.len()).unwrap_or(u16::MAX),
        },
        deadline: job.deadline.map(|due| due.at),
        refuse_late: job.deadline.is_some_and(|due| due.when_late == WhenLate::Refuse),
        attempt: job.attempt,
        failed_attempts: job.failed_attempts,
        not_before: job.not_before,
        cancelled: job.cancelled.is_some(),
        promised: job.promised,
    }
}

/// Postgres as the dispatcher's record.
struct LocalRecord {
    pool: Db,
    changed: Arc<Changed>,
    board: Board,
    bells: Bells,
}

impl Record for LocalRecord {
    fn write(&self, decision: Decision) -> WriteFuture<'_> {
        Box::pin(async move {
            let (job, attempt) = subject(&decision);
            let job: Uuid =
                job.as_str().parse().map_err(|_| WriteError::Refused(format!("{job} is no job of ours")))?;
            let result = self.carry_out(Fence { job, attempt }, decision, clock::now()).await;
            if !matches!(result, Err(WriteError::Unavailable(_))) {
                // Refused: the scheduler is told what the row says instead.
                self.changed.push(job);
                self.board.wake(job);
            }
            result
        })
    }
}

impl LocalRecord {
    async fn carry_out(&self, fence: Fence, decision: Decision, now: Timestamp) -> Result<Written, WriteError> {
        let pool = &self.pool;
        let written = match decision {
            Decision::Assign { worker, promised, .. } => {
                let given = progress::Given { worker: &worker, promised };
                let job = progress::assign(pool, fence, given, now).await.map_err(unavailable)?;
                // Whoever wants to hear that a job has begun is told by an errand.
                self.bells.lanes.ring();
                return match job {
                    Some(job) => Ok(Written::Assigned(Box::new(job))),
                    None => Err(refused(fence)),
                };
            }
            Decision::Progress { step, steps, .. } => progress::advance(pool, fence, step, steps).await,
            Decision::Requeue { not_before, reason, message, failed_attempts, .. } => {
                let how = progress::Requeue { not_before, reason, message: &message, failed_attempts };
                progress::requeue(pool, fence, &how).await
            }
            Decision::Fail { reason, message, .. } => progress::fail(pool, fence, reason, &message, now).await,
            Decision::Complete { outputs, gpu_ms, .. } => progress::complete(pool, fence, &outputs, gpu_ms, now).await,
            Decision::Cancel { .. } | Decision::Preempt { .. } => Ok(true),
        };
        if !written.map_err(unavailable)? {
            return Err(refused(fence));
        }
        self.bells.settle.notify_one();
        Ok(Written::Recorded)
    }
}

fn subject(decision: &Decision) -> (JobId, Attempt) {
    match decision {
        Decision::Assign { job, attempt, .. }
        | Decision::Progress { job, attempt, .. }
        | Decision::Requeue { job, attempt, .. }
        | Decision::Fail { job, attempt, .. }
        | Decision::Complete { job, attempt, .. }
        | Decision::Cancel { job, attempt, .. }
        | Decision::Preempt { job, attempt } => (job.clone(), *attempt),
    }
}

fn unavailable(error: sqlx::Error) -> WriteError {
    WriteError::Unavailable(error.to_string())
}

fn refused(fence: Fence) -> WriteError {
    WriteError::Refused(format!("attempt {} of job {} is not the current one", fence.attempt, fence.job))
}
