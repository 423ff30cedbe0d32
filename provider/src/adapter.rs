//! The adapter's life: start, claim as many jobs as the provider may run, and again, until told to stop.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use kube::Client as Kube;
use kube::config::{KubeConfigOptions, Kubeconfig};
use reqwest::Url;
use tintype_crds::PoolProvider;
use tintype_purchase::{Event, MicroUsd, Window};
use tintype_types::reach::Reach;
use tintype_types::worker::{Assignment, Claim, Gpu};
use tintype_types::{BootId, JobId, PoolName, Timestamp, WorkerId};
use tintype_worker::client::{Backoff, Client};
use tintype_worker::output::Publisher;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::args::Args;
use crate::call::Caller;
use crate::dialect::Dialect;
use crate::keep::Keeper;
use crate::ledger::Ledger;
use crate::listen;
use crate::metrics::Metrics;
use crate::settings::{Source, caps, cheapest};

/// How long the dispatcher is asked to hold a claim open.
const CLAIM_WAIT: Duration = Duration::from_secs(25);
/// Least time between two claims, should a dispatcher not hold them.
const CLAIM_PERIOD_MIN: Duration = Duration::from_millis(200);
/// How long nothing is claimed after the budget, or the provider, did not allow a job.
pub(crate) const PAUSE: Duration = Duration::from_secs(30);

/// One adapter: who it is and what it works with.
pub(crate) struct Adapter {
    pub(crate) id: WorkerId,
    pub(crate) boot_id: BootId,
    pub(crate) pool: PoolName,
    pub(crate) dispatch: Client,
    pub(crate) source: Source,
    pub(crate) caller: Caller,
    pub(crate) ledger: Ledger,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) metrics: Metrics,
    pub(crate) public_url: Option<String>,
    pub(crate) webhook_secret: Option<String>,
    pub(crate) poll: Duration,
    /// Whether uploaded pictures are handed over by their signed URLs.
    pub(crate) input_urls: bool,
    /// Rung when something was heard of a purchase.
    pub(crate) bell: Notify,
    /// Jobs that have an attempt here.
    pub(crate) busy: Mutex<BTreeSet<JobId>>,
    /// Numbers of purchases that are being sent.
    pub(crate) sending: Mutex<BTreeSet<u64>>,
    /// Nothing is claimed before this.
    paused_until: watch::Sender<Instant>,
    /// Whether the dispatcher has answered the last claim.
    pub(crate) heard: AtomicBool,
    /// What the pool said last.
    settings: RwLock<Arc<PoolProvider>>,
}

/// What is left of a budget.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Budget {
    /// Enough for the cheapest job.
    Allows,
    /// Less than that.
    UsedUp,
}

/// Runs an adapter until `shutdown`; then gives its jobs back, whose purchases go on, and returns.
///
/// # Errors
/// Settings that cannot work, or a book that cannot be read. Once it claims, it goes on whatever others do.
pub async fn run(args: Args, shutdown: CancellationToken) -> Result<()> {
    tintype_worker::log::start(args.log_format);
    // An error means that the program around us has chosen one.
    let _chosen = rustls::crypto::ring::default_provider().install_default();
    let (listen, sweep) = (args.listen, args.sweep());
    let adapter = Arc::new(start(args).await?);
    // Whatever was being sent when this program last ended may have arrived.
    let pool = adapter.pool.clone();
    let begun = adapter.ledger.change(|book| {
        book.restarted(&pool);
        Ok::<_, std::convert::Infallible>(())
    });
    let Ok(()) = begun.await.context("reading the book of purchases")?;
    let listening = match listen {
        Some(address) => {
            let listener = TcpListener::bind(address).await.with_context(|| format!("listening on {address}"))?;
            Some(listen::serve(listener, Arc::clone(&adapter), shutdown.child_token())?)
        }
        None => None,
    };
    tracing::info!(worker.id = %adapter.id, pool = %adapter.pool, "the adapter starts");
    tokio::select! {
        lived = adapter.live(&shutdown) => lived?,
        () = adapter.look_after(sweep) => {}
    }
    if let Some(listening) = listening {
        listening.await.context("the listener broke")?;
    }
    Ok(())
}

