//! What is counted. Labels come from closed lists, never from a job, a model or a user.

use prometheus::{
    Encoder as _, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use crate::probe::FaultKind;

/// Seconds a step may take: the tiny model takes 30 ms on a CPU, SDXL on a CPU a minute.
const STEP_BUCKETS: [f64; 12] = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];

/// Everything counted, in a registry of its own.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    /// Calls to dispatcher and store by `call` and `outcome`.
    pub(crate) calls: IntCounterVec,
    /// Faults of GPUs by `kind`.
    pub(crate) gpu_faults: IntCounterVec,
    /// Attempts by how they ended.
    pub(crate) attempts: IntCounterVec,
    /// Pictures stored.
    pub(crate) images: IntCounter,
    /// Seconds a denoising step took.
    pub(crate) steps: Histogram,
    /// Attempts that run now.
    pub(crate) busy: IntGauge,
}

impl Metrics {
    pub(crate) fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(format!("tintype_worker_{name}"), help), labels)?;
            registry.register(Box::new(counter.clone())).map(|()| counter)
        };
        let calls = counter("calls_total", "Calls made, by call and outcome.", &["call", "outcome"])?;
        let gpu_faults = counter("gpu_faults_total", "Faults of GPUs, by kind.", &["kind"])?;
        for kind in FaultKind::ALL {
            // A counter that is there at 0 shows its first increase.
            gpu_faults.with_label_values(&[kind.as_str()]);
        }
        let attempts = counter("attempts_total", "Attempts, by how they ended.", &["outcome"])?;
        let images = IntCounter::new("tintype_worker_images_total", "Pictures stored.")?;
        registry.register(Box::new(images.clone()))?;
        let steps = HistogramOpts::new("tintype_worker_step_seconds", "How long a denoising step took.");
        let steps = Histogram::with_opts(steps.buckets(STEP_BUCKETS.to_vec()))?;
        registry.register(Box::new(steps.clone()))?;
        let busy = IntGauge::new("tintype_worker_busy", "Attempts that run now.")?;
        registry.register(Box::new(busy.clone()))?;
        Ok(Self { registry, calls, gpu_faults, attempts, images, steps, busy })
    }

    /// All of it in the text format Prometheus scrapes.
    pub(crate) fn text(&self) -> prometheus::Result<String> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}
