//! How the scheduler does, as Prometheus sees it: who waits, for what and for how long, who got what, and how far off it was
//! what jobs were told. Names follow Kueue's where it has them.
//!
//! Queues and pools have names that people choose, so the number of series is bounded: beyond it names are `other`. A queue
//! nobody declared is `-`: on one machine there is one for each account, and no account's id is a label.

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus::{Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};
use tintype_scheduler::{
    Decision, Mark, ModelAt, Pending, PendingReason, PreemptedFor, Scheduler, Side, ToldBy, WarmUpEnd,
};
use tintype_types::QueueKey;

use crate::labels::Labels;

/// Seconds a job may wait: some are given out at once, and after fifteen minutes one goes before all others.
const WAIT_BUCKETS: [f64; 13] = [0.01, 0.05, 0.25, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3_600.0];
/// Seconds an estimate may be off.
const OFF_BUCKETS: [f64; 10] = [0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0];
/// Seconds a step of the scheduler may take: microseconds, and milliseconds with hundreds of thousands of jobs.
const DECISION_BUCKETS: [f64; 10] = [0.000_01, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.005, 0.025, 0.1, 1.0];
/// A queue nobody declared.
const UNDECLARED: &str = "-";

/// Everything that is counted of the scheduler.
#[derive(Clone, Debug)]
pub(crate) struct Scheduling {
    pending: IntGaugeVec,
    first_since: GaugeVec,
    admitted: IntCounterVec,
    waits: HistogramVec,
    preempted: IntCounterVec,
    evicted: IntCounterVec,
    eta_errors: HistogramVec,
    decisions: HistogramVec,
    gap: Gauge,
    bound: Gauge,
    warm_ups: IntCounterVec,
    queues: Labels,
    pools: Labels,
}

