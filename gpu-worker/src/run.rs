//! The worker's life: start, claim, run what was claimed, and again, until told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tintype_telemetry::Telemetry;
use tintype_types::worker::{Assignment, Claim, Unwell, WarmUpOrder};
use tintype_types::{BootId, PoolName, WorkerId};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::args::{Args, Config};
use crate::client::{Backoff, Client};
use crate::engine::{CrewOptions, Engine, Models};
use crate::fetch::Fetcher;
use crate::listen::{self, Readiness};
use crate::log;
use crate::metrics::Metrics;
use crate::output::Publisher;
use crate::pipeline::{CandlePipeline, Pipeline, Residency, ResidentLimits};
use crate::probe::{self, GpuProbe, Health, Neighbours, Trouble};
use crate::warm::Warming;

/// How long the dispatcher is asked to hold a claim open.
const CLAIM_WAIT: Duration = Duration::from_secs(25);
/// Least time between two claims, should a dispatcher not hold them.
const CLAIM_PERIOD_MIN: Duration = Duration::from_millis(200);
/// How often the models directories are looked at while they hold no model.
const RESCAN_PERIOD: Duration = Duration::from_secs(5);

/// What is held of a GPU's memory at work: nobody can say, or nothing in a build that draws on the CPU.
const HELD_AT_WORK: Option<u64> = if cfg!(feature = "cuda") { None } else { Some(0) };

/// What the answer to a claim says to do.
enum Told {
    /// Run this.
    Run(Box<Assignment>),
    /// Load this ahead of jobs.
    Warm(WarmUpOrder),
}

/// One worker: who it is and what it works with.
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) boot_id: BootId,
    pub(crate) client: Client,
    pub(crate) metrics: Metrics,
    pub(crate) probe: Arc<dyn GpuProbe>,
    /// What the probe says of the GPUs' health; its sender is gone where there is nothing to say.
    pub(crate) health: watch::Receiver<Health>,
    pub(crate) engine: Engine,
    /// Steps of a picture after which a checkpoint is made unasked; 0 is never.
    pub(crate) checkpoint_every: u32,
    pub(crate) publisher: Arc<Publisher>,
    /// Who brings models that are named by a URL; nobody where they are not done.
    pub(crate) fetcher: Option<Fetcher>,
    pub(crate) telemetry: Telemetry,
    /// The model that is loaded ahead of jobs, if one is.
    pub(crate) warming: Warming,
    /// Most jobs at a time.
    slots: u32,
    pool: PoolName,
    ready: Readiness,
    /// Whether the log has said that there is no model; it is said once.
    told_of_no_model: AtomicBool,
}

/// Runs a worker until `shutdown`; then gives back what it runs, within a step, and returns.
///
/// # Errors
/// Settings that cannot work. Once it claims, it goes on whatever the dispatcher does.
pub async fn run(args: Args, shutdown: CancellationToken) -> Result<()> {
    log::start(args.log_format);
    let nvml_lib = args.nvml_lib.clone();
    let neighbours = if args.share_gpu { Neighbours::Welcome } else { Neighbours::Trouble };
    let probe = tokio::task::spawn_blocking(move || probe::find(nvml_lib.as_deref(), neighbours))
        .await
        .context("the probe broke")?
        .context("--nvml-lib (TINTYPE_NVML_LIB) names a library of no use; without it the driver's is looked for")?;
    let memory = probe.read().first().map_or(0, |gpu| gpu.vram_total_bytes);
    let limits =
        ResidentLimits { count: args.resident_models_max, bytes: args.resident_bytes_max.unwrap_or(memory / 4 * 3) };
    let residency = Residency { limits, keep: args.keep(), unload_after: args.unload_after.map(Duration::from_secs) };
    let pipeline =
        CandlePipeline::with(args.models_dir.clone(), residency, args.device).context("cannot start the pipeline")?;
    let pipeline = pipeline.multiplied_in(args.precision).context("--precision cannot be had here")?;
    let pipeline = match &args.models_cache {
        Some(cache) => pipeline.cached_in(cache.clone()),
        None => pipeline,
    };
    run_with(args, pipeline, probe, shutdown).await
}

