//! One attempt from assignment to finish: has the engine draw, uploads as pictures come, renews the lease beside it, and
//! stops within a step when told to. It decides nothing about which work to take.

mod end;
mod previews;
mod traced;
mod work;

use std::sync::OnceLock;
use std::time::Duration;

use tintype_types::worker::{Assignment, Finish, Outcome, Renew, RenewAnswer};
use tintype_types::{FailureReason, Traceparent};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::CallError;
use crate::engine::{self, Wish};
use crate::probe::Trouble;
use crate::run::Worker;
use end::{Failure, Stop, Worked, outcome_name, stopped};

/// A renewal is sent at a third of the lease, and sooner, at this pace, when there is progress to show.
const PROGRESS_PERIOD: Duration = Duration::from_secs(1);
/// The pace where somebody watches: previews come at most twice a second.
const PREVIEW_PERIOD: Duration = Duration::from_millis(500);
/// Shortest lease believed; a shorter one would have renewals overtake each other.
const LEASE_MIN: Duration = Duration::from_millis(300);
/// The end of an attempt is said for as many leases as a new leader may grant: the old one's rest and one whole.
const FINISH_LEASES: u32 = 2;
/// A pipeline that failed may have met a fault of the GPU that the driver is about to report. The reading under way may have
/// begun before it did; the next one has not.
const FAULT_READINGS: u32 = 2;
/// How long these are waited for: a driver may hang as well.
const FAULT_NEWS_MAX: Duration = Duration::from_secs(15);
/// How long a faulty GPU may take to end its step. It may hang for ever, and the job must not hang with it.
const FAULTY_STEP_MAX: Duration = Duration::from_secs(30);

/// What the work and the tasks around it share.
#[derive(Default)]
struct Control {
    /// The hand on the job in the engine, once it is there.
    job: OnceLock<engine::Control>,
    /// The work is to be thrown away.
    stop: CancellationToken,
    /// The job is to be given back, with a checkpoint.
    give_back: CancellationToken,
    /// The attempt's span, if it is traced.
    part_of: Option<Traceparent>,
}

impl Control {
    /// The job is in the engine. It may have been stopped on the way there.
    fn begun(&self, job: engine::Control) {
        let job = self.job.get_or_init(|| job);
        if self.stop.is_cancelled() {
            job.wish(Wish::Leave);
        } else if self.give_back.is_cancelled() {
            job.wish(Wish::Save);
        }
    }

    fn stop(&self) {
        self.stop.cancel();
        if let Some(job) = self.job.get() {
            job.wish(Wish::Leave);
        }
    }

    fn give_back(&self) {
        self.give_back.cancel();
        if let Some(job) = self.job.get() {
            job.wish(Wish::Save);
        }
    }

    /// Steps done and steps in all; nothing before the job is begun.
    fn progress(&self) -> Option<(u32, u32)> {
        self.job.get().map(engine::Control::progress).filter(|(_, steps)| *steps > 0)
    }

    fn gpu_ms(&self) -> u64 {
        self.job.get().map_or(0, |job| job.drawing().as_millis() as u64)
    }
}

