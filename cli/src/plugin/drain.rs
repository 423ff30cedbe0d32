//! `kubectl tintype drain`: a worker is evicted, writes a checkpoint of what it has, and its jobs go on elsewhere.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::json;
use tintype_crds::GenerationJob;
use tokio::time::Instant;

use super::args::DrainArgs;
use super::jobs::List;
use crate::kubectl::{JOBS, Kubectl};
use crate::terminal;

/// Time between two tries.
const TRY_EVERY: Duration = Duration::from_secs(1);

/// Runs the command.
pub(super) async fn run(args: &DrainArgs) -> Result<ExitCode> {
    let kubectl = Kubectl::new(&args.kubectl);
    let namespace = kubectl.operator().await?.namespace;
    let selector = format!("--field-selector=status.assignment.worker={}", args.worker);
    let held: List<GenerationJob> = kubectl.read(&["get", JOBS, "--all-namespaces", &selector, "-o", "json"]).await?;
    let held: Vec<_> = held.items.into_iter().filter(|job| !job.state().is_terminal()).collect();
    let until = Instant::now() + args.timeout;
    let uid = kubectl.call(&["get", "pod", &args.worker, "-n", &namespace, "-o", "jsonpath={.metadata.uid}"]).await;
    let uid = uid.with_context(|| format!("there is no worker {} in namespace {namespace}", args.worker))?;
    evict(&kubectl, &namespace, &args.worker, until).await?;
    terminal::note(format_args!("{} hands on what it has: {} jobs", args.worker, held.len()));
    gone(&kubectl, &namespace, &args.worker, uid.trim(), until).await?;
    terminal::result(format_args!("{} has gone", args.worker));
    for job in &held {
        let (name, namespace) = (&job.metadata.name, &job.metadata.namespace);
        let (name, namespace) = (name.as_deref().unwrap_or_default(), namespace.as_deref().unwrap_or_default());
        let now: Result<GenerationJob> = kubectl.read(&["get", JOBS, name, "-n", namespace, "-o", "json"]).await;
        terminal::result(match now {
            Ok(job) => line(&job),
            Err(_) => format!("job {namespace}/{name} is not there any more"),
        });
    }
    Ok(ExitCode::SUCCESS)
}

/// Where a job stands now.
fn line(job: &GenerationJob) -> String {
    let status = job.status_or_new();
    let (namespace, name) = (&job.metadata.namespace, &job.metadata.name);
    let worker =
        status.assignment.map_or_else(String::new, |it| format!(" on {}, attempt {}", it.worker, it.attempt.0));
    format!(
        "job {}/{} is {}{worker}",
        namespace.as_deref().unwrap_or_default(),
        name.as_deref().unwrap_or_default(),
        status.state.as_str()
    )
}

/// Asks for the eviction until it is granted: a disruption budget may want other workers back first.
async fn evict(kubectl: &Kubectl, namespace: &str, pod: &str, until: Instant) -> Result<()> {
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/eviction");
    let eviction = json!({
        "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": pod, "namespace": namespace },
    });
    let mut told = false;
    loop {
        match kubectl.feed(&["create", "--raw", &path, "-f", "-"], &serde_json::to_vec(&eviction)?).await {
            Ok(_) => return Ok(()),
            Err(error) if format!("{error:#}").contains("disruption budget") && Instant::now() < until => {
                if !told {
                    terminal::note("a PodDisruptionBudget wants other workers back first; waiting");
                    told = true;
                }
                tokio::time::sleep(TRY_EVERY).await;
            }
            Err(error) => return Err(error.context(format!("{pod} cannot be evicted"))),
        }
    }
}

/// Waits until this very pod is gone; another may have taken its name.
async fn gone(kubectl: &Kubectl, namespace: &str, pod: &str, uid: &str, until: Instant) -> Result<()> {
    loop {
        let words = ["get", "pod", pod, "-n", namespace, "--ignore-not-found", "-o", "jsonpath={.metadata.uid}"];
        if kubectl.call(&words).await?.trim() != uid {
            return Ok(());
        }
        if Instant::now() >= until {
            bail!("{pod} is still there; it goes when its jobs are handed on, at the latest after its grace period");
        }
        tokio::time::sleep(TRY_EVERY).await;
    }
}
