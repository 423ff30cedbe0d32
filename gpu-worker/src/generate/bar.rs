//! The progress bar, and the one place of this command that prints results.

use std::fmt::Display;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Steps of all pictures, on standard error where that is a terminal.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new(steps: u32) -> Self {
        let style = ProgressStyle::with_template("{msg:<8} [{bar:32}] {pos}/{len} steps  {elapsed}, {eta} left")
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ");
        let bar = ProgressBar::new(u64::from(steps)).with_style(style).with_message("loading");
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// So many steps of so many are done, over all pictures.
    pub(super) fn step(&mut self, done: u32, steps: u32) {
        self.0.set_message("drawing");
        self.0.set_length(u64::from(steps));
        self.0.set_position(u64::from(done));
    }

    /// Prints a line of the result above the bar.
    #[expect(clippy::print_stdout, reason = "printing results is what a command line program is for")]
    pub(super) fn result(&self, line: impl Display) {
        self.0.suspend(|| println!("{line}"));
    }

    pub(super) fn end(self) {
        self.0.finish_with_message("done");
    }
}
