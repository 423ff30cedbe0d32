//! What is counted. Labels come from closed sets, never from ids.

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::payments::metrics::StripeMetrics;

/// Seconds a request or a job takes, from a lookup to an hour in a queue.
const SECONDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 3_600.0];

/// Jobs in a batch, from one to the most there are.
const BATCH_JOBS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];

/// The API's metrics. Cloning is cheap; clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) registry: Registry,
    pub(crate) requests: IntCounterVec,
    pub(crate) request_seconds: HistogramVec,
    pub(crate) waiting: IntGauge,
    pub(crate) settled: IntCounterVec,
    pub(crate) job_seconds: HistogramVec,
    pub(crate) expired: IntCounter,
    pub(crate) vanished: IntCounter,
    pub(crate) lapsed: IntCounter,
    pub(crate) stripe: StripeMetrics,
    pub(crate) passes: IntCounterVec,
    pub(crate) key_checks: IntCounterVec,
    pub(crate) sign_ins: IntCounterVec,
    pub(crate) creation_batch: Histogram,
}

impl Metrics {
    pub(crate) fn new(registry: Registry) -> prometheus::Result<Self> {
        let counters = |name: &str, help: &str, labels: &[&str]| -> prometheus::Result<IntCounterVec> {
            let made = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(made.clone()))?;
            Ok(made)
        };
        let counter = |name: &str, help: &str| -> prometheus::Result<IntCounter> {
            let made = IntCounter::new(name, help)?;
            registry.register(Box::new(made.clone()))?;
            Ok(made)
        };
        let seconds = |name: &str, help: &str, labels: &[&str]| -> prometheus::Result<HistogramVec> {
            let made = HistogramVec::new(HistogramOpts::new(name, help).buckets(SECONDS.to_vec()), labels)?;
            registry.register(Box::new(made.clone()))?;
            Ok(made)
        };
        let waiting = IntGauge::new("tintype_api_waiting_requests", "Requests held open until their job ends")?;
        registry.register(Box::new(waiting.clone()))?;
        let batch = HistogramOpts::new("tintype_api_creation_batch_jobs", "Jobs made in one transaction");
        let creation_batch = Histogram::with_opts(batch.buckets(BATCH_JOBS.to_vec()))?;
        registry.register(Box::new(creation_batch.clone()))?;
        Ok(Self {
            requests: counters(
                "tintype_api_http_requests_total",
                "Requests answered, by method, route and status",
                &["method", "route", "status"],
            )?,
            request_seconds: seconds(
                "tintype_api_http_request_seconds",
                "Time to the head of the answer, by method and route",
                &["method", "route"],
            )?,
            waiting,
            settled: ended_jobs(counters)?,
            job_seconds: seconds(
                "tintype_api_job_seconds",
                "Time from a job's creation to its settlement, by how it was settled",
                &["outcome"],
            )?,
            expired: counter(
                "tintype_api_holds_expired_total",
                "Holds given back because no job could end them; must stay 0",
            )?,
            vanished: counter(
                "tintype_api_jobs_vanished_total",
                "Jobs that were gone from the cluster before they ended; must stay 0",
            )?,
            lapsed: counter(
                "tintype_api_lots_lapsed_total",
                "Lots of credits whose time came before they were used up",
            )?,
            stripe: StripeMetrics::new(&registry)?,
            passes: counters(
                "tintype_api_reconcile_passes_total",
                "Passes of the reconcilers, by how they went",
                &["reconciler", "outcome"],
            )?,
            creation_batch,
            key_checks: counters(
                "tintype_api_key_checks_total",
                "API keys checked, by where the answer came from",
                &["source"],
            )?,
            sign_ins: counters(
                "tintype_api_sign_ins_total",
                "Tries at signing in or up, by way and by how they went",
                &["way", "outcome"],
            )?,
            registry,
        })
    }
}

/// One that is not there at 0 shows no first increase.
fn ended_jobs(
    counters: impl Fn(&str, &str, &[&str]) -> prometheus::Result<IntCounterVec>,
) -> prometheus::Result<IntCounterVec> {
    let settled = counters("tintype_api_settled_total", "Jobs whose credits were settled, by how", &["outcome"])?;
    for outcome in ["captured", "captured-part", "voided", "ended-before"] {
        settled.with_label_values(&[outcome]);
    }
    Ok(settled)
}
