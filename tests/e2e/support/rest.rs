//! The REST API as a plain HTTP caller sees it.

use std::time::Duration;

use reqwest::{Client, Method, StatusCode};
use serde_json::Value;

/// A caller with a key.
#[derive(Clone)]
pub(crate) struct Rest {
    http: Client,
    /// Address of the API.
    pub(crate) url: String,
    /// The key.
    pub(crate) key: String,
}

impl Rest {
    /// A caller of `url` with `key`.
    pub(crate) fn new(url: &str, key: &str) -> Self {
        static PROVIDER: std::sync::Once = std::sync::Once::new();
        PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let http = Client::builder().timeout(Duration::from_mins(2)).build().unwrap();
        Self { http, url: url.to_owned(), key: key.to_owned() }
    }

    /// Sends JSON (or nothing) and gives status and body; a body that is not JSON is a string.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let mut request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        (status, value)
    }

    /// GET that must succeed.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.send(Method::GET, path, None).await;
        assert!(status.is_success(), "GET {path}: {status} {body}");
        body
    }

    /// POST that must succeed.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.send(Method::POST, path, Some(body)).await;
        assert!(status.is_success(), "POST {path}: {status} {answer}");
        answer
    }

    /// The same as part of a trace.
    pub(crate) async fn post_traced(&self, traceparent: &str, path: &str, body: Value) -> Value {
        let request = self.http.post(format!("{}{path}", self.url)).bearer_auth(&self.key);
        let response = request.header("traceparent", traceparent).json(&body).send().await.unwrap();
        assert!(response.status().is_success(), "POST {path}: {}", response.status());
        response.json().await.unwrap()
    }

    /// Uploads a picture that must be taken; the key requests name it by.
    pub(crate) async fn upload(&self, content: Vec<u8>) -> String {
        let request = self.http.post(format!("{}/api/v1/assets", self.url)).bearer_auth(&self.key);
        let response = request.body(content).send().await.unwrap();
        let asset: Value = response.json().await.unwrap();
        asset["key"].as_str().unwrap_or_else(|| panic!("the upload was refused: {asset}")).to_owned()
    }

    /// The bytes at a path or a whole URL, following redirects.
    pub(crate) async fn bytes(&self, path: &str) -> Vec<u8> {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.url) };
        let response = self.http.get(&url).bearer_auth(&self.key).send().await.unwrap();
        assert!(response.status().is_success(), "GET {url}: {}", response.status());
        response.bytes().await.unwrap().to_vec()
    }

    /// Available and held credits of the caller, in milli-credits.
    pub(crate) async fn credits(&self) -> (i64, i64) {
        let me = self.get("/api/v1/me").await;
        let number = |name: &str| me["credits"][name].as_i64().unwrap_or_else(|| panic!("no {name} in {me}"));
        (number("availableMillis"), number("heldMillis"))
    }

    /// The job.
    pub(crate) async fn job(&self, id: &str) -> Value {
        self.get(&format!("/api/v1/jobs/{id}")).await
    }
}
