//! The server process itself: its lock file, whether one is alive, waiting until it takes connections.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use crate::error::PgError;

/// Longest wait for a start. Crash recovery after a kill replays the log first, so this is generous.
const READY_TIMEOUT: Duration = Duration::from_mins(1);
/// How often a server that starts or stops is looked at.
const POLL: Duration = Duration::from_millis(10);

/// The server's own lock file.
pub(crate) fn pid_file(pgdata: &Path) -> PathBuf {
    pgdata.join("postmaster.pid")
}

/// What is in the way of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leftover {
    /// No lock file.
    Nothing,
    /// A lock file whose process is gone, or is some other program that got its number.
    Stale,
    /// A server on this very data, without the process that started it.
    Orphan,
}

/// Looks at what an earlier run left in `pgdata`.
pub(crate) fn leftover(pgdata: &Path) -> Leftover {
    let Ok(lock) = fs::read_to_string(pid_file(pgdata)) else { return Leftover::Nothing };
    let Some(pid) = lock.lines().next().and_then(|line| line.trim().parse::<u32>().ok()) else {
        return Leftover::Stale;
    };
    if !Path::new("/proc/self").exists() {
        // No way to ask who that process is: the server's own check decides.
        return Leftover::Nothing;
    }
    let command_line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut arguments = command_line.split(|&byte| byte == 0);
    let is_postgres = arguments.next().is_some_and(|program| program.ends_with(b"postgres"));
    let same_data = arguments.any(|argument| argument == pgdata.as_os_str().as_encoded_bytes());
    if is_postgres && same_data { Leftover::Orphan } else { Leftover::Stale }
}

/// Waits until the server writes that it is ready, or ends, or takes too long.
pub(crate) fn wait_ready(child: &mut Child, pgdata: &Path, log: &Path) -> Result<(), PgError> {
    let not_ready = |reason: String| PgError::NotReady { reason, log: log.to_owned() };
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        if let Some(status) = child.try_wait().map_err(PgError::io("watch the server in", pgdata))? {
            return Err(not_ready(format!("the server ended at once ({status}): {}", last_line(log))));
        }
        if is_ready(pgdata) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(not_ready(format!("it took longer than {} s", READY_TIMEOUT.as_secs())));
        }
        std::thread::sleep(POLL);
    }
}

/// Waits for the server's end; false when it goes on past the timeout.
pub(crate) fn wait_ended(child: &mut Child, timeout: Duration) -> std::io::Result<bool> {
    let deadline = Instant::now() + timeout;
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            return Ok(false);
        }
        std::thread::sleep(POLL);
    }
    Ok(true)
}

/// The eighth line of the lock file is the server's state.
fn is_ready(pgdata: &Path) -> bool {
    fs::read_to_string(pid_file(pgdata))
        .is_ok_and(|lock| lock.lines().nth(7).is_some_and(|state| state.trim() == "ready"))
}

fn last_line(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("its log is empty").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_file_of_a_process_that_is_no_server_is_stale() {
        let pgdata = tempfile::tempdir().unwrap();
        assert_eq!(leftover(pgdata.path()), Leftover::Nothing);
        // This very test is alive and is no PostgreSQL.
        fs::write(pid_file(pgdata.path()), format!("{}\n/somewhere\n", std::process::id())).unwrap();
        assert_eq!(leftover(pgdata.path()), Leftover::Stale);
        fs::write(pid_file(pgdata.path()), "rubbish").unwrap();
        assert_eq!(leftover(pgdata.path()), Leftover::Stale);
    }
}
