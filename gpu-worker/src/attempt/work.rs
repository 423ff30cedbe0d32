//! The work of an attempt: fetches what it needs, has the engine draw, and uploads pictures as they come.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tintype_types::limits::{IMAGE_BYTES_MAX, INPUT_BYTES_MAX};
use tintype_types::worker::Assignment;
use tintype_types::{FailureReason, GenerationRequest, Output};

use super::end::Failure;
use super::{Control, FAULT_NEWS};
use crate::engine::{End, Picture};
use crate::output::encode_png;
use crate::pipeline::{Order, PipelineError, seed_of};
use crate::run::Worker;

/// A picture as a file.
struct File {
    bytes: Bytes,
    width: u32,
    height: u32,
    seed: u64,
}

impl Worker {
    /// Draws and uploads every picture.
    pub(super) async fn work(&self, assignment: &Assignment, control: &Control) -> Result<Vec<Output>, Failure> {
        check(assignment)?;
        let order = Order { request: assignment.request.clone(), inputs: self.fetch_inputs(assignment).await? };
        let mut seat = self.engine.join(order).await.map_err(|_| Failure::pipeline(&PipelineError::Broken))?;
        control.begun(seat.control());
        let mut outputs = Vec::with_capacity(assignment.outputs.len());
        let stored = loop {
            let picture = tokio::select! {
                picture = seat.picture() => picture,
                () = control.stop.cancelled() => break Ok(()),
            };
            let Some(picture) = picture else { break Ok(()) };
            let stored = tokio::select! {
                stored = self.store(assignment, picture) => stored,
                () = control.stop.cancelled() => break Ok(()),
            };
            match stored {
                Ok(output) => outputs.push(output),
                Err(failure) => break Err(failure),
            }
        };
        if stored.is_err() {
            control.stop();
        }
        let end = seat.end().await;
        stored?;
        match end {
            Some(End::Done) => Ok(outputs),
            Some(End::Left) => Err(Failure::pipeline(&PipelineError::Stopped)),
            Some(End::Failed(error)) => {
                let failure = Failure::pipeline(&error);
                if failure.reason == FailureReason::Internal {
                    self.news_of_a_fault().await;
                }
                Err(failure)
            }
            None => {
                self.news_of_a_fault().await;
                Err(Failure::pipeline(&PipelineError::Broken))
            }
        }
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

    /// Gives a fault that made the pipeline fail the time to be heard; whoever waits for faults then ends the attempt.
    async fn news_of_a_fault(&self) {
        let mut health = self.health.clone();
        let fault = health.wait_for(|health| health.fault().is_some());
        // Comes, does not come, or cannot come because there is nobody to tell.
        let _news = tokio::time::timeout(FAULT_NEWS, fault).await;
    }

    async fn store(&self, assignment: &Assignment, picture: Picture) -> Result<Output, Failure> {
        let no_place = || Failure::upload("the assignment has no place for this picture".to_owned(), false);
        let target = assignment.outputs.get(picture.index as usize).ok_or_else(no_place)?;
        let File { bytes: file, width, height, seed } = encode(assignment, picture).await?;
        let (sha256, bytes) = (hex::encode(Sha256::digest(&file)), file.len() as u64);
        if bytes > IMAGE_BYTES_MAX {
            let what = format!("the picture has {bytes} bytes; at most {IMAGE_BYTES_MAX} are taken");
            return Err(Failure::upload(what, false));
        }
        self.client
            .put(&target.put_url, file)
            .await
            .map_err(|error| Failure::upload(format!("the picture could not be stored: the store {error}"), true))?;
        self.metrics.images.inc();
        Ok(Output { key: target.key.clone(), sha256, bytes, width, height, seed })
    }
}

/// Makes the file, on a thread: it may take as long as a step.
async fn encode(assignment: &Assignment, picture: Picture) -> Result<File, Failure> {
    let broken = |message: String| Failure::new(FailureReason::Internal, message, true);
    let request = assignment.request.clone();
    let encoding = tokio::task::spawn_blocking(move || {
        let Picture { index, image } = picture;
        let seed = seed_of(&request, index);
        let file = encode_png(&image, &request, seed)?;
        Ok::<_, crate::output::EncodeError>(File { bytes: file.into(), width: image.width, height: image.height, seed })
    });
    match encoding.await {
        Ok(encoded) => encoded.map_err(|error| broken(error.to_string())),
        Err(_) => Err(broken("making the file broke; the log of the worker says more".to_owned())),
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
