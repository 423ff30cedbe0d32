//! A way to break off the reading of weights between two tensors: what is read for later makes way for what is wanted now.

use tokio_util::sync::CancellationToken;

/// Breaks off whatever reads with it. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(CancellationToken);

impl Interrupt {
    /// Breaks it off.
    pub fn set(&self) {
        self.0.cancel();
    }

    /// Whether it is broken off.
    pub fn is_set(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until it is.
    pub async fn wait(&self) {
        self.0.cancelled().await;
    }
}
