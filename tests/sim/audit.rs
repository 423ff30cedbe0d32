//! The invariants that are seen from outside the scheduler: on the record, at the workers, in the till.

use std::collections::BTreeMap;

use tintype_scheduler::Place;
use tintype_types::{Attempt, FailureReason, JobId, WorkerId};

use crate::knobs::Bug;
use crate::record::{Change, End, Record, Row};
use crate::shell::Line;
use crate::worker::Worker;

/// What was seen, and the first thing that must never be.
#[derive(Default)]
pub(crate) struct Audit {
    pub(crate) violation: Option<String>,
    /// How much of the record's log was looked at.
    pub(crate) logged: usize,
    last: BTreeMap<JobId, Row>,
    /// Who started each attempt, whether it makes a picture.
    started: BTreeMap<(JobId, Attempt), (WorkerId, bool)>,
    captures: BTreeMap<JobId, u32>,
    /// How often rare things happened, to see that they do.
    pub(crate) reached: BTreeMap<&'static str, u64>,
}

impl Audit {
    /// A worker started an attempt.
    pub(crate) fn started(&mut self, job: &JobId, attempt: Attempt, worker: &Worker, done: bool) {
        if worker.tasks.len() as u64 > worker.slots {
            self.violate(format!("{} was given more jobs than it has slots", worker.id));
        }
        let key = (job.clone(), attempt);
        if let Some((other, _)) = self.started.get(&key) {
            if *other != worker.id {
                self.violate(format!("{job}/{attempt} was told to {other} and to {}", worker.id));
            }
            self.reach("attempt told again");
        }
        let makes = done || self.started.get(&key).is_some_and(|(_, makes)| *makes);
        self.started.insert(key, (worker.id.clone(), makes));
    }

    /// A worker heard that its finish is stored: then it must be.
    pub(crate) fn stored(&mut self, job: &JobId, attempt: Attempt, line: Line, record: &Record) {
        let Some(row) = record.rows.get(job) else { return };
        if row.seen.attempt == attempt && matches!(row.seen.place, Place::Assigned(_)) {
            let worker = line.to;
            self.violate(format!("w{worker} heard that its finish of {job}/{attempt} is stored, and it is not"));
        }
    }

    /// The record changed.
    pub(crate) fn changed(&mut self, change: &Change, bug: Option<Bug>) {
        self.logged += 1;
        let Some(new) = &change.row else {
            self.last.remove(&change.id);
            self.reach("deleted");
            return;
        };
        if let Some(old) = self.last.insert(change.id.clone(), new.clone()) {
            self.transition(&old, new);
        }
        if let Some(End::Complete(attempt, worker)) = &new.end {
            *self.captures.entry(change.id.clone()).or_default() += 1;
            let makers = self.started.get(&(change.id.clone(), *attempt));
            if !makers.is_some_and(|(maker, makes)| maker == worker && *makes) {
                self.violate(format!("{}/{attempt} is complete by {worker}, which did not make it", change.id));
            }
            if bug == Some(Bug::CaptureNotIdempotent) {
                *self.captures.entry(change.id.clone()).or_default() += u32::from(attempt.0 > 1);
            }
        }
        if self.captures.get(&change.id).is_some_and(|count| *count > 1) {
            self.violate(format!("{} was captured twice", change.id));
        }
    }

    /// Everything has ended: the counts must add up.
    pub(crate) fn check_end(&mut self, record: &Record) -> Result<(), String> {
        for (id, row) in &record.rows {
            let captures = self.captures.get(id).copied().unwrap_or_default();
            let complete = matches!(row.end, Some(End::Complete(..)));
            if captures != u32::from(complete) {
                return Err(format!("{id} ended as {:?} and was captured {captures} times", row.end));
            }
            let ghost = row.seen.model == "ghost";
            if ghost && !matches!(row.end, Some(End::Failed(FailureReason::UnknownModel | FailureReason::Cancelled))) {
                return Err(format!("{id} names no model and ended as {:?}", row.end));
            }
        }
        let mut ends: Vec<&'static str> = Vec::new();
        for row in record.rows.values() {
            ends.push(match &row.end {
                Some(End::Complete(Attempt(1), _)) => "complete at once",
                Some(End::Complete(..)) => "complete after another try",
                Some(End::Failed(FailureReason::TooManyAttempts)) => "too many attempts",
                Some(End::Failed(FailureReason::Cancelled)) => "cancelled",
                Some(End::Failed(FailureReason::UnknownModel)) => "unknown model",
                Some(End::Failed(_)) => "failed for good",
                None => "never ended",
            });
        }
        for end in ends {
            self.reach(end);
        }
        Ok(())
    }

    fn transition(&mut self, old: &Row, new: &Row) {
        let (id, was, is) = (&new.seen.id, &old.seen, &new.seen);
        if is.attempt < was.attempt {
            self.violate(format!("the attempt of {id} fell from {} to {}", was.attempt, is.attempt));
        }
        if was.place == Place::Ended && (is.place != Place::Ended || old.end != new.end) {
            self.violate(format!("{id} had ended and changed: {:?} to {:?}", old.end, new.end));
        }
        match (&was.place, &is.place) {
            (Place::Queued, Place::Assigned(_)) => {
                if is.attempt != was.attempt.next() {
                    self.violate(format!("{id} was assigned without raising attempt {}", was.attempt));
                }
                if was.cancelled {
                    self.violate(format!("{id} was assigned after it was cancelled"));
                }
            }
            (Place::Assigned(old_worker), Place::Assigned(new_worker)) => {
                if is.attempt != was.attempt || old_worker != new_worker {
                    self.violate(format!("{id} went from {old_worker} to {new_worker} without waiting between"));
                }
            }
            (Place::Assigned(_), Place::Queued) => self.reach("requeued"),
            (Place::Assigned(_) | Place::Queued | Place::Ended, _) => {}
        }
        if is.failed_attempts < was.failed_attempts {
            self.violate(format!("{id} forgot failures"));
        }
    }

    /// Something rare happened.
    pub(crate) fn reach(&mut self, what: &'static str) {
        *self.reached.entry(what).or_default() += 1;
    }

    fn violate(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }
}
