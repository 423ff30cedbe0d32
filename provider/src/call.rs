//! Calls to a provider: each with a time limit and a bound on what is read, counted by its outcome. What only asks is
//! repeated here, and nowhere else; what buys is sent once. Where the provider says its pictures are is a stranger's word:
//! but under its own address, only what the public can reach is called, judged where the connection is made.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounterVec;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{AUTHORIZATION, HeaderMap, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode, Url};
use serde_json::Value;
use tintype_types::reach::{Reach, Refused};
use tintype_worker::client::Backoff;

/// How long reaching a provider may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// How long an answer may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// How long fetching a picture may take.
const PICTURE_TIME_MAX: Duration = Duration::from_mins(2);
/// How often something is asked.
const TRIES_MAX: u32 = 4;
/// Longest answer that is read, in bytes: RunPod hands out results of up to 20 MB in one.
pub(crate) const ANSWER_BYTES_MAX: usize = 32 << 20;
/// Longest wait a provider may ask for.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_mins(5);
/// Longest wait within one call; a longer one is the caller's to wait.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Longest key read, in bytes.
const KEY_BYTES_MAX: usize = 4 << 10;

/// Why a call brought nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// Nothing has left this machine.
    #[error("nothing was sent: {0}")]
    NotSent(String),
    /// The provider said no.
    #[error("answered {status}")]
    Refused { status: StatusCode, retry_after: Option<Duration> },
    /// What became of it is not known.
    #[error("gave no answer that says anything: {0}")]
    NoAnswer(String),
    /// The provider named an address that is not called.
    #[error("named an address that is not public, or not by https")]
    Forbidden,
    /// It sent more than is read.
    #[error("sent more than {bytes_max} bytes")]
    TooLong { bytes_max: usize },
}

impl CallError {
    fn outcome(&self) -> &'static str {
        match self {
            Self::NotSent(_) => "not_sent",
            Self::Refused { .. } => "refused",
            Self::NoAnswer(_) => "no_answer",
            Self::TooLong { .. } => "too_long",
            Self::Forbidden => "forbidden",
        }
    }

    /// Whether asking again may help, and after how long at least.
    fn passes(&self) -> Option<Duration> {
        match self {
            Self::NotSent(_) | Self::NoAnswer(_) => Some(Duration::ZERO),
            Self::Refused { status: StatusCode::TOO_MANY_REQUESTS, retry_after } => {
                Some(retry_after.unwrap_or_default()).filter(|pause| *pause <= PAUSE_MAX)
            }
            Self::Refused { .. } | Self::TooLong { .. } | Self::Forbidden => None,
        }
    }

    /// Whether there is no such thing, for good.
    pub(crate) fn is_gone(&self) -> bool {
        let gone = [StatusCode::NOT_FOUND, StatusCode::GONE];
        matches!(self, Self::Refused { status, .. } if gone.contains(status))
    }
}

/// Which call, in metrics.
pub(crate) const CALLS: [&str; 5] = ["buy", "look", "find", "cancel", "picture"];
/// How a call ends.
pub(crate) const OUTCOMES: [&str; 6] = ["ok", "not_sent", "refused", "no_answer", "too_long", "forbidden"];

/// Calls one provider.
pub(crate) struct Caller {
    http: reqwest::Client,
    /// For pictures that lie elsewhere than under the provider's address.
    elsewhere: reqwest::Client,
    reach: Reach,
    key_file: PathBuf,
    calls: IntCounterVec,
}

impl Caller {
    /// # Errors
    /// The HTTP library's own.
    pub(crate) fn new(key_file: PathBuf, calls: IntCounterVec, reach: Reach) -> reqwest::Result<Self> {
        let client = || {
            reqwest::Client::builder()
                .connect_timeout(CONNECT_TIME_MAX)
                // A redirect would carry the key to somebody else, or lead where nobody looked.
                .redirect(reqwest::redirect::Policy::none())
                .user_agent(concat!("tintype-provider/", env!("CARGO_PKG_VERSION")))
        };
        // A proxy would do the look-up in our place.
        let elsewhere = client().dns_resolver(Arc::new(Guarded(reach))).no_proxy().build()?;
        Ok(Self { http: client().build()?, elsewhere, reach, key_file, calls })
    }

