//! The `tintype` program: everything on one machine (`up`), a picture from the terminal (`generate`), and what breaks
//! newcomers (`doctor`). The composition root: the only crate that may see the programs' libraries.

mod args;
mod client;
mod credits;
mod doctor;
mod generate;
mod inputs;
mod paths;
mod simulate;
mod sse;
mod terminal;
mod up;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Command};

fn main() -> ExitCode {
    // reqwest is built without a TLS provider of its own; one choice here serves every part of the program.
    let chosen = rustls::crypto::ring::default_provider().install_default();
    debug_assert!(chosen.is_ok(), "nothing else chooses a TLS provider");
    let args = Args::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return terminal::fail(&anyhow::Error::new(error).context("cannot start the async runtime")),
    };
    let outcome = runtime.block_on(async {
        match args.command {
            Command::Up(args) => up::run(*args).await.map(|()| ExitCode::SUCCESS),
            Command::Generate(args) => generate::run(*args).await,
            Command::Credits(args) => credits::run(args).await,
            Command::Doctor(args) => doctor::run(args).await,
            Command::Simulate(args) => simulate::run(&args),
            Command::Worker(args) => up::worker_main(*args).await.map(|()| ExitCode::SUCCESS),
        }
    });
    outcome.unwrap_or_else(|error| terminal::fail(&error))
}
