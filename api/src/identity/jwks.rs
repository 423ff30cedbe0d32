//! The public keys of an issuer, in memory. Fetched when one is asked for that is not known (keys are changed without a
//! word), but not more than once in a while: tokens with made-up key names must not make us ask the issuer each time. When
//! the issuer cannot be reached, the keys known so far stay good.

use std::time::Duration;

use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::jwt::Jwk;

/// Shortest time between two fetches.
const PAUSE: Duration = Duration::from_mins(1);
/// The same after one that failed.
const RETRY_PAUSE: Duration = Duration::from_secs(5);
/// How long keys are believed without asking again: a key that was withdrawn is gone after this.
const FRESH: Duration = Duration::from_hours(1);
/// Keys kept; issuers have two or three.
const KEYS_MAX: usize = 32;
/// Longest document read, in bytes.
const BYTES_MAX: usize = 256 << 10;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JwksError {
    /// The issuer cannot be asked.
    #[error("the issuer's keys cannot be fetched")]
    Unreachable(#[source] anyhow::Error),
    /// The issuer has no such key.
    #[error("the issuer has no such key")]
    Unknown,
}

/// The keys of one issuer.
#[derive(Debug)]
pub(crate) struct Jwks {
    url: String,
    http: reqwest::Client,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    keys: Vec<Jwk>,
    not_before: Option<Instant>,
    fetched: Option<Instant>,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

impl Jwks {
    /// The keys at this URL; none is fetched yet.
    pub(crate) fn new(url: String, http: reqwest::Client) -> Self {
        Self { url, http, known: Mutex::default() }
    }

    /// The key of this name. A token that names none is good with an issuer that has one key alone.
    pub(crate) async fn key(&self, kid: Option<&str>) -> Result<Jwk, JwksError> {
        // One fetch at a time: the others wait for what it brings.
        let mut known = self.known.lock().await;
        let fresh = known.fetched.is_some_and(|at| at.elapsed() < FRESH);
        let found = known.find(kid);
        let may_ask = known.not_before.is_none_or(|at| at <= Instant::now());
        if may_ask && (found.is_none() || !fresh) {
            let fetched = self.fetch().await;
            known.not_before = Some(Instant::now() + if fetched.is_ok() { PAUSE } else { RETRY_PAUSE });
            match fetched {
                Ok(keys) => {
                    known.keys = keys;
                    known.fetched = Some(Instant::now());
                }
                Err(error) if found.is_none() => return Err(JwksError::Unreachable(error)),
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "an issuer's keys could not be fetched anew");
                }
            }
            return known.find(kid).ok_or(JwksError::Unknown);
        }
        found.ok_or(JwksError::Unknown)
    }

    async fn fetch(&self) -> anyhow::Result<Vec<Jwk>> {
        let answer = self.http.get(&self.url).send().await?.error_for_status()?;
        let body = super::fetch::bounded(answer, BYTES_MAX).await?;
        let document: Document = serde_json::from_slice(&body)?;
        // Keys of kinds we do not know stand beside those we do.
        let keys = document.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok());
        Ok(keys.take(KEYS_MAX).collect())
    }
}

impl Known {
    fn find(&self, kid: Option<&str>) -> Option<Jwk> {
        match (kid, &self.keys[..]) {
            (Some(kid), keys) => keys.iter().find(|key| key.kid.as_deref() == Some(kid)).cloned(),
            (None, [only]) => Some(only.clone()),
            (None, _) => None,
        }
    }
}
