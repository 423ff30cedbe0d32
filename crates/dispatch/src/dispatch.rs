//! The handle: how a shell starts the dispatcher, tells it what it sees and asks it things.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use tintype_scheduler::{Estimate, Explanation, Learned, Observation, Overview, Scheduler, Verdict, WorldSeen};
use tintype_store::Store;
use tintype_telemetry::Telemetry;
use tintype_types::{JobEvent, JobId, Timestamp};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::actor::{Actor, Message};
use crate::auth::TokenSource;
use crate::bounded::Bounded;
use crate::brain::Brain;
use crate::claims::{Claims, Gone};
use crate::clock::Clock;
use crate::events::{Events, JobWatch, TooManyWatchers};
use crate::finishes::Finishes;
use crate::journal::{Journal, JournalConfig};
use crate::metrics::Metrics;
use crate::record::Record;
use crate::traces::Traces;
use crate::workers::{WorkerSeen, Workers};
use crate::writes::Writes;
use crate::{actor, reads, routes};

/// Messages that may wait for the dispatcher; beyond it whoever brings one waits.
const QUEUE_MAX: usize = 1_024;

/// What the dispatcher needs to be told at its start.
#[derive(Clone, Debug)]
pub struct DispatchConfig {
    /// What the scheduler decides by.
    pub scheduler: tintype_scheduler::Config,
    /// What workers show.
    pub worker_token: TokenSource,
    /// What readers show; none leaves the read routes open (for one machine, where nobody else can reach them).
    pub reader_token: Option<TokenSource>,
    /// How long the upload URLs of an assignment are good; no shorter than the longest attempt, as they are not
    /// renewed, and no shorter than a lease.
    pub output_ttl: Duration,
    /// Where everything told and decided is taken down; nowhere if none.
    pub decision_log: Option<JournalConfig>,
    /// Where jobs that are traced have their waits told.
    pub telemetry: Telemetry,
}

/// Why the dispatcher could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Uploads would be refused in the middle of an attempt.
    #[error("upload URLs must last at least as long as a lease ({lease:?}), not {output_ttl:?}")]
    ShortOutputTtl {
        /// What was asked for.
        output_ttl: Duration,
        /// The lease.
        lease: Duration,
    },
    /// The decision log cannot be written.
    #[error("opening the decision log {}", path.display())]
    DecisionLog {
        /// Its file.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The metrics are registered already: one registry takes one dispatcher.
    #[error("registering the metrics of the dispatcher")]
    Metrics(#[from] prometheus::Error),
}

/// The dispatcher has shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the dispatcher has shut down")]
pub struct DispatchClosed;

/// The dispatcher. Cloning is cheap; clones are the same one.
#[derive(Clone, Debug)]
pub struct Dispatch {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    inbox: mpsc::Sender<Message>,
    leading: Arc<AtomicBool>,
    pub(crate) gone: Arc<Gone>,
    pub(crate) events: Events,
    pub(crate) metrics: Metrics,
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) worker_token: TokenSource,
    pub(crate) reader_token: Option<TokenSource>,
    /// Numbers claims, so that the note of one that went away cannot hit the next.
    pub(crate) serial: AtomicU64,
}

impl Dispatch {
    /// Starts the dispatcher on the current tokio runtime. It serves nothing before [`Dispatch::lead`]. The task ends
    /// after [`Dispatch::shutdown`], and when the last handle is dropped.
    ///
    /// # Errors
    /// `ShortOutputTtl`, `DecisionLog`, `Metrics`.
    pub fn start(
        config: DispatchConfig,
        record: Arc<dyn Record>,
        store: Store,
        metrics: &prometheus::Registry,
    ) -> Result<(Self, JoinHandle<()>), StartError> {
        let DispatchConfig { scheduler, worker_token, reader_token, output_ttl, decision_log, telemetry } = config;
        let lease = scheduler.lease;
        if output_ttl < lease {
            return Err(StartError::ShortOutputTtl { output_ttl, lease });
        }
        let journal = decision_log.map(|to| open_log(to, &scheduler)).transpose()?;
        let metrics = Metrics::register(metrics)?;
        let events = Events::new(metrics.event_watchers.clone());
        let (leading, gone, clock) = (Arc::default(), Arc::default(), Clock::start());
        let (inbox, messages) = mpsc::channel(QUEUE_MAX);
        let actor = Actor {
            brain: Brain::new(Scheduler::new(scheduler), journal),
            clock,
            store: store.clone(),
            lease,
            output_ttl,
            leading: Arc::clone(&leading),
            gone: Arc::clone(&gone),
            events: events.clone(),
            metrics: metrics.clone(),
            writes: Writes::new(record),
            claims: Claims::default(),
            finishes: Finishes::new(),
            workers: Workers::default(),
            asked: Bounded::new(actor::ASKED_KEPT_MAX),
            traces: Traces::new(telemetry),
            last_tick: Timestamp::default(),
            shown_at: Instant::now(),
            unshown: false,
        };
        let task = tokio::spawn(actor.run(messages));
        let serial = AtomicU64::new(0);
        let inner = Inner { inbox, leading, gone, events, metrics, store, clock, worker_token, reader_token, serial };
        Ok((Self { inner: Arc::new(inner) }, task))
    }

