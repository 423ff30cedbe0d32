//! The record: what etcd or Postgres does for us. Versioned rows, compare-and-set, a log of changes for watchers, and
//! the rules the store itself keeps (an attempt never falls, an end is final).

use std::collections::BTreeMap;

use tintype_scheduler::{Decision, JobSeen, Place};
use tintype_types::{Attempt, FailureReason, JobId, WorkerId};

use crate::knobs::Bug;

/// One change of one job.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) at_ms: u64,
    pub(crate) id: JobId,
    /// `None`: deleted.
    pub(crate) row: Option<Row>,
}

/// A job as stored.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) seen: JobSeen,
    pub(crate) version: u64,
    pub(crate) end: Option<End>,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Complete(Attempt, WorkerId),
    Failed(FailureReason),
}

/// The answer to a write.
#[derive(Clone, Debug)]
pub(crate) enum Written {
    Done(Box<Row>),
    Refused,
    NotFound,
}

/// The store.
#[derive(Default)]
pub(crate) struct Record {
    pub(crate) rows: BTreeMap<JobId, Row>,
    pub(crate) log: Vec<Change>,
    bug: Option<Bug>,
    version: u64,
}

impl Record {
    /// An empty store, perhaps with a bug.
    pub(crate) fn new(bug: Option<Bug>) -> Self {
        Self { bug, ..Self::default() }
    }

    /// Creates a job, or changes what its owner may change.
    pub(crate) fn put(&mut self, now: u64, seen: JobSeen) {
        let end = self.rows.get(&seen.id).and_then(|row| row.end.clone());
        self.store(now, seen, end);
    }

    /// Deletes a job.
    pub(crate) fn delete(&mut self, now: u64, id: &JobId) {
        if self.rows.remove(id).is_some() {
            self.version += 1;
            self.log.push(Change { at_ms: now, id: id.clone(), row: None });
        }
    }

    /// The rows as they were after the change with this number.
    pub(crate) fn list_at(&self, changes: usize) -> Vec<Row> {
        let mut rows = BTreeMap::new();
        for change in &self.log[..changes] {
            match &change.row {
                Some(row) => rows.insert(change.id.clone(), row.clone()),
                None => rows.remove(&change.id),
            };
        }
        rows.into_values().collect()
    }

    /// Writes a decision if the row is still at the version the writer saw.
    pub(crate) fn write(&mut self, now: u64, version: u64, decision: &Decision) -> Written {
        let (id, attempt) = about(decision);
        let Some(row) = self.rows.get(id).cloned() else { return Written::NotFound };
        let mut seen = row.seen.clone();
        if let Decision::Assign { worker, .. } = decision
            && seen.place == Place::Assigned(worker.clone())
            && seen.attempt == attempt
        {
            return Written::Done(Box::new(row));
        }
        let assigns = matches!(decision, Decision::Assign { .. });
        let expected = if assigns { seen.attempt.next() } else { seen.attempt };
        let fenced = row.version == version && attempt == expected;
        let any_attempt = [Some(Bug::RecordTakesAnyAttempt), Some(Bug::AttemptNotRaised)].contains(&self.bug);
        let any_end = self.bug == Some(Bug::EndedCanChange);
        let ended = seen.place == Place::Ended;
        let allowed = if ended { any_end } else { fenced || any_attempt };
        if !allowed {
            return Written::Refused;
        }
        let mut end = None;
        seen.attempt = attempt;
        match decision {
            Decision::Assign { worker, promised, .. } => {
                (seen.place, seen.promised) = (Place::Assigned(worker.clone()), *promised);
            }
            Decision::Requeue { not_before, failed_attempts, .. } => {
                seen.place = Place::Queued;
                seen.not_before = Some(*not_before);
                seen.failed_attempts = *failed_attempts;
            }
            Decision::Fail { reason, .. } => {
                seen.place = Place::Ended;
                end = Some(End::Failed(*reason));
            }
            Decision::Complete { worker, .. } => {
                seen.place = Place::Ended;
                end = Some(End::Complete(attempt, worker.clone()));
            }
            Decision::Progress { .. } | Decision::Cancel { .. } | Decision::Preempt { .. } => {}
        }
        Written::Done(Box::new(self.store(now, seen, end)))
    }

    fn store(&mut self, now: u64, seen: JobSeen, end: Option<End>) -> Row {
        self.version += 1;
        let row = Row { version: self.version, end, seen };
        let id = row.seen.id.clone();
        self.rows.insert(id.clone(), row.clone());
        self.log.push(Change { at_ms: now, id, row: Some(row.clone()) });
        row
    }
}

/// The attempt a decision is about.
pub(crate) fn about(decision: &Decision) -> (&JobId, Attempt) {
    match decision {
        Decision::Assign { job, attempt, .. }
        | Decision::Progress { job, attempt, .. }
        | Decision::Requeue { job, attempt, .. }
        | Decision::Fail { job, attempt, .. }
        | Decision::Complete { job, attempt, .. }
        | Decision::Cancel { job, attempt, .. }
        | Decision::Preempt { job, attempt } => (job, *attempt),
    }
}
