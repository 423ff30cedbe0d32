//! The other side: a Python process that runs torch's operations one by one when asked.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::clock::Clock;

/// Torch, where it is installed.
pub(crate) struct Torch {
    process: Option<Process>,
    clock: Clock,
}

struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Torch {
    /// Starts the Python named by `TINTYPE_BENCH_PYTHON`, or `python3`. Where there is no torch it says so and what to
    /// install, and there are no anchors.
    pub(crate) fn start(threads: usize, clock: Clock) -> Self {
        let process = match launch(threads) {
            Ok(process) => Some(process),
            Err(error) => {
                eprintln!("no anchors: {error:#}");
                None
            }
        };
        Self { process, clock }
    }

    /// Whether there is a torch to ask.
    pub(crate) fn is_here(&self) -> bool {
        self.process.is_some()
    }

    /// Has it let go of the operands it keeps, which may be gigabytes.
    pub(crate) fn forget(&mut self) -> Result<()> {
        self.time("nothing", "f32", &json!([])).map(|_| ())
    }

    /// Milliseconds of one run.
    pub(crate) fn time(&mut self, op: &str, precision: &str, sizes: &Value) -> Result<Option<f64>> {
        let Some(process) = &mut self.process else { return Ok(None) };
        let answer = process.ask(&json!({ "op": op, "precision": precision, "sizes": sizes }))?;
        let times = answer.get(self.clock.unit()).and_then(Value::as_f64);
        Ok(Some(times.context("torch's side did not answer with a time")?))
    }
}

fn launch(threads: usize) -> Result<Process> {
    let python = std::env::var("TINTYPE_BENCH_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/bench/torch_kernels.py");
    let mut child = Command::new(&python)
        .arg(script)
        .arg(threads.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {python}; name a Python that has torch in TINTYPE_BENCH_PYTHON"))?;
    let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        bail!("cannot speak with {python}");
    };
    let mut process = Process { child, input, output: BufReader::new(output) };
    let hello = process.answer().context("torch's side did not start")?;
    eprintln!("beside torch {}", hello.get("torch").and_then(Value::as_str).unwrap_or("of unknown version"));
    Ok(process)
}

impl Process {
    fn ask(&mut self, request: &Value) -> Result<Value> {
        writeln!(self.input, "{request}").context("torch's side is gone")?;
        self.answer()
    }

    fn answer(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.output.read_line(&mut line).context("torch's side is gone")?;
        serde_json::from_str(&line).with_context(|| format!("torch's side said `{}`", line.trim()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It ends by itself when its input does; this is for one that hangs. A failure means that it is gone.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}
