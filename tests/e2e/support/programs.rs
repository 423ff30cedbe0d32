//! Our programs as child processes: built once, ended by id, their logs shown when a test fails.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use super::wait::until;

/// Lines of a log shown when a test fails.
const LOG_LINES: usize = 40;

/// The file of one of our programs, built once.
pub(crate) fn program(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| tintype_cluster::programs().unwrap()).join(name)
}

/// A running program; ended with SIGKILL when dropped.
pub(crate) struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts `command`; its output goes to `<folder>/<name>.log`.
    pub(crate) fn start(name: &str, command: &mut Command, folder: &Path) -> Self {
        let log = folder.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).unwrap();
        command
            .env_remove("KUBECONFIG")
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .process_group(0);
        die_with_parent(command);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self { name: name.to_owned(), child, log }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// kill -9, and waits until it is gone.
    pub(crate) fn kill_9(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: i32) {
        send_signal(self.id(), signal);
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self, limit: Duration) -> ExitStatus {
        let name = self.name.clone();
        let child = &mut self.child;
        until(&format!("{name} to end"), limit, || {
            let ended = child.try_wait().unwrap();
            async move { ended }
        })
        .await
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// What it wrote.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let gone = self.child.try_wait().is_ok_and(|ended| ended.is_some());
        if !gone {
            // The child may have been replaced by now; what matters is that none is left.
            drop(self.child.kill());
            drop(self.child.wait());
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(LOG_LINES)..];
            eprintln!("--- the last lines of {}:\n{}\n---", self.name, tail.join("\n"));
        }
    }
}

/// Sends a signal to a process.
#[expect(unsafe_code, reason = "the standard library can only send SIGKILL")]
pub(crate) fn send_signal(id: i32, signal: i32) {
    // SAFETY: kill takes two numbers and touches no memory.
    let sent = unsafe { libc::kill(id, signal) };
    assert_eq!(sent, 0, "process {id} cannot be signalled");
}

#[expect(unsafe_code, reason = "between fork and exec there is no safe way to ask for the parent's death signal")]
fn die_with_parent(command: &mut Command) {
    // SAFETY: prctl with PR_SET_PDEATHSIG is async-signal-safe and touches no memory of ours.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
}

/// The address a program wrote to its port file.
pub(crate) async fn address(port_file: &Path, limit: Duration) -> String {
    until(&format!("an address in {}", port_file.display()), limit, || async {
        let text = fs::read_to_string(port_file).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    })
    .await
}

/// A command for one of our programs with only the environment it needs.
pub(crate) fn command(name: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(program(name));
    command.args(args).env("TINTYPE_LOG", "info").env("RUST_LOG", "info").env("RUST_BACKTRACE", "1");
    command
}
