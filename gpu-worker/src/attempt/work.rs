//! The work of an attempt: fetches what it needs, has the engine draw, and uploads pictures as they come.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tintype_telemetry::{Attribute, Stage};
use tintype_types::limits::{CHECKPOINT_BYTES_MAX, IMAGE_BYTES_MAX, INPUT_BYTES_MAX};
use tintype_types::worker::{Assignment, CheckpointLeft};
use tintype_types::{FailureReason, GenerationRequest, Output, Traceparent};

use super::end::{Failure, Worked};
use super::{Control, FAULT_NEWS_MAX, FAULT_READINGS};
use crate::engine::{End, Join, News, Picture, Saved, Seat};
use crate::output::{PictureFile, PublishError};
use crate::pipeline::{Order, PipelineError, seed_of};
use crate::probe::{Toll, Trouble};
use crate::run::Worker;

/// How long storing a checkpoint may take, tries and pauses included. Whoever drains a worker waits this long.
const CHECKPOINT_PUT_MAX: Duration = Duration::from_secs(20);
/// What a checkpoint is called on its way.
const CHECKPOINT_MEDIA_TYPE: &str = "application/octet-stream";

/// A picture as a file.
struct File {
    made: PictureFile,
    width: u32,
    height: u32,
    seed: u64,
}

impl Worker {
    /// Draws and uploads every picture, or as many steps as it is let.
    pub(super) async fn work(&self, assignment: &Assignment, control: &Control) -> Result<Worked, Failure> {
        check(assignment)?;
        let join = tokio::select! {
            join = self.prepare(assignment, control) => join?,
            () = control.stop.cancelled() => return Err(Failure::pipeline(&PipelineError::Stopped)),
            () = control.give_back.cancelled() => return Ok(Worked::Left(None)),
        };
        let mut seat = self.engine.join(join).await.map_err(|_| Failure::pipeline(&PipelineError::Broken))?;
        control.begun(seat.control());
        let mut outputs = Vec::with_capacity(assignment.outputs.len());
        let stored = tokio::select! {
            stored = self.take_in(assignment, control.part_of, &mut seat, &mut outputs) => stored,
            () = control.stop.cancelled() => Ok(()),
        };
        let end = seat.end().await;
        stored?;
        match end {
            Some(End::Done) => Ok(Worked::Done(outputs)),
            Some(End::Left(saved)) => Ok(Worked::Left(self.leave(assignment, saved).await)),
            Some(End::Failed(error, saved)) => {
                let failure = Failure::pipeline(&error);
                if failure.reason != FailureReason::Internal {
                    return Err(failure);
                }
                match self.news_of_trouble().await {
                    // It was the GPU's doing, and the step that failed has changed nothing.
                    Some(Toll::GivenBack) => Ok(Worked::Left(self.leave(assignment, saved).await)),
                    Some(Toll::Failure | Toll::Distrusted) | None => Err(failure),
                }
            }
            None => {
                self.news_of_trouble().await;
                Err(Failure::pipeline(&PipelineError::Broken))
            }
        }
    }

