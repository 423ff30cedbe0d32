//! One attempt from assignment to finish: draw on a thread, upload as pictures come, renew the lease beside it, and stop
//! within a step when told to. It decides nothing about which work to take.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tintype_types::limits::IMAGE_BYTES_MAX;
use tintype_types::worker::{Assignment, Finish, Outcome, Renew, RenewAnswer};
use tintype_types::{FailureReason, GenerationRequest, Output, ResolvedRequest};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::CallError;
use crate::output::encode_png;
use crate::pipeline::{Flow, Pipeline, PipelineError, seed_of};
use crate::run::Worker;

/// A renewal is sent at a third of the lease, and sooner, at this pace, when there is progress to show.
const PROGRESS_PERIOD: Duration = Duration::from_secs(1);
/// Shortest lease believed; a shorter one would have renewals overtake each other.
const LEASE_MIN: Duration = Duration::from_millis(300);
/// Finished pictures that may wait for the upload before drawing waits too.
const PICTURES_WAITING_MAX: usize = 1;
/// The end of an attempt is said for as many leases as a new leader may grant: the old one's rest and one whole.
const FINISH_LEASES: u32 = 2;
/// A pipeline that failed may have met a fault of the GPU that the driver is about to report.
const FAULT_NEWS: Duration = Duration::from_millis(1500);
/// How long a faulty GPU may take to end its step. It may hang for ever, and the job must not hang with it.
const FAULTY_STEP_MAX: Duration = Duration::from_secs(30);

/// Why an attempt was stopped from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stop {
    /// The GPU is not to be trusted any more, or gone.
    GpuFault,
    /// This worker shuts down.
    Drained,
    /// The dispatcher wants the GPU for something else.
    Preempted,
    /// The job is not wanted any more.
    Cancelled(FailureReason),
    /// The attempt is somebody else's by now; nobody waits for its end.
    NotOurs,
}

/// Why an attempt made no pictures.
#[derive(Debug)]
struct Failure {
    reason: FailureReason,
    message: String,
    retryable: bool,
}

/// What the drawing thread and the tasks around it share.
#[derive(Debug, Default)]
struct Control {
    step: AtomicU32,
    drawing_ms: AtomicU64,
    stopped: AtomicBool,
    stop: CancellationToken,
}

impl Control {
    fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.stop.cancel();
    }
}

/// A picture on its way from the drawing thread to the store.
struct Picture {
    index: u32,
    png: Bytes,
    width: u32,
    height: u32,
    seed: u64,
}

