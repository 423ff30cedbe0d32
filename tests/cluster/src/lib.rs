//! Where things are in the checkout, for the tests of this crate: the programs, and the script that makes images of them.
//! It must not know what is tested.

use std::env;
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The folder with our programs: `TINTYPE_BIN_DIR` if that is set (to test a release as it is shipped), else where Cargo
/// builds them from what is in the checkout.
///
/// # Errors
/// Programs that do not build.
pub fn programs() -> Result<PathBuf> {
    if let Some(folder) = env::var_os("TINTYPE_BIN_DIR") {
        return Ok(PathBuf::from(folder));
    }
    let built = cargo().args(["build", "--quiet", "--workspace", "--bins"]).current_dir(root()).status()?;
    if !built.success() {
        return Err(Error::other("the programs do not build; Cargo says why above"));
    }
    // A test lies in <target>/debug/deps; the programs lie one folder up.
    let here = env::current_exe()?;
    here.ancestors().nth(2).map(Path::to_path_buf).ok_or_else(|| Error::other("a test lies in <target>/debug/deps"))
}

/// Cargo without what it tells a test about itself: build scripts of dependencies look at that, and what is built with it, and then
/// without it again, is built anew each time.
fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    let told = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in env::vars_os().filter(|(name, _)| told(&name.to_string_lossy())) {
        cargo.env_remove(name);
    }
    cargo
}

/// Builds the images into the layout `out` by the script that people use; `more` are more of its arguments.
///
/// # Errors
/// A script that fails; it has said why.
pub fn build_images(out: &Path, more: &[&str]) -> Result<()> {
    let built = Command::new("python3")
        .arg(root().join("scripts/images.py"))
        .arg("--programs")
        .arg(programs()?)
        .arg("--out")
        .arg(out)
        .args(more)
        .env_remove("SOURCE_DATE_EPOCH")
        .stdout(std::process::Stdio::null())
        .status()?;
    if built.success() { Ok(()) } else { Err(Error::other("scripts/images.py failed; it says why above")) }
}
