//! The `tintype-provider` program: the library's `run`, stopped by SIGTERM or SIGINT.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use tintype_provider::Args;
use tintype_worker::stop_signal;

fn main() -> ExitCode {
    match start(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the program ends here, and the person who started it reads this")]
            {
                eprintln!("tintype-provider: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn start(args: Args) -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the async runtime")?;
    runtime.block_on(async { tintype_provider::run(args, stop_signal()?).await })
}
