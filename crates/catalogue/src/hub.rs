//! The hub's cache: `models--owner--name/` holds `refs/main`, which names a revision, `snapshots/REVISION/`, which holds
//! the files as links, and `blobs/`, which they lead to. It is read where it lies; nothing is copied.

use std::path::{Path, PathBuf};

use crate::Refused;

/// How such a folder's name begins; what follows is owner and name, `--` between.
const PREFIX: &str = "models--";
/// The reference that picks the revision.
const REF: &str = "refs/main";
/// Longest revision: a commit has 40 characters.
const REVISION_BYTES_MAX: usize = 100;

/// A repository in a cache.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Repository {
    /// `owner/name`.
    pub(crate) name: String,
    /// The files of its revision.
    pub(crate) snapshot: PathBuf,
}

/// The repository a folder is, if it is one.
pub(crate) fn repository(folder: &Path) -> Option<Result<Repository, Refused>> {
    let snapshots = folder.join("snapshots");
    let name = folder.file_name()?.to_str()?.strip_prefix(PREFIX)?.replace("--", "/");
    if !snapshots.is_dir() {
        return None;
    }
    Some(snapshot(folder, &snapshots).map(|snapshot| Repository { name, snapshot }))
}

fn snapshot(folder: &Path, snapshots: &Path) -> Result<PathBuf, Refused> {
    let reference = folder.join(REF);
    if let Ok(text) = std::fs::read_to_string(&reference) {
        let revision = text.trim();
        // It becomes a part of a path.
        let plain = revision.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        if revision.is_empty() || revision.len() > REVISION_BYTES_MAX || !plain {
            return Err(Refused::new(reference, "does not name a revision"));
        }
        let snapshot = snapshots.join(revision);
        if snapshot.is_dir() {
            return Ok(snapshot);
        }
        return Err(Refused::new(
            reference,
            format!("names the revision {revision}, which is not there; fetch it again"),
        ));
    }
    // Fetched by its commit, without a reference: taken when there is no choice.
    let entries = std::fs::read_dir(snapshots)
        .map_err(|error| Refused::new(snapshots, format!("cannot be looked into: {error}")))?;
    let mut found = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).filter(|path| path.is_dir());
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(Refused::new(snapshots, "holds no revision; fetch the model again")),
        (Some(_), Some(_)) => Err(Refused::new(folder, format!("holds many revisions and no {REF} to pick one"))),
    }
}
