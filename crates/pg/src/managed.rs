//! One private server: started as our child on a unix socket, stopped when we stop, and stopped by a guard when we are
//! killed.
//!
//! The folder holds `data/` (the server's), `socket/`, `postgres.log` and `lock`. It is 0700 and connections need no
//! password: who can reach the socket is who may read the folder.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::binaries::{PgBinaries, run};
use crate::error::PgError;
use crate::identity::Identity;
use crate::server::{Leftover, leftover, pid_file, wait_ended, wait_ready};

/// The server's own folder, inside ours.
pub(crate) const DATA: &str = "data";
/// The role and the database every server is made with.
const SUPERUSER: &str = "tintype";
/// The socket is named after a port; nothing listens on it.
pub(crate) const PORT: u16 = 5432;
/// A unix socket's path has at most 107 bytes, `/.s.PGSQL.5432` included.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// A log this long is moved aside at the next start.
const LOG_BYTES_MAX: u64 = 8 << 20;
/// Longest a stop may take: a checkpoint of everything that is in memory.
const STOP_TIMEOUT: Duration = Duration::from_mins(1);
/// Connections: a pool per program and room for people looking.
const CONNECTIONS: &str = "max_connections=200";

/// What to start.
#[derive(Clone, Debug)]
pub struct ManagedPgConfig {
    /// Our folder; made if it is not there.
    pub data_dir: PathBuf,
    /// The programs.
    pub binaries: PgBinaries,
    /// Whether a commit survives a power cut. Off is for tests alone.
    pub durable: bool,
}

/// A running private server. Dropping it stops it.
#[derive(Debug)]
pub struct ManagedPg {
    config: ManagedPgConfig,
    identity: Identity,
    pgdata: PathBuf,
    socket_dir: PathBuf,
    server: Option<Child>,
    guard: Option<Child>,
    /// Held until the server is stopped; the system lets go of it however we end.
    lock: Option<File>,
    /// Set when the socket could not live in our folder.
    _short_socket_dir: Option<tempfile::TempDir>,
}

impl ManagedPg {
    /// Starts the server, making the data first if there is none. Blocks for 0.2 s, or 0.7 s the first time.
    pub fn start(config: ManagedPgConfig) -> Result<Self, PgError> {
        let dir = config.data_dir.clone();
        fs::create_dir_all(&dir).map_err(PgError::io("make the folder", &dir))?;
        let dir = fs::canonicalize(&dir).map_err(PgError::io("find the folder", &dir))?;
        let config = ManagedPgConfig { data_dir: dir.clone(), ..config };
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).map_err(PgError::io("close off", &dir))?;
        let lock = take_lock(&dir)?;
        let identity = Identity::choose(&dir, config.binaries.bin_dir())?;
        identity.own(&dir)?;
        check_version(&config)?;

