//! Decision and status in, whole next status out: what is written, and what is refused before it is even tried.
//!
//! Pure. The API server checks the same fences again (CEL and resourceVersion); here they save a call and give a clear
//! word. It must not know a client.

use tintype_crds::{
    Failure, GenerationJob, GenerationJobStatus, JobAssignment, JobConditions, JobPromise, Progress, conditions_of,
};
use tintype_scheduler::Decision;
use tintype_types::{Attempt, FailureReason, JobId, JobState, Output, PoolName, Timestamp, WorkerId};

use crate::convert::{to_time, to_time_up};

/// Longest message of a failure, in characters; what the schema allows.
const MESSAGE_CHARS_MAX: usize = 1_024;

/// What is to be written.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// The record shows it already.
    Shown,
    /// This status, whole.
    Write(Box<GenerationJobStatus>),
}

/// Which job a decision is about.
pub fn job_of(decision: &Decision) -> &JobId {
    match decision {
        Decision::Assign { job, .. }
        | Decision::Progress { job, .. }
        | Decision::Requeue { job, .. }
        | Decision::Fail { job, .. }
        | Decision::Complete { job, .. }
        | Decision::Cancel { job, .. }
        | Decision::Preempt { job, .. } => job,
    }
}

/// The status after the decision.
///
/// # Errors
/// Why the record says otherwise, for the log.
pub fn next_status(job: &GenerationJob, decision: Decision, epoch: u64, now: Timestamp) -> Result<Next, String> {
    let turn = Turn { job, now: job.status_or_new(), epoch, at: now };
    if turn.now.leader_epoch.is_some_and(|written| written > epoch) {
        return Err("a newer leader has written this job".to_owned());
    }
    match decision {
        Decision::Assign { attempt, worker, pool, promised, job: _, boot_id: _, lease_end: _, evict: _ } => {
            turn.assign(attempt, worker, pool, promised)
        }
        Decision::Progress { attempt, step, steps, job: _ } => turn.progress(attempt, Progress { step, steps }),
        Decision::Requeue { attempt, not_before, reason, message, failed_attempts, job: _ } => {
            turn.requeue(attempt, not_before, failure(reason, message), failed_attempts)
        }
        Decision::Fail { attempt, reason, message, job: _ } => turn.fail(attempt, failure(reason, message)),
        Decision::Complete { attempt, worker, outputs, gpu_ms, job: _ } => {
            turn.complete(attempt, &worker, outputs, gpu_ms)
        }
        Decision::Cancel { .. } | Decision::Preempt { .. } => Err("this is told to a worker, not written".to_owned()),
    }
}

fn failure(reason: FailureReason, message: String) -> Failure {
    let message = message.chars().take(MESSAGE_CHARS_MAX).collect();
    Failure { reason, message }
}

/// One decision about one job.
struct Turn<'a> {
    job: &'a GenerationJob,
    now: GenerationJobStatus,
    epoch: u64,
    at: Timestamp,
}

