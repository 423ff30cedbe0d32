//! What the dispatcher tells of a traced job: how long it waited, and that it was given to a worker, whose own spans hang
//! below that. It must not know where traces go.

use std::time::{Duration, SystemTime};

use tintype_telemetry::{Attribute, Stage, Telemetry, moment};
use tintype_types::{Attempt, JobId, PoolName, Timestamp, Traceparent, WorkerId};

use crate::bounded::Bounded;

/// Jobs that wait anew whose beginning of that is remembered; of others the second wait is not told.
const REQUEUED_KEPT_MAX: usize = 10_000;

#[derive(Debug)]
pub(crate) struct Traces {
    telemetry: Telemetry,
    /// Since when a job that was put back waits.
    requeued: Bounded<JobId, SystemTime>,
}

/// An assignment that is written.
pub(crate) struct Assigned<'a> {
    pub(crate) job: &'a JobId,
    pub(crate) attempt: Attempt,
    pub(crate) worker: &'a WorkerId,
    pub(crate) pool: &'a PoolName,
    pub(crate) model: &'a str,
    /// When the job was made.
    pub(crate) submitted: Timestamp,
    /// What writing it took.
    pub(crate) took: Duration,
}

impl Traces {
    pub(crate) fn new(telemetry: Telemetry) -> Self {
        Self { telemetry, requeued: Bounded::new(REQUEUED_KEPT_MAX) }
    }

    /// The job waits again from now on.
    pub(crate) fn requeued(&mut self, job: &JobId) {
        self.requeued.insert(job.clone(), SystemTime::now());
    }

    /// The job was given to a worker. Answers what the worker's part of the trace is part of.
    pub(crate) fn assigned(&mut self, part_of: Traceparent, told: &Assigned<'_>) -> Option<Traceparent> {
        let Assigned { job, attempt, worker, pool, model, submitted, took } = *told;
        let now = SystemTime::now();
        let decided = now.checked_sub(took).unwrap_or(now);
        let again = self.requeued.remove(job);
        if let Some(since) = again.or_else(|| (attempt <= Attempt(1)).then(|| moment(submitted))) {
            let wait = self.telemetry.stage_at(Some(part_of), Stage::QueueWait, since.min(decided));
            wait.with(Attribute::Job(job)).with(Attribute::Attempt(attempt)).end_at(decided);
        }
        let span = self.telemetry.stage_at(Some(part_of), Stage::Assignment, decided);
        let span = span.with(Attribute::Job(job)).with(Attribute::Attempt(attempt)).with(Attribute::Worker(worker));
        let span = span.with(Attribute::Pool(pool)).with(Attribute::Model(model));
        let context = span.context();
        span.end_at(now);
        context
    }

    /// Who leads no more knows nothing of waits that begin.
    pub(crate) fn forget(&mut self) {
        self.requeued.clear();
    }
}
