//! Webhooks out: an account's endpoints are told what happens to its jobs, signed as Standard Webhooks
//! (<https://www.standardwebhooks.com>) describes, so that its verifiers, Svix's and Replicate's read them.
//!
//! Telling is one more errand of a background lane. Where an endpoint may lie is judged where the connection is made
//! ([`target`]): whoever asks for a webhook must not reach our own network with it.

pub(crate) mod lane;
pub(crate) mod record;
pub(crate) mod sign;
pub(crate) mod target;

use serde::{Deserialize, Serialize};

/// Endpoints an account may have.
pub(crate) const ENDPOINTS_MAX: i64 = 20;
/// How long the old secret signs too after a rotation, in milliseconds.
pub(crate) const OLD_SECRET_MS: i64 = 24 * 60 * 60 * 1_000;
/// How long the log of deliveries goes back, in milliseconds.
pub(crate) const LOG_MS: i64 = 30 * 24 * 60 * 60 * 1_000;

/// What an endpoint may hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) enum Event {
    /// The first attempt of a job has begun.
    #[serde(rename = "job.started")]
    JobStarted,
    /// A job has ended with pictures, and its credits are captured.
    #[serde(rename = "job.completed")]
    JobCompleted,
    /// A job has failed or was cancelled, and its credits are given back.
    #[serde(rename = "job.failed")]
    JobFailed,
    /// Its owner wants to see whether it hears.
    #[serde(rename = "webhook.test")]
    Test,
}

impl Event {
    /// Every event.
    const ALL: [Self; 4] = [Self::JobStarted, Self::JobCompleted, Self::JobFailed, Self::Test];

    /// Its name in the database and on the wire.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::JobStarted => "job.started",
            Self::JobCompleted => "job.completed",
            Self::JobFailed => "job.failed",
            Self::Test => "webhook.test",
        }
    }

    /// The event of a name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.as_str() == name)
    }
}
