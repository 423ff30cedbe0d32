//! One `tintype up` a data folder, and the signals that end it.

use std::fs::File;

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::paths::DataDir;
use crate::terminal;

/// Holds the data folder until dropped; the kernel lets go of it however the process ends.
pub(crate) struct OnlyOne(#[expect(dead_code, reason = "held for its lock, which ends with the file")] File);

/// Takes the data folder for this process.
pub(crate) fn take(data: &DataDir) -> Result<OnlyOne> {
    let Some(only_one) = try_take(data)? else {
        bail!(
            "another `tintype up` uses {}; stop it first, or choose another folder with --data-dir",
            data.path().display()
        );
    };
    Ok(only_one)
}

/// The same, or nothing where another process has it.
pub(crate) fn try_take(data: &DataDir) -> Result<Option<OnlyOne>> {
    let path = data.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    Ok(file.try_lock().is_ok().then_some(OnlyOne(file)))
}

/// A token that is cancelled by Ctrl-C or SIGTERM. A second signal ends the process at once.
pub(crate) fn stop_signal() -> Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        let mut wait = async || {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        wait().await;
        token.cancel();
        wait().await;
        terminal::note("stopped at once; the next start repairs what was cut off");
        std::process::exit(130);
    });
    Ok(stop)
}
