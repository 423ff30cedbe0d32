//! A file to put bytes into, for code that reads files: one a thread, in memory where the system has such a folder.

use std::cell::OnceCell;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Where files are kept in memory on Linux.
const IN_MEMORY: &str = "/dev/shm";

thread_local! {
    static FOLDER: OnceCell<TempDir> = const { OnceCell::new() };
}

/// A file that holds these bytes, until the next call on this thread.
pub(crate) fn file_of(bytes: &[u8]) -> PathBuf {
    FOLDER.with(|folder| {
        let folder = folder.get_or_init(|| {
            let made =
                if Path::new(IN_MEMORY).is_dir() { tempfile::tempdir_in(IN_MEMORY) } else { tempfile::tempdir() };
            made.expect("a scratch folder can be made")
        });
        let file = folder.path().join("input");
        fs::write(&file, bytes).expect("the scratch folder takes a file");
        file
    })
}
