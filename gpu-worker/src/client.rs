//! The worker's half of the protocol: claim, renew, finish, and the upload to a signed URL. Every call has a time
//! limit, is counted by its outcome and, where repeating is right, is repeated here and nowhere else.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use prometheus::IntCounterVec;
use rand::RngExt as _;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Response, StatusCode, Url};
use serde::Serialize;
use tintype_types::worker::{Claim, ClaimAnswer, Finish, Renew, RenewAnswer};
use tintype_types::{Attempt, ErrorBody, ErrorCode, JobId};
use tokio::time::Instant;

/// How long reaching the other side may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a claim's answer may be late, beyond the wait asked for.
const CLAIM_GRACE: Duration = Duration::from_secs(10);
/// How long a finish may take: the dispatcher writes it to its record before it answers.
const FINISH_TIME_MAX: Duration = Duration::from_secs(30);
/// How long one upload may take: the store's own limit.
const PUT_TIME_MAX: Duration = Duration::from_mins(5);
/// How long one download may take.
const GET_TIME_MAX: Duration = Duration::from_mins(1);
/// How often an upload or a download is tried.
const STORE_TRIES_MAX: u32 = 5;
/// Longest answer of the dispatcher that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Longest token read, in bytes; a projected service-account token has about one KiB.
const TOKEN_BYTES_MAX: usize = 16 << 10;
/// First pause between two tries; each next is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(200);
/// Longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Whom a client calls: the dispatcher's three calls, and the store's two.
pub const CALLS: [&str; 5] = ["claim", "renew", "finish", "put", "get"];
/// How a call ends.
pub const OUTCOMES: [&str; 6] = ["ok", "stale", "refused", "too_long", "unreachable", "no_token"];

/// Why a call brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The attempt is not this worker's any more.
    #[error("the attempt is not current any more")]
    Stale,
    /// The other side said no, in its own words.
    #[error("answered {status}: {message}")]
    Refused {
        /// Its status.
        status: StatusCode,
        /// Its words.
        message: String,
    },
    /// The other side was not reached, or broke off.
    #[error("was not reached: {0}")]
    Transport(String),
    /// The other side sent more than is read.
    #[error("sent more than {bytes_max} bytes")]
    TooLong {
        /// How much is.
        bytes_max: usize,
    },
    /// The token file cannot be used.
    #[error("cannot be called: the token file {} {what}", file.display())]
    Token {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

impl CallError {
    /// Whether the same call may well work a little later.
    fn passes(&self) -> bool {
        match self {
            Self::Stale | Self::TooLong { .. } => false,
            Self::Refused { status, .. } => {
                status.is_server_error()
                    || matches!(
                        *status,
                        StatusCode::UNAUTHORIZED | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
                    )
            }
            Self::Transport(_) | Self::Token { .. } => true,
        }
    }

    /// Whether there is nothing to be had there, now or later.
    pub fn is_for_good(&self) -> bool {
        !self.passes()
    }

    /// Its name in metrics; see [`OUTCOMES`].
    fn outcome(&self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Refused { .. } => "refused",
            Self::TooLong { .. } => "too_long",
            Self::Transport(_) => "unreachable",
            Self::Token { .. } => "no_token",
        }
    }
}

/// A pause that doubles, with a random part so that a thousand workers do not come back at once.
#[derive(Debug)]
pub struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

impl Backoff {
    /// One that begins with the shortest pause.
    pub fn new() -> Self {
        Self(PAUSE_MIN)
    }

    /// How long to pause now: half to all of the current length.
    pub fn pause(&mut self) -> Duration {
        let length = self.0;
        self.0 = (length * 2).min(PAUSE_MAX);
        length.mul_f64(rand::rng().random_range(0.5..1.0))
    }
}

/// Calls the dispatcher and the store.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    dispatch: Url,
    token_file: PathBuf,
    calls: IntCounterVec,
}

