//! Who waits for which job, or for which account (its credits, its new jobs): a wake-up for every change, without saying
//! what changed. The database says that.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use uuid::Uuid;

/// The board. Cloning is cheap; clones are the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Board {
    slots: Arc<Mutex<BTreeMap<Uuid, watch::Sender<()>>>>,
}

/// One who waits. Dropping it takes what it waits for off the board when nobody else does.
#[derive(Debug)]
pub(crate) struct Waiter {
    of: Uuid,
    changes: watch::Receiver<()>,
    board: Board,
}

impl Board {
    /// Waits for changes of a job or an account from now on: subscribe first, then read the database.
    pub(crate) fn subscribe(&self, of: Uuid) -> Waiter {
        let changes = self.lock().entry(of).or_insert_with(|| watch::channel(()).0).subscribe();
        Waiter { of, changes, board: self.clone() }
    }

    /// Wakes whoever waits for this job or account.
    pub(crate) fn wake(&self, of: Uuid) {
        if let Some(sender) = self.lock().get(&of) {
            sender.send_replace(());
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Uuid, watch::Sender<()>>> {
        // Each change of the map is complete before anything can panic, so a poisoned lock holds a good state.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    /// The next change, or every change since the last call as one.
    pub(crate) async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            // The sender lives on the board as long as we do.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut slots = self.board.lock();
        if slots.get(&self.of).is_some_and(|sender| sender.receiver_count() <= 1) {
            slots.remove(&self.of);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_change_before_the_wait_is_not_missed_and_nothing_is_left_behind() {
        let board = Board::default();
        let job = Uuid::from_u128(1);
        let mut first = board.subscribe(job);
        let second = board.subscribe(job);
        assert!(first.changed().now_or_never().is_none());
        board.wake(job);
        board.wake(job);
        first.changed().await;
        assert!(first.changed().now_or_never().is_none(), "two changes are one");
        drop(second);
        assert_eq!(board.lock().len(), 1);
        drop(first);
        assert!(board.lock().is_empty());
        board.wake(job);
    }
}
