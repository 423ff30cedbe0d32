//! What is counted of traces. They are never waited for, so this is where it shows that some are missing.

use prometheus::{IntCounterVec, Opts, Registry};

/// What becomes of spans.
const SPANS: [&str; 3] = ["exported", "failed", "dropped"];
/// How calls to the collector end.
const CALLS: [&str; 3] = ["ok", "refused", "unreachable"];

#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    spans: IntCounterVec,
    calls: IntCounterVec,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str, outcomes: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(format!("tintype_telemetry_{name}"), help), &["outcome"])?;
            registry.register(Box::new(counter.clone()))?;
            for outcome in outcomes {
                // A counter that is there at 0 shows its first increase.
                counter.with_label_values(&[outcome]);
            }
            Ok::<_, prometheus::Error>(counter)
        };
        let spans = counter("spans_total", "Spans of traces that ended, by what became of them.", &SPANS)?;
        let calls = counter("calls_total", "Calls to the collector of traces, by how they ended.", &CALLS)?;
        Ok(Self { spans, calls })
    }

    /// The collector has them.
    pub(crate) fn exported(&self, spans: usize) {
        self.spans.with_label_values(&["exported"]).inc_by(spans as u64);
    }

    /// The collector did not take them.
    pub(crate) fn failed(&self, spans: usize) {
        self.spans.with_label_values(&["failed"]).inc_by(spans as u64);
    }

    /// There was no room for it.
    pub(crate) fn dropped(&self) {
        self.spans.with_label_values(&["dropped"]).inc();
    }

    /// A call ended: `ok`, `refused` or `unreachable`.
    pub(crate) fn call(&self, outcome: &'static str) {
        self.calls.with_label_values(&[outcome]).inc();
    }

    #[cfg(test)]
    pub(crate) fn spans(&self, outcome: &str) -> u64 {
        self.spans.with_label_values(&[outcome]).get()
    }

    #[cfg(test)]
    pub(crate) fn calls(&self, outcome: &str) -> u64 {
        self.calls.with_label_values(&[outcome]).get()
    }
}
