//! The operator's read routes: progress as server-sent events (steps go no other way: etcd sees one write every few
//! seconds at most), and signed URLs of pictures, made or uploaded, where the image store is not ours to sign for.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use reqwest::redirect::Policy;
use reqwest::{Client, Method};
use tintype_dispatch::WorkerSeen;
use tintype_scheduler::{Explanation, Overview};
use tintype_store::OUTPUT_KEY_PREFIX;
use tintype_types::limits::IMAGE_BYTES_MAX;
use tintype_types::{Attempt, JobEvent};

use super::ClusterError;

/// Longest to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest silence; the operator says that it is alive every 15 seconds.
const READ_TIMEOUT: Duration = Duration::from_secs(45);
/// Longest one event may be: a job with ten pictures has under 4 KiB.
const EVENT_BYTES_MAX: usize = 1 << 20;

/// The way to the operator's read routes.
#[derive(Debug)]
pub(crate) struct Relay {
    http: Client,
    url: String,
    token_file: Option<PathBuf>,
}

impl Relay {
    pub(crate) fn new(url: &str, token_file: Option<PathBuf>) -> anyhow::Result<Self> {
        let http = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .redirect(Policy::none())
            .build()?;
        Ok(Self { http, url: url.trim_end_matches('/').to_owned(), token_file })
    }

    /// The events of a job, by its name in the cluster. Ends with the job, and whenever the operator does.
    pub(crate) async fn events(&self, uid: &str) -> Result<BoxStream<'static, JobEvent>, ClusterError> {
        let response = self.ask(Method::GET, &format!("/dispatch/v1/jobs/{uid}/events")).await?;
        if !response.status().is_success() {
            return Err(ClusterError::Unavailable(format!("the operator answers {}", response.status())));
        }
        Ok(decode(response.bytes_stream().boxed()).boxed())
    }

    /// The workers the operator has heard of.
    pub(crate) async fn workers(&self) -> Result<Vec<WorkerSeen>, ClusterError> {
        let failed = |error: reqwest::Error| ClusterError::Unavailable(error.without_url().to_string());
        let response = self.ask(Method::GET, "/dispatch/v1/workers").await?;
        response.error_for_status().map_err(failed)?.json().await.map_err(failed)
    }

    /// Queues and workers in numbers.
    pub(crate) async fn overview(&self) -> Result<Overview, ClusterError> {
        let failed = |error: reqwest::Error| ClusterError::Unavailable(error.without_url().to_string());
        let response = self.ask(Method::GET, "/dispatch/v1/top").await?;
        response.error_for_status().map_err(failed)?.json().await.map_err(failed)
    }

    /// Why a job is not running, by its name in the cluster; none if the operator does not know it.
    pub(crate) async fn explain(&self, uid: &str) -> Result<Option<Explanation>, ClusterError> {
        let failed = |error: reqwest::Error| ClusterError::Unavailable(error.without_url().to_string());
        let response = self.ask(Method::GET, &format!("/dispatch/v1/explain?job={uid}")).await?;
        if response.status() == reqwest::StatusCode::NOT_FOUND {
            return Ok(None);
        }
        response.error_for_status().map_err(failed)?.json().await.map(Some).map_err(failed)
    }

    /// A signed URL of a picture, from whoever signs them.
    pub(crate) async fn picture_url(&self, uid: &str, attempt: Attempt, n: usize) -> Result<String, ClusterError> {
        self.redirect(Method::GET, &format!("/dispatch/v1/jobs/{uid}/image/{n}?attempt={attempt}")).await
    }

    /// A signed URL of a picture by its key, uploaded or made.
    pub(crate) async fn object_url(&self, key: &str) -> Result<String, ClusterError> {
        self.redirect(Method::GET, &object_path(key)).await
    }

    /// Puts an uploaded picture where the operator says.
    pub(crate) async fn put_input(&self, key: &str, content: Bytes) -> Result<(), ClusterError> {
        let url = self.redirect(Method::PUT, &object_path(key)).await?;
        let put = self.http.put(url).body(content).send().await.and_then(reqwest::Response::error_for_status);
        put.map(drop).map_err(|error| ClusterError::Unavailable(error.without_url().to_string()))
    }

    /// Deletes a picture, uploaded or made.
    pub(crate) async fn delete_object(&self, key: &str) -> Result<(), ClusterError> {
        let response = self.ask(Method::DELETE, &object_path(key)).await?;
        if response.status().is_success() {
            return Ok(());
        }
        Err(ClusterError::Unavailable(format!("the operator answers {} to a deletion", response.status())))
    }

    /// Where the operator sends us on to.
    async fn redirect(&self, method: Method, path: &str) -> Result<String, ClusterError> {
        let response = self.ask(method, path).await?;
        let location = response.headers().get(reqwest::header::LOCATION).and_then(|url| url.to_str().ok());
        match location {
            Some(url) if response.status().is_redirection() => Ok(url.to_owned()),
            Some(_) | None => {
                Err(ClusterError::Unavailable(format!("the operator answers {} to a picture", response.status())))
            }
        }
    }

    /// The bytes behind a signed URL.
    pub(crate) async fn fetch(&self, url: &str) -> Result<Bytes, ClusterError> {
        let failed = |error: reqwest::Error| ClusterError::Unavailable(error.without_url().to_string());
        let mut response =
            self.http.get(url).send().await.and_then(reqwest::Response::error_for_status).map_err(failed)?;
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > IMAGE_BYTES_MAX {
                return Err(ClusterError::Refused("the stored picture is larger than any picture may be".to_owned()));
            }
        }
        Ok(bytes.into())
    }

    async fn ask(&self, method: Method, path: &str) -> Result<reqwest::Response, ClusterError> {
        let unavailable = ClusterError::Unavailable;
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(file) = &self.token_file {
            // Read each time: it may be rotated under us.
            let token = tokio::fs::read_to_string(file).await;
            let token = token.map_err(|error| unavailable(format!("the operator's token cannot be read: {error}")))?;
            request = request.bearer_auth(token.trim());
        }
        request.send().await.map_err(|error| unavailable(error.without_url().to_string()))
    }
}

