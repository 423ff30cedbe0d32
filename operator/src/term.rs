//! The leader's term, as those who write see it: its number, and until when it may be used.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Shared between the one who renews the lease and those who write.
#[derive(Debug)]
pub struct Term {
    began: Instant,
    current: Mutex<Option<(u64, Duration)>>,
}

impl Default for Term {
    fn default() -> Self {
        Self { began: Instant::now(), current: Mutex::new(None) }
    }
}

impl Term {
    /// Time since this program began; goes on while the wall clock jumps.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Says that term `epoch` may be used until then, or that there is none.
    pub fn set(&self, term: Option<(u64, Duration)>) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = term;
    }

    /// The number of the term, if it may be used at this very moment. A program that was stopped and goes on finds its
    /// term over here, before anything else notices.
    pub fn epoch(&self) -> Option<u64> {
        let current = *self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.filter(|(_, until)| self.elapsed() < *until).map(|(epoch, _)| epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_whose_time_is_over_is_none() {
        let term = Term::default();
        assert_eq!(term.epoch(), None);
        term.set(Some((4, term.elapsed() + Duration::from_mins(1))));
        assert_eq!(term.epoch(), Some(4));
        term.set(Some((4, Duration::ZERO)));
        assert_eq!(term.epoch(), None);
    }
}