        let pgdata = dir.join(DATA);
        if data_major(&dir).is_none() {
            init(&config, identity, &pgdata)?;
        }
        clear_leftover(&config, identity, &pgdata)?;
        let (socket_dir, short_socket_dir) = make_socket_dir(&dir, identity)?;
        let mut server = Self {
            identity,
            pgdata,
            socket_dir,
            server: None,
            guard: None,
            lock: Some(lock),
            _short_socket_dir: short_socket_dir,
            config,
        };
        server.launch()?;
        Ok(server)
    }

    /// A connection URL for a database on it.
    pub fn url(&self, database: &str) -> String {
        url(&self.socket_dir, database)
    }

    /// A connection URL for a database on the server that another process runs in this folder. None where none is ready.
    pub fn url_of_running(data_dir: &Path, database: &str) -> Option<String> {
        // Lines, by what PostgreSQL writes: process, data, start, port, folder of the socket, address, memory, whether it is ready.
        let told = fs::read_to_string(data_dir.join(DATA).join("postmaster.pid")).ok()?;
        let lines: Vec<&str> = told.lines().map(str::trim).collect();
        let ready = lines.get(7).is_some_and(|status| *status == "ready");
        lines.get(4).filter(|_| ready).map(|socket_dir| url(Path::new(socket_dir), database))
    }

    /// Makes a database unless it is there already.
    pub fn create_database(&self, name: &str) -> Result<(), PgError> {
        check_name(name)?;
        let mut command = self.identity.command(self.config.binaries.program("createdb"));
        command.args(["--username", SUPERUSER, "--port", &PORT.to_string(), "--maintenance-db", "postgres", "--host"]);
        command.env("LC_MESSAGES", "C");
        match run(command.arg(&self.socket_dir).arg(name).current_dir("/")) {
            Err(PgError::Program { stderr, .. }) if stderr.contains("already exists") => Ok(()),
            other => other,
        }
    }

    /// Where the socket is.
    pub fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    /// Process id of the server, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Child::id)
    }

    /// Stops the server: open transactions are rolled back, what is committed is written out. Doing it twice is fine.
    pub fn stop(&mut self) -> Result<(), PgError> {
        let stopped = match self.server.take() {
            None => Ok(()),
            Some(child) => self.stop_child(child),
        };
        if let Some(mut guard) = self.guard.take() {
            let _ = guard.kill();
            let _ = guard.wait();
        }
        self.lock = None;
        stopped
    }

    fn stop_child(&self, mut child: Child) -> Result<(), PgError> {
        let wait_failed = |source| PgError::io("wait for the server in", &self.pgdata)(source);
        if child.try_wait().map_err(wait_failed)?.is_some() {
            return Ok(());
        }
        // Asked without waiting: only we, its parent, can tell a server that has ended from one that is ending.
        let asked = pg_ctl_stop(&self.config, self.identity, &self.pgdata, "--no-wait");
        if wait_ended(&mut child, STOP_TIMEOUT).map_err(wait_failed)? {
            return Ok(());
        }
        // An abrupt end loses nothing that was committed.
        child.kill().map_err(PgError::io("kill the server in", &self.pgdata))?;
        child.wait().map_err(wait_failed)?;
        asked
    }

    fn launch(&mut self) -> Result<(), PgError> {
        let log_path = self.config.data_dir.join("postgres.log");
        let log = open_log(&log_path)?;
        let errors = log.try_clone().map_err(PgError::io("open", &log_path))?;
        let mut command = self.identity.command(self.config.binaries.program("postgres"));
        command.arg("-D").arg(&self.pgdata).arg("-k").arg(&self.socket_dir).args(["-p", &PORT.to_string()]);
        for setting in settings(self.config.durable) {
            command.args(["-c", setting]);
        }
        // A group of its own: Ctrl-C in a terminal is for us, and we stop the server last.
        command.current_dir("/").stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0);
        let mut child = command.spawn().map_err(PgError::io("start", self.config.binaries.program("postgres")))?;
        match wait_ready(&mut child, &self.pgdata, &log_path) {
            Ok(()) => self.server = Some(child),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(error);
            }
        }
        self.guard = Some(self.spawn_guard()?);
        Ok(())
    }

    /// A shell that waits for its standard input to close. We hold the other end, so it closes when we die, however we
    /// die; then the shell stops the server, and clears a throw-away folder.
    fn spawn_guard(&self) -> Result<Child, PgError> {
        const SCRIPT: &str = "read -r _; \"$1\" stop --silent -m fast -D \"$2\"; [ -z \"$3\" ] || rm -rf \"$3\"";
        let throw_away = if self.config.durable { Path::new("") } else { &self.config.data_dir };
        let mut command = self.identity.command("sh");
        command.args(["-c", SCRIPT, "tintype-pg-guard"]);
        command.arg(self.config.binaries.program("pg_ctl")).arg(&self.pgdata).arg(throw_away);
        command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        command.spawn().map_err(PgError::io("start a guard for", &self.pgdata))
    }
}

impl Drop for ManagedPg {
    fn drop(&mut self) {
        // Nobody is left to hear of a failure; the next start clears up after it.
        let _ = self.stop();
    }
}

/// Settings every server gets. Errors are logged without the values that caused them.
pub(crate) fn settings(durable: bool) -> Vec<&'static str> {
    let mut settings = vec![
        "listen_addresses=",
        "unix_socket_permissions=0700",
        CONNECTIONS,
        "jit=off",
        "max_parallel_workers_per_gather=0",
        "log_error_verbosity=terse",
        "log_min_error_statement=panic",
    ];
    if !durable {
        settings.extend(["fsync=off", "synchronous_commit=off", "full_page_writes=off"]);
    }
    settings
}

/// The major version that wrote the data in our folder, if there is data.
pub(crate) fn data_major(data_dir: &Path) -> Option<u32> {
    fs::read_to_string(data_dir.join(DATA).join("PG_VERSION")).ok()?.trim().parse().ok()
}

fn check_version(config: &ManagedPgConfig) -> Result<(), PgError> {
    let programs = config.binaries.major();
    match data_major(&config.data_dir) {
        Some(data) if data != programs => {
            Err(PgError::WrongVersion { data_dir: config.data_dir.clone(), data, programs })
        }
        Some(_) | None => Ok(()),
    }
}

