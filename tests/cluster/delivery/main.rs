//! What a release is made of: the workflows, the notes, the bills of materials, the plugin's manifest, the charts, and the
//! plain manifests in front of a real API server.

#![expect(clippy::unwrap_used, reason = "a test's helpers stop the test like the test itself does")]

mod dist;
mod manifests;
mod workflows;

use std::process::{Command, Output};

/// Runs a script of ours.
fn script(path: &str, arguments: &[&str]) -> Output {
    Command::new(tintype_cluster::root().join(path)).args(arguments).output().unwrap()
}

/// What a command said, if it succeeded.
fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