async fn start(args: Args) -> Result<Adapter> {
    let pool = PoolName(args.pool.clone());
    let (source, keeper) = match (&args.pool_file, &args.book_file) {
        (Some(file), Some(book)) => (Source::File(file.clone(), pool.clone()), Keeper::File(book.clone())),
        (Some(_), None) => bail!("--pool-file needs --book-file: without a cluster, the book is a file"),
        (None, _) => {
            let config = kube_config(&args).await?;
            let namespace = args.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
            let client = Kube::try_from(config).context("making a client for the API server")?;
            (Source::cluster(client.clone(), &pool), Keeper::map(client, &namespace, &args.book_name))
        }
    };
    let settings = source.read().await?;
    let output = args.output.clone();
    let publisher =
        tokio::task::spawn_blocking(move || output.publisher()).await.context("setting up the output broke")??;
    let metrics = Metrics::new(&pool, settings.kind.as_str()).context("cannot set up metrics")?;
    let dispatch = Url::parse(&args.dispatch_url).context("--dispatch-url is no address")?;
    let dispatch = Client::new(dispatch, args.token_file.clone(), metrics.worker_calls.clone());
    let reach = if args.private_pictures { Reach::Private } else { Reach::Public };
    let caller = Caller::new(args.key_file.clone(), metrics.calls.clone(), reach);
    let caller = caller.context("cannot set up the HTTP client")?;
    caller.key().await.context("--key-file")?;
    let webhook_secret = match &args.webhook_secret_file {
        Some(file) => Some(std::fs::read_to_string(file).context("reading --webhook-secret-file")?),
        None => None,
    };
    Ok(Adapter {
        id: WorkerId(args.worker_id.clone().unwrap_or_else(|| args.pool.clone())),
        boot_id: BootId(uuid::Uuid::new_v4().to_string()),
        pool,
        dispatch: dispatch.context("cannot set up the HTTP client")?,
        source,
        caller,
        ledger: Ledger::new(keeper),
        publisher: Arc::new(publisher),
        metrics,
        public_url: args.public_url.clone(),
        webhook_secret,
        poll: args.poll(),
        input_urls: args.input_urls,
        bell: Notify::new(),
        busy: Mutex::default(),
        sending: Mutex::default(),
        paused_until: watch::Sender::new(Instant::now()),
        heard: AtomicBool::new(false),
        settings: RwLock::new(Arc::new(settings)),
    })
}

async fn kube_config(args: &Args) -> Result<kube::Config> {
    let mut config = match &args.kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path).with_context(|| format!("reading {}", path.display()))?;
            kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.context("the kubeconfig")?
        }
        None => kube::Config::infer().await.context("finding a cluster: run in a pod, or give --pool-file")?,
    };
    // The library would send a write again that may have been carried out.
    config.default_retry = false;
    Ok(config)
}

impl Adapter {
    /// Claims while there are free slots, and runs what it was given beside that.
    async fn live(self: &Arc<Self>, shutdown: &CancellationToken) -> Result<()> {
        let (mut backoff, mut attempts) = (Backoff::new(), JoinSet::new());
        while !shutdown.is_cancelled() {
            self.metrics.busy.set(attempts.len() as i64);
            let free_slots = self.settings().concurrency_max.saturating_sub(attempts.len() as u32);
            if free_slots == 0 {
                if let Some(ended) = attempts.join_next().await {
                    ended.context("an attempt broke")?;
                }
                continue;
            }
            let claimed = {
                let mut claim = std::pin::pin!(self.claim(free_slots, &mut backoff));
                loop {
                    tokio::select! {
                        claimed = &mut claim => break claimed,
                        // The claim stays open: it may be being answered.
                        Some(ended) = attempts.join_next() => ended.context("an attempt broke")?,
                        () = shutdown.cancelled() => break None,
                    }
                }
            };
            if let Some(assignment) = claimed {
                let (adapter, drain) = (Arc::clone(self), shutdown.clone());
                attempts.spawn(async move { adapter.run_attempt(&assignment, &drain).await });
            }
        }
        while let Some(ended) = attempts.join_next().await {
            ended.context("an attempt broke")?;
        }
        Ok(())
    }

