//! Hands a purchase over: fetches its pictures, decodes them within limits, has the worker's own code judge, mark and
//! write them, and stores them where the assignment says.

use std::sync::Arc;

use reqwest::Url;
use tintype_crds::PoolProvider;
use tintype_types::limits::{IMAGE_BYTES_MAX, INPUT_BYTES_MAX};
use tintype_types::worker::{Assignment, Outcome};
use tintype_types::{FailureReason, Output};
use tintype_worker::images::decode;
use tintype_worker::output::PictureFile;
use tintype_worker::pipeline::seed_of;

use crate::adapter::Adapter;
use crate::attempt::Came;
use crate::call::CallError;
use crate::dialect::{Picture, Progress};
use crate::settings::base_of;

impl Adapter {
    /// Ends the attempt with the pictures of a purchase that has succeeded.
    pub(crate) async fn deliver(
        &self,
        assignment: &Assignment,
        settings: &PoolProvider,
        number: u64,
        id: &str,
    ) -> Came {
        let Ok(base) = base_of(settings) else { return Came::given_back("the provider's address is none") };
        let (pictures, held_ms) = match self.dialect(settings, &base).look(id).await {
            Ok(Progress::Succeeded { pictures, held_ms }) => (pictures, held_ms),
            Ok(Progress::Gone | Progress::Waiting | Progress::Running | Progress::Failed { .. }) => return lost(),
            Err(error) => {
                let message = format!("the pictures are made, but the provider {error}");
                return Came::failed(FailureReason::Internal, message, true);
            }
        };
        let wanted = assignment.request.images as usize;
        if pictures.len() < wanted {
            let message = format!("the provider made {} pictures of {wanted}; they are paid for", pictures.len());
            return Came::failed(FailureReason::Internal, message, false);
        }
        let mut outputs = Vec::with_capacity(wanted);
        for (index, picture) in pictures.into_iter().take(wanted).enumerate() {
            match self.store(assignment, &base, index as u32, picture).await {
                Ok(output) => outputs.push(output),
                Err(came) => return came,
            }
        }
        let held_ms = held_ms.unwrap_or(0);
        Came { outcome: Outcome::Done { outputs }, held_ms, purchase: Some(number) }
    }

    async fn store(&self, assignment: &Assignment, base: &Url, index: u32, picture: Picture) -> Result<Output, Came> {
        let failed = |reason, message: String, retryable| Came::failed(reason, message, retryable);
        let file = match picture {
            Picture::File(file) => file,
            Picture::At(url) => match self.caller.picture(base, &url, INPUT_BYTES_MAX as usize).await {
                Ok(file) => file,
                Err(CallError::Refused { .. }) => return Err(lost()),
                Err(error @ (CallError::TooLong { .. } | CallError::Forbidden)) => {
                    let message = format!("a picture cannot be taken: the provider {error}");
                    return Err(failed(FailureReason::Internal, message, false));
                }
                Err(error @ (CallError::NotSent(_) | CallError::NoAnswer(_))) => {
                    let message = format!("a picture could not be fetched: the provider {error}");
                    return Err(failed(FailureReason::Internal, message, true));
                }
            },
        };
        let (publisher, request) = (Arc::clone(&self.publisher), assignment.request.clone());
        let making = tokio::task::spawn_blocking(move || {
            let image =
                decode("provider's", &file).map_err(|error| (FailureReason::Internal, error.to_string(), false))?;
            let seed = seed_of(&request, index);
            let made = publisher.publish(&image, &request, seed).map_err(|error| {
                let (reason, retryable) = error.reason();
                (reason, error.to_string(), retryable)
            })?;
            Ok((made, image.width, image.height, seed))
        });
        let made = making.await.unwrap_or_else(|_| {
            let message = "making the file broke; the log of the adapter says more".to_owned();
            Err((FailureReason::Internal, message, true))
        });
        let (PictureFile { bytes: file, sha256 }, width, height, seed) =
            made.map_err(|(reason, message, retryable)| failed(reason, message, retryable))?;
        let bytes = file.len() as u64;
        let target = assignment.outputs.get(index as usize);
        let (Some(target), true) = (target, bytes <= IMAGE_BYTES_MAX) else {
            let message = format!("there is no place for a picture of {bytes} bytes");
            return Err(failed(FailureReason::UploadFailed, message, false));
        };
        let put = self.dispatch.put(&target.put_url, assignment.request.format.media_type(), file.into()).await;
        put.map_err(|error| {
            let message = format!("the picture could not be stored: the store {error}");
            failed(FailureReason::UploadFailed, message, true)
        })?;
        self.metrics.images.inc();
        Ok(Output { key: target.key.clone(), sha256, bytes, width, height, seed })
    }
}

/// Paid, and not to be had any more.
fn lost() -> Came {
    let message = "the pictures are paid for, but the provider does not hand them out any more: they expire there. They are \
                   not bought twice; make the job anew if it is still wanted";
    Came::failed(FailureReason::Internal, message, false)
}
