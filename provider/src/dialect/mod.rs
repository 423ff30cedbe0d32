//! What providers have in common: send a job, look at it, find it again, end it. Each speaks its own dialect.

mod modal;
mod pictures;
pub(crate) mod replicate;
mod runpod;

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{StatusCode, Url};
use serde_json::{Value, json};
use tintype_crds::{ProviderKind, ProviderModel};
use tintype_types::Timestamp;

use crate::call::{CallError, Caller};

/// Longest id of a provider's that is believed, in bytes.
const ID_BYTES_MAX: usize = 128;

/// What is sent.
pub(crate) struct Ask<'a> {
    pub(crate) model: &'a ProviderModel,
    pub(crate) input: &'a Value,
    /// Our name for the purchase: no other has it.
    pub(crate) tag: &'a str,
    pub(crate) webhook: Option<&'a str>,
}

/// What became of sending it.
#[derive(Debug)]
pub(crate) enum Sent {
    /// The provider has it.
    Accepted { id: String },
    /// It certainly has not.
    Refused(No),
    /// Nobody knows.
    Lost(String),
}

/// Why something was certainly not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum No {
    /// Nobody was reached.
    Unreachable(String),
    /// Too many requests, no credit there, or a key that is not taken: nothing to do with this job.
    NotNow { status: StatusCode, after: Option<Duration> },
    /// The provider does not take this job.
    Invalid { status: StatusCode },
}

/// How far a purchase is.
#[derive(Debug)]
pub(crate) enum Progress {
    Waiting,
    Running,
    Succeeded {
        pictures: Vec<Picture>,
        held_ms: Option<u64>,
    },
    Failed {
        why: &'static str,
        held_ms: Option<u64>,
    },
    /// The provider does not know it (any more).
    Gone,
}

/// A picture as a provider hands it out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Picture {
    At(Url),
    File(Vec<u8>),
}

/// How a purchase whose answer was lost is told from others.
pub(crate) struct Lost<'a> {
    pub(crate) tag: &'a str,
    pub(crate) digest: &'a str,
    /// It was sent after this.
    pub(crate) since: Timestamp,
    /// Whether an id belongs to another purchase.
    pub(crate) taken: &'a (dyn Fn(&str) -> bool + Sync),
}

/// One provider's dialect.
pub(crate) struct Dialect<'a> {
    pub(crate) kind: ProviderKind,
    pub(crate) base: &'a Url,
    pub(crate) caller: &'a Caller,
}

impl Dialect<'_> {
    /// Buys: once.
    pub(crate) async fn send(&self, ask: &Ask<'_>) -> Sent {
        let sent = match self.kind {
            ProviderKind::Replicate => replicate::send(self, ask).await,
            ProviderKind::Runpod => runpod::send(self, ask).await,
            ProviderKind::Modal => modal::send(self, ask).await,
        };
        match sent {
            Ok(Some(id)) => Sent::Accepted { id },
            Ok(None) => Sent::Lost("it names no id".to_owned()),
            Err(CallError::NotSent(why)) => Sent::Refused(No::Unreachable(why)),
            Err(CallError::Refused { status, retry_after: after }) => {
                let not_now = [
                    StatusCode::UNAUTHORIZED,
                    StatusCode::PAYMENT_REQUIRED,
                    StatusCode::FORBIDDEN,
                    StatusCode::TOO_MANY_REQUESTS,
                ];
                let no = if not_now.contains(&status) { No::NotNow { status, after } } else { No::Invalid { status } };
                Sent::Refused(no)
            }
            Err(error @ (CallError::NoAnswer(_) | CallError::TooLong { .. } | CallError::Forbidden)) => {
                Sent::Lost(error.to_string())
            }
        }
    }

    /// Asks how far a purchase is.
    pub(crate) async fn look(&self, id: &str) -> Result<Progress, CallError> {
        let looked = match self.kind {
            ProviderKind::Replicate => replicate::look(self, id).await,
            ProviderKind::Runpod => runpod::look(self, id).await,
            ProviderKind::Modal => modal::look(self, id).await,
        };
        match looked {
            Err(error) if error.is_gone() => Ok(Progress::Gone),
            looked => looked,
        }
    }

    /// Looks for a purchase whose answer was lost; nothing where it is not seen, which does not say that it is not there.
    pub(crate) async fn find(&self, lost: &Lost<'_>, models: &[ProviderModel]) -> Result<Option<String>, CallError> {
        match self.kind {
            ProviderKind::Replicate => replicate::find(self, lost, models).await,
            // RunPod lists no jobs: its webhook is what tells an id that was lost.
            ProviderKind::Runpod => Ok(None),
            ProviderKind::Modal => modal::find(self, lost, models).await,
        }
    }

    /// Ends a purchase, if it can still be ended.
    pub(crate) async fn cancel(&self, id: &str) -> Result<(), CallError> {
        let path = match self.kind {
            ProviderKind::Replicate => replicate::cancel(id),
            ProviderKind::Runpod => runpod::cancel(id),
            ProviderKind::Modal => modal::cancel(id),
        };
        self.caller.post("cancel", self.url(&path?)?, HeaderMap::new(), &json!({})).await.map(|_| ())
    }

    /// The ids a webhook's own id may mean here.
    pub(crate) fn ids(&self, told: &str, models: &[ProviderModel]) -> Vec<String> {
        if !is_id(told) {
            return Vec::new();
        }
        match self.kind {
            ProviderKind::Replicate => vec![told.to_owned()],
            ProviderKind::Runpod | ProviderKind::Modal => {
                let mut ids: Vec<_> = models.iter().map(|model| format!("{}/{told}", model.target)).collect();
                ids.dedup();
                ids
            }
        }
    }

    /// A path under the provider's address.
    fn url(&self, path: &str) -> Result<Url, CallError> {
        let text = format!("{}/{path}", self.base.as_str().trim_end_matches('/'));
        Url::parse(&text).map_err(|_| CallError::NotSent("the address is none".to_owned()))
    }
}

/// A purchase that brought what its `output` holds.
fn succeeded(job: &Value, held_ms: Option<u64>) -> Progress {
    Progress::Succeeded { pictures: pictures::pictures_in(job.get("output").unwrap_or(&Value::Null)), held_ms }
}

/// An id that [`is_id`] refuses.
fn no_path() -> CallError {
    CallError::NotSent("the id cannot stand in an address".to_owned())
}

/// Whether a provider's id may stand in a path.
fn is_id(id: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// The id in an answer.
fn id_in(answer: &Value) -> Option<String> {
    answer.get("id").and_then(Value::as_str).filter(|id| is_id(id)).map(str::to_owned)
}

/// Seconds, as JSON has them, as whole milliseconds rounded up.
fn milliseconds(seconds: Option<&Value>) -> Option<u64> {
    let seconds = seconds?.as_f64().filter(|seconds| (0.0..1e9).contains(seconds))?;
    Some((seconds * 1e3).ceil() as u64)
}
