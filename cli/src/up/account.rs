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

/// A link that signs the browser of the person at this machine in, once.
pub(crate) async fn sign_in_link(url: &str, key: &str, admin_token: &str) -> Result<String> {
    let me = Client::new(url, key)?.me().await?.context("the API does not know the key it gave a moment ago")?;
    let account = me["account"]["id"].as_str().context("the API does not say whose the key is")?;
    let path = format!("/api/v1/accounts/{account}/sign-in-links");
    let made = ask(url, &path, admin_token, &json!({ "admin": true })).await?;
    made["url"].as_str().map(str::to_owned).context("the API made a sign-in link without a URL")
}

async fn new_user(url: &str, admin_token: &str) -> Result<String> {
    let made = ask(url, "/api/v1/users", admin_token, &json!({ "name": "local" })).await?;
    made["apiKey"].as_str().map(str::to_owned).context("the API made the first user without a key")
}

/// Asks for something in the administrator's name.
async fn ask(url: &str, path: &str, admin_token: &str, body: &Value) -> Result<Value> {
    let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().context("cannot set up HTTP")?;
    let request = http.post(format!("{url}{path}")).bearer_auth(admin_token).json(body);
    let response = request.send().await.with_context(|| format!("cannot reach the API at {path}"))?;
    let status = response.status();
    let body: Value = response.json().await.with_context(|| format!("the API's answer to {path} is not JSON"))?;
    if status.is_success() { Ok(body) } else { bail!("the API refused {path}: {status} {}", body["error"]["message"]) }
}
