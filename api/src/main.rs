//! The `api` program: the library's `run`, stopped by SIGTERM or SIGINT, and its chores.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use tintype_api::services::sentry::{Reports, Sentry};
use tintype_api::{Args, Chore, Cli, database, make_database_secret, run};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Requests are served by many small pieces of memory that live for a moment, a few large ones among them: the C library's
/// allocator spent a quarter of the API's time on those.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What is logged unless `TINTYPE_LOG` or `RUST_LOG` says otherwise. The client library prints whole objects, prompts and all, when it
/// warns of one it cannot read.
const LOG_DEFAULT: &str = "info,kube_client=error,kube_runtime=error";

fn main() -> ExitCode {
    let cli = Cli::parse();
    let started = open_log(&cli).and_then(|reports| start(cli, reports));
    match started {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the API ends");
            ExitCode::FAILURE
        }
    }
}

fn start(cli: Cli, reports: Option<Reports>) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the async runtime")?;
    runtime.block_on(async {
        match cli.parts() {
            (Some(Chore::Migrate { database_url, database_direct_url }), _) => {
                let pool = database::connect(database_direct_url.as_ref().unwrap_or(&database_url)).await?;
                database::migrate(&pool).await
            }
            (Some(Chore::DatabaseSecret(args)), _) => make_database_secret(&args).await,
            (None, Some(args)) => run(Args { reports, ..args }, stop_signal()?).await,
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

/// Logs to stderr; what is logged as an error waits to be told to Sentry too, if that is set.
fn open_log(cli: &Cli) -> anyhow::Result<Option<Reports>> {
    let filter = EnvFilter::try_from_env("TINTYPE_LOG").or_else(|_| EnvFilter::try_from_default_env());
    let filter = filter.unwrap_or_else(|_| EnvFilter::new(LOG_DEFAULT));
    let (sentry, fault) = match Sentry::of(cli.services()) {
        Ok(sentry) => (sentry, None),
        // Said by the log, which has to be open for that.
        Err(fault) => (None, Some(fault)),
    };
    let (layer, reports) = sentry.map(Sentry::parts).unzip();
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let log = if std::io::stderr().is_terminal() { log.boxed() } else { log.json().boxed() };
    tracing_subscriber::registry().with(filter).with(log).with(layer).init();
    fault.map_or(Ok(reports), Err)
}