/// The operator's route of a picture: named by its key.
fn object_path(key: &str) -> String {
    match key.strip_prefix(OUTPUT_KEY_PREFIX) {
        Some(made) => format!("/dispatch/v1/outputs/{made}"),
        None => format!("/dispatch/v1/{key}"),
    }
}

struct Decoder {
    bytes: BoxStream<'static, reqwest::Result<Bytes>>,
    rest: Vec<u8>,
}

fn decode(bytes: BoxStream<'static, reqwest::Result<Bytes>>) -> impl futures::Stream<Item = JobEvent> + Send + 'static {
    futures::stream::unfold(Decoder { bytes, rest: Vec::new() }, |mut decoder| async move {
        loop {
            while let Some(event) = take_event(&mut decoder.rest) {
                if let Some(event) = parse(&event) {
                    return Some((event, decoder));
                }
            }
            if decoder.rest.len() > EVENT_BYTES_MAX {
                return None;
            }
            let more = decoder.bytes.next().await?.ok()?;
            decoder.rest.extend_from_slice(&more);
        }
    })
}

/// Everything up to the next blank line.
fn take_event(rest: &mut Vec<u8>) -> Option<Vec<u8>> {
    let end = rest.windows(2).position(|pair| pair == b"\n\n")?;
    let event = rest.drain(..end + 2).collect();
    Some(event)
}

/// The event's data; none in comments, and in what a newer operator may say that we cannot read.
fn parse(event: &[u8]) -> Option<JobEvent> {
    let text = std::str::from_utf8(event).ok()?;
    let data = text.lines().find_map(|line| line.strip_prefix("data:"))?;
    serde_json::from_str(data.trim_start()).ok()
}

#[cfg(test)]
mod tests {
    use tintype_types::JobState;

    use super::*;

    #[tokio::test]
    async fn events_are_whole_however_the_bytes_are_cut() {
        let event = |state: &str| {
            format!("id: 1\ndata: {{\"job\":\"a\",\"state\":\"{state}\",\"attempt\":1,\"step\":2,\"steps\":9}}\n\n")
        };
        let text = format!(":alive\n\n{}data: rubbish\n\n{}data: cut", event("Running"), event("Complete"));
        for size in [1, 2, 7, 1_000] {
            let chunks: Vec<_> = text.as_bytes().chunks(size).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
            let states: Vec<_> = decode(futures::stream::iter(chunks).boxed()).map(|event| event.state).collect().await;
            assert_eq!(states, [JobState::Running, JobState::Complete]);
        }
    }
}