fn take_lock(dir: &Path) -> Result<File, PgError> {
    let path = dir.join("lock");
    let lock = File::options().create(true).append(true).open(&path).map_err(PgError::io("open", &path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => Err(PgError::InUse(dir.to_owned())),
        Err(fs::TryLockError::Error(source)) => Err(PgError::io("lock", path)(source)),
    }
}

/// Makes the data in a scratch folder and moves it into place, so that a start cut short leaves nothing half made.
fn init(config: &ManagedPgConfig, identity: Identity, pgdata: &Path) -> Result<(), PgError> {
    let scratch = config.data_dir.join("data.new");
    make_data(&config.binaries, identity, &scratch, config.durable)?;
    fs::rename(&scratch, pgdata).map_err(PgError::io("move into place", pgdata))
}

/// Makes the data of a new server in this folder, whatever was in it.
pub(crate) fn make_data(
    binaries: &PgBinaries,
    identity: Identity,
    folder: &Path,
    durable: bool,
) -> Result<(), PgError> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(PgError::io("clear", folder))?;
    }
    let mut command = identity.command(binaries.program("initdb"));
    command.args(["--username", SUPERUSER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C"]);
    if !durable {
        command.arg("--no-sync");
    }
    run(command.arg("-D").arg(folder).current_dir("/"))
}

/// We hold the lock, so a server still running here has lost its starter.
fn clear_leftover(config: &ManagedPgConfig, identity: Identity, pgdata: &Path) -> Result<(), PgError> {
    match leftover(pgdata) {
        Leftover::Nothing => Ok(()),
        Leftover::Stale => fs::remove_file(pid_file(pgdata)).map_err(PgError::io("remove", pid_file(pgdata))),
        Leftover::Orphan => match pg_ctl_stop(config, identity, pgdata, "--wait") {
            // The guard of the earlier run may have stopped it between our look and our word.
            Err(_) if leftover(pgdata) == Leftover::Nothing => Ok(()),
            other => other,
        },
    }
}

fn pg_ctl_stop(config: &ManagedPgConfig, identity: Identity, pgdata: &Path, wait: &str) -> Result<(), PgError> {
    let mut command = identity.command(config.binaries.program("pg_ctl"));
    let timeout = STOP_TIMEOUT.as_secs().to_string();
    run(command.args(["stop", "--silent", wait, "-m", "fast", "-t", &timeout, "-D"]).arg(pgdata).current_dir("/"))
}

/// The socket's folder: ours, or a short one in the temporary folder when ours has too long a path.
fn make_socket_dir(dir: &Path, identity: Identity) -> Result<(PathBuf, Option<tempfile::TempDir>), PgError> {
    let own = dir.join("socket");
    let room = SOCKET_PATH_BYTES_MAX - "/.s.PGSQL.".len() - PORT.to_string().len();
    if own.as_os_str().len() <= room {
        if !own.exists() {
            fs::create_dir(&own).map_err(PgError::io("make the folder", &own))?;
        }
        fs::set_permissions(&own, fs::Permissions::from_mode(0o700)).map_err(PgError::io("close off", &own))?;
        identity.own(&own)?;
        return Ok((own, None));
    }
    let short = tempfile::Builder::new()
        .prefix("tt")
        .tempdir_in("/tmp")
        .map_err(PgError::io("make a folder for the socket in", "/tmp"))?;
    fs::set_permissions(short.path(), fs::Permissions::from_mode(0o700))
        .map_err(PgError::io("close off", short.path()))?;
    identity.own(short.path())?;
    Ok((short.path().to_owned(), Some(short)))
}

fn open_log(path: &Path) -> Result<File, PgError> {
    if fs::metadata(path).is_ok_and(|meta| meta.len() > LOG_BYTES_MAX) {
        fs::rename(path, path.with_extension("log.old")).map_err(PgError::io("move aside", path))?;
    }
    File::options().create(true).append(true).open(path).map_err(PgError::io("open", path))
}

/// Names go into SQL elsewhere, so only what needs no quoting is taken.
fn check_name(name: &str) -> Result<(), PgError> {
    let starts_well = name.starts_with(|first: char| first.is_ascii_lowercase());
    let all_plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if starts_well && all_plain && name.len() <= 63 { Ok(()) } else { Err(PgError::BadName(name.to_owned())) }
}

fn url(socket_dir: &Path, database: &str) -> String {
    format!("postgres://{SUPERUSER}@localhost:{PORT}/{database}?host={}", percent_encode(socket_dir))
}

fn percent_encode(path: &Path) -> String {
    use std::fmt::Write;
    path.as_os_str().as_encoded_bytes().iter().fold(String::new(), |mut text, &byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => text.push(char::from(byte)),
            other => {
                let _ = write!(text, "%{other:02X}");
            }
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_become_databases() {
        check_name("tintype_1").unwrap();
        for bad in ["", "1a", "a-b", "a;drop", "A", &"a".repeat(64)] {
            assert!(matches!(check_name(bad), Err(PgError::BadName(_))), "{bad:?}");
        }
    }

    #[test]
    fn a_path_survives_the_url() {
        assert_eq!(percent_encode(Path::new("/tmp/a b&c")), "%2Ftmp%2Fa%20b%26c");
    }
}
