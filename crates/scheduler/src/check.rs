//! What must hold after every step, whatever was observed.

use tintype_types::JobId;

use crate::job::{Change, Job};
use crate::record::Spot;
use crate::state::Core;

/// Something that must never be. Its text names what to look at in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A job that should have an attempt out has none, or the other way round.
    #[error("job {0} has a run and a place that do not agree")]
    RunAgainstPlace(JobId),
    /// The attempt that is out is not the one the job is at.
    #[error("job {0} has an attempt out that is not its last one")]
    RunAgainstAttempt(JobId),
    /// A job is kept under an id that is not its own.
    #[error("job {0} is kept under another id")]
    Name(JobId),
    /// A job that was promised a worker is not the worker's next.
    #[error("job {0} was promised a worker that is to run another next")]
    Promise(JobId),
    /// The indexes are not what the state says they should be.
    #[error("the indexes do not follow from the state")]
    Index,
}

impl Core {
    /// Checks everything; costs as much as filing everything anew.
    pub(crate) fn check(&self) -> Result<(), Violation> {
        for (tag, job) in self.state.jobs.iter() {
            let id = job.id.job_id();
            if self.state.jobs.find(&id) != Some(tag) {
                return Err(Violation::Name(id));
            }
            check_job(&id, job)?;
            let worker = job.waits_for().and_then(|promise| promise.worker).map(|name| self.state.names.tag(name));
            if worker.is_some_and(|worker| self.index.promised.get(&worker).map(|(next, _)| *next) != Some(tag)) {
                return Err(Violation::Promise(id));
            }
        }
        let steps_left = self.index.next_timer().is_some_and(|(at, _)| at <= self.state.now);
        if !steps_left && Self::new(self.config.clone(), self.state.clone()).index != self.index {
            return Err(Violation::Index);
        }
        Ok(())
    }
}

fn check_job(id: &JobId, job: &Job) -> Result<(), Violation> {
    let assumed = job.assumed.as_ref();
    let run_wanted = match assumed.map(|assumed| &assumed.change) {
        Some(Change::Assigned) => true,
        Some(Change::Requeued { .. } | Change::Ended { .. }) | None => matches!(job.seen.place, Spot::Assigned(_)),
    };
    let Some(run) = &job.run else {
        return if run_wanted { Err(Violation::RunAgainstPlace(id.clone())) } else { Ok(()) };
    };
    if !run_wanted {
        return Err(Violation::RunAgainstPlace(id.clone()));
    }
    let known_worker = match job.seen.place {
        Spot::Assigned(worker) => worker == run.worker,
        Spot::Queued | Spot::Ended => assumed.is_some(),
    };
    if run.attempt != job.attempt() || !known_worker {
        return Err(Violation::RunAgainstAttempt(id.clone()));
    }
    Ok(())
}
