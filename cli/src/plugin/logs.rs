//! `kubectl tintype logs`: what the worker of a job wrote. Pictures of several jobs are stepped together, so lines of the
//! worker are not lines of one job; the worker's own are shown.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use super::args::LogsArgs;
use super::jobs;
use crate::kubectl::Kubectl;
use crate::terminal;

/// The container of a pod that is the worker.
const CONTAINER: &str = "worker";

/// Runs the command.
pub(super) async fn run(args: &LogsArgs) -> Result<ExitCode> {
    let kubectl = Kubectl::new(&args.kubectl);
    let status = jobs::one(&kubectl, &args.job).await?.status_or_new();
    let Some(assignment) = status.assignment else {
        bail!("{} is {}: no worker has it; `kubectl tintype explain {0}` says why", args.job, status.state.as_str());
    };
    let place = kubectl.operator().await?;
    let worker = assignment.worker.to_string();
    terminal::note(format_args!("worker {worker}, attempt {}", assignment.attempt.0));
    let tail = format!("--tail={}", args.tail);
    let mut words = vec!["logs", "-n", &place.namespace, &worker, "-c", CONTAINER, &tail];
    if args.follow {
        words.push("--follow");
    }
    let ended = kubectl.command(&words).kill_on_drop(true).status().await;
    let ended = ended.context("cannot run kubectl; is it installed?")?;
    Ok(if ended.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
