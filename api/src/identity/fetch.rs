//! Asking others over HTTP: with an end to every wait and a bound on every answer.

use std::time::Duration;

use anyhow::{Context, ensure};

/// Longest one call may take, its answer included.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A client that follows no redirects: nobody is asked whom the settings do not name.
pub(crate) fn client() -> anyhow::Result<reqwest::Client> {
    reqwest::Client::builder()
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("tintype/", env!("CARGO_PKG_VERSION")))
        .build()
        .context("cannot set up HTTP")
}

/// The answer's body, if it is no longer than `max` bytes.
pub(crate) async fn bounded(mut answer: reqwest::Response, max: usize) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        ensure!(body.len() + chunk.len() <= max, "the answer is longer than {max} bytes");
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
