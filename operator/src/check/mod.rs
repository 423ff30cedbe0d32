//! `operator check`: does a release do what it is for? Asked from inside the cluster and from outside the programs: the API
//! server, HTTP, and a job whose picture is looked at. It is what `helm test` runs. It must not know how the rest of this
//! program is made.

mod picture;

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args as Flags;
use kube::Client;
use reqwest::redirect::Policy;

use crate::args::duration;
use crate::run::kube_config;

/// Longest one HTTP call may take, a picture's bytes included.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks at what is not there yet.
const BETWEEN: Duration = Duration::from_millis(250);
/// A picture's route answers with the place of the picture in its store.
const REDIRECTS_MAX: usize = 3;

/// What to look at.
#[derive(Clone, Debug, Flags)]
pub struct CheckArgs {
    /// Where the operator is, such as http://tintype-dispatch:8080.
    #[arg(long, env = "TINTYPE_DISPATCH_URL")]
    pub dispatch_url: String,
    /// File with the token the operator wants from readers. Left out: it wants none.
    #[arg(long, env = "TINTYPE_DISPATCH_TOKEN_FILE")]
    pub dispatch_token_file: Option<PathBuf>,
    /// Where the API is. Left out: there is none to look at.
    #[arg(long, env = "TINTYPE_API_URL")]
    pub api_url: Option<String>,
    /// A kubeconfig file. Left out: the usual places, then the pod's own account.
    #[arg(long, env = "TINTYPE_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// Namespace a job is made in. Left out: the one the account belongs to.
    #[arg(long, env = "POD_NAMESPACE")]
    pub namespace: Option<String>,
    /// The model of the picture.
    #[arg(long, default_value = "tintype/shapes")]
    pub model: String,
    /// The GpuPool the picture is made in, and no other: a pool of a paid provider would cost money.
    #[arg(long, default_value = "default")]
    pub pool: String,
    /// There should be a worker in that pool, now or once there is work. Without this, no picture is asked for where there is none.
    #[arg(long)]
    pub expect_worker: bool,
    /// Longest all of it may take.
    #[arg(long, default_value = "4m", value_parser = duration)]
    pub within: Duration,
}

/// How a step went, if it did not fail.
pub(crate) enum Outcome {
    /// It was looked at, and is as it should be.
    Fine(String),
    /// It was not looked at, and why.
    Skipped(String),
}

/// What every step needs.
pub(crate) struct Checker<'a> {
    args: &'a CheckArgs,
    client: Client,
    http: reqwest::Client,
    token: Option<String>,
    ends: Instant,
}

/// Looks at everything there is and says line by line how it is. False if something is not as it should be.
///
/// # Errors
/// It could not begin: no cluster, no token; or nobody reads what it says.
pub async fn check(args: &CheckArgs, out: &mut impl Write) -> Result<bool> {
    // An error means one is there already, which is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    let config = kube_config(args.kubeconfig.as_deref()).await?;
    let namespace = args.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let token = args.dispatch_token_file.as_ref().map(std::fs::read_to_string).transpose();
    let http = reqwest::Client::builder().timeout(CALL_TIMEOUT).redirect(Policy::limited(REDIRECTS_MAX));
    let checker = Checker {
        args,
        client: Client::try_from(config).context("making a client for the API server")?,
        http: http.build().context("making an HTTP client")?,
        token: token.context("reading the readers' token")?.map(|token| token.trim().to_owned()),
        ends: Instant::now() + args.within,
    };
    let mut fine = true;
    fine &= say(out, "kinds", checker.kinds().await)?;
    fine &= say(out, "operator", checker.operator().await)?;
    fine &= say(out, "api", checker.api().await)?;
    fine &= say(out, "picture", checker.picture(&namespace).await)?;
    Ok(fine)
}

fn say(out: &mut impl Write, step: &str, outcome: Result<Outcome>) -> Result<bool> {
    let (word, said, fine) = match outcome {
        Ok(Outcome::Fine(said)) => ("ok", said, true),
        Ok(Outcome::Skipped(said)) => ("SKIPPED", said, true),
        Err(error) => ("FAILED", format!("{error:#}"), false),
    };
    writeln!(out, "{word:<8}{step}: {said}")?;
    Ok(fine)
}