    /// Asks once for work, and pauses where that is right.
    async fn claim(&self, free_slots: u32, backoff: &mut Backoff) -> Option<Assignment> {
        let mut pauses = self.paused_until.subscribe();
        let until = *pauses.borrow_and_update();
        tokio::time::sleep_until(until).await;
        let (settings, budget) = match self.may_buy().await {
            Ok(known) => known,
            Err(error) => {
                tracing::error!(pool = %self.pool, error = format!("{error:#}"), "nothing is claimed");
                self.pause(PAUSE);
                return None;
            }
        };
        // Where nothing may be bought, the dispatcher is still told that somebody is there, and asked for nothing.
        let (free_slots, wait) = match budget {
            Budget::Allows => (free_slots, CLAIM_WAIT),
            Budget::UsedUp => (0, Duration::ZERO),
        };
        let models: Vec<_> = settings.models.iter().map(|model| model.name.clone()).collect();
        let kind = settings.kind.as_str();
        let claim = Claim {
            worker: self.id.clone(),
            boot_id: self.boot_id.clone(),
            pool: self.pool.clone(),
            gpus: vec![Gpu { uuid: format!("{kind}-{}", self.pool), name: kind.to_owned(), ..Gpu::default() }],
            // What loading costs a provider is part of what its runs take.
            resident_models: models.clone(),
            residents: Vec::new(),
            loadable_models: models,
            free_slots,
            wait_ms: wait.as_millis() as u64,
            warm_up: None,
            unwell: None,
        };
        let asked = Instant::now();
        // One held open is let go when a pause begins: it would be given the very job that was given back. Should it have
        // been answered on the way, the next claim is given the same assignment.
        let answer = tokio::select! {
            answer = self.dispatch.claim(&claim) => answer,
            _ = pauses.changed() => return None,
        };
        if budget == Budget::UsedUp {
            self.pause(PAUSE);
        }
        match answer {
            Ok(answer) => {
                *backoff = Backoff::new();
                self.heard.store(true, Ordering::Relaxed);
                if answer.assignment.is_none() {
                    tokio::time::sleep_until(asked + CLAIM_PERIOD_MIN).await;
                }
                answer.assignment
            }
            Err(error) => {
                self.heard.store(false, Ordering::Relaxed);
                tracing::warn!(%error, "the dispatcher gave no answer to a claim");
                tokio::time::sleep(backoff.pause()).await;
                None
            }
        }
    }

    /// The pool as it is now, and whether its budget would allow the cheapest of its jobs.
    async fn may_buy(&self) -> Result<(Arc<PoolProvider>, Budget)> {
        let settings = Arc::new(self.source.read().await?);
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&settings);
        let cheapest = cheapest(&settings)?;
        let (caps, pool, at) = (caps(&settings), &self.pool, now());
        let left = self.ledger.read(|book| {
            let left = |window, cap: MicroUsd| cap.less(book.spend(pool, window, at).total());
            left(Window::Day, caps.day).min(left(Window::Month, caps.month))
        });
        let left = left.await?;
        if cheapest <= left {
            return Ok((settings, Budget::Allows));
        }
        tracing::info!(
            pool = %self.pool, left_micro_usd = left.0, needed_micro_usd = cheapest.0,
            "nothing is claimed for now: of the budget, less is left than the cheapest job may cost"
        );
        Ok((settings, Budget::UsedUp))
    }

    /// Claims nothing for so long.
    pub(crate) fn pause(&self, length: Duration) {
        self.paused_until.send_modify(|until| *until = (*until).max(Instant::now() + length));
    }

    /// What the pool said last.
    pub(crate) fn settings(&self) -> Arc<PoolProvider> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn dialect<'a>(&'a self, settings: &PoolProvider, base: &'a Url) -> Dialect<'a> {
        Dialect { kind: settings.kind, base, caller: &self.caller }
    }

    /// Takes in what was heard of a purchase. What does not fit any more is no failure: somebody else was faster.
    pub(crate) async fn hear(&self, job: &JobId, number: u64, event: Event) -> Result<()> {
        if let Err(wrong) = self.ledger.change(|book| book.apply(job, number, event.clone())).await? {
            tracing::debug!(job.id = %job, purchase = number, %wrong, "something was heard too late");
        }
        Ok(())
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Now, by the wall clock, which is read here and nowhere else in this program.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
