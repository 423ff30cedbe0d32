//! What a person waits for: a worker's start, and a picture of each tiny model.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::Options;
use super::report::{Figure, Goal};

/// The longest a start is waited for.
const START_MAX: Duration = Duration::from_secs(30);
/// Starts, of which the least is kept.
const STARTS: usize = 9;
/// Pictures a program draws one after another to show what each takes once it runs.
const PICTURES: usize = 5;
/// Runs of it, of which the least is kept.
const RUNS: usize = 3;
/// Clock ticks a second in `/proc`, which the kernel promises to programs on every machine.
const TICKS: f64 = 100.0;

/// Measures the start and the pictures.
pub(crate) fn run(options: &Options) -> Result<()> {
    let name = "worker, process start to ready";
    if name.contains(&options.only) {
        let mut least = f64::INFINITY;
        for _ in 0..STARTS {
            least = least.min(start()?.as_secs_f64() * 1e3);
        }
        Figure { name, value: least, unit: "wall_ms", anchor: None, goal: Goal::AtMost(200.0) }.print();
    }
    for model in ["shapes", "shapes-xl"] {
        let name = format!("worker, a picture of tintype/{model}");
        if name.contains(&options.only) {
            pictures(&name, model, options.threads)?;
        }
    }
    Ok(())
}

/// From the start of the process until it asks a dispatcher for work and says that it is well. A listener stands in for the
/// dispatcher, which takes the claim and holds it.
fn start() -> Result<Duration> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let token = folder.path().join("token");
    std::fs::write(&token, "bench").context("cannot write the token")?;
    let dispatcher = TcpListener::bind("127.0.0.1:0").context("no port for a dispatcher")?;
    let own = TcpListener::bind("127.0.0.1:0").context("no port for the worker")?.local_addr()?;
    let begun = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_gpu-worker"))
        .args(["--dispatch-url", &format!("http://{}", dispatcher.local_addr()?)])
        .arg("--token-file")
        .arg(&token)
        .arg("--models-dir")
        .arg(models())
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

/// A picture by `gpu-worker generate` at the model's own settings: the first, start and loading included, and each that
/// follows. CPU time of the whole program, all threads, so that others on the machine change nothing.
fn pictures(name: &str, model: &str, threads: usize) -> Result<()> {
    let (mut one, mut more) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..RUNS {
        let first = draw(model, threads, 1)?;
        more = more.min((draw(model, threads, PICTURES)? - first).max(0.0) / (PICTURES - 1) as f64);
        one = one.min(first);
    }
    for (what, value) in [("the first, with start and loading", one), ("each after it", more)] {
        let name = format!("{name}, {what}");
        Figure { name: &name, value, unit: "cpu_ms", anchor: None, goal: Goal::AtMost(1e3) }.print();
    }
    Ok(())
}

/// CPU milliseconds of the program that draws so many.
fn draw(model: &str, threads: usize, pictures: usize) -> Result<f64> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let before = children_ms()?;
    let status = Command::new(env!("CARGO_BIN_EXE_gpu-worker"))
        .arg("generate")
        .arg("--model")
        .arg(models().join(model))
        .args(["--prompt", "a red circle on a blue background", "--seed", "1"])
        .args(["--images", &pictures.to_string(), "--out"])
        .arg(folder.path().join("picture.png"))
        .env("RAYON_NUM_THREADS", threads.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .context("cannot start the program")?;
    if !status.success() {
        bail!("gpu-worker generate could not draw with {model}: {status}");
    }
    Ok(children_ms()? - before)
}

/// CPU time of all children that have ended.
fn children_ms() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("cannot read this process's times")?;
    // The name, in parentheses, may hold spaces.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |place: usize| -> Result<f64> { Ok(fields.get(place).context("no such time")?.parse::<f64>()?) };
    Ok((ticks(13)? + ticks(14)?) * 1e3 / TICKS)
}

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models")
}
