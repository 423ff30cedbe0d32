//! kubectl, called as a program with the rights the person has, and through it the way to the operator: its Service, its
//! token, a forwarded port, and the ids of jobs by their names. It goes through the program rather than the library: contexts,
//! plugins for logging in and proxies work as they do for everything else the person does.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
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
/// The kind of jobs as kubectl is asked for it.
pub(crate) const JOBS: &str = "generationjobs.tintype.dev";

/// kubectl with the flags that say which cluster is meant.
pub(crate) struct Kubectl {
    flags: KubectlArgs,
}

/// Where an operator is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The namespace it and its workers run in.
    pub(crate) namespace: String,
    /// The name of the release.
    pub(crate) release: String,
}

impl Kubectl {
    /// For the cluster these flags name.
    pub(crate) fn new(flags: &KubectlArgs) -> Self {
        Self { flags: flags.clone() }
    }

    /// Runs it and gives what it printed.
    pub(crate) async fn call(&self, words: &[&str]) -> Result<String> {
        let mut command = self.command(words);
        let output = timeout(CALL_TIMEOUT, command.kill_on_drop(true).output());
        said(output.await.context("kubectl takes too long")?.context("cannot run kubectl; is it installed?")?)
    }

    /// The same with something on its standard input.
    pub(crate) async fn feed(&self, words: &[&str], input: &[u8]) -> Result<String> {
        let mut command = self.command(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("cannot run kubectl; is it installed?")?;
        let mut stdin = child.stdin.take().context("kubectl has no input")?;
        let fed = async {
            stdin.write_all(input).await.context("kubectl does not read its input")?;
            drop(stdin);
            child.wait_with_output().await.context("kubectl broke")
        };
        said(timeout(CALL_TIMEOUT, fed).await.context("kubectl takes too long")??)
    }

    /// Runs it in the namespace that was named, if one was.
    pub(crate) async fn here(&self, words: &[&str]) -> Result<String> {
        self.call(&self.in_namespace(words)).await
    }

    /// These words, and the namespace that was named.
    pub(crate) fn in_namespace<'a>(&'a self, words: &[&'a str]) -> Vec<&'a str> {
        let mut all = words.to_vec();
        if let Some(namespace) = &self.flags.namespace {
            all.extend(["-n", namespace.as_str()]);
        }
        all
    }

    /// What it prints in JSON.
    pub(crate) async fn read<T: DeserializeOwned>(&self, words: &[&str]) -> Result<T> {
        let told = self.call(words).await?;
        serde_json::from_str(&told).context("kubectl did not answer what this version understands")
    }

    /// The operators of this cluster.
    pub(crate) async fn operators(&self) -> Result<Vec<Place>> {
        let found: Value = self.read(&["get", "services", "--all-namespaces", "-l", SELECTOR, "-o", "json"]).await?;
        let services = found["items"].as_array().into_iter().flatten();
        let place = |service: &Value| {
            let meta = &service["metadata"];
            Some(Place {
                namespace: meta["namespace"].as_str()?.to_owned(),
                release: meta["name"].as_str()?.strip_suffix(SERVICE_SUFFIX)?.to_owned(),
            })
        };
        Ok(services.filter_map(place).collect())
    }

    /// The one operator there is.
    pub(crate) async fn operator(&self) -> Result<Place> {
        let mut found = self.operators().await?;
        match (found.pop(), found.len()) {
            (Some(place), 0) => Ok(place),
            (None, _) => bail!("no operator of Tintype is in this cluster; `helm install` one (charts/tintype)"),
            (Some(_), others) => bail!(
                "{} operators of Tintype are in this cluster; forward a port to the one you mean and name it with --url \
                 and --token-file",
                others + 1
            ),
        }
    }

    /// The id of a job by its name.
    pub(crate) async fn job_id(&self, named: &str) -> Result<String> {
        let id = self.here(&["get", JOBS, named, "-o", "jsonpath={.metadata.uid}"]).await;
        Ok(id.with_context(|| format!("cannot find the job {named}"))?.trim().to_owned())
    }

    /// The program with these words, not yet started.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
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

fn said(output: std::process::Output) -> Result<String> {
    if !output.status.success() {
        bail!("{}", reason(&String::from_utf8_lossy(&output.stderr)));
    }
    String::from_utf8(output.stdout).context("kubectl did not answer in text")
}

/// Why kubectl gave up, without what its libraries log on the way: a letter, month and day before anything else.
fn reason(stderr: &str) -> String {
    let logged = |line: &&str| {
        let mut letters = line.chars();
        letters.next().is_some_and(|letter| "IWEF".contains(letter))
            && letters.by_ref().take(4).filter(char::is_ascii_digit).count() == 4
            && letters.next() == Some(' ')
    };
    let said: Vec<&str> = stderr.lines().filter(|line| !logged(line)).collect();
    let said = said.join("\n");
    if said.trim().is_empty() { stderr.trim().to_owned() } else { said.trim().to_owned() }
}

/// A port forwarded to the operator.
pub(crate) struct Forward {
    place: Place,
    url: String,
    /// Killed when this is dropped.
    _kubectl: Child,
}

impl Forward {
    /// Finds the operator and forwards a port to it.
    pub(crate) async fn open(kubectl: &Kubectl) -> Result<Self> {
        let place = kubectl.operator().await?;
        let service = format!("service/{}{SERVICE_SUFFIX}", place.release);
        let mut child = kubectl
            .command(&["port-forward", "-n", &place.namespace, &service, ":8080"])
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .context("cannot run kubectl; is it installed?")?;
        let out = child.stdout.take().context("kubectl has no output")?;
        let mut lines = BufReader::new(out).lines();
        let line = timeout(CALL_TIMEOUT, lines.next_line()).await.context("kubectl port-forward does not begin")?;
        let line = line.context("kubectl port-forward broke")?.unwrap_or_default();
        let url = forwarded(&line).context("kubectl port-forward ended; it says why above")?;
        // What else it says, a line for each connection, must not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { place, url, _kubectl: child })
    }

    /// Where the operator is reached.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The token the operator wants from readers.
    pub(crate) async fn token(&self, kubectl: &Kubectl) -> Result<String> {
        let secret = format!("{}{SECRET_SUFFIX}", self.place.release);
        let format = "go-template={{range .data}}{{. | base64decode}}{{end}}";
        let told = kubectl.call(&["get", "secret", &secret, "-n", &self.place.namespace, "-o", format]).await;
        let token = told.with_context(|| {
            format!("cannot read the Secret {secret}; name a file with the token with --token-file")
        })?;
        // Secrets made from a file often end in a line break.
        Ok(token.trim().to_owned())
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
    fn why_kubectl_gave_up_is_said_without_its_log() {
        let log = "E1126 15:35:31.928588   25766 memcache.go:265] \"Unhandled Error\"";
        assert_eq!(
            reason(&format!("{log}\n{log}\nError from server (NotFound): no such job\n")),
            "Error from server (NotFound): no such job"
        );
        assert_eq!(reason(log), log, "better than nothing");
        assert_eq!(reason("Error: 4 of them\n"), "Error: 4 of them");
    }

    #[test]
    fn the_forwarded_address_is_read() {
        let line = "Forwarding from 127.0.0.1:40123 -> 8080";
        assert_eq!(forwarded(line).as_deref(), Some("http://127.0.0.1:40123"));
        assert_eq!(forwarded("error: no such service"), None);
    }
}
