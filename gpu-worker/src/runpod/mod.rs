//! `gpu-worker runpod`: the same pipeline as a worker on RunPod's serverless GPUs, so that they can join as a burst pool.
//!
//! RunPod's platform hands jobs out and takes results by addresses in the environment; a provider's pool with no `input`
//! mapping sends our requests there whole (docs/providers.md). Nothing of a dispatcher or a store is known here: pictures
//! go back in the answer. One job at a time, as RunPod starts one worker a job.

mod args;
mod job;
mod platform;

pub use args::RunpodArgs;

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::log;
use crate::output::Publisher;
use crate::pipeline::{CandlePipeline, Pipeline, ResidentLimits};
use job::Answer;
use platform::{Platform, Taken};

/// Models kept in memory at a time.
const MODELS_MAX: usize = 4;

/// Takes jobs from RunPod until `shutdown`; the job under way is ended first.
///
/// # Errors
/// Settings that cannot work. Once it takes jobs, it goes on whatever the platform does.
pub async fn run(args: RunpodArgs, shutdown: CancellationToken) -> Result<()> {
    log::start(args.log_format);
    let limits = ResidentLimits { count: MODELS_MAX, bytes: 0 };
    let pipeline = CandlePipeline::with(args.models_dir.clone(), limits.into(), args.device);
    let pipeline = pipeline.context("cannot start the pipeline")?;
    let pipeline = pipeline.multiplied_in(args.precision).context("--precision cannot be had here")?;
    run_with(args, pipeline, shutdown).await
}

/// As [`run`], with another pipeline.
///
/// # Errors
/// See [`run`].
pub async fn run_with(args: RunpodArgs, pipeline: impl Pipeline, shutdown: CancellationToken) -> Result<()> {
    // An error means that the program around us has chosen one.
    let _chosen = rustls::crypto::ring::default_provider().install_default();
    let output = args.output.clone();
    let publisher =
        tokio::task::spawn_blocking(move || output.publisher()).await.context("setting up the output broke")??;
    let platform = Arc::new(Platform::new(&args)?);
    let worker = Arc::new(Worker { pipeline: Mutex::new(pipeline), publisher });
    let mut beside = JoinSet::new();
    let pings = Arc::clone(&platform);
    beside.spawn(async move { pings.ping_for_ever().await });
    tracing::info!(worker.id = platform.worker(), "the worker starts on RunPod");
    while !shutdown.is_cancelled() {
        let taken = tokio::select! {
            taken = platform.take() => taken,
            () = shutdown.cancelled() => break,
        };
        let Some(Taken { id, input }) = taken else { continue };
        tracing::info!(job.id = %id, "a job begins");
        let (drawing, ended) = (Arc::clone(&worker), shutdown.clone());
        let answer = tokio::task::spawn_blocking(move || drawing.answer(&input, &ended)).await;
        let answer = answer.unwrap_or_else(|_| Answer::failed("drawing broke; the log of the worker says more"));
        if let Answer::Failed { error } = &answer {
            tracing::warn!(job.id = %id, why = %error, "a job failed");
        }
        platform.done(&id, &answer).await;
    }
    Ok(())
}

struct Worker<P> {
    pipeline: Mutex<P>,
    publisher: Publisher,
}

impl<P: Pipeline> Worker<P> {
    fn answer(&self, input: &serde_json::Value, shutdown: &CancellationToken) -> Answer {
        let mut pipeline = self.pipeline.lock().unwrap_or_else(PoisonError::into_inner);
        job::draw(&mut *pipeline, &self.publisher, input, shutdown)
    }
}
