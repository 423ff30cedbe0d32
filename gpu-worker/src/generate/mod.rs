//! `gpu-worker generate`: one picture from the command line, by the same pipeline and with the same finish as a worker's,
//! with no server, store or account.

mod args;
mod bar;
mod models;

pub use args::GenerateArgs;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use tintype_types::FailureReason;
use tintype_types::limits::{CONTROLS_MAX, LORAS_MAX, SEED_MAX};

use crate::log;
use crate::output::PublishError;
use crate::pipeline::{CandlePipeline, Flow, Pipeline, PipelineError, ResidentLimits, seed_of};
use args::Plan;
use bar::Bar;

/// Exit code of what the flags ask for and cannot be done; clap's own for flags it does not know.
const CANNOT: u8 = 2;
/// Most models and add-ons kept in memory: all that one request may name.
const MODELS_MAX: usize = 1 + (LORAS_MAX + CONTROLS_MAX) as usize;
/// Exit code of a picture that could have been drawn and was not.
const FAILED: u8 = 1;

/// Draws what the flags say and tells how it went: files to standard output, all else to standard error.
pub fn generate(args: &GenerateArgs) -> ExitCode {
    log::start_quiet();
    let chance = rand::random::<u64>() & SEED_MAX;
    let done = args.plan(chance).map_err(|error| (CANNOT, error)).and_then(|plan| draw(args, &plan));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, error)) => {
            #[expect(clippy::print_stderr, reason = "the program ends here, and the person who started it reads this")]
            {
                eprintln!("gpu-worker generate: {error:#}");
            }
            ExitCode::from(code)
        }
    }
}

fn draw(args: &GenerateArgs, plan: &Plan) -> Result<(), (u8, anyhow::Error)> {
    let Plan { directories, order, files } = plan;
    let request = &order.request;
    let publisher = args.output.publisher().map_err(|error| (CANNOT, error))?;
    let limits = ResidentLimits { count: MODELS_MAX, bytes: 0 };
    let pipeline =
        CandlePipeline::new(directories.clone(), limits).map_err(|error| failed(error, PipelineError::reason))?;
    let pipeline = pipeline.multiplied_in(args.precision).context("--precision cannot be had here");
    let mut pipeline = pipeline.map_err(|error| (CANNOT, error))?;
    let mut bar = Bar::new(request.steps.saturating_mul(request.images));
    for (index, file) in (0..).zip(files) {
        let image = pipeline
            .draw(order, index, &mut |step, steps| {
                // A picture that starts from another takes fewer, one that is drawn twice more.
                bar.step(steps.saturating_mul(index).saturating_add(step), steps.saturating_mul(request.images));
                Flow::Continue
            })
            .map_err(|error| failed(error, PipelineError::reason))?;
        let seed = seed_of(request, index);
        let picture = publisher.publish(&image, request, seed).map_err(|error| failed(error, PublishError::reason))?;
        write_whole(file, &picture.bytes).map_err(|error| (FAILED, error))?;
        bar.result(format_args!("{}  {}x{}  seed {seed}", file.display(), image.width, image.height));
    }
    bar.end();
    Ok(())
}

/// An error with the exit code its reason has.
fn failed<E: std::error::Error + Send + Sync + 'static>(
    error: E,
    reason: fn(&E) -> (FailureReason, bool),
) -> (u8, anyhow::Error) {
    let code = match reason(&error).0 {
        FailureReason::InvalidRequest | FailureReason::UnknownModel | FailureReason::ModelUnreadable => CANNOT,
        FailureReason::OutOfMemory
        | FailureReason::GpuFault
        | FailureReason::UploadFailed
        | FailureReason::WorkerLost
        | FailureReason::WorkerDrained
        | FailureReason::Preempted
        | FailureReason::ContentRefused
        | FailureReason::Internal
        | FailureReason::TooManyAttempts
        | FailureReason::Cancelled
        | FailureReason::DeadlineExceeded => FAILED,
    };
    (code, error.into())
}

/// Writes a file beside its place and moves it there: a reader sees the old one or the new one, never half of one.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let draft = path.with_file_name(name);
    let written = std::fs::File::create(&draft).and_then(|mut file| file.write_all(bytes));
    written.and_then(|()| std::fs::rename(&draft, path)).with_context(|| format!("cannot write {}", path.display()))
}
