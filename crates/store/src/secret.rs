//! The secret URLs are signed with, and the file it lives in. It must not know what is signed.

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::error::StoreError;

/// Least length of a secret in bytes: that of the hash, as RFC 2104 asks.
const SECRET_BYTES_MIN: usize = 32;

/// What URLs are signed with. Never shown: its `Debug` hides it.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    /// A secret from its bytes.
    ///
    /// # Errors
    /// `WeakSecret` under 32 bytes.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, StoreError> {
        if bytes.len() < SECRET_BYTES_MIN {
            return Err(StoreError::WeakSecret { bytes: bytes.len(), min: SECRET_BYTES_MIN });
        }
        Ok(Self(bytes))
    }

    /// A secret from a file; white space at its ends does not count.
    ///
    /// # Errors
    /// `Io` when it cannot be read, `WeakSecret` under 32 bytes.
    pub fn from_file(path: &Path) -> Result<Self, StoreError> {
        let content = fs::read(path).map_err(StoreError::io(format!("reading the secret file {}", path.display())))?;
        Self::from_bytes(content.trim_ascii().to_vec())
    }

    /// A secret from a file, which is made with a new random secret, readable by its owner alone, when it is absent.
    /// Two programs starting at once end up with the same secret.
    ///
    /// # Errors
    /// `Io` when it can be neither read nor made, `WeakSecret` under 32 bytes.
    pub fn from_file_or_create(path: &Path) -> Result<Self, StoreError> {
        match fs::exists(path) {
            Ok(true) => {}
            Ok(false) | Err(_) => {
                create(path).map_err(StoreError::io(format!("making the secret file {}", path.display())))?;
            }
        }
        Self::from_file(path)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Written in full beside its place and linked there, so that nobody ever reads half of it; an existing one stays.
fn create(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let draft = draft_path(path);
    let made = write_draft(&draft).and_then(|()| match fs::hard_link(&draft, path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    let removed = fs::remove_file(&draft);
    made.and(removed)
}

fn draft_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", hex::encode(rand::random::<[u8; 8]>())));
    path.with_file_name(name)
}

fn write_draft(path: &Path) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{}", hex::encode(rand::random::<[u8; 32]>()))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_file_is_made_once_for_the_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/secret");
        let first = Secret::from_file_or_create(&path).unwrap();
        let again = Secret::from_file_or_create(&path).unwrap();
        assert_eq!(first.0, again.0);
        assert!(first.0.len() >= SECRET_BYTES_MIN);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "a draft was left behind");
        assert!(!format!("{first:?}").contains(&String::from_utf8(first.0.clone()).unwrap()));
    }

    #[test]
    fn programs_starting_at_once_share_one_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let path = path.clone();
                std::thread::spawn(move || Secret::from_file_or_create(&path).unwrap().0)
            })
            .collect();
        let secrets: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        assert!(secrets.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn short_secrets_and_missing_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        assert!(matches!(Secret::from_file(&path), Err(StoreError::Io { .. })));
        fs::write(&path, format!("{}   \n", "x".repeat(31))).unwrap();
        assert!(matches!(Secret::from_file(&path), Err(StoreError::WeakSecret { bytes: 31, .. })));
        assert!(Secret::from_bytes(vec![7; 32]).is_ok());
    }
}