impl Worker {
    /// Runs one attempt to its end, whatever that is. `drain` asks it to give the job back. Answers in a word how it ended.
    async fn run_attempt(
        &self,
        assignment: &Assignment,
        part_of: Option<Traceparent>,
        drain: &CancellationToken,
    ) -> &'static str {
        let (job, attempt) = (&assignment.job, assignment.attempt);
        tracing::info!(job.id = %job, %attempt, model = %assignment.request.model, "an attempt begins");
        let control = Control { part_of, ..Control::default() };
        let outcome = self.outcome(assignment, &control, drain).await;
        self.tell_marks(&control);
        let name = outcome.as_ref().map_or("dropped", outcome_name);
        self.metrics.attempts.with_label_values(&[name]).inc();
        let Some(outcome) = outcome else {
            tracing::warn!(job.id = %job, %attempt, "the attempt is not this worker's any more; its work is dropped");
            return name;
        };
        if let Outcome::Failed { reason, message, .. } = &outcome {
            tracing::warn!(job.id = %job, %attempt, reason = reason.as_str(), why = %message, "the attempt failed");
        }
        let (worker, boot_id, gpu_ms) = (self.id.clone(), self.boot_id.clone(), control.gpu_ms());
        self.say_finished(assignment, Finish { worker, boot_id, outcome, gpu_ms }).await;
        name
    }

    /// Works until the work is done or somebody wants it to stop; nothing where nobody waits for the end.
    async fn outcome(&self, assignment: &Assignment, control: &Control, drain: &CancellationToken) -> Option<Outcome> {
        let mut work = std::pin::pin!(self.work(assignment, control));
        let (mut gives_back, mut patience) = (None, None);
        let stop = loop {
            let unfit = matches!(gives_back, Some(Stop::Unfit(_)));
            let stop = tokio::select! {
                biased;
                // First, so that pictures of a GPU that computes wrongly do not count, even if they are ready.
                trouble = self.trouble(), if !unfit => Stop::of(&trouble),
                worked = &mut work => {
                    // A fault that ends the work may be told here before whoever waits for it is woken.
                    let fault = if unfit { None } else { self.health.borrow().trouble.as_ref().map(Stop::of) };
                    if let Some(stop) = fault.filter(|stop| matches!(stop, Stop::GpuFault | Stop::Distrusted(_))) {
                        return stopped(stop, None);
                    }
                    return ended(worked, gives_back);
                }
                () = until_instant(patience) => break Stop::Stuck,
                // Goes on while the job is given back: the step under way may be longer than the lease.
                stop = self.keep_lease(assignment, control) => stop,
                () = drain.cancelled(), if gives_back.is_none() => Stop::Drained,
            };
            match stop {
                Stop::Drained | Stop::Preempted => {
                    control.give_back();
                    gives_back.get_or_insert(stop);
                }
                Stop::Unfit(_) => {
                    control.give_back();
                    patience = Some(Instant::now() + FAULTY_STEP_MAX);
                    gives_back = Some(stop);
                }
                Stop::GpuFault | Stop::Distrusted(_) | Stop::Stuck | Stop::Cancelled(_) | Stop::NotOurs => break stop,
            }
        };
        control.stop();
        // Ends within a step; whatever it made is thrown away.
        let faulty = matches!(stop, Stop::GpuFault | Stop::Distrusted(_) | Stop::Stuck);
        let limit = if stop == Stop::Stuck { Duration::ZERO } else { FAULTY_STEP_MAX };
        if !faulty {
            let _dropped = work.await;
        } else if tokio::time::timeout(limit, work).await.is_err() {
            let (job, attempt) = (&assignment.job, assignment.attempt);
            // Nothing is claimed before the engine is free again: its models are asked for first.
            tracing::error!(job.id = %job, %attempt, "the GPU does not end its step; restart this worker");
        }
        stopped(stop, None)
    }

    /// Waits for something to ail the GPU; for ever, where nothing is said of it any more.
    async fn trouble(&self) -> Trouble {
        let mut health = self.health.clone();
        if let Ok(health) = health.wait_for(|health| health.trouble.is_some()).await
            && let Some(trouble) = &health.trouble
        {
            return trouble.clone();
        }
        std::future::pending().await
    }

    async fn say_finished(&self, assignment: &Assignment, finish: Finish) {
        let (job, attempt) = (&assignment.job, assignment.attempt);
        let until = Instant::now() + lease(assignment) * FINISH_LEASES;
        match self.client.finish(job, attempt, &finish, until).await {
            Ok(()) => tracing::info!(job.id = %job, %attempt, gpu_ms = finish.gpu_ms, "the attempt has ended"),
            Err(CallError::Stale) => {
                tracing::warn!(job.id = %job, %attempt, "the attempt had been given up; its pictures do not count");
            }
            Err(error) => tracing::error!(job.id = %job, %attempt, %error, "the end of the attempt was not heard"),
        }
    }

    /// Renews until told to stop. A renewal that is not heard is tried again at the next beat; the attempt goes on
    /// meanwhile, since with no dispatcher to be reached there is nothing better to do and the attempt number fences it.
    async fn keep_lease(&self, assignment: &Assignment, control: &Control) -> Stop {
        let (job, attempt, request) = (&assignment.job, assignment.attempt, &assignment.request);
        let third = lease(assignment) / 3;
        let unbegun = (0, request.steps.saturating_mul(request.images));
        let (mut heard, mut shown, mut watched) = (Instant::now(), 0, assignment.watched);
        loop {
            // Nothing goes past a safety filter.
            let shows = watched && self.publisher.filter.is_none();
            if shows {
                control.want_looks();
            }
            let beat = third.min(if shows { PREVIEW_PERIOD } else { PROGRESS_PERIOD });
            tokio::time::sleep(beat).await;
            let previews = if shows { control.previews().await } else { Vec::new() };
            let (step, steps) = control.progress().unwrap_or(unbegun);
            // Half a beat of slack: a timer that fires a little early must not cost a whole beat.
            if step == shown && previews.is_empty() && heard.elapsed() + beat / 2 < third {
                continue;
            }
            let (worker, boot_id, gpus) = (self.id.clone(), self.boot_id.clone(), self.probe.read());
            let renew = Renew { worker, boot_id, step, steps, gpus, previews };
            match self.client.renew(job, attempt, &renew, third).await {
                Ok(RenewAnswer::Continue { lease_end: _, watched: now }) => {
                    (heard, shown, watched) = (Instant::now(), step, now);
                }
                Ok(RenewAnswer::Preempt) => return Stop::Preempted,
                Ok(RenewAnswer::Cancel { reason }) => return Stop::Cancelled(reason),
                Err(CallError::Stale) => return Stop::NotOurs,
                Err(error) => tracing::warn!(job.id = %job, %attempt, %error, "a renewal was not heard"),
            }
        }
    }
}

/// Waits until then; for ever, where there is no then.
async fn until_instant(then: Option<Instant>) {
    match then {
        Some(then) => tokio::time::sleep_until(then).await,
        None => std::future::pending().await,
    }
}

/// What is said of work that came to its end, and was to be given back for this reason, if for any.
fn ended(worked: Result<Worked, Failure>, gives_back: Option<Stop>) -> Option<Outcome> {
    match worked {
        // The last step was done before it could stop: all the better.
        Ok(Worked::Done(outputs)) => Some(Outcome::Done { outputs }),
        Ok(Worked::Left(checkpoint)) => stopped(gives_back.unwrap_or(Stop::Drained), checkpoint),
        // The pipeline broke because the GPU did.
        Err(failure) if failure.reason == FailureReason::Internal && matches!(gives_back, Some(Stop::Unfit(_))) => {
            gives_back.and_then(|stop| stopped(stop, None))
        }
        Err(failure) => Some(failure.outcome()),
    }
}

fn lease(assignment: &Assignment) -> Duration {
    Duration::from_millis(assignment.lease_ms).max(LEASE_MIN)
}