impl Turn<'_> {
    fn assign(
        self,
        attempt: Attempt,
        worker: WorkerId,
        pool: PoolName,
        promised: Option<Timestamp>,
    ) -> Result<Next, String> {
        let holder = self.now.assignment.as_ref().map(|assignment| &assignment.worker);
        if self.is_out() && self.now.attempt == attempt && holder == Some(&worker) {
            return Ok(Next::Shown);
        }
        if self.is_out() || self.now.state.is_terminal() || attempt != self.now.attempt.next() {
            return Err(self.mismatch(attempt));
        }
        if self.job.metadata.deletion_timestamp.is_some() {
            return Err("the job is being deleted".to_owned());
        }
        let assignment = JobAssignment {
            worker,
            pool: Some(pool),
            attempt,
            leader_epoch: self.epoch,
            assigned_at: Some(to_time(self.at)),
        };
        let by = self.job.spec.deadline.clone();
        let promise = promised.zip(by).map(|(ends, by)| JobPromise { ends: to_time(ends), by });
        let started_at = self.now.started_at.clone().or_else(|| Some(to_time(self.at)));
        let status = GenerationJobStatus {
            state: JobState::Assigned,
            attempt,
            assignment: Some(assignment),
            not_before: None,
            promise,
            progress: None,
            failure: None,
            started_at,
            ..self.now.clone()
        };
        Ok(self.write(status, JobConditions::Assigned))
    }

    fn progress(self, attempt: Attempt, progress: Progress) -> Result<Next, String> {
        self.must_be_out(attempt)?;
        if self.now.state == JobState::Running && self.now.progress == Some(progress) {
            return Ok(Next::Shown);
        }
        let status = GenerationJobStatus { state: JobState::Running, progress: Some(progress), ..self.now.clone() };
        Ok(self.write(status, JobConditions::Assigned))
    }

    fn requeue(self, attempt: Attempt, not_before: Timestamp, failure: Failure, failed: u32) -> Result<Next, String> {
        let waits = matches!(self.now.state, JobState::Queued | JobState::Preempted);
        if waits && self.now.attempt == attempt && self.now.failed_attempts == failed {
            return Ok(Next::Shown);
        }
        self.must_be_out(attempt)?;
        let status = GenerationJobStatus {
            state: failure.reason.state_after(),
            failed_attempts: failed,
            assignment: None,
            not_before: (not_before > self.at).then(|| to_time_up(not_before)),
            progress: None,
            failure: Some(failure.clone()),
            ..self.now.clone()
        };
        Ok(self.write(status, JobConditions::Requeued(failure.reason, &failure.message)))
    }

    fn fail(self, attempt: Attempt, failure: Failure) -> Result<Next, String> {
        let same = self.now.failure.as_ref().is_some_and(|shown| shown.reason == failure.reason);
        if self.now.state == JobState::Failed && self.now.attempt == attempt && same {
            return Ok(Next::Shown);
        }
        if self.now.state.is_terminal() || self.now.attempt != attempt {
            return Err(self.mismatch(attempt));
        }
        let status = GenerationJobStatus {
            state: JobState::Failed,
            not_before: None,
            failure: Some(failure.clone()),
            finished_at: Some(to_time(self.at)),
            ..self.now.clone()
        };
        Ok(self.write(status, JobConditions::Failed(failure.reason, &failure.message)))
    }

    fn complete(self, attempt: Attempt, worker: &WorkerId, outputs: Vec<Output>, gpu_ms: u64) -> Result<Next, String> {
        if self.now.state == JobState::Complete && self.now.attempt == attempt && self.now.outputs == outputs {
            return Ok(Next::Shown);
        }
        self.must_be_out(attempt)?;
        if self.now.assignment.as_ref().is_none_or(|assignment| assignment.worker != *worker) {
            return Err("another worker has the job".to_owned());
        }
        let steps = self.now.progress.map(|progress| Progress { step: progress.steps, ..progress });
        let status = GenerationJobStatus {
            state: JobState::Complete,
            outputs,
            gpu_milliseconds: Some(gpu_ms),
            progress: steps,
            finished_at: Some(to_time(self.at)),
            ..self.now.clone()
        };
        Ok(self.write(status, JobConditions::Complete))
    }

    fn is_out(&self) -> bool {
        matches!(self.now.state, JobState::Assigned | JobState::Running)
    }

    fn must_be_out(&self, attempt: Attempt) -> Result<(), String> {
        if self.is_out() && self.now.attempt == attempt { Ok(()) } else { Err(self.mismatch(attempt)) }
    }

    fn mismatch(&self, attempt: Attempt) -> String {
        format!(
            "the decision is about attempt {attempt}; the record has attempt {} {:?}",
            self.now.attempt, self.now.state
        )
    }

    fn write(&self, status: GenerationJobStatus, conditions: JobConditions<'_>) -> Next {
        let generation = self.job.metadata.generation;
        let conditions = conditions_of(conditions, &self.now.conditions, generation, &to_time(self.at));
        Next::Write(Box::new(GenerationJobStatus {
            leader_epoch: Some(self.epoch),
            observed_generation: generation,
            conditions,
            ..status
        }))
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