    /// The provider's key.
    ///
    /// # Errors
    /// A file that does not hold one. The key is in no message.
    pub(crate) async fn key(&self) -> Result<String, CallError> {
        let wrong = |what: &str| CallError::NotSent(format!("the key file {} {what}", self.key_file.display()));
        let text = tokio::fs::read_to_string(&self.key_file).await.map_err(|_| wrong("cannot be read"))?;
        let key = text.trim();
        if key.is_empty() || key.len() > KEY_BYTES_MAX || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong("does not hold a key"));
        }
        Ok(key.to_owned())
    }

    /// Sends what buys or cancels: once, whatever comes of it.
    pub(crate) async fn post(
        &self,
        call: &'static str,
        url: Url,
        headers: HeaderMap,
        body: &Value,
    ) -> Result<Value, CallError> {
        let answer = match self.send(Method::POST, url, headers, Some(body)).await {
            // Once the provider has said yes, an answer that cannot be read says nothing of what it took.
            Ok(response) => read_json(response).await.map_err(|error| CallError::NoAnswer(error.to_string())),
            Err(error) => Err(error),
        };
        self.count(call, answer)
    }

    /// Asks; again if that may help.
    pub(crate) async fn get(&self, call: &'static str, url: Url) -> Result<Value, CallError> {
        let (mut backoff, mut tries) = (Backoff::new(), 1);
        loop {
            let answer = match self.send(Method::GET, url.clone(), HeaderMap::new(), None).await {
                Ok(response) => read_json(response).await,
                Err(error) => Err(error),
            };
            match self.count(call, answer) {
                Err(error) if tries < TRIES_MAX => match error.passes() {
                    Some(pause) => tokio::time::sleep(pause.max(backoff.pause())).await,
                    None => return Err(error),
                },
                answer => return answer,
            }
            tries += 1;
        }
    }

    /// Fetches a picture. The key goes along to the provider's own address alone.
    pub(crate) async fn picture(&self, base: &Url, url: &Url, bytes_max: usize) -> Result<Vec<u8>, CallError> {
        let (mut backoff, mut tries) = (Backoff::new(), 1);
        loop {
            let answer = match self.fetch(base, url).await {
                Ok(response) => read_bytes(response, bytes_max).await,
                Err(error) => Err(error),
            };
            match self.count("picture", answer) {
                Err(error) if tries < TRIES_MAX && error.passes().is_some() => {
                    tokio::time::sleep(backoff.pause()).await;
                }
                answer => return answer,
            }
            tries += 1;
        }
    }

    async fn fetch(&self, base: &Url, url: &Url) -> Result<Response, CallError> {
        if url.origin() == base.origin() {
            let key = format!("Bearer {}", self.key().await?);
            return check(self.http.get(url.clone()).timeout(PICTURE_TIME_MAX).header(AUTHORIZATION, key).send().await);
        }
        // The client's resolver is not asked about an address, so it is judged here.
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let judged = host.parse().map_or(Ok(()), |ip: IpAddr| self.reach.judge(vec![ip]).map(drop));
        if judged.is_err() || !self.reach.allows_scheme(url.scheme()) {
            return Err(CallError::Forbidden);
        }
        check(self.elsewhere.get(url.clone()).timeout(PICTURE_TIME_MAX).send().await)
    }

    async fn send(
        &self,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: Option<&Value>,
    ) -> Result<Response, CallError> {
        let key = self.key().await?;
        let call = self.http.request(method, url).headers(headers).timeout(ANSWER_TIME_MAX);
        let call = call.header(AUTHORIZATION, format!("Bearer {key}"));
        check(if let Some(body) = body { call.json(body) } else { call }.send().await)
    }

    fn count<T>(&self, call: &str, answer: Result<T, CallError>) -> Result<T, CallError> {
        let outcome = answer.as_ref().map_or_else(CallError::outcome, |_| "ok");
        self.calls.with_label_values(&[call, outcome]).inc();
        answer
    }
}

/// Resolves names to addresses that may be called, to which the client then connects: what a name means is not looked up
/// twice.
struct Guarded(Reach);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let judged = reach.judge(found.map(|address| address.ip()).collect())?;
            Ok(Box::new(judged.into_iter().map(|ip| SocketAddr::new(ip, 0))) as Addrs)
        })
    }
}

/// What was answered. Bodies of errors are not read: they may repeat a prompt.
fn check(sent: reqwest::Result<Response>) -> Result<Response, CallError> {
    let response = sent.map_err(|error| {
        if is_forbidden(&error) {
            return CallError::Forbidden;
        }
        let error = error.without_url();
        if error.is_connect() || error.is_builder() {
            CallError::NotSent(error.to_string())
        } else {
            CallError::NoAnswer(error.to_string())
        }
    })?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    // A gateway may have passed the request on before it lost the answer.
    if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT || status == StatusCode::CONFLICT {
        return Err(CallError::NoAnswer(format!("it answered {status}")));
    }
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let retry_after = seconds.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
    Err(CallError::Refused { status, retry_after })
}

/// Whether a name meant an address that is not called.
fn is_forbidden(error: &reqwest::Error) -> bool {
    let mut current: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = current {
        if error.is::<Refused>() {
            return true;
        }
        current = error.source();
    }
    false
}

async fn read_json(response: Response) -> Result<Value, CallError> {
    let bytes = read_bytes(response, ANSWER_BYTES_MAX).await?;
    let text = if bytes.is_empty() { b"null".as_slice() } else { &bytes };
    serde_json::from_slice(text).map_err(|_| CallError::NoAnswer("the answer is no JSON".to_owned()))
}

async fn read_bytes(mut response: Response, bytes_max: usize) -> Result<Vec<u8>, CallError> {
    let mut bytes = Vec::new();
    let broken = |error: reqwest::Error| CallError::NoAnswer(error.without_url().to_string());
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if bytes.len() + chunk.len() > bytes_max {
            return Err(CallError::TooLong { bytes_max });
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
