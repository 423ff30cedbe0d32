//! The REST API as the command line uses it: nothing here that `curl` with a key could not do.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tintype_types::{ErrorBody, GenerationRequest};

use crate::args::ConnectArgs;
use crate::paths::{DataDir, read_secret};

/// Longest to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest silence on any read; the event stream sends a comment every 15 seconds.
const READ_TIMEOUT: Duration = Duration::from_mins(1);

/// A server and the key to it.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
    key: String,
}

impl Client {
    /// A client for the server and key named, or for what `tintype up` left on this machine.
    pub(crate) fn from_args(args: &ConnectArgs) -> Result<Self> {
        let key = if let Some(key) = &args.api_key {
            key.clone()
        } else {
            let file = DataDir::choose(args.data_dir.as_deref())?.api_key_file();
            read_secret(&file)?.ok_or_else(|| {
                anyhow!("no API key: run `tintype up` first, or set TINTYPE_API_KEY ({} is not there)", file.display())
            })?
        };
        Self::new(&args.url, &key)
    }

    /// A client for this address and key.
    pub(crate) fn new(url: &str, key: &str) -> Result<Self> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .build()
            .context("cannot set up the HTTP client")?;
        Ok(Self { http, url: url.trim_end_matches('/').to_owned(), key: key.to_owned() })
    }

    /// The account behind the key; `None` when the key is not known there.
    pub(crate) async fn me(&self) -> Result<Option<Value>> {
        let response = self.request(Method::GET, "/api/v1/me").send().await.with_context(|| self.unreachable())?;
        if response.status() == StatusCode::UNAUTHORIZED {
            return Ok(None);
        }
        Ok(Some(read(response).await?))
    }

    /// Names of the models the server has, in its order.
    pub(crate) async fn models(&self) -> Result<Vec<String>> {
        #[derive(serde::Deserialize)]
        struct List {
            data: Vec<Model>,
        }
        #[derive(serde::Deserialize)]
        struct Model {
            id: String,
        }
        let list: List = self.get("/v1/models").await?;
        Ok(list.data.into_iter().map(|model| model.id).collect())
    }

    /// Submits a job and gives its id.
    pub(crate) async fn submit(&self, request: &GenerationRequest) -> Result<String> {
        let response = self
            .request(Method::POST, "/api/v1/jobs")
            .json(request)
            .send()
            .await
            .with_context(|| self.unreachable())?;
        let job: Value = read(response).await?;
        job["id"].as_str().map(str::to_owned).context("the server took the job but did not name it")
    }

    /// Uploads a picture and gives the key requests name it by.
    pub(crate) async fn upload(&self, content: Vec<u8>) -> Result<String> {
        let request = self.request(Method::POST, "/api/v1/assets").body(content);
        let asset: Value = read(request.send().await.with_context(|| self.unreachable())?).await?;
        asset["key"].as_str().map(str::to_owned).context("the server kept the picture but did not name it")
    }

    /// The event stream of a job.
    pub(crate) async fn events(&self, job: &str) -> Result<Response> {
        let response = self
            .request(Method::GET, &format!("/api/v1/jobs/{job}/events"))
            .send()
            .await
            .with_context(|| self.unreachable())?;
        refuse_errors(response).await
    }

    /// The bytes of picture `n` of a job.
    pub(crate) async fn image(&self, job: &str, n: usize) -> Result<Vec<u8>> {
        let response = self
            .request(Method::GET, &format!("/api/v1/jobs/{job}/images/{n}"))
            .send()
            .await
            .with_context(|| self.unreachable())?;
        Ok(refuse_errors(response).await?.bytes().await.context("the picture broke off")?.to_vec())
    }

    /// Cancels a job.
    pub(crate) async fn cancel(&self, job: &str) -> Result<()> {
        let response = self
            .request(Method::DELETE, &format!("/api/v1/jobs/{job}"))
            .send()
            .await
            .with_context(|| self.unreachable())?;
        refuse_errors(response).await.map(drop)
    }

    /// Any call, with or without a JSON body.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let request = self.request(method, path);
        let request = if let Some(body) = body { request.json(body) } else { request };
        read(request.send().await.with_context(|| self.unreachable())?).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        read(self.request(Method::GET, path).send().await.with_context(|| self.unreachable())?).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.key)
    }

    fn unreachable(&self) -> String {
        format!("cannot reach {}; is `tintype up` running, and is TINTYPE_URL right?", self.url)
    }
}

async fn read<T: DeserializeOwned>(response: Response) -> Result<T> {
    refuse_errors(response).await?.json().await.context("the server's answer is not what this version understands")
}

async fn refuse_errors(response: Response) -> Result<Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let text = response.text().await.unwrap_or_default();
    match serde_json::from_str::<ErrorBody>(&text) {
        Ok(body) => match body.error.param {
            Some(param) => bail!("{} (field `{param}`)", body.error.message),
            None => bail!("{}", body.error.message),
        },
        Err(_) => bail!("the server answered {status}"),
    }
}
