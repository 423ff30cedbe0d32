//! Who is asked: a dispatcher at an address, or the operator of a cluster.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use reqwest::header::LOCATION;
use reqwest::redirect::Policy;
use reqwest::{StatusCode, Url};
use serde::de::DeserializeOwned;
use tintype_scheduler::{Estimate, Explanation, Overview};
use tintype_types::{ErrorBody, Timestamp};

use crate::args::{Caller, ReachArgs};
use crate::kubectl::{Forward, Kubectl};
use crate::paths::{DataDir, read_secret};

/// Longest to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Where `tintype up` listens unless told otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:8080";
/// Where a folder of pictures is served by the program that keeps it.
const STORE_PATH: &str = "/store/v1/";

/// A dispatcher and the token it wants.
pub(crate) struct Source {
    http: reqwest::Client,
    url: String,
    token: Option<String>,
    /// Where jobs have names.
    cluster: Option<Kubectl>,
    /// The way there through a cluster, kept open.
    _forward: Option<Forward>,
}

impl Source {
    /// Finds the dispatcher: by its address, on this machine, or through kubectl.
    pub(crate) async fn connect(args: &ReachArgs, caller: Caller) -> Result<Self> {
        let named = args.token_file.as_deref().map(secret).transpose()?;
        let kubectl = (caller == Caller::Kubectl).then(|| Kubectl::new(&args.kubectl));
        let (url, token, forward) = match (&args.url, &kubectl) {
            (Some(url), None) => (url.clone(), named.or(local_token(args)?), None),
            (None, None) => {
                let url = args.api_url.clone().unwrap_or_else(|| DEFAULT_URL.to_owned());
                (url, named.or(local_token(args)?), None)
            }
            // With an address jobs are still found by name.
            (Some(url), Some(_)) => (url.clone(), named, None),
            (None, Some(kubectl)) => {
                let forward = Forward::open(kubectl).await?;
                let token = match named {
                    Some(token) => token,
                    None => forward.token(kubectl).await?,
                };
                (forward.url().to_owned(), Some(token), Some(forward))
            }
        };
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            // A token is for whom it was given to; where a picture is is looked at first.
            .redirect(Policy::none())
            .build()
            .context("cannot set up the HTTP client")?;
        Ok(Self { http, url: url.trim_end_matches('/').to_owned(), token, cluster: kubectl, _forward: forward })
    }

    /// The id of the job that is meant.
    pub(crate) async fn job_id(&self, named: &str) -> Result<String> {
        match &self.cluster {
            Some(cluster) => cluster.job_id(named).await,
            None => Ok(named.to_owned()),
        }
    }

    pub(crate) async fn explain(&self, job: &str) -> Result<Explanation> {
        self.get("explain", Some(job)).await
    }

    pub(crate) async fn eta(&self, job: &str) -> Result<Estimate> {
        self.get("eta", Some(job)).await
    }

    pub(crate) async fn top(&self) -> Result<Overview> {
        self.get("top", None).await
    }

    /// A picture of the attempt that made it.
    pub(crate) async fn picture(&self, job: &str, attempt: u32, index: usize) -> Result<Vec<u8>> {
        let mut url = self.route(&format!("jobs/{job}/image/{index}"))?;
        url.query_pairs_mut().append_pair("attempt", &attempt.to_string());
        let answer = self.send(url.clone()).await?;
        let place = answer.headers().get(LOCATION).and_then(|place| place.to_str().ok());
        let mut place = url.join(place.context("the answer names no place of the picture")?)?;
        if place.path().starts_with(STORE_PATH) {
            // What the operator keeps itself is named by its address in the cluster; the way there is this one.
            place.set_scheme(url.scheme()).ok().context("the picture's address is none of HTTP")?;
            place.set_host(url.host_str())?;
            place.set_port(url.port()).ok().context("the picture's address takes no port")?;
        }
        let answer = self.http.get(place).send().await.context("cannot reach the store of pictures")?;
        let answer = answer.error_for_status().context("the store does not give the picture")?;
        Ok(answer.bytes().await.context("the picture broke off")?.into())
    }

    async fn get<T: DeserializeOwned>(&self, what: &str, job: Option<&str>) -> Result<T> {
        let mut url = self.route(what)?;
        if let Some(job) = job {
            url.query_pairs_mut().append_pair("job", job);
        }
        let text = self.send(url).await?.text().await.context("the answer broke off")?;
        serde_json::from_str(&text).context("the answer is not what this version understands")
    }

    fn route(&self, what: &str) -> Result<Url> {
        Url::parse(&format!("{}/dispatch/v1/{what}", self.url))
            .with_context(|| format!("{} is no address; write it like {DEFAULT_URL}", self.url))
    }

    /// Asks, and gives an answer that is none of an error.
    async fn send(&self, url: Url) -> Result<reqwest::Response> {
        let mut request = self.http.get(url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.with_context(|| format!("cannot reach {}; is it running?", self.url))?;
        let status = answer.status();
        if status.is_success() || status.is_redirection() {
            return Ok(answer);
        }
        let text = answer.text().await.context("the answer broke off")?;
        match (serde_json::from_str::<ErrorBody>(&text), status) {
            (_, StatusCode::UNAUTHORIZED) => Err(anyhow!(
                "the token is missing or wrong; name its file with --token-file (the operator's dispatch token, or the \
                 administrator's token of `tintype up`)"
            )),
            (Ok(body), _) => bail!("{}", body.error.message),
            (Err(_), status) => bail!("{} answered {status}; is it an operator or a `tintype up`?", self.url),
        }
    }
}

/// The token `tintype up` keeps on this machine, if it does.
fn local_token(args: &ReachArgs) -> Result<Option<String>> {
    read_secret(&DataDir::choose(args.data_dir.as_deref())?.join("admin-token"))
}

fn secret(path: &Path) -> Result<String> {
    read_secret(path)?.with_context(|| format!("there is no token in {}", path.display()))
}

/// The time here, for saying how long something is away.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
