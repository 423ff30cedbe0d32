//! The scheduler, and beside it the log of what it decides where one is kept. Everything it is told goes through here.

use std::ops::Deref;

use tintype_scheduler::{Decision, Observation, Scheduler};
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
}

/// Questions go to the scheduler itself.
impl Deref for Brain {
    type Target = Scheduler;

    fn deref(&self) -> &Scheduler {
        &self.scheduler
    }
}
