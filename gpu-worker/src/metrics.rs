//! What is counted. Labels come from closed lists, never from a job, a model or a user.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::{
    Encoder as _, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};
use tintype_types::worker::{ResidentModel, Tier, UnwellReason};
use tintype_types::{FailureReason, ModelFamily};

use crate::client::{CALLS, OUTCOMES};
use crate::gpu_metrics;
use crate::probe::{FaultKind, GpuProbe};

/// Seconds a step may take: the tiny model takes 30 ms on a CPU, SDXL on a CPU a minute.
const STEP_BUCKETS: [f64; 12] = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];

/// Seconds a load may take: a small model some milliseconds, SDXL from a slow disk a minute.
const LOAD_BUCKETS: [f64; 9] = [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0];

/// Everything counted, in a registry of its own.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    /// Calls to dispatcher and store by `call` and `outcome`.
    pub(crate) calls: IntCounterVec,
    /// Faults of GPUs by `kind`.
    pub(crate) gpu_faults: IntCounterVec,
    unwell: IntGaugeVec,
    /// Attempts by how they ended.
    pub(crate) attempts: IntCounterVec,
    /// Models loaded ahead of jobs, by how that ended.
    pub(crate) warm_ups: IntCounterVec,
    /// Pictures stored.
    pub(crate) images: IntCounter,
    /// Seconds a denoising step took, by the model's family.
    steps: HistogramVec,
    /// Attempts that run now.
    pub(crate) busy: IntGauge,
    resident_models: IntGauge,
    resident_bytes: IntGauge,
    /// Seconds it took to load a model, by `tier`.
    loads: HistogramVec,
    /// Models put out of memory, by the `tier` they had come from.
    evictions: IntCounterVec,
    /// Who was in memory when last told.
    told: Arc<Mutex<Vec<ResidentModel>>>,
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
        for (call, outcome) in CALLS.iter().flat_map(|call| OUTCOMES.iter().map(move |outcome| (call, outcome))) {
            calls.with_label_values(&[*call, *outcome]);
        }
        let unwell = Opts::new("tintype_worker_unwell", "1 for the reason why this worker takes no work.");
        let unwell = IntGaugeVec::new(unwell, &["reason"])?;
        registry.register(Box::new(unwell.clone()))?;
        for reason in UnwellReason::ALL {
            unwell.with_label_values(&[reason.as_str()]);
        }
        let attempts = counter("attempts_total", "Attempts, by how they ended.", &["outcome"])?;
        for outcome in ["done", "preempted", "dropped"].into_iter().chain(FailureReason::ALL.map(FailureReason::as_str))
        {
            attempts.with_label_values(&[outcome]);
        }
        let warm_ups = counter("warm_ups_total", "Models loaded ahead of jobs, by how that ended.", &["outcome"])?;
        for outcome in ["loaded", "failed", "superseded"] {
            warm_ups.with_label_values(&[outcome]);
        }
        let images = IntCounter::new("tintype_worker_images_total", "Pictures stored.")?;
        registry.register(Box::new(images.clone()))?;
        let steps = HistogramOpts::new("tintype_worker_step_seconds", "How long a denoising step took.");
        let steps = HistogramVec::new(steps.buckets(STEP_BUCKETS.to_vec()), &["family"])?;
        registry.register(Box::new(steps.clone()))?;
        for family in [ModelFamily::Sd15, ModelFamily::Sd2, ModelFamily::Sdxl] {
            steps.with_label_values(&[family_name(Some(family))]);
        }
        let busy = IntGauge::new("tintype_worker_busy", "Attempts that run now.")?;
        registry.register(Box::new(busy.clone()))?;
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(format!("tintype_worker_{name}"), help)?;
            registry.register(Box::new(gauge.clone())).map(|()| gauge)
        };
        let resident_models = gauge("resident_models", "Models in memory.")?;
        let resident_bytes = gauge("resident_bytes", "Bytes of the models in memory.")?;
        let evictions = "Models put out of memory, by where they had been loaded from.";
        let evictions = counter("model_evictions_total", evictions, &["tier"])?;
        let loads = HistogramOpts::new("tintype_worker_model_load_seconds", "How long it took to load a model.");
        let loads = HistogramVec::new(loads.buckets(LOAD_BUCKETS.to_vec()), &["tier"])?;
        registry.register(Box::new(loads.clone()))?;
        for tier in [Tier::PageCache, Tier::Disk] {
            loads.with_label_values(&[tier_name(tier)]);
            evictions.with_label_values(&[tier_name(tier)]);
        }
        let told = Arc::default();
        Ok(Self {
            registry,
            calls,
            gpu_faults,
            unwell,
            attempts,
            warm_ups,
            images,
            steps,
            busy,
            resident_models,
            resident_bytes,
            loads,
            evictions,
            told,
        })
    }

    /// For what others count.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Shows the probe's GPUs from now on; with `dcgm` also under the names of NVIDIA's exporter.
    ///
    /// # Errors
    /// When GPUs are shown already.
    pub(crate) fn show_gpus(&self, probe: Arc<dyn GpuProbe>, dcgm: bool) -> prometheus::Result<()> {
        gpu_metrics::register(&self.registry, probe, dcgm)
    }

    /// Why no work is taken now, if none is.
    pub(crate) fn unwell(&self, now: Option<UnwellReason>) {
        for reason in UnwellReason::ALL {
            self.unwell.with_label_values(&[reason.as_str()]).set(i64::from(now == Some(reason)));
        }
    }

    /// A step of a model took so long.
    pub(crate) fn step(&self, family: Option<ModelFamily>, took: Duration) {
        self.steps.with_label_values(&[family_name(family)]).observe(took.as_secs_f64());
    }

    /// Told who is in memory; a load that was not there the last time is counted.
    pub(crate) fn residents(&self, now: &[ResidentModel]) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for new in now.iter().filter(|model| !told.contains(model)) {
            self.loads.with_label_values(&[tier_name(new.tier)]).observe(new.load_ms as f64 / 1e3);
        }
        for gone in told.iter().filter(|model| !now.contains(model)) {
            self.evictions.with_label_values(&[tier_name(gone.tier)]).inc();
        }
        self.resident_models.set(now.len() as i64);
        self.resident_bytes.set(now.iter().map(|model| model.bytes).sum::<u64>() as i64);
        *told = now.to_vec();
    }

    /// All of it in the text format Prometheus scrapes.
    pub(crate) fn text(&self) -> prometheus::Result<String> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

fn family_name(family: Option<ModelFamily>) -> &'static str {
    match family {
        Some(ModelFamily::Sd15) => "sd15",
        Some(ModelFamily::Sd2) => "sd2",
        Some(ModelFamily::Sdxl) => "sdxl",
        None => "other",
    }
}

fn tier_name(tier: Tier) -> &'static str {
    match tier {
        Tier::PageCache => "page_cache",
        Tier::Disk => "disk",
    }
}
