//! One attempt from assignment to finish: buys, renews the lease beside that, and stops when told to. A purchase is not
//! stopped with its attempt: it goes on, and the job's next attempt takes it over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tintype_purchase::{Event, Next};
use tintype_types::worker::{Assignment, Finish, Outcome, Renew, RenewAnswer};
use tintype_types::{FailureReason, JobId};
use tintype_worker::client::CallError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::adapter::{Adapter, lock};
use crate::settings::base_of;

/// Shortest lease believed.
const LEASE_MIN: Duration = Duration::from_millis(300);
/// The end of an attempt is said for so many leases.
const FINISH_LEASES: u32 = 2;

/// Why an attempt ends before its purchase does.
enum Stop {
    Drained,
    Preempted,
    Cancelled(FailureReason),
    NotOurs,
}

/// What an attempt shows while it runs.
#[derive(Default)]
pub(crate) struct Shown {
    /// The provider has begun.
    pub(crate) begun: AtomicBool,
}

/// How an attempt came out.
pub(crate) struct Came {
    pub(crate) outcome: Outcome,
    /// How long the provider's hardware was held.
    pub(crate) held_ms: u64,
    /// The purchase it handed over.
    pub(crate) purchase: Option<u64>,
}

impl Came {
    pub(crate) fn failed(reason: FailureReason, message: impl Into<String>, retryable: bool) -> Self {
        let outcome = Outcome::Failed { reason, message: message.into(), retryable };
        Self { outcome, held_ms: 0, purchase: None }
    }

    /// No failure of the job's: it waits again, here or elsewhere.
    pub(crate) fn given_back(why: &str) -> Self {
        Self::failed(FailureReason::WorkerDrained, format!("{why}; the job was given back"), true)
    }
}

impl Adapter {
    /// Runs one attempt to its end. `drain` asks it to give the job back.
    pub(crate) async fn run_attempt(self: &Arc<Self>, assignment: &Assignment, drain: &CancellationToken) {
        let (job, attempt) = (&assignment.job, assignment.attempt);
        tracing::info!(job.id = %job, %attempt, model = %assignment.request.model, "an attempt begins");
        lock(&self.busy).insert(job.clone());
        let shown = Shown::default();
        let came = tokio::select! {
            came = self.buy(assignment, &shown) => Some(came),
            stop = self.keep_lease(assignment, &shown) => self.stopped(job, stop).await,
            () = drain.cancelled() => self.stopped(job, Stop::Drained).await,
        };
        if let Some(came) = came {
            self.say_finished(assignment, came).await;
        } else {
            self.metrics.attempts.with_label_values(&["dropped"]).inc();
            tracing::warn!(job.id = %job, %attempt, "the attempt is not this worker's any more");
        }
        lock(&self.busy).remove(job);
    }

    async fn stopped(&self, job: &JobId, stop: Stop) -> Option<Came> {
        Some(match stop {
            Stop::Drained => Came::given_back("the adapter is shutting down"),
            Stop::Preempted => Came { outcome: Outcome::Preempted { checkpoint: None }, held_ms: 0, purchase: None },
            Stop::Cancelled(reason) => {
                self.call_off(job).await;
                Came::failed(reason, "the job was called off while it ran", false)
            }
            Stop::NotOurs => return None,
        })
    }

    /// Ends the purchase of a job nobody wants any more, if that can be. What it cost is learned later.
    pub(crate) async fn call_off(&self, job: &JobId) {
        let settings = self.settings();
        let Ok(base) = base_of(&settings) else { return };
        match self.ledger.read(|book| (book.next(job), book.get(job).map(|intent| intent.number))).await {
            Ok((Next::Poll { id }, _)) => {
                if let Err(error) = self.dialect(&settings, &base).cancel(&id).await {
                    tracing::warn!(job.id = %job, %error, "a purchase could not be ended; it is paid for as it comes");
                }
            }
            Ok((Next::Submit, Some(number))) => {
                if let Err(error) = self.hear(job, number, Event::Dropped).await {
                    tracing::warn!(job.id = %job, error = format!("{error:#}"), "a plan could not be dropped");
                }
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(job.id = %job, error = format!("{error:#}"), "the book could not be read"),
        }
    }

    async fn say_finished(&self, assignment: &Assignment, came: Came) {
        let (job, attempt) = (&assignment.job, assignment.attempt);
        let Came { outcome, held_ms: gpu_ms, purchase } = came;
        let name = match &outcome {
            Outcome::Done { .. } => "done",
            Outcome::Preempted { .. } => "preempted",
            Outcome::Failed { reason, message, .. } => {
                tracing::warn!(job.id = %job, %attempt, reason = reason.as_str(), why = %message, "the attempt failed");
                reason.as_str()
            }
        };
        self.metrics.attempts.with_label_values(&[name]).inc();
        let (worker, boot_id) = (self.id.clone(), self.boot_id.clone());
        let finish = Finish { worker, boot_id, outcome, gpu_ms };
        let until = Instant::now() + lease(assignment) * FINISH_LEASES;
        match self.dispatch.finish(job, attempt, &finish, until).await {
            Ok(()) => {
                tracing::info!(job.id = %job, %attempt, gpu_ms, "the attempt has ended");
                // Only now will nobody ask for it again.
                if let Some(number) = purchase
                    && let Err(error) = self.hear(job, number, Event::Delivered).await
                {
                    tracing::warn!(job.id = %job, error = format!("{error:#}"), "a delivered purchase stays in the book");
                }
            }
            Err(CallError::Stale) => tracing::warn!(job.id = %job, %attempt, "the attempt had been given up"),
            Err(error) => tracing::error!(job.id = %job, %attempt, %error, "the end of the attempt was not heard"),
        }
    }

    /// Renews until told to stop.
    async fn keep_lease(&self, assignment: &Assignment, shown: &Shown) -> Stop {
        let (job, attempt, request) = (&assignment.job, assignment.attempt, &assignment.request);
        let third = lease(assignment) / 3;
        loop {
            tokio::time::sleep(third).await;
            let renew = Renew {
                worker: self.id.clone(),
                boot_id: self.boot_id.clone(),
                // A provider does not say how far it is: the first step stands for "it has begun".
                step: u32::from(shown.begun.load(Ordering::Relaxed)),
                steps: request.steps.saturating_mul(request.images),
                gpus: Vec::new(),
                previews: Vec::new(),
            };
            match self.dispatch.renew(job, attempt, &renew, third).await {
                Ok(RenewAnswer::Continue { .. }) => {}
                Ok(RenewAnswer::Preempt) => return Stop::Preempted,
                Ok(RenewAnswer::Cancel { reason }) => return Stop::Cancelled(reason),
                Err(CallError::Stale) => return Stop::NotOurs,
                Err(error) => tracing::warn!(job.id = %job, %attempt, %error, "a renewal was not heard"),
            }
        }
    }
}

fn lease(assignment: &Assignment) -> Duration {
    Duration::from_millis(assignment.lease_ms).max(LEASE_MIN)
}