impl Scheduling {
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(format!("tintype_scheduler_{name}"), help), labels)?;
            registry.register(Box::new(counter.clone())).map(|()| counter)
        };
        let histogram = |name: &str, help: &str, labels: &[&str], buckets: &[f64]| {
            let opts = HistogramOpts::new(format!("tintype_scheduler_{name}"), help).buckets(buckets.to_vec());
            let histogram = HistogramVec::new(opts, labels)?;
            registry.register(Box::new(histogram.clone())).map(|()| histogram)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = Gauge::new(format!("tintype_scheduler_{name}"), help)?;
            registry.register(Box::new(gauge.clone())).map(|()| gauge)
        };
        let pending =
            Opts::new("tintype_scheduler_pending_jobs", "Jobs that wait, by queue and by what they wait for.");
        let pending = IntGaugeVec::new(pending, &["queue", "reason"])?;
        registry.register(Box::new(pending.clone()))?;
        let first_since = Opts::new(
            "tintype_scheduler_first_pending_timestamp_seconds",
            "When the first job in a queue's line came; 0 while none waits.",
        );
        let first_since = GaugeVec::new(first_since, &["queue"])?;
        registry.register(Box::new(first_since.clone()))?;
        let (wait, eta) = ("How long jobs waited for their first worker.", "How far off it was when a job would end.");
        let took = "How long the scheduler took for one fact, by whether a job was given out.";
        let made = Self {
            pending,
            first_since,
            admitted: counter(
                "admitted_jobs_total",
                "Jobs given to workers, by queue, pool, and whether the model was there.",
                &["queue", "pool", "model"],
            )?,
            waits: histogram("admission_wait_time_seconds", wait, &["queue"], &WAIT_BUCKETS)?,
            preempted: counter("preempted_jobs_total", "Attempts stopped for other jobs.", &["queue", "reason"])?,
            evicted: counter("evicted_jobs_total", "Attempts that ended with their job queued again.", &["reason"])?,
            eta_errors: histogram("eta_error_seconds", eta, &["told", "side"], &OFF_BUCKETS)?,
            decisions: histogram("admission_attempt_duration_seconds", took, &["result"], &DECISION_BUCKETS)?,
            gap: gauge("fairness_gap_seconds", "How far the least and the most served queue are apart, in GPU time.")?,
            bound: gauge("fairness_bound_seconds", "How far they may be at most: docs/fairness.md.")?,
            warm_ups: counter("warm_ups_total", "Models loaded ahead of jobs, by how that ended.", &["outcome"])?,
            queues: Labels::default(),
            pools: Labels::default(),
        };
        made.begin_at_zero();
        Ok(made)
    }

    /// A counter that is there at 0 shows its first increase; one that appears with 1 does not, and no alert sees it.
    fn begin_at_zero(&self) {
        self.show_pending(&BTreeMap::new());
        self.waits.with_label_values(&[UNDECLARED]);
        for reason in PreemptedFor::ALL {
            self.preempted.with_label_values(&[UNDECLARED, reason.as_str()]);
        }
        for reason in tintype_types::FailureReason::ALL {
            self.evicted.with_label_values(&[reason.as_str()]);
        }
        for (by, side) in ToldBy::ALL.iter().flat_map(|by| Side::ALL.iter().map(move |side| (by, side))) {
            self.eta_errors.with_label_values(&[by.as_str(), side.as_str()]);
        }
        for end in WarmUpEnd::ALL {
            self.warm_ups.with_label_values(&[end.as_str()]);
        }
    }

    /// Counts what came about in a step.
    pub(crate) fn count(&self, mark: &Mark) {
        match mark {
            Mark::Admitted { queue, pool, model, waited } => {
                let (queue, pool) = (self.queue(queue.as_ref()), self.pools.label(pool.as_str()));
                let model: &ModelAt = model;
                self.admitted.with_label_values(&[queue.as_str(), pool.as_str(), model.as_str()]).inc();
                if let Some(waited) = waited {
                    self.waits.with_label_values(&[queue.as_str()]).observe(waited.as_secs_f64());
                }
            }
            Mark::Preempted { queue, reason } => {
                let queue = self.queue(queue.as_ref());
                self.preempted.with_label_values(&[queue.as_str(), reason.as_str()]).inc();
            }
            Mark::Told { by, off, side } => {
                self.eta_errors.with_label_values(&[by.as_str(), side.as_str()]).observe(off.as_secs_f64());
            }
            Mark::WarmUp { end } => self.warm_ups.with_label_values(&[end.as_str()]).inc(),
        }
    }

    /// A step took so long and came to this.
    pub(crate) fn decided(&self, decisions: &[Decision], took: Duration) {
        let admits = decisions.iter().any(|decision| matches!(decision, Decision::Assign { .. }));
        let result = if admits { "success" } else { "inadmissible" };
        self.decisions.with_label_values(&[result]).observe(took.as_secs_f64());
        for decision in decisions {
            if let Decision::Requeue { reason, .. } = decision {
                self.evicted.with_label_values(&[reason.as_str()]).inc();
            }
        }
    }

    /// Shows how things stand.
    pub(crate) fn show(&self, scheduler: &Scheduler) {
        self.gap.set(scheduler.fairness_gap().as_secs_f64());
        self.bound.set(scheduler.fairness_bound().as_secs_f64());
        self.show_pending(&scheduler.pending());
    }

    fn show_pending(&self, pending: &BTreeMap<Option<QueueKey>, Pending>) {
        self.pending.reset();
        self.first_since.reset();
        for reason in PendingReason::ALL {
            self.pending.with_label_values(&[UNDECLARED, reason.as_str()]);
        }
        self.first_since.with_label_values(&[UNDECLARED]);
        let mut first: BTreeMap<String, f64> = BTreeMap::new();
        for (queue, Pending { jobs, first_since }) in pending {
            let queue = self.queue(queue.as_ref());
            for (reason, jobs) in jobs {
                self.pending.with_label_values(&[queue.as_str(), reason.as_str()]).add(i64::from(*jobs));
            }
            if let Some(since) = first_since {
                let since = since.0 as f64 / 1e3;
                // Of the queues beyond the limit, the one that waits longest.
                first.entry(queue).and_modify(|before| *before = before.min(since)).or_insert(since);
            }
        }
        for (queue, since) in first {
            self.first_since.with_label_values(&[queue.as_str()]).set(since);
        }
    }

    fn queue(&self, queue: Option<&QueueKey>) -> String {
        queue.map_or_else(|| UNDECLARED.to_owned(), |queue| self.queues.label(queue.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use tintype_types::Timestamp;

    use super::*;

    fn admitted(queue: Option<&str>) -> Mark {
        let waited = Some(Duration::from_secs(3));
        Mark::Admitted { queue: queue.map(QueueKey::from), pool: "p".into(), model: ModelAt::ToLoad, waited }
    }

    fn text(registry: &Registry) -> String {
        prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
    }

    #[test]
    fn queues_beyond_the_limit_are_others_and_undeclared_ones_have_no_name() {
        let registry = Registry::new();
        let scheduling = Scheduling::register(&registry).unwrap();
        for number in 0..100 {
            scheduling.count(&admitted(Some(&format!("n/q{number}"))));
        }
        scheduling.count(&admitted(None));
        let shown = text(&registry);
        let series = |line: &str| shown.lines().filter(|shown| shown.starts_with(line)).count();
        assert_eq!(series("tintype_scheduler_admitted_jobs_total{"), 66, "64 names, the others, and those without one");
        let others = r#"tintype_scheduler_admitted_jobs_total{model="to_load",pool="p",queue="other"} 36"#;
        assert!(shown.contains(others), "{shown}");
        assert!(shown.contains(r#"admission_wait_time_seconds_count{queue="-"} 1"#), "{shown}");
    }

    #[test]
    fn what_waits_is_shown_by_queue_and_reason_and_forgotten_once_it_does_not() {
        let registry = Registry::new();
        let scheduling = Scheduling::register(&registry).unwrap();
        let waits = Pending {
            jobs: BTreeMap::from([(PendingReason::Quota, 4), (PendingReason::Held, 1)]),
            first_since: Some(Timestamp(1_500)),
        };
        scheduling.show_pending(&BTreeMap::from([(Some(QueueKey::from("n/free")), waits)]));
        let shown = text(&registry);
        for line in [
            r#"tintype_scheduler_pending_jobs{queue="n/free",reason="quota"} 4"#,
            r#"tintype_scheduler_pending_jobs{queue="n/free",reason="held"} 1"#,
            r#"tintype_scheduler_first_pending_timestamp_seconds{queue="n/free"} 1.5"#,
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line} is not in\n{shown}");
        }
        scheduling.show_pending(&BTreeMap::new());
        assert!(!text(&registry).contains("n/free"));
    }
}
