//! What a person waits for: a worker's start, and a picture of each tiny model.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::Options;
use super::report::Figure;

/// The longest a start is waited for.
const START_MAX: Duration = Duration::from_secs(30);
/// Starts, of which the least is kept.
const STARTS: usize = 5;

/// Measures the start.
pub(crate) fn run(options: &Options) -> Result<()> {
    let name = "worker, process start to ready";
    if !name.contains(&options.only) {
        return Ok(());
    }
    let mut least = f64::INFINITY;
    for _ in 0..STARTS {
        least = least.min(start()?.as_secs_f64() * 1e3);
    }
    Figure { name, value: least, unit: "wall_ms", anchor: None, goal: Some(200.0) }.print();
    Ok(())
}

/// From the start of the process until `/healthz` answers. Readiness also needs a dispatcher, so a listener stands in
/// that takes the claim and holds it.
fn start() -> Result<Duration> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let token = folder.path().join("token");
    std::fs::write(&token, "bench").context("cannot write the token")?;
    let dispatcher = TcpListener::bind("127.0.0.1:0").context("no port for a dispatcher")?;
    let own = TcpListener::bind("127.0.0.1:0").context("no port for the worker")?.local_addr()?;
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let begun = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_gpu-worker"))
        .args(["--dispatch-url", &format!("http://{}", dispatcher.local_addr()?)])
        .arg("--token-file")
        .arg(&token)
        .arg("--models-dir")
        .arg(models)
        .args(["--listen", &own.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start the worker")?;
    // It is ready when it asks for work.
    let asked = dispatcher.accept();
    let answered = loop {
        if begun.elapsed() > START_MAX {
            break Err(anyhow::anyhow!("the worker did not come up in {START_MAX:?}"));
        }
        if healthy(&own.to_string()) {
            break Ok(begun.elapsed());
        }
        std::thread::yield_now();
    };
    child.kill().context("cannot stop the worker")?;
    child.wait().context("cannot stop the worker")?;
    if asked.is_err() {
        bail!("the worker did not ask for work");
    }
    answered
}

fn healthy(address: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let mut answer = [0; 12];
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: worker\r\nConnection: close\r\n\r\n").is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && answer.ends_with(b"200")
}
