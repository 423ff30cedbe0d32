//! The log of `tintype up` goes to a file in the data folder, so that the terminal stays readable.

use std::fs::File;
use std::sync::Mutex;

use anyhow::{Context, Result};
use tracing_subscriber::EnvFilter;

use crate::paths::DataDir;

/// Sends the log to `tintype.log` there; the log of the start before is kept as `tintype.log.old`.
pub(crate) fn to_file(data: &DataDir) -> Result<()> {
    let file = fresh(data, "tintype.log")?;
    let filter = EnvFilter::try_from_env("TINTYPE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(Mutex::new(file))
        .try_init()
        .map_err(|error| anyhow::anyhow!("cannot set up the log: {error}"))
}

/// An empty log file of this name; what was there becomes `<name>.old`.
pub(crate) fn fresh(data: &DataDir, name: &str) -> Result<File> {
    let path = data.join(name);
    if path.exists() {
        std::fs::rename(&path, data.join(&format!("{name}.old")))
            .with_context(|| format!("cannot move {}", path.display()))?;
    }
    File::create(&path).with_context(|| format!("cannot write {}", path.display()))
}
