//! The worker's log: to standard error, text or JSON. It never holds a prompt, a picture, a token or a signed URL.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::args::LogFormat;

/// Starts logging for a person at a terminal, who reads what goes wrong and nothing else.
pub(crate) fn start_quiet() {
    start_with(LogFormat::Text, "warn");
}

/// Starts logging, unless the program around this library has done so already. `TINTYPE_LOG` is the filter.
pub fn start(format: LogFormat) {
    start_with(format, "info");
}

fn start_with(format: LogFormat, level: &str) {
    let filter = EnvFilter::try_from_env("TINTYPE_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // An error means that a log is there already, which is what was wanted.
    let _started = match format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => log.json().try_init(),
    };
}
