//! Replicate: predictions. <https://replicate.com/docs/reference/http>. A prediction whose answer was lost is found in the
//! list of predictions by its input; ids that belong to other purchases are passed over.

use k8s_openapi::jiff;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use tintype_crds::ProviderModel;

use super::{Ask, Dialect, Lost, Progress, id_in, is_id, milliseconds, no_path, succeeded};
use crate::call::CallError;
use crate::input::{digest, restricted};

/// Pages of the list that are read, newest first; a page has 100.
const PAGES_MAX: u32 = 5;
/// How far a provider's clock may be from ours, in milliseconds.
const SKEW_MS: u64 = 10 * 60 * 1_000;

pub(super) async fn send(dialect: &Dialect<'_>, ask: &Ask<'_>) -> Result<Option<String>, CallError> {
    let target = ask.model.target.as_str();
    // `owner/name` is an official model; a version stands alone or after a colon.
    let (path, mut body) = if target.contains('/') && !target.contains(':') {
        (format!("models/{target}/predictions"), json!({ "input": ask.input }))
    } else {
        let version = target.rsplit_once(':').map_or(target, |(_, version)| version);
        ("predictions".to_owned(), json!({ "version": version, "input": ask.input }))
    };
    if let Some(webhook) = ask.webhook {
        body["webhook"] = json!(webhook);
        body["webhook_events_filter"] = json!(["start", "completed"]);
    }
    let mut headers = HeaderMap::new();
    let limit = HeaderValue::from_str(&format!("{}s", ask.model.seconds_max));
    headers.insert(HeaderName::from_static("cancel-after"), limit.map_err(|_| no_path())?);
    Ok(id_in(&dialect.caller.post("buy", dialect.url(&path)?, headers, &body).await?))
}

pub(super) async fn look(dialect: &Dialect<'_>, id: &str) -> Result<Progress, CallError> {
    let prediction = dialect.caller.get("look", dialect.url(&path(id)?)?).await?;
    Ok(progress(&prediction))
}

fn progress(prediction: &Value) -> Progress {
    let held_ms = milliseconds(prediction.pointer("/metrics/predict_time"));
    match prediction.get("status").and_then(Value::as_str) {
        Some("succeeded") => succeeded(prediction, held_ms),
        Some("failed") => Progress::Failed { why: "the provider's model failed", held_ms },
        Some("canceled" | "aborted") => {
            Progress::Failed { why: "the provider ended it: it was cancelled or ran too long", held_ms }
        }
        Some("processing") => Progress::Running,
        Some(_) | None => Progress::Waiting,
    }
}

pub(super) async fn find(
    dialect: &Dialect<'_>,
    lost: &Lost<'_>,
    models: &[ProviderModel],
) -> Result<Option<String>, CallError> {
    let mut next = Some(dialect.url("predictions")?);
    for _ in 0..PAGES_MAX {
        let Some(url) = next.take() else { break };
        let page = dialect.caller.get("find", url).await?;
        let listed = page.get("results").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        for prediction in listed {
            let old = created_ms(prediction).is_some_and(|created| created + SKEW_MS < lost.since.0);
            if old {
                return Ok(None);
            }
            let input = prediction.get("input").unwrap_or(&Value::Null);
            let ours = models.iter().any(|model| digest(&restricted(input, model)) == lost.digest);
            if let Some(id) = id_in(prediction).filter(|id| ours && !(lost.taken)(id)) {
                return Ok(Some(id));
            }
        }
        next = page.get("next").and_then(Value::as_str).and_then(|next| same_place(dialect.base, next));
    }
    Ok(None)
}

/// Where it is ended.
pub(super) fn cancel(id: &str) -> Result<String, CallError> {
    Ok(format!("{}/cancel", path(id)?))
}

fn path(id: &str) -> Result<String, CallError> {
    if is_id(id) { Ok(format!("predictions/{id}")) } else { Err(no_path()) }
}

/// The next page, unless it is somewhere else: the key goes there.
fn same_place(base: &Url, next: &str) -> Option<Url> {
    base.join(next).ok().filter(|next| next.origin() == base.origin())
}

fn created_ms(prediction: &Value) -> Option<u64> {
    let at: jiff::Timestamp = prediction.get("created_at")?.as_str()?.parse().ok()?;
    u64::try_from(at.as_millisecond()).ok()
}

/// What a webhook's signature is made over, and with. <https://replicate.com/docs/topics/webhooks/verify-webhook>
pub(crate) mod signature {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use hmac::{Hmac, KeyInit as _, Mac as _};
    use sha2::Sha256;
    use tintype_types::Timestamp;

    /// How old a signed webhook may be, and how far in the future, in seconds.
    const AGE_MAX: u64 = 5 * 60;
    /// Signatures of one webhook that are tried: keys are rotated, not piled up.
    const SIGNATURES_MAX: usize = 8;

    /// What a signed webhook says of itself in its headers.
    pub(crate) struct Stamp<'a> {
        pub(crate) id: &'a str,
        pub(crate) sent_at: &'a str,
        pub(crate) signatures: &'a str,
    }

    /// Whether one of the signatures is by this secret (`whsec_` and base64), and the webhook is of about now.
    pub(crate) fn holds(secret: &str, now: Timestamp, stamp: &Stamp<'_>, body: &[u8]) -> bool {
        let Stamp { id, sent_at, signatures } = *stamp;
        let Some(key) = secret.trim().strip_prefix("whsec_").and_then(|key| STANDARD.decode(key).ok()) else {
            return false;
        };
        let fresh = sent_at.parse::<u64>().is_ok_and(|sent| sent.abs_diff(now.0 / 1_000) <= AGE_MAX);
        let made = || {
            let mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
            Some(mac.chain_update(id).chain_update(".").chain_update(sent_at).chain_update(".").chain_update(body))
        };
        let given = signatures.split(' ').take(SIGNATURES_MAX).filter_map(|one| one.strip_prefix("v1,"));
        let mut given = given.filter_map(|one| STANDARD.decode(one).ok());
        fresh && given.any(|given| made().is_some_and(|mac| mac.verify_slice(&given).is_ok()))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_vector_of_the_scheme_holds_and_nothing_beside_it() {
            // The example of the scheme (Standard Webhooks), as its libraries test it.
            let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
            let (id, at, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", br#"{"test": 2432232314}"#);
            let good = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
            let several = format!("v1,AAAA {good}");
            let now = Timestamp(1_614_265_330_000);
            let stamp = |id, signatures| Stamp { id, sent_at: at, signatures };
            assert!(holds(secret, now, &stamp(id, good), body));
            assert!(holds(secret, now, &stamp(id, &several), body), "one of several");
            assert!(!holds(secret, now, &stamp(id, good), br#"{"test": 2432232315}"#));
            assert!(!holds(secret, now, &stamp("msg_other", good), body));
            assert!(!holds("whsec_AAAA", now, &stamp(id, good), body));
            assert!(!holds(secret, Timestamp(now.0 + 301_000), &stamp(id, good), body), "an old one said again");
        }
    }
}
