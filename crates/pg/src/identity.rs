//! As whom PostgreSQL runs. It refuses root, so root lends it another identity.
//!
//! Two ways: another user id when that user can reach the programs and the data, else a user namespace in which root
//! looks like an ordinary user (needed when all of it lies in root's home).

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::PgError;

/// The user nothing belongs to, on Debian, Fedora, Alpine and macOS alike enough.
const NOBODY: u32 = 65_534;

/// How PostgreSQL's programs are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// As ourselves: we are not root.
    Ourselves,
    /// As this user and group.
    User(u32),
    /// As ourselves, in a user namespace where we are not root.
    Namespace,
}

impl Identity {
    /// Chooses for a folder (which exists) and the programs' folder.
    pub(crate) fn choose(data_dir: &Path, bin_dir: &Path) -> Result<Self, PgError> {
        let own = fs::metadata("/proc/self").or_else(|_| fs::metadata(data_dir));
        if own.map_or(true, |meta| meta.uid() != 0) {
            return Ok(Self::Ourselves);
        }
        let owner = fs::metadata(data_dir).map_err(PgError::io("look at", data_dir))?.uid();
        // Data that exists stays with whoever owns it, or the server would not take it.
        if owner != 0 {
            return Ok(Self::User(owner));
        }
        let has_data = data_dir.join(crate::managed::DATA).exists();
        if !has_data && others_can_reach(data_dir.parent().unwrap_or(data_dir)) && others_can_reach(bin_dir) {
            return Ok(Self::User(NOBODY));
        }
        if Self::Namespace
            .command("true")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|s| s.success())
        {
            return Ok(Self::Namespace);
        }
        Err(PgError::Unreachable(data_dir.to_owned()))
    }

    /// A command that runs `program` as this identity.
    pub(crate) fn command(self, program: impl AsRef<OsStr>) -> Command {
        match self {
            Self::Ourselves => Command::new(program),
            Self::User(id) => {
                let mut command = Command::new(program);
                command.uid(id).gid(id);
                command
            }
            Self::Namespace => {
                let mut command = Command::new("unshare");
                command.args(["--user", "--map-user=65534", "--map-group=65534", "--"]).arg(program);
                command
            }
        }
    }

    /// Hands a fresh folder over to this identity.
    pub(crate) fn own(self, path: &Path) -> Result<(), PgError> {
        match self {
            Self::Ourselves | Self::Namespace => Ok(()),
            Self::User(id) => {
                std::os::unix::fs::chown(path, Some(id), Some(id)).map_err(PgError::io("hand over", path))
            }
        }
    }
}

/// Whether a stranger may pass through every folder on the way to, and into, `path`.
fn others_can_reach(path: &Path) -> bool {
    path.ancestors()
        .all(|folder| folder.as_os_str().is_empty() || fs::metadata(folder).is_ok_and(|m| m.mode() & 0o001 != 0))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_closed_folder_on_the_way_is_noticed() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("inner");
        fs::create_dir(&inner).unwrap();
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(!others_can_reach(&inner));
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o711)).unwrap();
        assert!(others_can_reach(&inner));
    }
}
