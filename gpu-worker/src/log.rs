//! The worker's log: to standard error, text or JSON. It never holds a prompt, a picture, a token or a signed URL.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::args::LogFormat;

/// Starts logging, unless the program around this library has done so already. `TINTYPE_LOG` is the filter.
pub(crate) fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_env("TINTYPE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // An error means that a log is there already, which is what was wanted.
    let _started = match format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => log.json().try_init(),
    };
}
