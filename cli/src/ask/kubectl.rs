//! The way to the operator through kubectl, with the rights kubectl has: its Service, its token, a forwarded port, and the
//! ids of jobs by their names. It goes through the program rather than the library: contexts, plugins for logging in and
//! proxies work as they do for everything else the person does.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::args::KubectlArgs;

/// Longest a call of kubectl may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// What the chart calls the operator's Service and its readers' Secret, behind the release's name.
const SERVICE_SUFFIX: &str = "-dispatch";
const SECRET_SUFFIX: &str = "-dispatch-token";
/// Labels of that Service.
const SELECTOR: &str = "app.kubernetes.io/part-of=tintype,app.kubernetes.io/component=operator";

/// A cluster as kubectl reaches it.
pub(super) struct Cluster {
    flags: KubectlArgs,
    /// Namespace and release name of the operator, and the way to it.
    way: Option<Way>,
}

struct Way {
    namespace: String,
    release: String,
    url: String,
    /// Killed when this is dropped.
    _forward: Child,
}

impl Cluster {
    /// For looking up names alone.
    pub(super) fn only_names(flags: &KubectlArgs) -> Self {
        Self { flags: flags.clone(), way: None }
    }

    /// Finds the operator and forwards a port to it.
    pub(super) async fn forward(flags: &KubectlArgs) -> Result<Self> {
        let mut cluster = Self::only_names(flags);
        let found = cluster.call(&["get", "services", "--all-namespaces", "-l", SELECTOR, "-o", "json"]).await?;
        let found: Value = serde_json::from_str(&found).context("kubectl did not answer in JSON")?;
        let services = found["items"].as_array().into_iter().flatten();
        let named = services.filter_map(|service| {
            let meta = &service["metadata"];
            Some((
                meta["namespace"].as_str()?.to_owned(),
                meta["name"].as_str()?.strip_suffix(SERVICE_SUFFIX)?.to_owned(),
            ))
        });
        let named: Vec<_> = named.collect();
        let [(namespace, release)] = named.as_slice() else {
            bail!(
                "{} operators of Tintype are in this cluster; forward a port to the one you mean and name it with --url \
                 and --token-file",
                named.len()
            );
        };
        let service = format!("service/{release}{SERVICE_SUFFIX}");
        let mut forward = cluster
            .command(&["port-forward", "-n", namespace, &service, ":8080"])
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .context("cannot run kubectl; is it installed?")?;
        let out = forward.stdout.take().context("kubectl has no output")?;
        let mut lines = BufReader::new(out).lines();
        let line = timeout(CALL_TIMEOUT, lines.next_line()).await.context("kubectl port-forward does not begin")?;
        let line = line.context("kubectl port-forward broke")?.unwrap_or_default();
        let url = forwarded(&line).context("kubectl port-forward ended; it says why above")?;
        // What else it says, a line for each connection, must not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        cluster.way = Some(Way { namespace: namespace.clone(), release: release.clone(), url, _forward: forward });
        Ok(cluster)
    }

    /// Where the operator is reached.
    pub(super) fn url(&self) -> &str {
        self.way.as_ref().map(|way| way.url.as_str()).unwrap_or_default()
    }

    /// The token the operator wants from readers.
    pub(super) async fn token(&self) -> Result<String> {
        let way = self.way.as_ref().context("no way to the operator was made")?;
        let secret = format!("{}{SECRET_SUFFIX}", way.release);
        let format = "go-template={{range .data}}{{. | base64decode}}{{end}}";
        let told = self.call(&["get", "secret", &secret, "-n", &way.namespace, "-o", format]).await;
        let token = told.with_context(|| {
            format!("cannot read the Secret {secret}; name a file with the token with --token-file")
        })?;
        // Secrets made from a file often end in a line break.
        Ok(token.trim().to_owned())
    }

    /// The id of a job by its name; what is no name of a job here is taken for an id.
    pub(super) async fn job_id(&self, named: &str) -> Result<String> {
        let mut words = vec!["get", "generationjobs.tintype.dev", named, "-o", "jsonpath={.metadata.uid}"];
        if let Some(namespace) = &self.flags.namespace {
            words.extend(["-n", namespace]);
        }
        let id = self.call(&words).await.with_context(|| format!("cannot find the job {named}"))?;
        Ok(id.trim().to_owned())
    }

    async fn call(&self, words: &[&str]) -> Result<String> {
        let mut command = self.command(words);
        let output = timeout(CALL_TIMEOUT, command.kill_on_drop(true).output());
        let output = output.await.context("kubectl takes too long")?.context("cannot run kubectl; is it installed?")?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        String::from_utf8(output.stdout).context("kubectl did not answer in text")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.args(words).stdin(Stdio::null());
        if let Some(context) = &self.flags.context {
            command.args(["--context", context]);
        }
        if let Some(file) = &self.flags.kubeconfig {
            command.arg("--kubeconfig").arg(file);
        }
        command
    }
}

/// The address in `Forwarding from 127.0.0.1:40123 -> 8080`.
fn forwarded(line: &str) -> Option<String> {
    let address = line.strip_prefix("Forwarding from ")?.split(" -> ").next()?;
    Some(format!("http://{address}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forwarded_address_is_read() {
        let line = "Forwarding from 127.0.0.1:40123 -> 8080";
        assert_eq!(forwarded(line).as_deref(), Some("http://127.0.0.1:40123"));
        assert_eq!(forwarded("error: no such service"), None);
    }
}
