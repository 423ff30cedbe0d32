//! `tintype explain`, `eta` and `top`: what the scheduler says, asked over the dispatcher's read routes. As `kubectl
//! tintype` the same, with jobs by name and the way to the operator found through kubectl.

mod eta;
mod explain;
mod source;
mod top;

use std::process::ExitCode;

use anyhow::Result;

use crate::args::{AskArgs, Caller, OutputFormat};
use crate::show;

pub(crate) use source::{Source, now};

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
    let source = Source::connect(&args.reach, caller).await?;
    let job = match question {
        Question::Explain(job) | Question::Eta(job) => Some(source.job_id(job).await?),
        Question::Top => None,
    };
    show::again(args.output, args.watch, async || answer(&source, &question, job.as_deref(), args.output).await)
        .await?;
    Ok(ExitCode::SUCCESS)
}

async fn answer(source: &Source, question: &Question<'_>, job: Option<&str>, form: OutputFormat) -> Result<String> {
    let job = job.unwrap_or_default();
    match question {
        Question::Explain(name) => {
            let told = source.explain(job).await?;
            show::written(&told, form, || explain::text(name, &told))
        }
        Question::Eta(name) => {
            let told = source.eta(job).await?;
            let (estimate, now) = (&told, now());
            show::written(estimate, form, || eta::text(name, estimate, now))
        }
        Question::Top => {
            let told = source.top().await?;
            show::written(&told, form, || top::text(&told, form))
        }
    }
}
