//! The worker of `tintype up`: always a child process, started again when it dies, never left behind.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::{instance, log};
use crate::paths::DataDir;
use crate::terminal;

/// Pause before a worker that died is started again; doubles up to the next constant.
const RESTART_PAUSE_MIN: Duration = Duration::from_millis(200);
/// See [`RESTART_PAUSE_MIN`].
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(10);
/// A worker that lived this long starts again without a longer pause.
const STEADY: Duration = Duration::from_secs(30);
/// Longest a worker may take to give its job back.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// What a worker needs.
#[derive(Clone, Debug)]
pub(crate) struct WorkerConfig {
    /// Where to claim work.
    pub(crate) url: String,
    /// The secret shared with the dispatcher.
    pub(crate) token_file: PathBuf,
    /// Folders with models.
    pub(crate) models: Vec<PathBuf>,
    /// Where its log goes.
    pub(crate) data: DataDir,
}

/// The worker itself: what the child process runs.
pub(crate) async fn worker_main(args: tintype_worker::Args) -> Result<()> {
    let stop = instance::stop_signal()?;
    tintype_worker::run(args, stop).await
}

/// Keeps one worker running until stopped.
pub(crate) async fn supervise(config: WorkerConfig, stop: CancellationToken) {
    let mut pause = RESTART_PAUSE_MIN;
    while !stop.is_cancelled() {
        let started = tokio::time::Instant::now();
        match start(&config) {
            Ok(mut child) => {
                tokio::select! {
                    ended = child.wait() => tell(&config, ended.map(|status| status.to_string())),
                    () = stop.cancelled() => { end(&mut child).await; return; }
                }
            }
            Err(error) => tell(&config, Ok(format!("{error:#}"))),
        }
        if started.elapsed() > STEADY {
            pause = RESTART_PAUSE_MIN;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
        pause = (pause * 2).min(RESTART_PAUSE_MAX);
    }
}

fn start(config: &WorkerConfig) -> Result<Child> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let file = log::fresh(&config.data, "worker.log")?;
    let mut command = Command::new(program);
    command
        .arg("worker")
        .env("TINTYPE_DISPATCH_URL", &config.url)
        .env("TINTYPE_WORKER_TOKEN_FILE", &config.token_file)
        .env("TINTYPE_WORKER_ID", "local-0")
        .env("TINTYPE_POOL", "local")
        .env("TINTYPE_C2PA_DIR", config.data.join("c2pa"))
        .env("TINTYPE_MODELS_DIR", std::env::join_paths(&config.models).context("a models folder has `:` in its name")?)
        .env_remove("TINTYPE_API_KEY")
        .env_remove("DATABASE_URL")
        .stdin(Stdio::null())
        .stdout(file.try_clone().context("cannot share the worker's log")?)
        .stderr(file)
        .kill_on_drop(true);
    die_with_parent(&mut command);
    command.spawn().context("cannot start the worker")
}

/// A worker whose parent was killed gets SIGKILL from the kernel: nothing is left behind.
#[expect(unsafe_code, reason = "between fork and exec there is no safe way to ask for the parent's death signal")]
fn die_with_parent(command: &mut Command) {
    // SAFETY: prctl with PR_SET_PDEATHSIG is async-signal-safe and touches no memory of ours.
    unsafe {
        command.pre_exec(|| {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == 0 {
                Ok(())
            } else {
                Err(std::io::Error::last_os_error())
            }
        });
    }
}

async fn end(child: &mut Child) {
    if let Some(id) = child.id().and_then(|id| i32::try_from(id).ok()) {
        // SAFETY: the child has not been waited for, so the id is still its own.
        #[expect(unsafe_code, reason = "the standard library can only send SIGKILL")]
        unsafe {
            libc::kill(id, libc::SIGTERM);
        }
    }
    if tokio::time::timeout(STOP_TIMEOUT, child.wait()).await.is_err() {
        tracing::warn!("the worker did not stop in time and was killed");
        if let Err(error) = child.kill().await {
            tracing::warn!(%error, "the worker could not be killed");
        }
    }
}

fn tell(config: &WorkerConfig, ended: std::io::Result<String>) {
    let how = ended.unwrap_or_else(|error| error.to_string());
    tracing::warn!(how, "the worker ended and is started again");
    terminal::note(format_args!(
        "the worker ended ({how}) and is started again; its log: {}",
        config.data.join("worker.log").display()
    ));
}
