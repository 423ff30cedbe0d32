//! The `gpu-worker` program: the library's `run`, stopped by SIGTERM or SIGINT, or its `generate` or `runpod`.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{CommandFactory as _, FromArgMatches as _};
use tintype_worker::{Args, GenerateArgs, RunpodArgs, runpod, stop_signal};
use tokio_util::sync::CancellationToken;

/// Name of the command that draws without a server; without it the program is a worker.
const GENERATE: &str = "generate";
/// Name of the command that takes jobs from RunPod's platform instead of a dispatcher.
const RUNPOD: &str = "runpod";

fn main() -> ExitCode {
    let matches = command().get_matches();
    let done = match matches.subcommand() {
        Some((GENERATE, flags)) => match GenerateArgs::from_arg_matches(flags) {
            Ok(args) => return tintype_worker::generate(&args),
            Err(error) => error.exit(),
        },
        Some((RUNPOD, flags)) => match RunpodArgs::from_arg_matches(flags) {
            Ok(args) => start(|shutdown| runpod::run(args, shutdown)),
            Err(error) => error.exit(),
        },
        Some(_) | None => match Args::from_arg_matches(&matches) {
            Ok(args) => start(|shutdown| tintype_worker::run(args, shutdown)),
            Err(error) => error.exit(),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the program ends here, and the person who started it reads this")]
            {
                eprintln!("gpu-worker: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn command() -> clap::Command {
    let more = [GenerateArgs::command().name(GENERATE), RunpodArgs::command().name(RUNPOD)];
    Args::command().subcommands(more).subcommand_negates_reqs(true)
}

fn start<F: Future<Output = Result<()>>>(program: impl FnOnce(CancellationToken) -> F) -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the async runtime")?;
    runtime.block_on(async { program(stop_signal()?).await })
}
