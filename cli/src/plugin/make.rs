//! `kubectl tintype generate`: a `GenerationJob` from the words of a command line, and its pictures.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use indicatif::ProgressBar;
use serde_json::{Value, json};
use tintype_crds::{DiffusionModel, GROUP, GenerationJob, VERSION};
use tintype_types::{GenerationRequest, JobState, ModelKind};

use super::args::MakeArgs;
use super::jobs::{self, List};
use crate::args::Caller;
use crate::ask::Source;
use crate::generate::{asked, check, progress_bar, step};
use crate::kubectl::{JOBS, Kubectl};
use crate::terminal;

/// Time between two looks at a job: its status tells of steps every few seconds at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks that may fail one after the other before the job is left alone.
const LOOKS_FAILED_MAX: u32 = 10;

/// Runs the command. Ctrl-C deletes the job.
pub(super) async fn run(args: &MakeArgs) -> Result<ExitCode> {
    let kubectl = Kubectl::new(&args.reach.kubectl);
    let model = match &args.request.model {
        Some(model) => model.clone(),
        None => first_model(&kubectl).await?,
    };
    let mut request = asked(&args.request, model);
    request.images = args.images;
    request.loras.clone_from(&args.lora);
    request.format = args.format;
    check(&request)?;
    let job = serde_json::to_vec(&object(args, &request))?;
    let words = kubectl.in_namespace(&["create", "-f", "-", "-o", "jsonpath={.metadata.name}"]);
    let name = kubectl.feed(&words, &job).await.context("the job was not made")?.trim().to_owned();
    if args.no_wait {
        terminal::result(&name);
        return Ok(ExitCode::SUCCESS);
    }
    terminal::note(format_args!("job {name}"));
    let bar = progress_bar();
    let job = tokio::select! {
        job = follow(&kubectl, &name, &bar) => job?,
        _ = tokio::signal::ctrl_c() => {
            bar.abandon_with_message("cancelled");
            kubectl.here(&["delete", JOBS, &name, "--wait=false"]).await?;
            terminal::note(format_args!("job {name} is deleted"));
            return Ok(ExitCode::from(130));
        }
    };
    if job.state() == JobState::Complete {
        bar.finish_with_message("done");
    } else {
        bar.abandon_with_message("failed");
    }
    let source = Source::connect(&args.reach, Caller::Kubectl).await?;
    jobs::fetch(&source, &job, args.image.as_deref()).await?;
    Ok(ExitCode::SUCCESS)
}

/// The job as it is made. What is left out is the cluster's to fill in.
fn object(args: &MakeArgs, request: &GenerationRequest) -> Value {
    let metadata = match &args.name {
        Some(name) => json!({ "name": name }),
        None => json!({ "generateName": "picture-" }),
    };
    let mut spec = json!({ "request": request });
    if let Some(queue) = &args.queue {
        spec["queue"] = json!(queue);
    }
    if let Some(priority) = args.priority {
        spec["priority"] = json!(priority);
    }
    if let Some(pool) = &args.pool {
        spec["pool"] = json!(pool);
    }
    json!({ "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "GenerationJob", "metadata": metadata, "spec": spec })
}

async fn first_model(kubectl: &Kubectl) -> Result<String> {
    let models: List<DiffusionModel> = kubectl.read(&["get", "diffusionmodels.tintype.dev", "-o", "json"]).await?;
    let model = models.items.into_iter().find(|model| model.spec.kind == ModelKind::Checkpoint);
    let model = model.context("no DiffusionModel is declared in this cluster; name a model with --model")?;
    Ok(model.spec.model_name.or(model.metadata.name).unwrap_or_default())
}

/// Looks at the job until it has ended.
async fn follow(kubectl: &Kubectl, name: &str, bar: &ProgressBar) -> Result<GenerationJob> {
    let mut failed = 0;
    loop {
        match jobs::one(kubectl, name).await {
            Ok(job) => {
                failed = 0;
                let progress = job.status_or_new().progress.map_or((0, 0), |it| (it.step, it.steps));
                step(job.state(), progress, bar);
                if job.state().is_terminal() {
                    return Ok(job);
                }
            }
            Err(error) if failed >= LOOKS_FAILED_MAX => {
                bail!("lost sight of the job: {error:#}; it goes on without this terminal")
            }
            Err(_) => failed += 1,
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::args::{PluginArgs, PluginCommand};
    use super::*;

    fn made(words: &[&str]) -> Value {
        let words = ["kubectl-tintype", "generate", "a red circle", "-m", "tintype/shapes"].iter().chain(words);
        let PluginCommand::Generate(args) = PluginArgs::try_parse_from(words).unwrap().command else {
            panic!("that was generate")
        };
        let mut request = asked(&args.request, args.request.model.clone().unwrap());
        request.images = args.images;
        object(&args, &request)
    }

    #[test]
    fn a_job_says_what_was_asked_and_no_more() {
        let plain = made(&[]);
        assert_eq!(plain["spec"], json!({ "request": { "model": "tintype/shapes", "prompt": "a red circle" } }));
        assert_eq!(plain["metadata"], json!({ "generateName": "picture-" }));
        let full =
            made(&["--name", "n", "-q", "free", "--priority", "5", "--pool", "l40s", "--images", "2", "--seed", "7"]);
        assert_eq!((&full["spec"]["queue"], &full["spec"]["priority"]), (&json!("free"), &json!(5)));
        assert_eq!((&full["spec"]["pool"], &full["metadata"]["name"]), (&json!("l40s"), &json!("n")));
        assert_eq!((&full["spec"]["request"]["images"], &full["spec"]["request"]["seed"]), (&json!(2), &json!(7)));
    }
}
