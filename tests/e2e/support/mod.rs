//! What the end-to-end tests share: programs as processes, waiting for conditions, looking at pictures.

pub(crate) mod cluster;
pub(crate) mod picture;
pub(crate) mod programs;
pub(crate) mod provider;
pub(crate) mod rest;
pub(crate) mod up;
pub(crate) mod wait;

use std::path::{Path, PathBuf};

/// The checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The models that ship.
pub(crate) fn models() -> PathBuf {
    root().join("models")
}

/// The cache folder the setup script fills.
pub(crate) fn cache() -> PathBuf {
    std::env::var_os("TINTYPE_CACHE").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache/tintype"),
        PathBuf::from,
    )
}

/// Copies a folder with all that is in it.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
