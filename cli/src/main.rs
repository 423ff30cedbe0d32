//! The `tintype` program: everything on one machine (`up`), a picture from the terminal (`generate`), and what breaks
//! newcomers (`doctor`). The composition root: the only crate that may see the programs' libraries.

mod args;
mod ask;
mod client;
mod credits;
mod db;
mod doctor;
mod files;
mod generate;
mod inputs;
mod kubectl;
mod paths;
mod plugin;
mod replay;
mod show;
mod simulate;
mod sse;
mod terminal;
mod up;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use crate::args::{Args, Caller, Command};
use crate::ask::Question;
use crate::plugin::args::{PluginArgs, PluginCommand};

/// What this program is called as a plugin of kubectl.
const PLUGIN: &str = "kubectl-tintype";

fn main() -> ExitCode {
    // reqwest is built without a TLS provider of its own; one choice here serves every part of the program.
    let chosen = rustls::crypto::ring::default_provider().install_default();
    debug_assert!(chosen.is_ok(), "nothing else chooses a TLS provider");
    let command = match caller(std::env::args_os().next()) {
        Caller::Shell => Asked::Shell(Args::parse().command),
        Caller::Kubectl => Asked::Kubectl(PluginArgs::parse().command),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return terminal::fail(&anyhow::Error::new(error).context("cannot start the async runtime")),
    };
    let outcome = runtime.block_on(async {
        match command {
            Asked::Shell(command) => shell(command).await,
            Asked::Kubectl(command) => plugin::run(command).await,
        }
    });
    outcome.unwrap_or_else(|error| terminal::fail(&error))
}

/// What is asked for, by whom.
enum Asked {
    Shell(Command),
    Kubectl(PluginCommand),
}

async fn shell(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up(args) => up::run(*args).await.map(|()| ExitCode::SUCCESS),
        Command::Generate(args) => generate::run(*args).await,
        Command::Credits(args) => credits::run(args).await,
        Command::Db(args) => db::run(args).await,
        Command::Doctor(args) => doctor::run(args).await,
        Command::Simulate(args) => simulate::run(&args),
        Command::Explain(args) => ask::run(Question::Explain(&args.job), &args.ask, Caller::Shell).await,
        Command::Eta(args) => ask::run(Question::Eta(&args.job), &args.ask, Caller::Shell).await,
        Command::Top(args) => ask::run(Question::Top, &args, Caller::Shell).await,
        Command::Replay(args) => replay::run(&args),
        Command::Completion { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "tintype", &mut text);
            terminal::result(String::from_utf8_lossy(&text).trim_end());
            Ok(ExitCode::SUCCESS)
        }
        Command::Worker(args) => up::worker_main(*args).await.map(|()| ExitCode::SUCCESS),
    }
}

/// kubectl runs what is called `kubectl-NAME`; a link of that name to this program is all it takes.
fn caller(program: Option<std::ffi::OsString>) -> Caller {
    let name = program.as_deref().map(std::path::Path::new).and_then(std::path::Path::file_name);
    if name.is_some_and(|name| name == PLUGIN) { Caller::Kubectl } else { Caller::Shell }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_it_is_called_by_says_who_calls() {
        assert_eq!(caller(Some("/usr/bin/kubectl-tintype".into())), Caller::Kubectl);
        assert_eq!(caller(Some("tintype".into())), Caller::Shell);
        assert_eq!(caller(None), Caller::Shell);
    }
}
