//! What is counted of the lanes.

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::errand::Standing;

/// Seconds an errand takes, from a statement to the longest lease.
const SECONDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0];

/// The lanes' metrics. Cloning is cheap; clones are the same.
#[derive(Clone, Debug)]
pub struct LaneMetrics {
    pub(super) errands: IntCounterVec,
    pub(super) seconds: HistogramVec,
    waiting: IntGaugeVec,
    dead: IntGaugeVec,
    late: IntGaugeVec,
}

impl LaneMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// They are registered already.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| -> prometheus::Result<IntGaugeVec> {
            let made = IntGaugeVec::new(Opts::new(name, help), &["lane"])?;
            registry.register(Box::new(made.clone()))?;
            Ok(made)
        };
        let errands = IntCounterVec::new(
            Opts::new("tintype_api_errands_total", "Tries of errands, by lane and how they went"),
            &["lane", "outcome"],
        )?;
        registry.register(Box::new(errands.clone()))?;
        let seconds = HistogramVec::new(
            HistogramOpts::new("tintype_api_errand_seconds", "Time a try of an errand takes").buckets(SECONDS.to_vec()),
            &["lane"],
        )?;
        registry.register(Box::new(seconds.clone()))?;
        Ok(Self {
            errands,
            seconds,
            waiting: gauge("tintype_api_errands_waiting", "Errands that wait for a try")?,
            dead: gauge("tintype_api_errands_dead", "Errands that were given up")?,
            late: gauge("tintype_api_errands_late_seconds", "For how long the errand that waits longest has been due")?,
        })
    }

    /// Takes over how the lanes stand. Lanes without errands stand at zero.
    pub(super) fn census(&self, lanes: &[&'static str], standings: &[Standing], now_ms: i64) {
        for lane in lanes {
            let found = standings.iter().find(|standing| standing.lane == *lane);
            let late = found.and_then(|standing| standing.oldest_due_ms).map_or(0, |due| (now_ms - due).max(0) / 1_000);
            self.waiting.with_label_values(&[lane]).set(found.map_or(0, |standing| standing.waiting));
            self.dead.with_label_values(&[lane]).set(found.map_or(0, |standing| standing.dead));
            self.late.with_label_values(&[lane]).set(late);
        }
    }
}
