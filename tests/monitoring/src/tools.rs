//! The real Prometheus and its promtool, put into the cache by a script once.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::root;

/// The server.
///
/// # Errors
/// When there is none and none can be fetched; the script has said why.
pub fn prometheus() -> Result<PathBuf> {
    Ok(programs()?.join("prometheus"))
}

/// The tool that checks rules.
///
/// # Errors
/// As [`prometheus`].
pub fn promtool() -> Result<PathBuf> {
    Ok(programs()?.join("promtool"))
}

fn programs() -> Result<PathBuf> {
    let script = root().join("tests/monitoring/prometheus.sh");
    let output = Command::new(&script).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("running {}", script.display()))?;
    ensure!(output.status.success(), "there is no Prometheus; {} says above why", script.display());
    let said = String::from_utf8_lossy(&output.stdout);
    Ok(PathBuf::from(said.lines().last().context("the script names a folder")?))
}