impl Client {
    /// A client for this dispatcher that counts its calls by `call` and `outcome`.
    ///
    /// # Errors
    /// The HTTP library's own, when it cannot be set up.
    pub fn new(dispatch: Url, token_file: PathBuf, calls: IntCounterVec) -> reqwest::Result<Self> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIME_MAX)
            // A redirect would carry the token, or the picture, to somebody else.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("tintype-worker/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { http, dispatch, token_file, calls })
    }

    /// Asks for work; held open by the dispatcher for up to `claim.wait_ms`. Tried once.
    pub async fn claim(&self, claim: &Claim) -> Result<ClaimAnswer, CallError> {
        let limit = Duration::from_millis(claim.wait_ms) + CLAIM_GRACE;
        let answer = self.post("/worker/v1/claim", claim, limit).await;
        self.count("claim", answer).await
    }

    /// Says that an attempt lives. Tried once: the next renewal is the next try.
    pub async fn renew(
        &self,
        job: &JobId,
        attempt: Attempt,
        renew: &Renew,
        limit: Duration,
    ) -> Result<RenewAnswer, CallError> {
        let answer = self.post(&attempt_path(job, attempt, "renew"), renew, limit).await;
        self.count("renew", answer).await
    }

    /// Ends an attempt: repeated until it is heard, is refused for good, or `until` has passed.
    pub async fn finish(
        &self,
        job: &JobId,
        attempt: Attempt,
        finish: &Finish,
        until: Instant,
    ) -> Result<(), CallError> {
        let path = attempt_path(job, attempt, "finish");
        let mut backoff = Backoff::new();
        loop {
            let heard: Result<serde::de::IgnoredAny, _> =
                self.count("finish", self.post(&path, finish, FINISH_TIME_MAX).await).await;
            match heard {
                Ok(_) => return Ok(()),
                Err(error) if error.passes() && Instant::now() < until => {
                    tracing::debug!(%error, "the end of an attempt was not heard and is said again");
                    tokio::time::sleep(backoff.pause()).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Puts a file to its signed URL, which may be relative to the dispatcher's.
    pub async fn put(&self, put_url: &str, media_type: &'static str, file: Bytes) -> Result<(), CallError> {
        let url = self.dispatch.join(put_url).map_err(|_| CallError::Transport("the upload URL is none".to_owned()))?;
        let mut backoff = Backoff::new();
        let mut tries = 1;
        loop {
            let sent = self.http.put(url.clone()).header(CONTENT_TYPE, media_type).timeout(PUT_TIME_MAX);
            let answer = check(sent.body(file.clone()).send().await).await;
            self.calls.with_label_values(&["put", answer.as_ref().map_or_else(CallError::outcome, |_| "ok")]).inc();
            match answer {
                Ok(_) => return Ok(()),
                Err(error) if error.passes() && tries < STORE_TRIES_MAX => {
                    tracing::debug!(%error, tries, "an upload did not work and is tried again");
                    tries += 1;
                    tokio::time::sleep(backoff.pause()).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Fetches an object from its signed URL, which may be relative to the dispatcher's.
    pub async fn get(&self, url: &str, bytes_max: u64) -> Result<Bytes, CallError> {
        let url = self.dispatch.join(url).map_err(|_| CallError::Transport("the download URL is none".to_owned()))?;
        let mut backoff = Backoff::new();
        let mut tries = 1;
        loop {
            let answer = match check(self.http.get(url.clone()).timeout(GET_TIME_MAX).send().await).await {
                Ok(response) => read_bytes(response, usize::try_from(bytes_max).unwrap_or(usize::MAX)).await,
                Err(error) => Err(error),
            };
            let outcome = answer.as_ref().map_or_else(CallError::outcome, |_| "ok");
            self.calls.with_label_values(&["get", outcome]).inc();
            match answer {
                Err(error) if error.passes() && tries < STORE_TRIES_MAX => {
                    tracing::debug!(%error, tries, "a download did not work and is tried again");
                    tries += 1;
                    tokio::time::sleep(backoff.pause()).await;
                }
                answer => return answer.map(Bytes::from),
            }
        }
    }

    async fn post(&self, path: &str, body: &impl Serialize, limit: Duration) -> Result<Response, CallError> {
        let token = self.token().await?;
        let url = self.dispatch.join(path).map_err(|error| CallError::Transport(error.to_string()))?;
        let call = self.http.post(url).header(AUTHORIZATION, token).timeout(limit).json(body);
        check(call.send().await).await
    }

    /// Counts a call and reads its answer.
    async fn count<T: serde::de::DeserializeOwned>(
        &self,
        call: &str,
        answer: Result<Response, CallError>,
    ) -> Result<T, CallError> {
        let read = match answer {
            Ok(response) => read_json(response).await,
            Err(error) => Err(error),
        };
        let outcome = read.as_ref().map_or_else(CallError::outcome, |_| "ok");
        self.calls.with_label_values(&[call, outcome]).inc();
        read
    }

    async fn token(&self) -> Result<String, CallError> {
        let wrong = |what: String| CallError::Token { file: self.token_file.clone(), what };
        let bytes =
            tokio::fs::read(&self.token_file).await.map_err(|error| wrong(format!("cannot be read: {error}")))?;
        let token = std::str::from_utf8(&bytes).map(str::trim).unwrap_or_default();
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX || !token.is_ascii() || token.contains(char::is_control) {
            return Err(wrong("does not hold a token".to_owned()));
        }
        Ok(format!("Bearer {token}"))
    }
}

fn attempt_path(job: &JobId, attempt: Attempt, call: &str) -> String {
    format!("/worker/v1/jobs/{job}/attempts/{attempt}/{call}")
}

/// Turns whatever is not a success into an error. URLs are signed, so they are kept out of every message.
async fn check(sent: reqwest::Result<Response>) -> Result<Response, CallError> {
    let response = sent.map_err(|error| CallError::Transport(chain(&error.without_url())))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body: Option<ErrorBody> = read_json(response).await.ok();
    let code = body.as_ref().map(|body| body.error.code);
    if status == StatusCode::CONFLICT && code.is_none_or(|code| code == ErrorCode::StaleAttempt) {
        return Err(CallError::Stale);
    }
    let message = body.map_or_else(|| "no reason given".to_owned(), |body| body.error.message);
    Err(CallError::Refused { status, message })
}

async fn read_json<T: serde::de::DeserializeOwned>(response: Response) -> Result<T, CallError> {
    let bytes = read_bytes(response, ANSWER_BYTES_MAX).await?;
    let text = if bytes.is_empty() { b"null".as_slice() } else { &bytes };
    serde_json::from_slice(text).map_err(|error| CallError::Transport(format!("the answer makes no sense: {error}")))
}

async fn read_bytes(mut response: Response, bytes_max: usize) -> Result<Vec<u8>, CallError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| CallError::Transport(chain(&error.without_url())))? {
        if bytes.len() + chunk.len() > bytes_max {
            return Err(CallError::TooLong { bytes_max });
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
