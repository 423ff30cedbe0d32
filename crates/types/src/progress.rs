//! What people are told while a job runs: each event is a whole snapshot, so a missed one costs nothing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{Attempt, JobId};
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
}
