//! stripe-mock, Stripe's own stand-in, as a process of the test: it knows every parameter and every field there is.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};

/// A running stripe-mock; it ends with this.
#[derive(Debug)]
pub struct StripeMock {
    /// Where it is.
    pub url: String,
    process: Child,
}

impl StripeMock {
    /// Builds it if need be, starts it on a free port and waits until it listens.
    ///
    /// # Errors
    /// It cannot be built or started; the message says where it got stuck.
    pub fn start() -> anyhow::Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("mock.sh");
        let built = Command::new("bash").arg(script).stderr(Stdio::inherit()).output().context("no bash")?;
        ensure!(built.status.success(), "stripe-mock could not be built");
        let program = String::from_utf8_lossy(&built.stdout).trim().to_owned();
        let mut process = Command::new(&program)
            .args(["-http-addr", "127.0.0.1:0", "-https-addr", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        let output = process.stdout.take().context("it has no output")?;
        let mut lines = BufReader::new(output).lines();
        let address = loop {
            let line = lines.next().context("stripe-mock ended before it listened")??;
            if let Some(address) = line.strip_prefix("Listening for HTTP at address: ") {
                break address.to_owned();
            }
        };
        // It goes on talking, and would end if nobody listened.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { url: format!("http://{address}"), process })
    }
}

impl Drop for StripeMock {
    fn drop(&mut self) {
        // Gone already is as good.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
