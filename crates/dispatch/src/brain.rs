//! The scheduler, and beside it the log of what it decides where one is kept. Everything it is told goes through here.

use std::ops::Deref;

use tintype_scheduler::{Decision, Mark, Observation, Scheduler, WarmUp};
use tintype_types::Timestamp;

use crate::journal::Journal;

pub(crate) struct Brain {
    scheduler: Scheduler,
    journal: Option<Journal>,
}

impl Brain {
    pub(crate) fn new(scheduler: Scheduler, journal: Option<Journal>) -> Self {
        Self { scheduler, journal }
    }

    /// Tells the scheduler one fact.
    pub(crate) fn step(&mut self, now: Timestamp, seen: Observation) -> Vec<Decision> {
        match &mut self.journal {
            Some(journal) => journal.step(&mut self.scheduler, now, seen),
            None => self.scheduler.step(now, seen),
        }
    }

    /// What the last step advises an idle worker to load. It is carried out here, so it is no part of the log.
    pub(crate) fn take_warm_up(&mut self) -> Option<WarmUp> {
        self.scheduler.take_warm_up()
    }

    /// What came about in the last step.
    pub(crate) fn take_marks(&mut self) -> Vec<Mark> {
        self.scheduler.take_marks()
    }
}

/// Questions go to the scheduler itself.
impl Deref for Brain {
    type Target = Scheduler;

    fn deref(&self) -> &Scheduler {
        &self.scheduler
    }
}