    /// Tells one fact. Waits while the queue is full. Before [`Dispatch::lead`] facts are dropped: whoever begins to lead
    /// tells everything.
    ///
    /// # Errors
    /// `DispatchClosed`.
    pub async fn observe(&self, seen: Observation) -> Result<(), DispatchClosed> {
        self.send(Message::Observe(Box::new(seen))).await
    }

    /// Begins to lead (or, leading already, starts over) from everything that is in the record. Once this returns, claims
    /// are taken and decisions are written; facts told before it must be part of `world`.
    ///
    /// # Errors
    /// `DispatchClosed`.
    pub async fn lead(&self, world: WorldSeen) -> Result<(), DispatchClosed> {
        self.ask(|reply| Message::Lead(Box::new(world), reply)).await
    }

    /// Stops deciding and writing: parked claims are answered empty, waiting finishes are sent away to be repeated,
    /// streams end. Once this returns nothing more is written. [`Dispatch::lead`] begins anew.
    pub async fn step_down(&self) {
        // Shut down already: nothing leads.
        let _ = self.ask(Message::StepDown).await;
    }

    /// Whether worker calls are served.
    pub fn is_leading(&self) -> bool {
        self.inner.leading.load(std::sync::atomic::Ordering::Acquire)
    }

    /// The worker protocol: `POST /worker/v1/...`.
    pub fn worker_router(&self) -> axum::Router {
        routes::router(self)
    }

    /// What may be asked: `GET /dispatch/v1/...`.
    pub fn read_router(&self) -> axum::Router {
        reads::router(self)
    }

    /// A stream of where the job stands: what is known now, then each change, to the end. See [`JobWatch::next`].
    ///
    /// # Errors
    /// `TooManyWatchers`.
    pub fn watch_job(&self, job: &JobId) -> Result<JobWatch, TooManyWatchers> {
        self.inner.events.watch(job)
    }

    /// Tells the job's watchers. For what only the shell knows: how a job ended that was not ended through here (call it
    /// before observing the job as ended). What is older than what the watchers know is dropped.
    pub fn announce(&self, event: JobEvent) {
        self.inner.events.publish(event);
    }

    /// Why the job is not running; none if it is not known.
    pub async fn verdict(&self, job: &JobId) -> Option<Verdict> {
        self.ask(|reply| Message::Verdict(job.clone(), reply)).await.ok().flatten()
    }

    /// Why the job is not running, what would start it and when it should; none if it is not known.
    pub async fn explain(&self, job: &JobId) -> Option<Explanation> {
        self.ask(|reply| Message::Explain(job.clone(), reply)).await.ok().flatten()
    }

    /// When the job should start and end; none if it is not known, has ended, or nothing here can run it.
    pub async fn estimate(&self, job: &JobId) -> Option<Estimate> {
        self.ask(|reply| Message::Estimate(job.clone(), reply)).await.ok().flatten()
    }

    /// Queues and workers as they stand.
    pub async fn overview(&self) -> Overview {
        self.ask(Message::Overview).await.unwrap_or_default()
    }

    /// What was learned of what work costs, at most this many runs and as many loads.
    pub async fn learned(&self, most: usize) -> Learned {
        self.ask(|reply| Message::Learned(most, reply)).await.unwrap_or_default()
    }

    /// Takes in what an earlier one learned. Tell it before [`Dispatch::lead`], so that the first jobs are judged by it.
    ///
    /// # Errors
    /// `DispatchClosed`.
    pub async fn teach(&self, learned: Learned) -> Result<(), DispatchClosed> {
        self.ask(|reply| Message::Teach(Box::new(learned), reply)).await
    }

    /// The workers heard of lately, in the order of their names.
    pub async fn workers(&self) -> Vec<WorkerSeen> {
        self.ask(Message::Workers).await.unwrap_or_default()
    }

    /// Ends everything: parked claims are answered empty, streams end, the task returns.
    pub async fn shutdown(&self) {
        // An error says it was shut down before.
        let _ = self.ask(Message::Shutdown).await;
    }

    pub(crate) async fn send(&self, message: Message) -> Result<(), DispatchClosed> {
        self.inner.inbox.send(message).await.map_err(|_| DispatchClosed)
    }

    pub(crate) async fn ask<T>(
        &self,
        message: impl FnOnce(oneshot::Sender<T>) -> Message,
    ) -> Result<T, DispatchClosed> {
        let (reply, answer) = oneshot::channel();
        self.send(message(reply)).await?;
        answer.await.map_err(|_| DispatchClosed)
    }
}

fn open_log(to: JournalConfig, scheduler: &tintype_scheduler::Config) -> Result<Journal, StartError> {
    let path = to.path.clone();
    Journal::start(to, scheduler.clone()).map_err(|source| StartError::DecisionLog { path, source })
}
