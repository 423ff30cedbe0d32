//! Finds the programs. `build.sh` alone knows where they are kept and when they are out of date, so it is asked every
//! time: when they are there it answers in a few milliseconds.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{Error, Result};

/// The directory that holds `etcd`, `kube-apiserver`, `kubectl` and the others.
pub(crate) fn directory() -> Result<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../controlplane/build.sh");
    let failed = |reason: String| Error::Build { script: script.clone(), reason };
    // Standard error goes through: a first build takes minutes and says so there.
    let output = Command::new("bash")
        .arg(&script)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(output.status.to_string()));
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .last()
        .map(PathBuf::from)
        .filter(|path| path.join("kube-apiserver").exists())
        .ok_or_else(|| failed("it named no directory with a kube-apiserver".to_owned()))
}

/// kubectl for a cluster that is not ours: whatever the machine has will do, and spares a build.
pub(crate) fn any_kubectl() -> Result<PathBuf> {
    let on_path = std::env::var_os("PATH")
        .and_then(|path| std::env::split_paths(&path).map(|dir| dir.join("kubectl")).find(|file| file.is_file()));
    match on_path {
        Some(found) => Ok(found),
        None => Ok(kubectl(&directory()?)),
    }
}

/// The kubectl beside the other programs, or the machine's when there is none: KUBEBUILDER_ASSETS may lack it.
pub(crate) fn kubectl(directory: &Path) -> PathBuf {
    let ours = directory.join("kubectl");
    if ours.exists() { ours } else { PathBuf::from("kubectl") }
}
