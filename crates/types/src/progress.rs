//! What people are told while a job runs: each event is a whole snapshot, so a missed one costs nothing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{Attempt, JobId};
use crate::inputs::ImageFormat;
use crate::job::{FailureReason, JobState, Output};

/// Where a job stands, as `GET /api/v1/jobs/{id}/events` sends it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobEvent {
    /// The job.
    pub job: JobId,
    /// Its state.
    pub state: JobState,
    /// The current attempt; 0 before the first.
    pub attempt: Attempt,
    /// Steps done in this attempt, over all pictures.
    pub step: u32,
    /// Steps this attempt will take, over all pictures; 0 while unknown.
    pub steps: u32,
    /// Set when the state is `Failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureReason>,
    /// A sentence for people, set when the state is `Failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Set when the state is `Complete`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<Output>,
    /// How the pictures look now: only while the state is `Running`, only in events that bring new ones, at most twice a
    /// second, and only where the installation judges no pictures (a preview would pass unjudged).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub previews: Vec<Preview>,
}

/// A small picture of one of a job's pictures while it is drawn. It is told to whoever watches, and recorded nowhere.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Preview {
    /// Which of the job's pictures, from 0.
    pub image: u32,
    /// Steps of that picture that were done when it looked like this.
    pub step: u32,
    /// Of what kind the file is: with it, `data:image/<format>;base64,<data>` is a URL of the picture.
    pub format: ImageFormat,
    /// The file in base64 (RFC 4648, section 4): at most 16 KiB, and 128 pixels a side.
    pub data: String,
}

impl std::fmt::Debug for Preview {
    // Without the picture: pictures are never logged.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { image, step, format, data: _ } = self;
        f.debug_struct("Preview")
            .field("image", image)
            .field("step", step)
            .field("format", format)
            .finish_non_exhaustive()
    }
}