impl Worker {
    /// Runs one attempt to its end, whatever that is. `drain` asks it to give the job back.
    pub(crate) async fn run_attempt(&self, assignment: &Assignment, drain: &CancellationToken) {
        let (job, attempt) = (&assignment.job, assignment.attempt);
        tracing::info!(job.id = %job, %attempt, model = %assignment.request.model, "an attempt begins");
        let control = Arc::new(Control::default());
        let mut work = std::pin::pin!(self.work(assignment, &control));
        let stop = tokio::select! {
            biased;
            // First, so that pictures of a faulty GPU do not count, even if they are ready.
            () = self.until(|health| health.fault().is_some()) => Ok(Stop::GpuFault),
            worked = &mut work => Err(worked),
            stop = self.keep_lease(assignment, &control) => Ok(stop),
            () = drain.cancelled() => Ok(Stop::Drained),
        };
        let outcome = match stop {
            Err(worked) => Some(worked.map_or_else(failed, |outputs| Outcome::Done { outputs })),
            Ok(stop) => {
                control.stop();
                // Ends within a step; whatever it made is thrown away.
                if stop == Stop::GpuFault {
                    if tokio::time::timeout(FAULTY_STEP_MAX, work).await.is_err() {
                        // Nothing is claimed before the pipeline is free again: its models are asked for first.
                        tracing::error!(job.id = %job, %attempt, "the GPU does not end its step; restart this worker");
                    }
                } else {
                    let _dropped = work.await;
                }
                stopped(stop).map(failed)
            }
        };
        let name = outcome.as_ref().map_or("dropped", outcome_name);
        self.metrics.attempts.with_label_values(&[name]).inc();
        let gpu_ms = control.drawing_ms.load(Ordering::Relaxed);
        let Some(outcome) = outcome else {
            tracing::warn!(job.id = %job, %attempt, "the attempt is not this worker's any more; its work is dropped");
            return;
        };
        if let Outcome::Failed { reason, message, .. } = &outcome {
            tracing::warn!(job.id = %job, %attempt, reason = reason.as_str(), why = %message, "the attempt failed");
        }
        self.say_finished(
            assignment,
            Finish { worker: self.id.clone(), boot_id: self.boot_id.clone(), outcome, gpu_ms },
        )
        .await;
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

    /// Draws and uploads every picture.
    async fn work(&self, assignment: &Assignment, control: &Arc<Control>) -> Result<Vec<Output>, Failure> {
        check(assignment)?;
        let (sender, mut pictures) = mpsc::channel(PICTURES_WAITING_MAX);
        let (pipeline, request) = (Arc::clone(&self.pipeline), assignment.request.clone());
        let (shared, steps) = (Arc::clone(control), self.metrics.steps.clone());
        let drawing = tokio::task::spawn_blocking(move || draw(&pipeline, &request, &shared, &steps, &sender));
        let mut outputs = Vec::with_capacity(assignment.outputs.len());
        let mut upload_failed = None;
        while let Some(picture) = pictures.recv().await {
            let stored = tokio::select! {
                stored = self.store(assignment, picture) => stored,
                () = control.stop.cancelled() => break,
            };
            match stored {
                Ok(output) => outputs.push(output),
                Err(failure) => {
                    upload_failed = Some(failure);
                    control.stop();
                    break;
                }
            }
        }
        // A picture still on its way is dropped with the receiver, which also ends the thread's wait.
        drop(pictures);
        let drawn = drawing.await;
        if let Some(failure) = upload_failed {
            return Err(failure);
        }
        match drawn {
            Ok(Ok(())) => Ok(outputs),
            Ok(Err(failure)) if failure.reason == FailureReason::Internal => {
                self.news_of_a_fault().await;
                Err(failure)
            }
            Ok(Err(failure)) => Err(failure),
            Err(_) => {
                self.news_of_a_fault().await;
                Err(Failure {
                    reason: FailureReason::Internal,
                    message: "the pipeline broke; the log of the worker says more".to_owned(),
                    retryable: true,
                })
            }
        }
    }

    /// Gives a fault that made the pipeline fail the time to be heard; whoever waits for faults then ends the attempt.
    async fn news_of_a_fault(&self) {
        let mut health = self.health.clone();
        let fault = health.wait_for(|health| health.fault().is_some());
        // Comes, does not come, or cannot come because there is nobody to tell.
        let _news = tokio::time::timeout(FAULT_NEWS, fault).await;
    }

    async fn store(&self, assignment: &Assignment, picture: Picture) -> Result<Output, Failure> {
        let Picture { index, png, width, height, seed } = picture;
        let upload_failed =
            |message: String, retryable| Failure { reason: FailureReason::UploadFailed, message, retryable };
        let target = assignment
            .outputs
            .get(index as usize)
            .ok_or_else(|| upload_failed("the assignment has no place for this picture".to_owned(), false))?;
        let (sha256, bytes) = (hex::encode(Sha256::digest(&png)), png.len() as u64);
        if bytes > IMAGE_BYTES_MAX {
            return Err(upload_failed(
                format!("the picture has {bytes} bytes; at most {IMAGE_BYTES_MAX} are taken"),
                false,
            ));
        }
        self.client
            .put(&target.put_url, png)
            .await
            .map_err(|error| upload_failed(format!("the picture could not be stored: the store {error}"), true))?;
        self.metrics.images.inc();
        Ok(Output { key: target.key.clone(), sha256, bytes, width, height, seed })
    }

    /// Renews until told to stop. A renewal that is not heard is tried again at the next beat; the attempt goes on
    /// meanwhile, since with no dispatcher to be reached there is nothing better to do and the attempt number fences it.
    async fn keep_lease(&self, assignment: &Assignment, control: &Control) -> Stop {
        let (job, attempt, request) = (&assignment.job, assignment.attempt, &assignment.request);
        let third = lease(assignment) / 3;
        let beat = third.min(PROGRESS_PERIOD);
        let (mut heard, mut shown) = (Instant::now(), 0);
        loop {
            tokio::time::sleep(beat).await;
            let step = control.step.load(Ordering::Relaxed);
            // Half a beat of slack: a timer that fires a little early must not cost a whole beat.
            if step == shown && heard.elapsed() + beat / 2 < third {
                continue;
            }
            let renew = Renew {
                worker: self.id.clone(),
                boot_id: self.boot_id.clone(),
                step,
                steps: request.steps.saturating_mul(request.images),
                gpus: self.probe.read(),
            };
            match self.client.renew(job, attempt, &renew, third).await {
                Ok(RenewAnswer::Continue { .. }) => (heard, shown) = (Instant::now(), step),
                Ok(RenewAnswer::Preempt) => return Stop::Preempted,
                Ok(RenewAnswer::Cancel { reason }) => return Stop::Cancelled(reason),
                Err(CallError::Stale) => return Stop::NotOurs,
                Err(error) => tracing::warn!(job.id = %job, %attempt, %error, "a renewal was not heard"),
            }
        }
    }
}

/// The drawing thread: every picture in order, a look at the stop flag after each step.
fn draw(
    pipeline: &Mutex<Box<dyn Pipeline>>,
    request: &ResolvedRequest,
    control: &Control,
    steps: &prometheus::Histogram,
    pictures: &mpsc::Sender<Picture>,
) -> Result<(), Failure> {
    // A pipeline that panicked before holds nothing half-done: a model is inserted only when it is whole.
    let mut pipeline = pipeline.lock().unwrap_or_else(PoisonError::into_inner);
    for index in 0..request.images {
        let started = Instant::now();
        let mut last = started;
        let drawn = pipeline.generate(request, index, &mut |step, _| {
            control.step.store(index.saturating_mul(request.steps).saturating_add(step), Ordering::Relaxed);
            if step > 0 {
                steps.observe(last.elapsed().as_secs_f64());
            }
            last = Instant::now();
            if control.stopped.load(Ordering::Relaxed) { Flow::Stop } else { Flow::Continue }
        });
        control.drawing_ms.fetch_add(started.elapsed().as_millis() as u64, Ordering::Relaxed);
        let image = drawn.map_err(|error| pipeline_failed(&error))?;
        let seed = seed_of(request, index);
        let png = encode_png(&image, request, seed).map_err(|error| Failure {
            reason: FailureReason::Internal,
            message: error.to_string(),
            retryable: true,
        })?;
        let picture = Picture { index, png: png.into(), width: image.width, height: image.height, seed };
        if pictures.blocking_send(picture).is_err() {
            return Err(pipeline_failed(&PipelineError::Stopped));
        }
    }
    Ok(())
}

/// The limits the API and the cluster check too, checked again before anything is allocated.
fn check(assignment: &Assignment) -> Result<(), Failure> {
    let invalid = |message: String| Failure { reason: FailureReason::InvalidRequest, message, retryable: false };
    let request = GenerationRequest::from(assignment.request.clone());
    let images = assignment.request.images;
    request.validate().map_err(|error| invalid(error.to_string()))?;
    if assignment.outputs.len() < images as usize {
        return Err(invalid(format!("{images} pictures are asked for and {} places given", assignment.outputs.len())));
    }
    Ok(())
}

fn lease(assignment: &Assignment) -> Duration {
    Duration::from_millis(assignment.lease_ms).max(LEASE_MIN)
}

fn pipeline_failed(error: &PipelineError) -> Failure {
    let (reason, retryable) = error.reason();
    Failure { reason, message: error.to_string(), retryable }
}

fn failed(Failure { reason, message, retryable }: Failure) -> Outcome {
    Outcome::Failed { reason, message, retryable }
}

/// What is said of an attempt that was stopped; nothing when nobody waits for it.
fn stopped(stop: Stop) -> Option<Failure> {
    match stop {
        Stop::GpuFault => Some(Failure {
            reason: FailureReason::GpuFault,
            message: "the GPU had a fault while it drew; another worker may try".to_owned(),
            retryable: true,
        }),
        Stop::Drained => Some(Failure {
            reason: FailureReason::WorkerDrained,
            message: "the worker is shutting down and gave the job back".to_owned(),
            retryable: true,
        }),
        // There are no checkpoints yet, so the job starts again from its first step.
        Stop::Preempted => Some(Failure {
            reason: FailureReason::WorkerDrained,
            message: "the GPU was wanted for a more urgent job; this one was given back".to_owned(),
            retryable: true,
        }),
        Stop::Cancelled(reason) => {
            Some(Failure { reason, message: "the job was called off while it ran".to_owned(), retryable: false })
        }
        Stop::NotOurs => None,
    }
}

fn outcome_name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done { .. } => "done",
        Outcome::Failed { reason, .. } => reason.as_str(),
    }
}
