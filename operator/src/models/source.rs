//! Looks into a model's file where it lies, without fetching it: the header at its front says what it is. Bounded in
//! time and bytes. It must not know what the model should be.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use tintype_catalogue::{Contents, HEADER_BYTES_MAX};
use tintype_crds::reasons::{SOURCE_INVALID, SOURCE_UNREACHABLE};
use tintype_crds::{DiffusionModel, ModelFetch};
use tokio::time::timeout;

use super::hub;
use super::judge::{Found, Looked};
use crate::refusal::Refusal;

/// Longest a look may take. Headers have some hundred kilobytes, configs and vocabularies of a repository some megabytes.
const LOOK_TIMEOUT: Duration = Duration::from_secs(25);
/// Longest connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A hub answers with the place of the file in its store.
const REDIRECTS_MAX: usize = 5;
/// The header's length stands before it.
const LENGTH_BYTES: usize = 8;

/// Who looks.
pub(super) struct Looker(Client);

impl Looker {
    /// # Errors
    /// When no HTTP client can be made.
    pub(super) fn new() -> reqwest::Result<Self> {
        let client = Client::builder().connect_timeout(CONNECT_TIMEOUT).redirect(Policy::limited(REDIRECTS_MAX));
        Ok(Self(client.user_agent(concat!("tintype-operator/", env!("CARGO_PKG_VERSION"))).build()?))
    }

    /// What a model's source is.
    pub(super) async fn look(&self, model: &DiffusionModel, fetch: &ModelFetch) -> Looked {
        let looking = async {
            match (&fetch.hub, &fetch.url) {
                (Some(hub), _) => hub::look(&self.0, hub, model.spec.kind).await,
                (None, Some(url)) => self.read(url).await.map(|contents| Found { contents, files: BTreeMap::new() }),
                // The schema lets none pass.
                (None, None) => Err(invalid("spec.fetch names none")),
            }
        };
        match timeout(LOOK_TIMEOUT, looking).await {
            Ok(looked) => looked,
            Err(_) => Err(unreachable(format!("it did not answer within {} s", LOOK_TIMEOUT.as_secs()))),
        }
    }

    async fn read(&self, url: &str) -> Result<Contents, Refusal> {
        let most = LENGTH_BYTES as u64 + HEADER_BYTES_MAX;
        let asked = self.0.get(url).header(RANGE, format!("bytes=0-{}", most - 1)).send().await;
        let mut answer = asked.map_err(|error| unreachable(root(&error)))?;
        if !answer.status().is_success() {
            return Err(unreachable(format!("it answers {}", answer.status())));
        }
        let total = total_bytes(&answer);
        let mut read = Vec::new();
        let length = more(&mut answer, &mut read, LENGTH_BYTES).await?;
        let length = length.first_chunk().copied().map(u64::from_le_bytes);
        let Some(length) = length.filter(|length| *length <= HEADER_BYTES_MAX) else {
            return Err(invalid("it is not a safetensors file"));
        };
        let end = LENGTH_BYTES + usize::try_from(length).unwrap_or(usize::MAX - LENGTH_BYTES);
        let header = &more(&mut answer, &mut read, end).await?[LENGTH_BYTES..];
        let contents = tintype_catalogue::contents_of(header).map_err(|what| invalid(&format!("it {what}")))?;
        let whole = end as u64 + contents.bytes;
        match total {
            Some(total) if total != whole => {
                Err(invalid(&format!("it has {total} bytes and its header speaks of {whole}: upload it again")))
            }
            Some(_) | None => Ok(contents),
        }
    }
}

/// Reads on until there are so many bytes; gives those.
async fn more<'a>(answer: &mut Response, read: &'a mut Vec<u8>, bytes: usize) -> Result<&'a [u8], Refusal> {
    while read.len() < bytes {
        match answer.chunk().await.map_err(|error| unreachable(root(&error)))? {
            Some(chunk) => read.extend_from_slice(&chunk),
            None => return Err(invalid("it ends before its header does")),
        }
    }
    Ok(&read[..bytes])
}

/// Length of the whole file, where the server says.
fn total_bytes(answer: &Response) -> Option<u64> {
    let text = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
    match text(CONTENT_RANGE) {
        Some(range) => range.rsplit_once('/')?.1.parse().ok(),
        None => text(CONTENT_LENGTH)?.parse().ok(),
    }
}

pub(super) fn unreachable(what: String) -> Refusal {
    Refusal { reason: SOURCE_UNREACHABLE, message: format!("the source cannot be read: {what}; it is tried again") }
}

pub(super) fn invalid(what: &str) -> Refusal {
    Refusal { reason: SOURCE_INVALID, message: format!("the source is no model workers read: {what}") }
}

/// The innermost cause, which says more than that a request failed; without the URL, which may be signed.
pub(super) fn root(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if cause.to_string().contains("://") { "the request failed".to_owned() } else { cause.to_string() }
}
