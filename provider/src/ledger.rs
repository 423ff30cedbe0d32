//! The book in hand: read, changed by the rules of `purchase`, and kept before anybody acts on the change.

use anyhow::{Context as _, Result, bail};
use tintype_purchase::Book;
use tokio::sync::Mutex;

use crate::keep::{Keeper, Stored, Version};

/// How often a change is decided anew because another adapter was faster.
const TRIES_MAX: u32 = 16;

/// The one book of this process.
pub(crate) struct Ledger {
    keeper: Keeper,
    /// As it was last read or kept; nothing while that is not certain.
    hand: Mutex<Option<(Book, Version)>>,
}

impl Ledger {
    pub(crate) fn new(keeper: Keeper) -> Self {
        Self { keeper, hand: Mutex::new(None) }
    }

    /// Looks something up. What another adapter has written since may be missing; a change sees it.
    ///
    /// # Errors
    /// A book that cannot be read.
    pub(crate) async fn read<T>(&self, look: impl FnOnce(&Book) -> T) -> Result<T> {
        let mut hand = self.hand.lock().await;
        if hand.is_none() {
            *hand = Some(self.keeper.load().await?);
        }
        Ok(look(&hand.as_ref().context("the book was just read")?.0))
    }

    /// Changes the book and keeps it. `change` is asked again, of what is kept by then, if another adapter was faster. Only
    /// once this has answered `Ok(Ok(_))` may anybody act on it.
    ///
    /// # Errors
    /// The outer: the book could not be kept, or it is not certain that it was. The inner: what `change` says.
    pub(crate) async fn change<T, E>(&self, change: impl Fn(&mut Book) -> Result<T, E>) -> Result<Result<T, E>> {
        let mut hand = self.hand.lock().await;
        for _ in 0..TRIES_MAX {
            let (book, version) = match hand.take() {
                Some(inhand) => inhand,
                None => self.keeper.load().await?,
            };
            let mut changed = book.clone();
            let answer = match change(&mut changed) {
                Ok(answer) => answer,
                Err(error) => {
                    *hand = Some((book, version));
                    return Ok(Err(error));
                }
            };
            if changed == book {
                *hand = Some((book, version));
                return Ok(Ok(answer));
            }
            // On an error the hand stays empty: the write may have been done all the same.
            if let Stored::Kept(version) = self.keeper.store(&changed, version.as_deref()).await? {
                *hand = Some((changed, version));
                return Ok(Ok(answer));
            }
        }
        bail!("{TRIES_MAX} changes of the book were overtaken by others")
    }
}
