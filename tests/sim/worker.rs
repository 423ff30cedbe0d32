//! A worker process that keeps the protocol: claims while it has room, renews at a third of the lease, repeats a finish
//! until it hears 200 or 409, forgets everything when it crashes.

use tintype_types::worker::{CheckpointLeft, Outcome};
use tintype_types::{Attempt, BootId, FailureReason, JobId, Output, WorkerId};

use crate::rng::Rng;

/// How long a claim may be held open.
pub(crate) const CLAIM_WAIT_MS: u64 = 20_000;
/// How long a worker waits for an answer to a claim before it asks again.
const CLAIM_PATIENCE_MS: u64 = CLAIM_WAIT_MS + 4_500;
/// Pause between two tries of a finish.
const FINISH_RETRY_MS: u64 = 2_000;

/// A worker.
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) pool: String,
    pub(crate) loadable: Vec<String>,
    pub(crate) resident: Vec<String>,
    pub(crate) slots: u64,
    /// Which start of it.
    pub(crate) boot: u32,
    pub(crate) alive: bool,
    pub(crate) paused_until: u64,
    pub(crate) tasks: Vec<Task>,
    /// The open claim's connection, and when to give up on it.
    pub(crate) claim: Option<(u64, u64)>,
    pub(crate) claim_after: u64,
}

/// An attempt it runs.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) job: JobId,
    pub(crate) attempt: Attempt,
    started: u64,
    ends_at: u64,
    next_renew: u64,
    next_finish: u64,
    outcome: Outcome,
}

/// What a worker sends.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Claim { free: u64 },
    Renew { job: JobId, attempt: Attempt, step: u32 },
    Finish { job: JobId, attempt: Attempt, outcome: Outcome },
}

/// What a worker hears.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Assigned { job: JobId, attempt: Attempt },
    Nothing,
    GoOn,
    Cancel { job: JobId, attempt: Attempt },
    Preempt { job: JobId, attempt: Attempt },
    Stored { job: JobId, attempt: Attempt },
    Repeat,
    Stale { job: JobId, attempt: Attempt },
}

impl Worker {
    /// The boot id of one of its starts.
    pub(crate) fn boot_id_of(&self, boot: u32) -> BootId {
        BootId(format!("{}-{boot}", self.id))
    }

    /// What it sends now.
    pub(crate) fn act(&mut self, now: u64, renew_ms: u64) -> Vec<Request> {
        let mut requests = Vec::new();
        for task in &mut self.tasks {
            let (job, attempt) = (task.job.clone(), task.attempt);
            if now >= task.ends_at {
                if now >= task.next_finish {
                    task.next_finish = now + FINISH_RETRY_MS;
                    requests.push(Request::Finish { job, attempt, outcome: task.outcome.clone() });
                }
            } else if now >= task.next_renew {
                task.next_renew = now + renew_ms;
                requests.push(Request::Renew { job, attempt, step: ((now - task.started) / 500) as u32 });
            }
        }
        if self.claim.is_some_and(|(_, until)| now >= until) {
            self.claim = None;
        }
        let free = self.slots.saturating_sub(self.tasks.len() as u64);
        if self.claim.is_none() && free > 0 && now >= self.claim_after {
            requests.push(Request::Claim { free });
        }
        requests
    }

    /// Notes the connection its claim went out on.
    pub(crate) fn claimed(&mut self, connection: u64, now: u64) {
        self.claim = Some((connection, now + CLAIM_PATIENCE_MS));
    }

    /// When it will want to act next.
    pub(crate) fn next_act(&self, now: u64) -> u64 {
        let tasks = self
            .tasks
            .iter()
            .map(|task| if now >= task.ends_at { task.next_finish } else { task.next_renew.min(task.ends_at) });
        let room = self.slots > self.tasks.len() as u64;
        let claim = self.claim.map(|(_, until)| until).or(room.then_some(self.claim_after));
        tasks.chain(claim).min().unwrap_or(now + CLAIM_WAIT_MS).max(now + 1)
    }

    /// Starts an attempt, unless it runs already. Answers whether it did.
    pub(crate) fn start(&mut self, (job, attempt): (&JobId, Attempt), now: u64, renew_ms: u64, plan: Plan) -> bool {
        if self.tasks.iter().any(|task| task.job == *job && task.attempt == attempt) {
            return false;
        }
        let (run_ms, outcome) = plan;
        self.tasks.push(Task {
            job: job.clone(),
            attempt,
            started: now,
            ends_at: now + run_ms,
            next_renew: now + renew_ms.min(1_000),
            next_finish: now,
            outcome,
        });
        true
    }

    /// Forgets an attempt.
    pub(crate) fn drop_task(&mut self, job: &JobId, attempt: Attempt) {
        self.tasks.retain(|task| task.job != *job || task.attempt != attempt);
    }

    /// Stops an attempt because it was told to.
    pub(crate) fn cancel_task(&mut self, job: &JobId, attempt: Attempt, now: u64) {
        for task in &mut self.tasks {
            if task.job == *job && task.attempt == attempt {
                task.ends_at = now;
                task.outcome = failed(FailureReason::Cancelled, false);
            }
        }
    }

    /// Stops an attempt between two steps, with a checkpoint if one was done.
    pub(crate) fn preempt_task(&mut self, job: &JobId, attempt: Attempt, now: u64) {
        for task in self.tasks.iter_mut().filter(|task| task.job == *job && task.attempt == attempt) {
            let step = ((now - task.started) / 500) as u32;
            if now < task.ends_at {
                let left = CheckpointLeft { step, bytes: 1, sha256: "0".repeat(64) };
                task.ends_at = now;
                task.outcome = Outcome::Preempted { checkpoint: (step > 0).then_some(left) };
            }
        }
    }

    /// The process dies.
    pub(crate) fn crash(&mut self) {
        self.alive = false;
        self.tasks.clear();
        self.claim = None;
        self.boot += 1;
        self.paused_until = 0;
    }
}

/// How long an attempt runs, and how it ends.
pub(crate) type Plan = (u64, Outcome);

/// What becomes of an attempt.
pub(crate) fn plan(rng: &mut Rng, fail_percent: u64, job: &JobId, attempt: Attempt) -> Plan {
    let run_ms = if rng.percent(70) { rng.range(200, 5_000) } else { rng.range(5_000, 60_000) };
    if rng.percent(fail_percent) {
        let outcome = match rng.range(0, 3) {
            0 => failed(FailureReason::WorkerDrained, true),
            1 => failed(FailureReason::InvalidRequest, false),
            _ => failed(FailureReason::OutOfMemory, true),
        };
        return (run_ms, outcome);
    }
    let key = format!("jobs/{job}/{attempt}/0.png");
    let output = Output { key, sha256: String::new(), bytes: 1, width: 64, height: 64, seed: 1 };
    (run_ms, Outcome::Done { outputs: vec![output] })
}

fn failed(reason: FailureReason, retryable: bool) -> Outcome {
    Outcome::Failed { reason, message: "simulated".to_owned(), retryable }
}
