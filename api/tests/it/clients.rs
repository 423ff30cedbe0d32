//! The counterparts that scripts/setup.sh has installed, as processes that end with their test.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// A counterpart that listens on a port of its own choice.
pub(crate) struct Counterpart {
    pub(crate) port: u16,
    _process: Child,
}

/// A file of tests/clients.
pub(crate) fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients").join(name)
}

/// The Python of the environment with the clients of tests/clients/requirements.txt.
pub(crate) fn python() -> PathBuf {
    let list = std::fs::read(file("requirements.txt")).unwrap();
    let key = &hex::encode(Sha256::digest(list))[..16];
    let python = cache().join("clients").join(key).join("bin/python");
    assert!(python.exists(), "{} is not there: run scripts/setup.sh", python.display());
    python
}

/// Node, with the packages of tests/clients/package.json to be had.
pub(crate) fn node(script: &str) -> Command {
    let list = std::fs::read(file("package.json")).unwrap();
    let key = &hex::encode(Sha256::digest(list))[..16];
    let home = cache().join("clients-node").join(key);
    assert!(home.join(".complete").exists(), "{} is not there: run scripts/setup.sh", home.display());
    let mut command = Command::new("node");
    command.arg(file(script)).env("TINTYPE_NODE_CLIENTS", home);
    command
}

/// A program that a script of tests/ keeps in the cache, under its version.
pub(crate) fn tool(kind: &str, program: &str) -> PathBuf {
    let versions = std::fs::read_dir(cache().join(kind)).into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join(program)).filter(|path| path.exists()).max();
    found.unwrap_or_else(|| panic!("{program} is not there: run scripts/setup.sh"))
}

fn cache() -> PathBuf {
    let named = std::env::var_os("TINTYPE_CACHE").map(PathBuf::from);
    named.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/tintype"))
}

/// Starts a program that prints its port first.
pub(crate) async fn start(command: &mut Command) -> Counterpart {
    let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().expect("the counterpart ended before it listened");
    // Read on, so that it never waits for us.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Counterpart { port: line.trim().parse().unwrap(), _process: process }
}
