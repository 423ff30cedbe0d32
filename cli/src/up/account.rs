//! The user that `tintype up` makes for the person at this machine, and that user's key.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::client::Client;
use crate::paths::{DataDir, read_secret, write_secret};

/// The key from the file of the last start if the database still knows it, else a new user's.
pub(crate) async fn key_for_this_machine(url: &str, data: &DataDir, admin_token: &str) -> Result<String> {
    let file = data.api_key_file();
    if let Some(key) = read_secret(&file)?
        && Client::new(url, &key)?.me().await?.is_some()
    {
        return Ok(key);
    }
    let key = new_user(url, admin_token).await?;
    write_secret(&file, &key)?;
    Ok(key)
}

async fn new_user(url: &str, admin_token: &str) -> Result<String> {
    let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().context("cannot set up HTTP")?;
    let response = http
        .post(format!("{url}/api/v1/users"))
        .bearer_auth(admin_token)
        .json(&json!({ "name": "local" }))
        .send()
        .await
        .context("cannot reach the API to make the first user")?;
    let status = response.status();
    let body: Value = response.json().await.context("the API's answer to the first user is not JSON")?;
    match body["apiKey"].as_str() {
        Some(key) if status.is_success() => Ok(key.to_owned()),
        Some(_) | None => bail!("the API would not make the first user: {status} {}", body["error"]["message"]),
    }
}
