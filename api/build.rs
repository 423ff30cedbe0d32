//! Puts the studio into the program: copies `web/dist/studio.bundle` to where `src/http/studio.rs` includes it from, or an
//! empty file when nobody has built it. `scripts/studio.sh` builds it; this needs no Node.

use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let dist = Path::new("../web/dist");
    // The folder is in the repository, so that it is there to be watched before the bundle is.
    println!("cargo::rerun-if-changed={}", dist.display());
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR for build scripts"))?;
    let bundle = match fs::read(dist.join("studio.bundle")) {
        Ok(bundle) => bundle,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    fs::write(Path::new(&out).join("studio.bundle"), bundle)
}
