//! `make bench-kernels`: this worker's arithmetic beside torch's, in one run, on the same shapes and as many threads.
//!
//! Runs alternate, and the least of each side is kept: other work on the machine only ever adds. Figures are CPU
//! milliseconds on one thread, which a busy neighbour hardly changes, or wall milliseconds with `--threads 2`. One JSON
//! line a figure, `ratio` being ours over the anchor's. Without torch the anchors are missing and nothing else.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench speaks to the person who runs it")]

mod cases;
mod clock;
mod lanes;
mod programs;
mod report;
mod torch;
mod unet;

use anyhow::{Context as _, Result};
use clap::Parser;

use clock::Clock;
use torch::Torch;

/// What is measured.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// Threads of both sides; figures are CPU time with one, wall time with more.
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: usize,
    /// Only figures whose name holds this.
    #[arg(long, default_value = "")]
    pub(crate) only: String,
    /// Runs of each operation, of which the least is kept.
    #[arg(long, default_value_t = 7)]
    pub(crate) runs: usize,
    /// Runs of a step of a whole UNet.
    #[arg(long, default_value_t = 2)]
    pub(crate) unet_runs: usize,
    /// Given by cargo to every bench.
    #[arg(long, hide = true)]
    pub(crate) bench: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    rayon::ThreadPoolBuilder::new()
        .num_threads(options.threads)
        .build_global()
        .context("cannot start the kernels' threads")?;
    let clock = if options.threads == 1 { Clock::Cpu } else { Clock::Wall };
    let mut torch = Torch::start(options.threads, clock);
    cases::run(&options, clock, &mut torch)?;
    unet::run(&options, clock, &mut torch)?;
    lanes::run(&options, clock, &mut torch)?;
    programs::run(&options)
}
