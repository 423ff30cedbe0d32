//! A temporary directory that goes away whatever happens to us: also when the test process is killed, or ends with the
//! shared control plane still in a `static`, which nobody drops.

use std::{
    io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::{Result, error::Doing};

/// Waits for our end of the pipe to close, then removes the directory. A program that is just being killed may still
/// write a file while the directory is emptied: hence the tries.
const REMOVE: &str = r#"
cat >/dev/null
tries=0
until rm -rf -- "$1" || [ $tries -ge 100 ]; do
    tries=$((tries + 1))
    sleep 0.1
done
"#;

/// The directory of one control plane.
pub(crate) struct Directory {
    path: PathBuf,
    remover: Child,
}

impl Directory {
    pub(crate) fn new() -> Result<Self> {
        let made = tempfile::Builder::new()
            .prefix("tintype-kubetest-")
            .tempdir()
            .doing(|| "making a temporary directory".to_owned())?;
        let remover = remover(made.path()).doing(|| "starting the shell that removes the directory".to_owned())?;
        Ok(Self { path: made.keep(), remover })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }
}

fn remover(path: &Path) -> io::Result<Child> {
    Command::new("/bin/sh")
        .args(["-c", REMOVE, "remove"])
        .arg(path)
        .current_dir("/")
        // A group of its own: an interrupt typed at the terminal must end the tests and not what cleans up after them.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(self.remover.stdin.take());
        // Nothing can be done about a failure here; what is left lies in the system's temporary directory.
        let _ = self.remover.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_directory_is_gone_with_all_that_is_in_it() {
        let directory = Directory::new().unwrap();
        let path = directory.path().to_owned();
        std::fs::create_dir(directory.file("etcd")).unwrap();
        std::fs::write(directory.file("etcd/data"), "x").unwrap();
        drop(directory);
        assert!(!path.exists());
    }
}
