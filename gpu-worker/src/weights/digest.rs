//! Files that must have a known SHA-256: hashed when they are opened, and not again until they change.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use super::{Interrupt, UnreadableFile};

/// Files remembered; past this all are forgotten and hashed once more.
const KNOWN_MAX: usize = 4_096;
/// Bytes hashed at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// What files hashed to, as long as their size and time stay the same.
#[derive(Debug, Default)]
pub struct Digests {
    known: BTreeMap<PathBuf, Known>,
    interrupt: Interrupt,
}

#[derive(Debug, PartialEq, Eq)]
struct Known {
    bytes: u64,
    modified: Option<SystemTime>,
    digest: String,
}

impl Digests {
    /// Hashing breaks off from now on when this is set.
    pub fn interrupted_by(&mut self, interrupt: Interrupt) {
        self.interrupt = interrupt;
    }

    /// Refuses a file that has another SHA-256 than `wanted`, in lower-case hex.
    ///
    /// # Errors
    /// Another digest, or a file that cannot be read.
    pub fn check(&mut self, path: &Path, wanted: &str) -> Result<(), UnreadableFile> {
        let unreadable = |error: std::io::Error| UnreadableFile::new(path, format!("cannot be read: {error}"));
        let metadata = std::fs::metadata(path).map_err(unreadable)?;
        let (bytes, modified) = (metadata.len(), metadata.modified().ok());
        let known = self.known.get(path).filter(|known| (known.bytes, known.modified) == (bytes, modified));
        let digest = match known {
            Some(known) => known.digest.clone(),
            None => sha256(path, &self.interrupt).map_err(unreadable)?,
        };
        let same = digest == wanted;
        let what = format!("has the SHA-256 {digest} and its card says {wanted}; fetch it again, or mend the card");
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        self.known.insert(path.to_owned(), Known { bytes, modified, digest });
        if same { Ok(()) } else { Err(UnreadableFile::new(path, what)) }
    }
}

fn sha256(path: &Path, interrupt: &Interrupt) -> std::io::Result<String> {
    let (mut file, mut hash) = (File::open(path)?, Sha256::new());
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            return Ok(hex::encode(hash.finalize()));
        }
        if interrupt.is_set() {
            return Err(std::io::Error::other("something else is wanted first"));
        }
        hash.update(&chunk[..read]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_changed_file_is_noticed_and_an_unchanged_one_not_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let mut digests = Digests::default();
        std::fs::write(&path, "abc").unwrap();
        digests.check(&path, ABC).unwrap();
        let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
        let change = |text: &str, at: SystemTime| {
            std::fs::write(&path, text).unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
        };
        // Same size and time: taken for the same file.
        change("abd", modified);
        digests.check(&path, ABC).unwrap();
        change("abd", modified + std::time::Duration::from_secs(1));
        let said = digests.check(&path, ABC).unwrap_err();
        assert_eq!(said.file, path);
        assert!(said.what.contains(ABC), "{said}");
        change("abc", modified + std::time::Duration::from_secs(2));
        digests.check(&path, ABC).unwrap();
        assert!(digests.check(&folder.path().join("gone"), ABC).is_err());
    }
}