/// As [`run`], with another pipeline or probe.
///
/// # Errors
/// See [`run`].
pub async fn run_with(
    args: Args,
    pipeline: impl Pipeline,
    probe: Box<dyn GpuProbe>,
    shutdown: CancellationToken,
) -> Result<()> {
    let config = Config::new(&args)?;
    // reqwest brings no TLS provider of its own; an error means that the program around us has chosen one.
    let _chosen = rustls::crypto::ring::default_provider().install_default();
    let output = args.output.clone();
    let publisher =
        tokio::task::spawn_blocking(move || output.publisher()).await.context("setting up the output broke")??;
    let metrics = Metrics::new().context("cannot set up metrics")?;
    let telemetry =
        Telemetry::open(&args.telemetry, "tintype-worker", metrics.registry()).context("cannot set up traces")?;
    let probe: Arc<dyn GpuProbe> = Arc::from(probe);
    metrics.show_gpus(Arc::clone(&probe), args.dcgm_metrics).context("cannot set up the GPUs' metrics")?;
    let client = Client::new(config.dispatch, config.token_file, metrics.calls.clone())
        .context("cannot set up the HTTP client")?;
    let fetcher = args.models_cache.clone().map(|cache| Fetcher::new(args.models_dir.clone(), cache, metrics.clone()));
    let fetcher = fetcher.transpose().context("cannot set up the client for models")?;
    let counted = metrics.clone();
    let on_step = Box::new(move |family, took| counted.step(family, took));
    let options = CrewOptions { on_step, ..CrewOptions::default() };
    let engine = Engine::start(pipeline, options).context("cannot start the engine's thread")?;
    let ready = Readiness::default();
    let listening = match config.listen {
        Some(address) => Some(listen::serve(address, metrics.clone(), ready.clone(), shutdown.child_token()).await?),
        None => None,
    };
    let worker = Arc::new(Worker {
        id: config.worker,
        boot_id: BootId(uuid::Uuid::new_v4().to_string()),
        client,
        metrics,
        health: probe.health(),
        probe,
        engine,
        checkpoint_every: config.checkpoint_every,
        publisher: Arc::new(publisher),
        fetcher,
        telemetry,
        warming: Warming::default(),
        slots: config.slots,
        pool: config.pool,
        ready,
        told_of_no_model: AtomicBool::new(false),
    });
    tracing::info!(worker.id = %worker.id, pool = %worker.pool, "the worker starts");
    tokio::select! {
        lived = worker.live(&shutdown) => lived?,
        () = worker.tell_health() => {}
    }
    tracing::info!(worker.id = %worker.id, "the worker ends");
    worker.telemetry.close().await;
    if let Some(listening) = listening {
        listening.await.context("the probe listener broke")?;
    }
    Ok(())
}

impl Worker {
    /// Claims while there are free slots, and runs what it was given beside that.
    async fn live(self: &Arc<Self>, shutdown: &CancellationToken) -> Result<()> {
        let (mut backoff, mut attempts, mut loads) = (Backoff::new(), JoinSet::new(), JoinSet::new());
        while !shutdown.is_cancelled() {
            self.metrics.busy.set(attempts.len() as i64);
            let free_slots = self.slots.saturating_sub(attempts.len() as u32);
            if free_slots == 0 {
                if let Some(ended) = attempts.join_next().await {
                    ended.context("an attempt broke")?;
                }
                continue;
            }
            let claimed = {
                let mut claim = std::pin::pin!(self.claim_as_fit(free_slots, &mut backoff));
                loop {
                    tokio::select! {
                        claimed = &mut claim => break claimed?,
                        // The claim stays open: it may be being answered.
                        Some(ended) = attempts.join_next() => {
                            ended.context("an attempt broke")?;
                            self.metrics.busy.set(attempts.len() as i64);
                        }
                        () = shutdown.cancelled() => break None,
                    }
                }
            };
            while loads.try_join_next().is_some() {}
            match claimed {
                Some(Told::Run(assignment)) => {
                    self.probe.holds(HELD_AT_WORK);
                    self.warming.give_way_to(&assignment.request.model);
                    let (worker, drain) = (Arc::clone(self), shutdown.clone());
                    attempts.spawn(async move { worker.run_traced(&assignment, &drain).await });
                }
                Some(Told::Warm(order)) => {
                    self.probe.holds(HELD_AT_WORK);
                    self.begin_warm_up(order, &mut loads);
                }
                None => {}
            }
        }
        self.warming.stop();
        // They give their jobs back, within a step.
        while let Some(ended) = attempts.join_next().await {
            ended.context("an attempt broke")?;
        }
        while loads.join_next().await.is_some() {}
        self.metrics.busy.set(0);
        Ok(())
    }

