//! Who is asked: a dispatcher at an address, or the operator of a cluster.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use reqwest::StatusCode;
use serde::de::DeserializeOwned;
use tintype_scheduler::{Estimate, Explanation, Overview};
use tintype_types::{ErrorBody, Timestamp};

use super::kubectl::Cluster;
use crate::args::{AskArgs, Caller};
use crate::paths::{DataDir, read_secret};

/// Longest to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Where `tintype up` listens unless told otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// A dispatcher and the token it wants.
pub(super) struct Source {
    http: reqwest::Client,
    url: String,
    token: Option<String>,
    /// The way there through a cluster, kept open.
    cluster: Option<Cluster>,
}

impl Source {
    /// Finds the dispatcher: by its address, on this machine, or through kubectl.
    pub(super) async fn connect(args: &AskArgs, caller: Caller) -> Result<Self> {
        let named = args.token_file.as_deref().map(secret).transpose()?;
        let (url, token, cluster) = match (&args.url, caller) {
            (Some(url), Caller::Shell) => (url.clone(), named.or(local_token(args)?), None),
            (None, Caller::Shell) => {
                let url = args.api_url.clone().unwrap_or_else(|| DEFAULT_URL.to_owned());
                (url, named.or(local_token(args)?), None)
            }
            // With an address jobs are still found by name.
            (Some(url), Caller::Kubectl) => (url.clone(), named, Some(Cluster::only_names(&args.kubectl))),
            (None, Caller::Kubectl) => {
                let cluster = Cluster::forward(&args.kubectl).await?;
                let token = match named {
                    Some(token) => token,
                    None => cluster.token().await?,
                };
                (cluster.url().to_owned(), Some(token), Some(cluster))
            }
        };
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .build()
            .context("cannot set up the HTTP client")?;
        Ok(Self { http, url: url.trim_end_matches('/').to_owned(), token, cluster })
    }

    /// The id of the job that is meant.
    pub(super) async fn job_id(&self, named: &str) -> Result<String> {
        match &self.cluster {
            Some(cluster) => cluster.job_id(named).await,
            None => Ok(named.to_owned()),
        }
    }

    pub(super) async fn explain(&self, job: &str) -> Result<Explanation> {
        self.get("explain", Some(job)).await
    }

    pub(super) async fn eta(&self, job: &str) -> Result<Estimate> {
        self.get("eta", Some(job)).await
    }

    pub(super) async fn top(&self) -> Result<Overview> {
        self.get("top", None).await
    }

    async fn get<T: DeserializeOwned>(&self, what: &str, job: Option<&str>) -> Result<T> {
        let mut url = reqwest::Url::parse(&format!("{}/dispatch/v1/{what}", self.url))
            .with_context(|| format!("{} is no address; write it like {DEFAULT_URL}", self.url))?;
        if let Some(job) = job {
            url.query_pairs_mut().append_pair("job", job);
        }
        let mut request = self.http.get(url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.with_context(|| format!("cannot reach {}; is it running?", self.url))?;
        let status = answer.status();
        let text = answer.text().await.context("the answer broke off")?;
        if status.is_success() {
            return serde_json::from_str(&text).context("the answer is not what this version understands");
        }
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
fn local_token(args: &AskArgs) -> Result<Option<String>> {
    read_secret(&DataDir::choose(args.data_dir.as_deref())?.join("admin-token"))
}

fn secret(path: &Path) -> Result<String> {
    read_secret(path)?.with_context(|| format!("there is no token in {}", path.display()))
}

/// The time here, for saying how long something is away.
pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
