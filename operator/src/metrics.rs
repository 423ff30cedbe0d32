//! What this program counts. Labels come from closed sets only, never an id or a name somebody chose.

use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus::{
    Histogram, HistogramOpts, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, register_histogram_with_registry,
    register_int_counter_vec_with_registry, register_int_gauge_vec_with_registry, register_int_gauge_with_registry,
};
use tintype_scheduler::PoolPlan;
use tintype_types::JobState;

use crate::costs::Costs;
use crate::nodes::Notice;

/// Bounds of the time a write to the API server takes, in seconds. The last but one is near our own timeout.
const WRITE_SECONDS: [f64; 10] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 5.0];

/// What the workers are, in words.
const WORKERS_HELP: &str =
    "Workers of all pools: those there are, those of them whose GPU is unwell, and those the plan wants";
/// What is watched, as metrics call it.
const KINDS: [&str; 5] = ["jobs", "queues", "models", "pools", "nodes"];

/// The words for states in metrics.
const STATES: [(JobState, &str); 6] = [
    (JobState::Queued, "queued"),
    (JobState::Assigned, "assigned"),
    (JobState::Running, "running"),
    (JobState::Preempted, "preempted"),
    (JobState::Complete, "complete"),
    (JobState::Failed, "failed"),
];

/// Handles to every counter; cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

/// The counters.
pub struct Inner {
    /// 1 while this replica leads.
    pub leading: IntGauge,
    /// Writes of a job's status: decision, outcome.
    pub writes: IntCounterVec,
    /// Seconds a write took.
    pub write_seconds: Histogram,
    /// Watches that broke off and began again: kind.
    pub watch_errors: IntCounterVec,
    /// Objects that could not be read: kind.
    pub invalid_objects: IntCounterVec,
    /// Reads and writes of the leader lease: outcome.
    pub lease_writes: IntCounterVec,
    /// Ended jobs deleted: outcome.
    pub deletions: IntCounterVec,
    /// Reads and writes of what was learned: outcome.
    pub memory: IntCounterVec,
    /// Rounds over the pools whose workers are kept here: outcome.
    pub pools: IntCounterVec,
    /// Rounds over the models that are fetched: outcome.
    pub models: IntCounterVec,
    /// Pools given another number of workers by the scheduler's plan: direction.
    pub scalings: IntCounterVec,
    /// Workers ended because their node was about to go: who gave notice.
    pub evacuations: IntCounterVec,
    /// What finished work took and cost.
    pub costs: Costs,
    /// Jobs in the cluster: state.
    pub jobs: IntGaugeVec,
    /// Workers of all pools: had, or wanted by the plan.
    pub workers: IntGaugeVec,
}

impl std::ops::Deref for Metrics {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Metrics {
    /// Registers every counter.
    ///
    /// # Errors
    /// When one of the names is taken.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            register_int_counter_vec_with_registry!(Opts::new(name, help), labels, registry)
        };
        let made = Self(Arc::new(Inner {
            leading: register_int_gauge_with_registry!(
                Opts::new("tintype_operator_leading", "1 while this replica leads"),
                registry
            )?,
            writes: counters(
                "tintype_operator_status_writes_total",
                "Writes of a job's status, by decision and outcome",
                &["decision", "outcome"],
            )?,
            write_seconds: register_histogram_with_registry!(
                HistogramOpts::new("tintype_operator_status_write_seconds", "Time a status write took")
                    .buckets(WRITE_SECONDS.to_vec()),
                registry
            )?,
            watch_errors: counters(
                "tintype_operator_watch_errors_total",
                "Watches that broke off and began again",
                &["kind"],
            )?,
            invalid_objects: counters(
                "tintype_operator_invalid_objects_total",
                "Objects left out because they could not be read",
                &["kind"],
            )?,
            lease_writes: counters(
                "tintype_operator_lease_calls_total",
                "Renewals of the leader lease, by outcome",
                &["outcome"],
            )?,
            memory: counters(
                "tintype_operator_learned_calls_total",
                "Reads and writes of what was learned",
                &["outcome"],
            )?,
            pools: counters(
                "tintype_operator_pool_rounds_total",
                "Rounds over pools with workers kept here",
                &["outcome"],
            )?,
            models: counters("tintype_operator_model_rounds_total", "Rounds over models by URL", &["outcome"])?,
            scalings: counters(
                "tintype_operator_pool_scalings_total",
                "Pools given more or fewer workers",
                &["direction"],
            )?,
            evacuations: counters(
                "tintype_operator_evacuations_total",
                "Workers ended before their node",
                &["notice"],
            )?,
            deletions: counters(
                "tintype_operator_ttl_deletions_total",
                "Ended jobs deleted after their time",
                &["outcome"],
            )?,
            costs: Costs::register(registry)?,
            jobs: gauges(registry, "tintype_operator_jobs", "Jobs in the cluster, by state", "state")?,
            workers: gauges(registry, "tintype_operator_workers", WORKERS_HELP, "which")?,
        }));
        made.begin_at_zero();
        Ok(made)
    }

    /// A counter that is there at 0 shows its first increase; one that appears with 1 does not, and no alert sees it.
    fn begin_at_zero(&self) {
        for kind in KINDS {
            self.watch_errors.with_label_values(&[kind]);
            self.invalid_objects.with_label_values(&[kind]);
        }
        self.show_workers(&[]);
        for decision in ["assign", "progress", "requeue", "fail", "complete"] {
            for outcome in ["written", "refused", "unavailable"] {
                self.writes.with_label_values(&[decision, outcome]);
            }
        }
        for direction in ["up", "down"] {
            self.scalings.with_label_values(&[direction]);
        }
        for notice in Notice::ALL {
            self.evacuations.with_label_values(&[notice.as_str()]);
        }
        for outcome in ["ok", "failed", "timeout"] {
            self.pools.with_label_values(&[outcome]);
            self.models.with_label_values(&[outcome]);
        }
        for outcome in ["written", "failed"] {
            self.lease_writes.with_label_values(&[outcome]);
        }
        for outcome in ["deleted", "gone", "changed", "failed"] {
            self.deletions.with_label_values(&[outcome]);
        }
    }

    /// Shows how many workers there are, and how many there should be.
    pub fn show_workers(&self, pools: &[PoolPlan]) {
        let sum = |of: fn(&PoolPlan) -> u32| pools.iter().map(|plan| i64::from(of(plan))).sum();
        self.workers.with_label_values(&["here"]).set(sum(|plan| plan.workers));
        self.workers.with_label_values(&["unwell"]).set(sum(|plan| plan.unwell));
        self.workers.with_label_values(&["wanted"]).set(sum(|plan| plan.wanted));
    }

    /// Shows how many jobs are in each state; none is 0.
    pub fn show_jobs(&self, counts: &BTreeMap<JobState, u64>) {
        for (state, word) in STATES {
            let count = counts.get(&state).copied().unwrap_or(0);
            self.jobs.with_label_values(&[word]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

/// Gauges told apart by one label.
fn gauges(registry: &Registry, name: &str, help: &str, label: &str) -> prometheus::Result<IntGaugeVec> {
    register_int_gauge_vec_with_registry!(Opts::new(name, help), &[label], registry)
}
