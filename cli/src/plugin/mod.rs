//! `kubectl tintype`: what people do with Tintype in a cluster, with kubectl's own rights and flags.

pub(crate) mod args;
mod complete;
mod cost;
mod doctor;
mod drain;
mod get;
mod jobs;
mod logs;
mod make;
mod warm;

use std::process::ExitCode;

use anyhow::Result;

use self::args::PluginCommand;
use crate::args::Caller;
use crate::ask::{self, Question};
use crate::{replay, simulate};

/// Runs one command.
pub(crate) async fn run(command: PluginCommand) -> Result<ExitCode> {
    match command {
        PluginCommand::Get(args) => get::run(&args).await,
        PluginCommand::Top(args) => ask::run(Question::Top, &args, Caller::Kubectl).await,
        PluginCommand::Explain(args) => ask::run(Question::Explain(&args.job), &args.ask, Caller::Kubectl).await,
        PluginCommand::Eta(args) => ask::run(Question::Eta(&args.job), &args.ask, Caller::Kubectl).await,
        PluginCommand::Generate(args) => make::run(&args).await,
        PluginCommand::Logs(args) => logs::run(&args).await,
        PluginCommand::Drain(args) => drain::run(&args).await,
        PluginCommand::Warm(args) => warm::run(&args).await,
        PluginCommand::Cost(args) => cost::run(&args).await,
        PluginCommand::Doctor(args) => doctor::run(&args).await,
        PluginCommand::Simulate(args) => simulate::run(&args),
        PluginCommand::Replay(args) => replay::run(&args),
        PluginCommand::Completion => Ok(complete::script()),
        PluginCommand::Complete { words } => complete::run(&words).await,
    }
}
