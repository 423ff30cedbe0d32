//! Where the shared library is, and copies of it for tests: each copy is loaded on its own and has a file of its own.

use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

/// What Cargo calls it; the loader is given a path, so the name is free.
const BUILT: &str = "libtintype_fake_nvml.so";

/// Copies the library into a folder, whose `gpus.json` it will read.
///
/// # Errors
/// Those of the file system; and a library that was not built beside the test.
pub fn place(folder: &Path) -> Result<PathBuf> {
    place_without(folder, &[])
}

/// As [`place`], and takes symbols away, as an older driver would lack them.
///
/// # Errors
/// See [`place`]; and a symbol that it does not have.
pub fn place_without(folder: &Path, symbols: &[&str]) -> Result<PathBuf> {
    let mut library = std::fs::read(built()?)?;
    for symbol in symbols {
        hide(&mut library, symbol)?;
    }
    let copy = folder.join("libnvidia-ml.so.1");
    std::fs::write(&copy, library)?;
    Ok(copy)
}

/// Cargo puts the library of a dependency beside the test that depends on it.
fn built() -> Result<PathBuf> {
    let beside = std::env::current_exe()?.with_file_name(BUILT);
    if beside.is_file() {
        return Ok(beside);
    }
    Err(Error::new(
        ErrorKind::NotFound,
        format!("{} is not there; `cargo build -p tintype-fake-nvml` builds it", beside.display()),
    ))
}

/// Spoils a name in the table of names: the loader finds it by its hash, compares, and finds it to be another.
fn hide(library: &mut [u8], symbol: &str) -> Result<()> {
    let name = [b"\0", symbol.as_bytes(), b"\0"].concat();
    let places: Vec<_> = (0..library.len().saturating_sub(name.len()))
        .filter(|at| library[*at] == 0 && library[*at..].starts_with(&name))
        .collect();
    if places.is_empty() {
        return Err(Error::new(ErrorKind::NotFound, format!("the library has no symbol {symbol}")));
    }
    for at in places {
        library[at + 1] = b'_';
    }
    Ok(())
}
