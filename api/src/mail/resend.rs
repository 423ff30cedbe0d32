//! Mail by Resend's API: `POST /emails`, once an `Idempotency-Key`.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use lettre::message::Mailbox;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use serde_json::json;

use super::sender::Mail;
use crate::lanes::Failed;

/// Longest one call may take.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Their API.
#[derive(Clone)]
pub(crate) struct Resend {
    http: reqwest::Client,
    url: String,
    from: String,
}

impl Resend {
    /// The API at this base URL, with the key of a file.
    pub(super) fn new(url: &str, key_file: &Path, from: &Mailbox) -> anyhow::Result<Self> {
        let key = std::fs::read_to_string(key_file)
            .with_context(|| format!("cannot read Resend's key from {}", key_file.display()))?;
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", key.trim()))
            .with_context(|| format!("the key in {} holds what no key can", key_file.display()))?;
        authorization.set_sensitive(true);
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .default_headers(HeaderMap::from_iter([(AUTHORIZATION, authorization)]))
            .build()
            .context("cannot set up HTTP for Resend")?;
        Ok(Self { http, url: format!("{}/emails", url.trim_end_matches('/')), from: from.to_string() })
    }

    pub(super) async fn send(&self, mail: Mail) -> Result<(), Failed> {
        let body = json!({ "from": self.from, "to": [mail.to], "subject": mail.subject, "text": mail.text });
        let request = self.http.post(&self.url).header("Idempotency-Key", mail.id.to_string()).json(&body);
        let sent =
            request.send().await.map_err(|_| Failed::later("Resend cannot be reached, or did not answer in time"))?;
        let status = sent.status();
        match status.as_u16() {
            200..=299 => Ok(()),
            // 409: a call with this key is under way; 429: too many.
            408 | 409 | 429 | 500.. => Err(Failed::later(format!("Resend answered {status}"))),
            // 401 and 403 are mended by a good key, and then the mail should still go out.
            401 | 403 => Err(Failed::later(format!("Resend refused our key: {status}"))),
            _ => Err(Failed::never(format!("Resend refused the mail: {status}"))),
        }
    }
}
