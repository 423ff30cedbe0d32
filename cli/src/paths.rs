//! Where `tintype up` keeps things, and small files that hold a secret.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The data folder and the files in it.
#[derive(Clone, Debug)]
pub(crate) struct DataDir(PathBuf);

impl DataDir {
    /// The folder asked for, or the usual one for this user. Nothing is made.
    pub(crate) fn choose(asked: Option<&Path>) -> Result<Self> {
        if let Some(path) = asked {
            return Ok(Self(std::path::absolute(path).context("cannot find the current folder")?));
        }
        let from_env = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        match (from_env("XDG_DATA_HOME"), from_env("HOME")) {
            (Some(data), _) => Ok(Self(data.join("tintype"))),
            (None, Some(home)) => Ok(Self(home.join(".local/share/tintype"))),
            (None, None) => bail!("neither HOME nor XDG_DATA_HOME is set; say where to keep data with --data-dir"),
        }
    }

    /// Makes the folder, readable by its owner alone.
    pub(crate) fn create(&self) -> Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0).with_context(|| {
            format!("cannot make the data folder {}; choose another with --data-dir", self.0.display())
        })
    }

    /// A file or folder in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The file with the API key of this machine's user.
    pub(crate) fn api_key_file(&self) -> PathBuf {
        self.join("api-key")
    }
}

/// Reads a one-line secret; `None` when the file is not there.
pub(crate) fn read_secret(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Writes a secret so that nobody else can ever read it, replacing what was there in one step.
pub(crate) fn write_secret(path: &Path, secret: &str) -> Result<()> {
    let temporary = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        writeln!(file, "{secret}")?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// The secret in the file, or a new one of 32 random bytes written there.
pub(crate) fn secret_or_new(path: &Path) -> Result<String> {
    if let Some(secret) = read_secret(path)? {
        return Ok(secret);
    }
    let bytes: [u8; 32] = rand::random();
    let secret = bytes.iter().fold(String::with_capacity(64), |text, byte| text + &format!("{byte:02x}"));
    write_secret(path, &secret)?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_readable_by_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        let first = secret_or_new(&file).unwrap();
        assert_eq!(first.len(), 64);
        assert_eq!(secret_or_new(&file).unwrap(), first);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_missing_or_empty_secret_is_none() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read_secret(&folder.path().join("none")).unwrap(), None);
        fs::write(folder.path().join("empty"), "\n").unwrap();
        assert_eq!(read_secret(&folder.path().join("empty")).unwrap(), None);
    }
}
