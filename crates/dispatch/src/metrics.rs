//! What is counted. Labels come from closed lists, never from a worker or a job.

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry};

use crate::scheduling::Scheduling;

/// Seconds; a write to a cluster takes milliseconds, its timeout is half a minute.
const WRITE_BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) claims: IntCounterVec,
    pub(crate) renews: IntCounterVec,
    pub(crate) finishes: IntCounterVec,
    pub(crate) writes: HistogramVec,
    pub(crate) parked_claims: IntGauge,
    pub(crate) running_attempts: IntGauge,
    pub(crate) event_watchers: IntGauge,
    pub(crate) queue_depth: IntGauge,
    pub(crate) queued_writes: IntGauge,
    pub(crate) scheduling: Scheduling,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str, label: &str| {
            let counter = IntCounterVec::new(Opts::new(format!("tintype_dispatch_{name}"), help), &[label])?;
            registry.register(Box::new(counter.clone())).map(|()| counter)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(format!("tintype_dispatch_{name}"), help)?;
            registry.register(Box::new(gauge.clone())).map(|()| gauge)
        };
        let writes = HistogramOpts::new("tintype_dispatch_write_seconds", "How long the record took for a decision.")
            .buckets(WRITE_BUCKETS.to_vec());
        let writes = HistogramVec::new(writes, &["decision", "outcome"])?;
        registry.register(Box::new(writes.clone()))?;
        let finishes = counter("finishes_total", "Finish calls by their answer.", "outcome")?;
        // A counter that is there at 0 shows its first increase.
        for outcome in ["written", "stale", "unavailable", "invalid"] {
            finishes.with_label_values(&[outcome]);
        }
        Ok(Self {
            claims: counter("claims_total", "Claims by how they ended.", "outcome")?,
            renews: counter("renews_total", "Renewals by their answer.", "answer")?,
            finishes,
            writes,
            parked_claims: gauge("parked_claims", "Claims held open now.")?,
            running_attempts: gauge("running_attempts", "Attempts that are out with workers.")?,
            event_watchers: gauge("event_watchers", "Streams of job events that are open.")?,
            queue_depth: gauge("queue_depth", "Messages that wait for the dispatcher.")?,
            queued_writes: gauge("queued_writes", "Decisions not yet written, under way ones included.")?,
            scheduling: Scheduling::register(registry)?,
        })
    }
}