    /// Stores what the engine sends until it sends no more.
    async fn take_in(
        &self,
        assignment: &Assignment,
        part_of: Option<Traceparent>,
        seat: &mut Seat,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Failure> {
        while let Some(news) = seat.news().await {
            match news {
                News::Picture(picture) => {
                    let span = self.telemetry.stage(part_of, Stage::Store).with(Attribute::Picture(picture.index));
                    outputs.push(self.store(assignment, picture).await?);
                    span.end();
                }
                News::Checkpoint(saved) => {
                    // One that cannot be stored costs steps should this worker die, and nothing else.
                    self.leave(assignment, Some(saved)).await;
                    seat.control().stored();
                }
            }
        }
        Ok(())
    }

    /// What the engine needs to know: the input pictures, and where an earlier attempt stopped.
    async fn prepare(&self, assignment: &Assignment, control: &Control) -> Result<Join, Failure> {
        if let Some(fetcher) = &self.fetcher {
            fetcher.bring(&assignment.request).await.map_err(|(name, error)| {
                let (reason, retryable) = error.reason();
                Failure::new(reason, format!("the file of the model {name} {error}"), retryable)
            })?;
        }
        let order = Order { request: assignment.request.clone(), inputs: self.fetch_inputs(assignment).await? };
        let resume_url = assignment.checkpoint.as_ref().and_then(|plan| plan.resume_url.as_deref());
        let saved = match resume_url {
            None => None,
            Some(url) => match self.client.get(url, CHECKPOINT_BYTES_MAX).await {
                Ok(saved) => {
                    let (job, bytes) = (&assignment.job, saved.len());
                    tracing::info!(job.id = %job, bytes, "the job goes on from the checkpoint of an earlier attempt");
                    Some(saved)
                }
                Err(error) => {
                    let job = &assignment.job;
                    tracing::warn!(job.id = %job, %error, "a checkpoint could not be fetched; the job starts anew");
                    None
                }
            },
        };
        let traced = control.part_of.is_some_and(|part_of| part_of.sampled);
        Ok(Join { order, saved, checkpoint_every: self.checkpoint_every, traced })
    }

    /// Puts a checkpoint to its place in the store, if there are both.
    async fn leave(&self, assignment: &Assignment, saved: Option<Saved>) -> Option<CheckpointLeft> {
        let Saved { step, file } = saved?;
        let plan = assignment.checkpoint.as_ref()?;
        let (sha256, bytes) = (hex::encode(Sha256::digest(&file)), file.len() as u64);
        let put = self.client.put(&plan.put_url, CHECKPOINT_MEDIA_TYPE, file);
        let (job, attempt) = (&assignment.job, assignment.attempt);
        match tokio::time::timeout(CHECKPOINT_PUT_MAX, put).await {
            Ok(Ok(())) => {
                tracing::debug!(job.id = %job, %attempt, step, bytes, "a checkpoint is stored");
                return Some(CheckpointLeft { step, bytes, sha256 });
            }
            Ok(Err(error)) => tracing::warn!(job.id = %job, %attempt, %error, "a checkpoint could not be stored"),
            Err(_) => tracing::warn!(job.id = %job, %attempt, "the store was too slow for a checkpoint"),
        }
        None
    }

    /// The pictures the request names.
    async fn fetch_inputs(
        &self,
        assignment: &Assignment,
    ) -> Result<std::collections::BTreeMap<String, Bytes>, Failure> {
        let mut inputs = std::collections::BTreeMap::new();
        for key in assignment.request.input_keys() {
            if inputs.contains_key(key) {
                continue;
            }
            let missing =
                || Failure::new(FailureReason::Internal, "the assignment does not say where an input is", true);
            let url = assignment.inputs.get(key).ok_or_else(missing)?;
            let fetched = self.client.get(url, INPUT_BYTES_MAX).await.map_err(|error| {
                let gone = error.is_for_good();
                let reason = if gone { FailureReason::InvalidRequest } else { FailureReason::Internal };
                Failure::new(reason, format!("an input picture could not be fetched: the store {error}"), !gone)
            })?;
            inputs.insert(key.to_owned(), fetched);
        }
        Ok(inputs)
    }

    /// Gives a fault that made the pipeline fail the time to be heard. Whoever waits for trouble hears it as well, and
    /// knows what to say of the attempt.
    async fn news_of_trouble(&self) -> Option<Toll> {
        let mut health = self.health.clone();
        let news = async {
            for _ in 0..FAULT_READINGS {
                if health.borrow_and_update().trouble.is_some() {
                    break;
                }
                // Comes, or cannot come because there is nobody to tell.
                health.changed().await.ok()?;
            }
            health.borrow().trouble.as_ref().map(Trouble::toll)
        };
        tokio::time::timeout(FAULT_NEWS_MAX, news).await.ok()?
    }

    async fn store(&self, assignment: &Assignment, picture: Picture) -> Result<Output, Failure> {
        let no_place = || Failure::upload("the assignment has no place for this picture".to_owned(), false);
        let target = assignment.outputs.get(picture.index as usize).ok_or_else(no_place)?;
        let File { made, width, height, seed } = self.publish(assignment, picture).await?;
        let PictureFile { bytes: file, sha256 } = made;
        let bytes = file.len() as u64;
        if bytes > IMAGE_BYTES_MAX {
            let what = format!("the picture has {bytes} bytes; at most {IMAGE_BYTES_MAX} are taken");
            return Err(Failure::upload(what, false));
        }
        self.client
            .put(&target.put_url, assignment.request.format.media_type(), file.into())
            .await
            .map_err(|error| Failure::upload(format!("the picture could not be stored: the store {error}"), true))?;
        self.metrics.images.inc();
        Ok(Output { key: target.key.clone(), sha256, bytes, width, height, seed })
    }

    /// Makes the file, on a thread: it may take as long as a step.
    async fn publish(&self, assignment: &Assignment, picture: Picture) -> Result<File, Failure> {
        let (publisher, request) = (Arc::clone(&self.publisher), assignment.request.clone());
        let making = tokio::task::spawn_blocking(move || {
            let Picture { index, image } = picture;
            let seed = seed_of(&request, index);
            let made = publisher.publish(&image, &request, seed)?;
            Ok(File { made, width: image.width, height: image.height, seed })
        });
        let Ok(made) = making.await else {
            let what = "making the file broke; the log of the worker says more";
            return Err(Failure::new(FailureReason::Internal, what, true));
        };
        made.map_err(|error: PublishError| {
            if let PublishError::Unjudged(cause) = &error {
                // Every picture is held back until somebody mends it.
                let cause = cause as &dyn std::error::Error;
                tracing::error!(job.id = %assignment.job, error = cause, "the safety filter fails");
            }
            let (reason, retryable) = error.reason();
            Failure::new(reason, error.to_string(), retryable)
        })
    }
}

/// The limits the API and the cluster check too, checked again before anything is allocated.
fn check(assignment: &Assignment) -> Result<(), Failure> {
    let invalid = |message: String| Failure::new(FailureReason::InvalidRequest, message, false);
    let request = GenerationRequest::from(assignment.request.clone());
    let images = assignment.request.images;
    request.validate().map_err(|error| invalid(error.to_string()))?;
    if assignment.outputs.len() < images as usize {
        return Err(invalid(format!("{images} pictures are asked for and {} places given", assignment.outputs.len())));
    }
    Ok(())
}
