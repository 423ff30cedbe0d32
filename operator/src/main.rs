//! The `operator` program: logging, signals and the exit code.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use tintype_operator::args::{Chore, Cli};
use tintype_operator::check::{CheckArgs, check};
use tintype_operator::run;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// What is logged unless `TINTYPE_LOG` or `RUST_LOG` says otherwise. The client library prints whole objects, prompts and all, when it
/// warns of one it cannot read.
const LOG_DEFAULT: &str = "info,kube_client=error,kube_runtime=error";

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    let cli = Cli::asked(&words).unwrap_or_else(|error| error.exit());
    match &cli.chore {
        Some(Chore::Crds) => return print_crds(),
        Some(Chore::Check(args)) => return check_release(args),
        None => log_to_stderr(),
    }
    let Some(args) = cli.args() else { return ExitCode::from(2) };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(error = %error, "the runtime did not start");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let stop = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            stop.cancel();
        });
        run(args, shutdown).await
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the operator ends");
            // At once: nothing that still runs may outlive the term it began in.
            std::process::exit(1)
        }
    }
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("TINTYPE_LOG")
        .or_else(|_| EnvFilter::try_from_default_env())
        .unwrap_or_else(|_| EnvFilter::new(LOG_DEFAULT));
    let logger = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() { logger.init() } else { logger.json().init() }
}

fn check_release(args: &CheckArgs) -> ExitCode {
    log_to_stderr();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let checked = match runtime {
        Ok(runtime) => runtime.block_on(check(args, &mut std::io::stdout())),
        Err(error) => Err(error.into()),
    };
    match checked {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the check could not begin");
            ExitCode::FAILURE
        }
    }
}

fn print_crds() -> ExitCode {
    let mut out = std::io::stdout().lock();
    for (_, yaml) in tintype_crds::YAML {
        // A closed pipe is the reader's business.
        if out.write_all(b"---\n").and_then(|()| out.write_all(yaml.as_bytes())).is_err() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
