//! A PostgreSQL in a pod: made on an empty volume, given its user's password at each start, then put in the place of the process
//! that prepared it, so that the server is told when the pod ends.
//!
//! What is on the network needs the password (SCRAM). The socket needs none: it lies in a folder of the pod's own, and who is in
//! the pod has the volume anyway.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::binaries::PgBinaries;
use crate::error::PgError;
use crate::identity::Identity;
use crate::managed::{DATA, PORT, data_major, make_data, settings};

/// The user of the database; not a superuser. It may make roles, because migrations make one (docs/adr/0021).
const USER: &str = "api";
/// The database, which belongs to that user.
const DATABASE: &str = "tintype";
/// The least a password has.
const PASSWORD_BYTES_MIN: usize = 16;
/// Who comes in how: from the network by password, by the socket as anybody.
const DOORS: &str = "local all all trust\nhost all all all scram-sha-256\n";

/// A server for a pod.
#[derive(Clone, Debug)]
pub struct PodPg {
    /// The volume. The data lies in a folder of it, which is ours alone.
    pub volume: PathBuf,
    /// Folders that may have the programs.
    pub programs: Vec<PathBuf>,
    /// File with the password of the user `api`: letters and digits, 16 or more.
    pub password_file: PathBuf,
    /// Folder for the socket; written to by this pod alone.
    pub socket_dir: PathBuf,
}

impl PodPg {
    /// Prepares the data and answers with the command that serves it, to be put in this process's place.
    ///
    /// # Errors
    /// There are no programs of the version that wrote the data, or the data could not be made or changed.
    pub fn prepare(&self) -> Result<Command, PgError> {
        let password = read_password(&self.password_file)?;
        let binaries = PgBinaries::find_for(&self.volume, &self.programs)?;
        let data = self.volume.join(DATA);
        if data_major(&self.volume).is_none() {
            let scratch = self.volume.join("data.new");
            make_data(&binaries, Identity::Ourselves, &scratch, true)?;
            let made =
                [format!("create role {USER} login createrole"), format!("create database {DATABASE} owner {USER}")];
            alone(&binaries, &scratch, &made)?;
            fs::rename(&scratch, &data).map_err(PgError::io("move into place", &data))?;
        }
        // The volume may give new folders to a group of its own; the server wants none to look in.
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).map_err(PgError::io("close off", &data))?;
        // Each time: whoever changes the Secret and starts the pod anew has changed the password.
        alone(&binaries, &data, &[format!("alter role {USER} password '{password}'")])?;
        let doors = self.volume.join("pg_hba.conf");
        fs::write(&doors, DOORS).map_err(PgError::io("write", &doors))?;
        let mut server = Command::new(binaries.program("postgres"));
        server.arg("-D").arg(&data).arg("-k").arg(&self.socket_dir).args(["-p", &PORT.to_string()]);
        for setting in settings(true) {
            server.args(["-c", setting]);
        }
        server.args(["-c", "listen_addresses=*", "-c"]).arg(format!("hba_file={}", doors.display()));
        server.current_dir("/").stdin(Stdio::null());
        Ok(server)
    }
}

/// Has a server do these alone, reached by nobody; each must succeed.
fn alone(binaries: &PgBinaries, data: &Path, statements: &[String]) -> Result<(), PgError> {
    let program = binaries.program("postgres");
    let mut command = Command::new(&program);
    command.args(["--single", "-j", "-D"]).arg(data).args([
        "-c",
        "exit_on_error=on",
        "-c",
        "log_min_error_statement=panic",
    ]);
    command.arg("postgres").current_dir("/").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(PgError::io("start", &program))?;
    if let Some(mut input) = child.stdin.take() {
        for statement in statements {
            // One that has ended says why below.
            drop(write!(input, "{statement};\n\n"));
        }
    }
    let output = child.wait_with_output().map_err(PgError::io("wait for", &program))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(PgError::Program { program: program.display().to_string(), stderr })
}

/// A password that needs no quoting, in SQL or in a URL.
fn read_password(file: &Path) -> Result<String, PgError> {
    let text = fs::read_to_string(file).map_err(PgError::io("read", file))?;
    let password = text.trim();
    let plain = password.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if plain && password.len() >= PASSWORD_BYTES_MIN {
        return Ok(password.to_owned());
    }
    Err(PgError::BadPassword(file.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_passwords_that_need_no_quoting_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        for (text, fine) in
            [("0123456789abcdefX\n", true), ("short", false), ("0123456789abcdef'--", false), ("", false)]
        {
            fs::write(&file, text).unwrap();
            assert_eq!(read_password(&file).is_ok(), fine, "{text:?}");
        }
        assert!(read_password(&folder.path().join("none")).is_err());
    }
}
