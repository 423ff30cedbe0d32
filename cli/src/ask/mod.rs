//! `tintype explain`, `eta` and `top`: what the scheduler says, asked over the dispatcher's read routes. As `kubectl
//! tintype` the same, with jobs by name and the way to the operator found through kubectl.

mod eta;
mod explain;
mod kubectl;
mod show;
mod source;
mod top;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::args::{AskArgs, Caller, OutputFormat};
use crate::terminal;

use source::Source;

/// Time between two looks of `--watch`.
const WATCH_EVERY: Duration = Duration::from_secs(2);
/// Clears a terminal and goes to its first line.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// What is asked.
pub(crate) enum Question<'a> {
    /// Why a job is not running.
    Explain(&'a str),
    /// When it should end.
    Eta(&'a str),
    /// How everything stands.
    Top,
}

/// Asks, once or again and again.
pub(crate) async fn run(question: Question<'_>, args: &AskArgs, caller: Caller) -> Result<ExitCode> {
    let source = Source::connect(args, caller).await?;
    let job = match question {
        Question::Explain(job) | Question::Eta(job) => Some(source.job_id(job).await?),
        Question::Top => None,
    };
    loop {
        let said = answer(&source, &question, job.as_deref(), args.output).await?;
        if !args.watch {
            terminal::result(said.trim_end());
            return Ok(ExitCode::SUCCESS);
        }
        // For a script each answer stands below the one before; for people it takes its place.
        let clear = if matches!(args.output, OutputFormat::Table | OutputFormat::Wide) { CLEAR } else { "" };
        terminal::result(format_args!("{clear}{}", said.trim_end()));
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

async fn answer(source: &Source, question: &Question<'_>, job: Option<&str>, form: OutputFormat) -> Result<String> {
    let job = job.unwrap_or_default();
    match question {
        Question::Explain(name) => {
            let told = source.explain(job).await?;
            written(&told, form, || explain::text(name, &told))
        }
        Question::Eta(name) => {
            let told = source.eta(job).await?;
            let (estimate, now) = (&told, source::now());
            written(estimate, form, || eta::text(name, estimate, now))
        }
        Question::Top => {
            let told = source.top().await?;
            written(&told, form, || top::text(&told, form))
        }
    }
}

fn written(told: &impl Serialize, form: OutputFormat, text: impl FnOnce() -> String) -> Result<String> {
    Ok(match form {
        OutputFormat::Table | OutputFormat::Wide => text(),
        OutputFormat::Json => serde_json::to_string_pretty(told)?,
        OutputFormat::Yaml => serde_yaml_ng::to_string(told)?,
    })
}
