//! A job in Replicate's words.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use tintype_types::{FailureReason, JobState};

use super::PREFIX;
use super::models::version_id;
use crate::clock::rfc3339;
use crate::cluster::Cluster;
use crate::database::Db;
use crate::records::generation::Generation;
use crate::records::prediction::{self, Sent};

/// Where a job stands, in their words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    /// It waits.
    Starting,
    /// It is worked on.
    Processing,
    /// It has ended with pictures.
    Succeeded,
    /// It has failed.
    Failed,
    /// Its owner has cancelled it.
    Canceled,
}

impl Status {
    /// The status of a job.
    pub(crate) fn of(job: &Generation) -> Self {
        match job.state {
            JobState::Queued | JobState::Assigned | JobState::Preempted => Self::Starting,
            JobState::Running => Self::Processing,
            JobState::Complete => Self::Succeeded,
            JobState::Failed if job.failure == Some(FailureReason::Cancelled) => Self::Canceled,
            JobState::Failed => Self::Failed,
        }
    }
}

/// Where more is to be had.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Urls {
    /// The prediction.
    get: String,
    /// Cancels it.
    cancel: String,
    /// Its pictures as they come, as server-sent events.
    stream: String,
}

/// What it took.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct PredictionMetrics {
    /// Seconds a GPU was held.
    #[serde(skip_serializing_if = "Option::is_none")]
    predict_time: Option<f64>,
    /// Seconds from its creation to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    total_time: Option<f64>,
    /// What it costs, in milli-credits: held now, captured when it succeeds.
    price_millis: i64,
}

/// A prediction.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Prediction {
    /// Its id: the job's.
    pub(crate) id: String,
    /// The model.
    model: String,
    /// The model's version.
    version: String,
    /// What was sent.
    input: Value,
    /// What there is to say: fields that were not honoured, and where it stands.
    logs: String,
    /// URLs of the pictures, once it has succeeded.
    pub(crate) output: Option<Vec<String>>,
    /// Why it failed.
    pub(crate) error: Option<String>,
    /// Where it stands.
    pub(crate) status: Status,
    /// When it was made.
    created_at: String,
    /// When its first attempt began.
    started_at: Option<String>,
    /// When it ended.
    completed_at: Option<String>,
    /// Never: pictures are kept until they are deleted.
    data_removed: bool,
    /// What it took.
    metrics: PredictionMetrics,
    /// Where more is to be had.
    urls: Urls,
}

/// What it takes to write a job in their words.
#[derive(Clone, Copy)]
pub(crate) struct Pen<'a> {
    /// Where clients reach us.
    pub(crate) public_url: &'a str,
    /// Who signs URLs of pictures.
    pub(crate) cluster: &'a dyn Cluster,
}

impl Pen<'_> {
    /// The prediction of a job, with what was sent for it.
    pub(crate) fn prediction(self, job: &Generation, sent: Option<Sent>) -> Prediction {
        let id = job.id.to_string();
        let status = Status::of(job);
        let url = |what: &str| format!("{}{PREFIX}/predictions/{id}{what}", self.public_url);
        // A job made in another dialect has a prompt, and no stream that can be read without a key.
        let other =
            || Sent { input: json!({ "prompt": job.request.prompt }), ignored: Vec::new(), stream: String::new() };
        let Sent { input, ignored, stream } = sent.unwrap_or_else(other);
        let ignored = if ignored.is_empty() { String::new() } else { format!("ignored: {}\n", ignored.join(", ")) };
        let seconds = |ms: u64| ms as f64 / 1_000.0;
        let error = match status {
            Status::Failed => Some(job.message.clone().unwrap_or_else(|| "it gave no reason".to_owned())),
            Status::Starting | Status::Processing | Status::Succeeded | Status::Canceled => None,
        };
        Prediction {
            model: job.request.model.clone(),
            version: version_id(&job.request.model),
            input,
            logs: format!("{ignored}seed: {}\nstep: {} of {}\n", job.request.seed, job.step, job.steps),
            output: (status == Status::Succeeded).then(|| self.outputs(job)),
            error,
            status,
            created_at: rfc3339(job.created),
            started_at: job.started.map(rfc3339),
            completed_at: job.finished.map(rfc3339),
            data_removed: false,
            metrics: PredictionMetrics {
                predict_time: job.finished.map(|_| seconds(job.gpu_ms)),
                total_time: job.finished.map(|at| seconds(at.0.saturating_sub(job.created.0))),
                price_millis: job.price,
            },
            urls: Urls { get: url(""), cancel: url("/cancel"), stream: url(&format!("/stream?token={stream}")) },
            id,
        }
    }

    /// Where the pictures are: signed URLs, or ours that lead there.
    fn outputs(self, job: &Generation) -> Vec<String> {
        let ours = |n: usize| format!("{}/api/v1/jobs/{}/images/{n}", self.public_url, job.id);
        let url = |(n, key): (usize, &str)| self.cluster.signed_url(key).unwrap_or_else(|| ours(n));
        job.outputs.iter().map(|output| output.key.as_str()).enumerate().map(url).collect()
    }

    /// The prediction as its webhook is told it.
    pub(crate) async fn told(self, pool: &Db, job: &Generation) -> sqlx::Result<Value> {
        let sent = prediction::sent(pool, &[job.id]).await?.pop().map(|(_, sent)| sent);
        // It has string keys only, so that this cannot fail.
        Ok(serde_json::to_value(self.prediction(job, sent)).unwrap_or_default())
    }
}