    /// Asks for work, or says why it takes none while the GPU is not fit for it. A claim held open is let go when that
    /// changes; should it have been answered on the way, the dispatcher gives the same assignment to the next claim, or its
    /// lease runs out.
    async fn claim_as_fit(&self, free_slots: u32, backoff: &mut Backoff) -> Result<Option<Told>> {
        let trouble = self.health.borrow().trouble.clone();
        let before = trouble.as_ref().map(Trouble::reason);
        tokio::select! {
            claimed = self.claim(free_slots, trouble.as_ref(), backoff) => claimed,
            () = self.until(|health| health.trouble.as_ref().map(Trouble::reason) != before) => Ok(None),
            // What is in memory now is to be told at once.
            () = self.warming.ended() => Ok(None),
        }
    }

    /// Waits for a state of health; for ever, where nothing is said of it any more.
    pub(crate) async fn until(&self, wanted: impl FnMut(&Health) -> bool) {
        if self.health.clone().wait_for(wanted).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Carries each change of health to the log, to the metrics and to who asks whether this worker is ready.
    async fn tell_health(&self) {
        let (mut news, mut told) = (self.health.clone(), Health::default());
        loop {
            let health = news.borrow_and_update().clone();
            for (kind, count) in &health.faults {
                let before = told.faults.get(kind).copied().unwrap_or(0);
                let more = u64::from(count.saturating_sub(before));
                self.metrics.gpu_faults.with_label_values(&[kind.as_str()]).inc_by(more);
            }
            match (&told.trouble, &health.trouble) {
                (before, Some(trouble)) if before.as_ref() != Some(trouble) => {
                    tracing::error!(worker.id = %self.id, why = %trouble, "no work is taken");
                }
                (Some(_), None) => tracing::info!(worker.id = %self.id, "the GPU is well again; work is taken"),
                (_, _) => {}
            }
            self.metrics.unwell(health.trouble.as_ref().map(Trouble::reason));
            self.ready.gpu(health.trouble.as_ref().map(ToString::to_string));
            told = health;
            if news.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Asks once for work, or says that none can be taken, and pauses where that is right.
    async fn claim(&self, free_slots: u32, trouble: Option<&Trouble>, backoff: &mut Backoff) -> Result<Option<Told>> {
        let models = match self.warming.models() {
            Some(models) => models,
            None => self.engine.models().await.context("looking for models")?,
        };
        self.warming.remember(&models);
        let Models { resident: residents, loadable: loadable_models } = models;
        self.metrics.residents(&residents);
        // A build that draws on the CPU has none of the GPU's memory.
        let bytes = if cfg!(feature = "cuda") { residents.iter().map(|resident| resident.bytes).sum() } else { 0 };
        let idle = free_slots == self.slots && self.warming.models().is_none();
        self.probe.holds(if idle { Some(bytes) } else { HELD_AT_WORK });
        self.ready.models(!loadable_models.is_empty());
        // An empty list would mean "any model" to the dispatcher.
        if loadable_models.is_empty() {
            if !self.told_of_no_model.swap(true, Ordering::Relaxed) {
                tracing::warn!("no model was found; put a diffusers folder into a models directory");
            }
            tokio::time::sleep(RESCAN_PERIOD).await;
            return Ok(None);
        }
        self.told_of_no_model.store(false, Ordering::Relaxed);
        let standing = self.warming.standing();
        let claim = Claim {
            worker: self.id.clone(),
            boot_id: self.boot_id.clone(),
            pool: self.pool.clone(),
            gpus: self.probe.read(),
            resident_models: residents.iter().map(|resident| resident.name.clone()).collect(),
            residents,
            loadable_models,
            free_slots: if trouble.is_some() { 0 } else { free_slots },
            wait_ms: CLAIM_WAIT.as_millis() as u64,
            warm_up: trouble.is_none().then(|| standing.clone()),
            unwell: trouble.map(|trouble| Unwell { reason: trouble.reason(), message: trouble.to_string() }),
        };
        let asked = Instant::now();
        match self.client.claim(&claim).await {
            Ok(answer) => {
                *backoff = Backoff::new();
                self.ready.heard(true);
                if claim.warm_up.is_some() {
                    self.warming.heard(&standing);
                }
                let told = answer.assignment.map(|work| Told::Run(Box::new(work)));
                let told = told.or_else(|| answer.warm_up.map(Told::Warm));
                if told.is_none() {
                    tokio::time::sleep_until(asked + CLAIM_PERIOD_MIN).await;
                }
                Ok(told)
            }
            Err(error) => {
                self.ready.heard(false);
                let pause = backoff.pause();
                tracing::warn!(%error, pause_ms = pause.as_millis() as u64, "the dispatcher gave no answer to a claim");
                tokio::time::sleep(pause).await;
                Ok(None)
            }
        }
    }
}