impl Checker<'_> {
    /// Tries until it is so, or until the time is over; then it is as it was last.
    async fn patiently<T>(&self, mut look: impl AsyncFnMut() -> Result<T>) -> Result<T> {
        loop {
            match look().await {
                Err(_) if Instant::now() + BETWEEN < self.ends => tokio::time::sleep(BETWEEN).await,
                outcome => return outcome,
            }
        }
    }

    async fn kinds(&self) -> Result<Outcome> {
        let wanted: Vec<_> = tintype_crds::definitions().into_iter().map(|kind| kind.spec.names.plural).collect();
        let served = self.patiently(async || {
            let listed = self.client.list_api_group_resources("tintype.dev/v1alpha1").await;
            let listed =
                listed.context("the API server does not serve tintype.dev/v1alpha1: are the kinds installed?")?;
            let missing: Vec<_> =
                wanted.iter().filter(|kind| !listed.resources.iter().any(|served| served.name == **kind)).collect();
            ensure!(missing.is_empty(), "the API server does not serve {missing:?}");
            Ok(listed.group_version)
        });
        Ok(Outcome::Fine(format!("{} serves {}", served.await?, wanted.join(", "))))
    }

    /// It answers, leads, and counts.
    async fn operator(&self) -> Result<Outcome> {
        let url = &self.args.dispatch_url;
        self.patiently(async || {
            let ready = self.page(url, "/readyz").await?;
            ensure!(ready.trim() == "leading", "the operator that answers at {url} does not lead: {}", ready.trim());
            let counted = counted(&self.page(url, "/metrics").await?, "tintype_operator_")?;
            Ok(Outcome::Fine(format!("it leads, and /metrics has {counted} series of it")))
        })
        .await
    }

    async fn api(&self) -> Result<Outcome> {
        let Some(url) = &self.args.api_url else {
            return Ok(Outcome::Skipped("this release runs none (api.enabled=false)".to_owned()));
        };
        self.patiently(async || {
            self.page(url, "/healthz").await?;
            self.page(url, "/readyz").await?;
            let counted = counted(&self.page(url, "/metrics").await?, "tintype_api_")?;
            Ok(Outcome::Fine(format!("it is ready, and /metrics has {counted} series of it")))
        })
        .await
    }

    /// What stands at an address, if that is a success.
    async fn page(&self, base: &str, path: &str) -> Result<String> {
        let answer =
            self.http.get(format!("{base}{path}")).send().await.with_context(|| format!("{base} does not answer"))?;
        let (status, text) = (answer.status(), answer.text().await.unwrap_or_default());
        ensure!(status.is_success(), "{base}{path} answers {status}: {}", text.trim());
        Ok(text)
    }

    /// The same of what readers need a token for.
    async fn read(&self, path: &str) -> Result<reqwest::Response> {
        let url = format!("{}/dispatch/v1/{path}", self.args.dispatch_url);
        let mut asking = self.http.get(&url);
        if let Some(token) = &self.token {
            asking = asking.bearer_auth(token);
        }
        let answer = asking.send().await.with_context(|| format!("{url} does not answer"))?;
        ensure!(answer.status().is_success(), "{url} answers {}", answer.status());
        Ok(answer)
    }
}

/// How many series a program counts under its own names.
fn counted(metrics: &str, prefix: &str) -> Result<usize> {
    let mut found = 0;
    for line in metrics.lines().filter(|line| line.starts_with(prefix)) {
        let value = line.rsplit_once(' ').and_then(|(_, value)| value.parse::<f64>().ok());
        ensure!(value.is_some(), "/metrics has a line that is none: {line}");
        found += 1;
    }
    if found == 0 {
        bail!("/metrics has nothing that begins with {prefix}");
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_counted_and_a_broken_page_is_no_page() {
        let page = "# HELP tintype_operator_leading 1\ntintype_operator_leading 1\ntintype_operator_jobs{state=\"a b\"} 2\nup 1\n";
        assert_eq!(counted(page, "tintype_operator_").unwrap(), 2);
        assert!(counted(page, "tintype_api_").unwrap_err().to_string().contains("nothing that begins with"));
        assert!(counted("tintype_api_requests lots", "tintype_api_").is_err());
    }

    #[test]
    fn each_line_says_how_it_went() {
        let mut out = Vec::new();
        assert!(say(&mut out, "kinds", Ok(Outcome::Fine("all".to_owned()))).unwrap());
        assert!(say(&mut out, "api", Ok(Outcome::Skipped("none".to_owned()))).unwrap());
        assert!(!say(&mut out, "picture", Err(anyhow::anyhow!("it is blank"))).unwrap());
        let said = String::from_utf8(out).unwrap();
        assert_eq!(said, "ok      kinds: all\nSKIPPED api: none\nFAILED  picture: it is blank\n");
    }
}
