//! Webhooks: signed as Stripe signs them, sent until they are taken.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use crate::world::Hook;

/// Tries of one delivery; Stripe goes on for days.
const TRIES_MAX: u32 = 2_400;
/// Between two of them.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// The `stripe-signature` header of a body at a time in seconds.
pub fn sign(secret: &str, body: &str, seconds: u64) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return String::new() };
    mac.update(format!("{seconds}.{body}").as_bytes());
    format!("t={seconds},v1={}", hex::encode(mac.finalize().into_bytes()))
}

/// Sends an event until it is taken; false when it never was.
pub(crate) async fn deliver(client: &reqwest::Client, hook: &Hook, event: &Value) -> bool {
    let body = event.to_string();
    for _ in 0..TRIES_MAX {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let sent = client
            .post(&hook.url)
            .header("stripe-signature", sign(&hook.secret, &body, seconds))
            .header("content-type", "application/json")
            .body(body.clone())
            .send()
            .await;
        if sent.is_ok_and(|answer| answer.status().is_success()) {
            return true;
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
    false
}
