//! RunPod's side: jobs are taken by a held-open GET, results posted, and a ping says that the worker lives. The protocol is
//! that of RunPod's own Python worker (`runpod-python`, `runpod/serverless/modules/{rp_job,rp_http,rp_ping}.py`): the key
//! stands bare in `Authorization`, results are JSON with the content type of a form.

use std::time::Duration;

use anyhow::{Context as _, Result};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::watch;

use super::args::RunpodArgs;
use super::job::Answer;
use crate::client::Backoff;

/// How long reaching RunPod may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// How long it may hold a job's GET open.
const TAKE_TIME_MAX: Duration = Duration::from_secs(90);
/// How long a result may take to be sent.
const DONE_TIME_MAX: Duration = Duration::from_mins(2);
/// How often a result is sent until it is heard.
const DONE_TRIES_MAX: u32 = 5;
/// Largest job read, in bytes: RunPod takes inputs of up to 10 MB.
const JOB_BYTES_MAX: usize = 12 << 20;
/// Longest id of a job, in bytes.
const ID_BYTES_MAX: usize = 128;

/// A job as RunPod hands it out.
#[derive(Debug, Deserialize)]
pub(super) struct Taken {
    pub(super) id: String,
    pub(super) input: Value,
}

pub(super) struct Platform {
    http: reqwest::Client,
    get_job: String,
    post_output: String,
    ping: Option<String>,
    ping_interval: Duration,
    worker: String,
    /// The job under way.
    now: watch::Sender<Option<String>>,
}

impl Platform {
    /// # Errors
    /// A key that cannot be sent.
    pub(super) fn new(args: &RunpodArgs) -> Result<Self> {
        let mut key = HeaderValue::from_str(&args.api_key).context("RUNPOD_AI_API_KEY cannot be sent in a header")?;
        key.set_sensitive(true);
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIME_MAX)
            .redirect(reqwest::redirect::Policy::none())
            .default_headers([(AUTHORIZATION, key)].into_iter().collect::<HeaderMap>())
            .user_agent(concat!("tintype-worker/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("cannot set up the HTTP client")?;
        let worker = &args.pod_id;
        let placed = |template: &String| template.replace("$RUNPOD_POD_ID", worker);
        Ok(Self {
            http,
            get_job: args.get_job.replace("$ID", worker),
            post_output: placed(&args.post_output),
            ping: args.ping.as_ref().map(placed),
            ping_interval: Duration::from_millis(args.ping_interval),
            worker: worker.clone(),
            now: watch::Sender::new(None),
        })
    }

    pub(super) fn worker(&self) -> &str {
        &self.worker
    }

    /// Waits for a job; nothing when none came, after a pause where that is right.
    pub(super) async fn take(&self) -> Option<Taken> {
        let mut backoff = Backoff::new();
        let url = with(&self.get_job, "job_in_progress=0");
        let answer = self.http.get(url).timeout(TAKE_TIME_MAX).send().await;
        let response = match answer {
            Ok(response) if response.status() == StatusCode::OK => response,
            // None now. RunPod holds the call before it says so.
            Ok(response) if response.status() == StatusCode::NO_CONTENT => {
                tokio::time::sleep(backoff.pause()).await;
                return None;
            }
            Ok(response) => {
                let status = response.status();
                tracing::warn!(%status, "RunPod hands out no job");
                tokio::time::sleep(backoff.pause() * 5).await;
                return None;
            }
            Err(error) if error.is_timeout() => return None,
            Err(error) => {
                tracing::warn!(error = %error.without_url(), "RunPod was not reached");
                tokio::time::sleep(backoff.pause() * 5).await;
                return None;
            }
        };
        let taken = read(response).await.filter(|taken| is_id(&taken.id));
        if let Some(taken) = &taken {
            self.now.send_replace(Some(taken.id.clone()));
        } else {
            tracing::warn!("RunPod handed out a job that cannot be read; it is passed over");
        }
        taken
    }

    /// Hands a result in: again until it is heard, for the picture is drawn and paid for.
    pub(super) async fn done(&self, id: &str, answer: &Answer) {
        let url = with(&self.post_output.replace("$ID", id), "isStream=false");
        let Ok(body) = serde_json::to_string(answer) else { return };
        let (mut backoff, mut tries) = (Backoff::new(), 1);
        loop {
            let call = self.http.post(&url).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
            let sent = call.header("charset", "utf-8").timeout(DONE_TIME_MAX).body(body.clone()).send().await;
            match sent.and_then(Response::error_for_status) {
                Ok(_) => break,
                Err(error) if tries < DONE_TRIES_MAX => {
                    tracing::warn!(job.id = %id, error = %error.without_url(), "a result was not heard and is sent again");
                    tries += 1;
                    tokio::time::sleep(backoff.pause()).await;
                }
                Err(error) => {
                    tracing::error!(job.id = %id, error = %error.without_url(), "a result was not heard");
                    break;
                }
            }
        }
        self.now.send_replace(None);
    }

    /// Says that the worker lives, and with which job, for ever.
    pub(super) async fn ping_for_ever(&self) {
        let Some(ping) = &self.ping else { return };
        loop {
            let now = self.now.borrow().clone();
            let url = with(
                ping,
                &now.map_or_else(
                    || "runpod_version=tintype".to_owned(),
                    |id| format!("job_id={id}&runpod_version=tintype"),
                ),
            );
            let sent = self.http.get(url).timeout(self.ping_interval * 2).send().await;
            if let Err(error) = sent {
                tracing::warn!(error = %error.without_url(), "RunPod did not hear that this worker lives");
            }
            tokio::time::sleep(self.ping_interval).await;
        }
    }
}

/// An address with one more parameter.
fn with(url: &str, parameter: &str) -> String {
    let sign = if url.contains('?') { '&' } else { '?' };
    format!("{url}{sign}{parameter}")
}

fn is_id(id: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

async fn read(mut response: Response) -> Option<Taken> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if bytes.len() + chunk.len() > JOB_BYTES_MAX {
            return None;
        }
        bytes.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&bytes).ok()
}
