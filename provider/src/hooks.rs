//! Webhooks. They are hints: one wakes whoever waits, and can tell the id of a purchase whose answer was lost. What is
//! believed is what the provider then says to a call with our key. The address carries a MAC by that key, so that a
//! stranger cannot even cause a call; what Replicate sends must be signed besides.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use sha2::Sha256;
use tintype_crds::ProviderKind;
use tintype_purchase::{Event, Next};
use tintype_types::JobId;

use crate::adapter::{Adapter, now};
use crate::call::ANSWER_BYTES_MAX;
use crate::dialect::Progress;
use crate::dialect::replicate::signature;
use crate::settings::base_of;

/// axum's spelling of the path.
pub(crate) const PATH: &str = "/hooks/{job}/{number}/{mac}";

#[derive(Deserialize)]
struct Hint {
    id: String,
}

/// The address the provider is given for a purchase.
pub(crate) fn address(public_url: &str, key: &str, job: &JobId, number: u64) -> String {
    let mac = hex::encode(mac(key, job, number).finalize().into_bytes());
    format!("{}/hooks/{job}/{number}/{mac}", public_url.trim_end_matches('/'))
}

fn mac(key: &str, job: &JobId, number: u64) -> Hmac<Sha256> {
    let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes keys of any length");
    mac.chain_update("tintype webhook\0").chain_update(job.as_str()).chain_update(number.to_be_bytes())
}

pub(crate) async fn receive(
    State(adapter): State<Arc<Adapter>>,
    Path((job, number, given)): Path<(JobId, u64, String)>,
    request: Request,
) -> StatusCode {
    let (outcome, status) = adapter.take_hint(&job, number, &given, request).await;
    adapter.metrics.hooks.with_label_values(&[outcome]).inc();
    status
}

impl Adapter {
    async fn take_hint(&self, job: &JobId, number: u64, given: &str, request: Request) -> (&'static str, StatusCode) {
        let (parts, body) = request.into_parts();
        // The provider may send it again later.
        let Ok(key) = self.caller.key().await else { return ("unread", StatusCode::SERVICE_UNAVAILABLE) };
        let given = hex::decode(given).unwrap_or_default();
        // Of a stranger nothing more is read.
        if mac(&key, job, number).verify_slice(&given).is_err() {
            return ("forged", StatusCode::FORBIDDEN);
        }
        // RunPod's carry the pictures.
        let Ok(body) = axum::body::to_bytes(body, ANSWER_BYTES_MAX).await else {
            return ("unread", StatusCode::PAYLOAD_TOO_LARGE);
        };
        if !self.is_signed(&parts.headers, &body) {
            return ("forged", StatusCode::FORBIDDEN);
        }
        let Ok(Hint { id }) = serde_json::from_slice(&body) else { return ("unread", StatusCode::BAD_REQUEST) };
        match self.learn_id(job, number, &id).await {
            Ok(()) => {
                self.bell.notify_waiters();
                ("believed", StatusCode::OK)
            }
            Err(error) => {
                tracing::warn!(job.id = %job, error = format!("{error:#}"), "what a webhook told could not be looked after");
                ("unread", StatusCode::SERVICE_UNAVAILABLE)
            }
        }
    }

    fn is_signed(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        if self.settings().kind != ProviderKind::Replicate {
            return true;
        }
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let secret = self.webhook_secret.as_deref().unwrap_or_default();
        let (id, sent_at) = (header("webhook-id"), header("webhook-timestamp"));
        let stamp = signature::Stamp { id, sent_at, signatures: header("webhook-signature") };
        signature::holds(secret, now(), &stamp, body)
    }

    /// Takes an id in, if one is wanted and the provider has it.
    async fn learn_id(&self, job: &JobId, number: u64, told: &str) -> anyhow::Result<()> {
        let (current, next) =
            self.ledger.read(|book| (book.get(job).map(|intent| intent.number), book.next(job))).await?;
        if current != Some(number) || next != Next::LookUp {
            return Ok(());
        }
        let settings = self.settings();
        let base = base_of(&settings)?;
        let dialect = self.dialect(&settings, &base);
        for id in dialect.ids(told, &settings.models) {
            if !matches!(dialect.look(&id).await?, Progress::Gone) {
                return self.hear(job, number, Event::Accepted { id }).await;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_of_one_purchase_and_one_key() {
        let job = JobId::from("job-1");
        let of = |key: &str, job: &JobId, number| address("https://here.test/", key, job, number);
        let one = of("key", &job, 7);
        assert!(one.starts_with("https://here.test/hooks/job-1/7/"), "{one}");
        let last = |address: &str| address.rsplit('/').next().unwrap().to_owned();
        for other in [of("kez", &job, 7), of("key", &job, 8), of("key", &JobId::from("job-2"), 7)] {
            assert_ne!(last(&one), last(&other));
        }
    }
}
