//! The `api` program: the library's `run`, stopped by SIGTERM or SIGINT, and the chore `migrate`.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use tintype_api::{Chore, Cli, database, run};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// What is logged unless `TINTYPE_LOG` or `RUST_LOG` says otherwise. The client library prints whole objects, prompts and all, when it
/// warns of one it cannot read.
const LOG_DEFAULT: &str = "info,kube_client=error,kube_runtime=error";

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr();
    match start(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the API ends");
            ExitCode::FAILURE
        }
    }
}

fn start(cli: Cli) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the async runtime")?;
    runtime.block_on(async {
        match cli.parts() {
            (Some(Chore::Migrate { database_url }), _) => {
                let pool = database::connect(&database_url).await?;
                database::migrate(&pool).await
            }
            (None, Some(args)) => run(args, stop_signal()?).await,
            (None, None) => anyhow::bail!("no flags were given; see --help"),
        }
    })
}

fn stop_signal() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    });
    Ok(shutdown)
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("TINTYPE_LOG").or_else(|_| EnvFilter::try_from_default_env());
    let filter = filter.unwrap_or_else(|_| EnvFilter::new(LOG_DEFAULT));
    let logger = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() { logger.init() } else { logger.json().init() }
}
