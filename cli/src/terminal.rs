//! The one place that prints. Results go to standard output, everything else to standard error.

use std::fmt::Display;
use std::process::ExitCode;

/// A result: what a script would read.
#[expect(clippy::print_stdout, reason = "printing results is what a command line program is for")]
pub(crate) fn result(line: impl Display) {
    println!("{line}");
}

/// A note for the person watching.
#[expect(clippy::print_stderr, reason = "notes to the person at the terminal go to standard error")]
pub(crate) fn note(line: impl Display) {
    eprintln!("{line}");
}

/// Says what went wrong, with every cause, and gives the exit code for it.
pub(crate) fn fail(error: &anyhow::Error) -> ExitCode {
    note(format_args!("tintype: {error:#}"));
    ExitCode::FAILURE
}
