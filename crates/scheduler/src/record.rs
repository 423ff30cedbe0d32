//! A job's record as it is kept: what was told, with numbers for names.

use tintype_types::{Attempt, JobId, QueueKey, Timestamp};

use crate::names::{Name, Names};
use crate::observation::{JobSeen, Place, Shape};

/// A [`JobSeen`] with names for texts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) queue: Name,
    pub(crate) model: Name,
    pub(crate) pool: Option<Name>,
    pub(crate) priority: i32,
    pub(crate) work_steps: u32,
    pub(crate) submitted: Timestamp,
    pub(crate) place: Spot,
    pub(crate) shape: Shape,
    pub(crate) deadline: Option<Timestamp>,
    pub(crate) refuse_late: bool,
    pub(crate) attempt: Attempt,
    pub(crate) failed_attempts: u32,
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) cancelled: bool,
    pub(crate) promised: Option<Timestamp>,
}

/// A [`Place`] with names for texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spot {
    Queued,
    Assigned(Name),
    Ended,
}

impl Record {
    /// What the record holds, its names kept.
    pub(crate) fn of(seen: &JobSeen, names: &mut Names) -> Self {
        Self {
            queue: names.name(seen.queue.as_str()),
            model: names.name(&seen.model),
            pool: seen.pool.as_ref().map(|pool| names.name(pool.as_str())),
            priority: seen.priority,
            work_steps: seen.work_steps,
            submitted: seen.submitted,
            place: match &seen.place {
                Place::Queued => Spot::Queued,
                Place::Assigned(worker) => Spot::Assigned(names.name(worker.as_str())),
                Place::Ended => Spot::Ended,
            },
            shape: seen.shape,
            deadline: seen.deadline,
            refuse_late: seen.refuse_late,
            attempt: seen.attempt,
            failed_attempts: seen.failed_attempts,
            not_before: seen.not_before,
            cancelled: seen.cancelled,
            promised: seen.promised,
        }
    }

    /// The record as it was told.
    pub(crate) fn seen(&self, id: JobId, names: &Names) -> JobSeen {
        JobSeen {
            id,
            queue: QueueKey::from(names.text(self.queue)),
            priority: self.priority,
            model: names.text(self.model).to_owned(),
            pool: self.pool.map(|pool| names.text(pool).into()),
            work_steps: self.work_steps,
            submitted: self.submitted,
            place: match self.place {
                Spot::Queued => Place::Queued,
                Spot::Assigned(worker) => Place::Assigned(names.text(worker).into()),
                Spot::Ended => Place::Ended,
            },
            shape: self.shape,
            deadline: self.deadline,
            refuse_late: self.refuse_late,
            attempt: self.attempt,
            failed_attempts: self.failed_attempts,
            not_before: self.not_before,
            cancelled: self.cancelled,
            promised: self.promised,
        }
    }

    /// Names it keeps in use.
    pub(crate) fn names(&self) -> impl Iterator<Item = Name> {
        let worker = match self.place {
            Spot::Assigned(worker) => Some(worker),
            Spot::Queued | Spot::Ended => None,
        };
        [Some(self.queue), Some(self.model), self.pool, worker].into_iter().flatten()
    }
}
