//! `kubectl tintype get`: jobs as a table, or one with its pictures.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::Value;
use tintype_crds::GenerationJob;
use tintype_types::Timestamp;

use super::args::GetArgs;
use super::jobs::{self, List};
use crate::args::{Caller, OutputFormat};
use crate::ask::{Source, now};
use crate::kubectl::{JOBS, Kubectl};
use crate::show::{self, Cells, span, table};

/// Runs the command.
pub(super) async fn run(args: &GetArgs) -> Result<ExitCode> {
    let kubectl = Kubectl::new(&args.ask.reach.kubectl);
    if let (Some(name), Some(path)) = (&args.job, &args.image) {
        let job = jobs::one(&kubectl, name).await?;
        let source = Source::connect(&args.ask.reach, Caller::Kubectl).await?;
        jobs::fetch(&source, &job, Some(path)).await?;
        return Ok(ExitCode::SUCCESS);
    }
    show::again(args.ask.output, args.ask.watch, async || answer(&kubectl, args).await).await?;
    Ok(ExitCode::SUCCESS)
}

async fn answer(kubectl: &Kubectl, args: &GetArgs) -> Result<String> {
    let selector = args.queue.as_ref().map(|queue| format!("--field-selector=spec.queue={queue}"));
    let mut words = vec!["get", JOBS];
    words.extend(args.job.as_deref());
    words.extend(selector.as_deref());
    words.extend(["-o", "json"]);
    let words = if args.all_namespaces {
        words.push("--all-namespaces");
        words
    } else {
        kubectl.in_namespace(&words)
    };
    let told: Value = kubectl.read(&words).await?;
    let mut jobs: Vec<GenerationJob> = if args.job.is_some() {
        vec![serde_json::from_value(told.clone())?]
    } else {
        serde_json::from_value::<List<GenerationJob>>(told.clone())?.items
    };
    jobs.sort_by_key(jobs::made);
    show::written(&told, args.ask.output, || text(&jobs, args.all_namespaces, args.ask.output, now()))
}

/// Jobs, oldest first; what a narrow screen cuts off is what is missed least.
fn text(jobs: &[GenerationJob], namespaces: bool, form: OutputFormat, now: Timestamp) -> String {
    if jobs.is_empty() {
        return "there is no job here".to_owned();
    }
    let wide = form == OutputFormat::Wide;
    let mut heads = vec!["NAME", "STATE", "REASON", "STEP", "AGE", "MODEL", "QUEUE", "WORKER"];
    if namespaces {
        heads.insert(0, "NAMESPACE");
    }
    if wide {
        heads.extend(["ATTEMPT", "PRIORITY", "GPU TIME", "MESSAGE"]);
    }
    let row = |job: &GenerationJob| {
        let mut cells = row(job, now);
        if namespaces {
            cells.insert(0, job.metadata.namespace.clone().unwrap_or_default());
        }
        if wide {
            cells.extend(more(job));
        }
        cells
    };
    table(&heads, &jobs.iter().map(row).collect::<Vec<_>>(), Cells::from(form))
}

fn row(job: &GenerationJob, now: Timestamp) -> Vec<String> {
    let status = job.status_or_new();
    let step = status.progress.map_or_else(String::new, |progress| format!("{}/{}", progress.step, progress.steps));
    let worker = status.assignment.map_or_else(String::new, |assignment| assignment.worker.to_string());
    vec![
        job.metadata.name.clone().unwrap_or_default(),
        status.state.as_str().to_owned(),
        status.failure.map_or_else(String::new, |failure| failure.reason.as_str().to_owned()),
        step,
        jobs::made(job).map_or_else(String::new, |made| span(now.since(made))),
        job.spec.request.model.clone(),
        job.spec.queue.clone(),
        worker,
    ]
}

fn more(job: &GenerationJob) -> [String; 4] {
    let status = job.status_or_new();
    [
        status.attempt.0.to_string(),
        job.spec.priority.to_string(),
        status.gpu_milliseconds.map_or_else(String::new, show::ms),
        status.failure.map_or_else(String::new, |failure| failure.message),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::show::WIDTH;

    fn job(name: &str, status: Value) -> GenerationJob {
        serde_json::from_value(json!({
            "apiVersion": "tintype.dev/v1alpha1", "kind": "GenerationJob",
            "metadata": { "name": name, "namespace": "team", "creationTimestamp": "1970-01-01T00:00:10Z" },
            "spec": { "request": { "model": "tintype/shapes", "prompt": "a red circle" }, "queue": "free" },
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn a_table_of_jobs_fits_the_screen_and_the_wide_one_keeps_the_message() {
        let jobs = [
            job(
                "red-circle",
                json!({
                    "state": "Running", "attempt": 2, "progress": { "step": 5, "steps": 20 },
                    "assignment": { "worker": "tintype-worker-0", "attempt": 2, "leaderEpoch": 1 },
                }),
            ),
            job(
                &"long-".repeat(12),
                json!({ "state": "Failed", "attempt": 1, "failure": { "reason": "UnknownModel", "message": "m".repeat(80) } }),
            ),
        ];
        let said = text(&jobs, true, OutputFormat::Table, Timestamp(75_000));
        assert!(said.lines().all(|line| line.chars().count() <= WIDTH), "{said}");
        for words in ["NAMESPACE", "red-circle", "Running", "5/20", "UnknownModel", "1 min 5 s"] {
            assert!(said.contains(words), "no {words:?} in\n{said}");
        }
        let wide = text(&jobs, false, OutputFormat::Wide, Timestamp(75_000));
        assert!(
            wide.contains("tintype-worker-0") && wide.contains(&"m".repeat(80)) && !wide.contains("team"),
            "{wide}"
        );
        assert_eq!(text(&[], false, OutputFormat::Table, Timestamp(0)), "there is no job here");
    }
}
