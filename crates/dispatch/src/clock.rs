//! The time as [`Timestamp`], read from tokio's clock so that a paused clock in a test moves everything at once.

use std::time::{SystemTime, UNIX_EPOCH};

use tintype_types::Timestamp;
use tokio::time::Instant;

/// The wall clock's time at the start, plus what went by since on the steady clock. It never steps back, whatever
/// somebody does to the wall clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    base: Timestamp,
    started: Instant,
}

impl Clock {
    /// Must be called inside a tokio runtime.
    pub(crate) fn start() -> Self {
        Self { base: wall(), started: Instant::now() }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.base.plus(self.started.elapsed())
    }

    /// The time to sign URLs from: whoever checks them reads the wall clock, which runs on while a suspended machine's
    /// steady clock stands still.
    pub(crate) fn signing_now(&self) -> Timestamp {
        self.now().max(wall())
    }

    /// When it will be `at`; now, when that is past.
    pub(crate) fn instant(&self, at: Timestamp) -> Instant {
        self.started + at.since(self.base)
    }
}

fn wall() -> Timestamp {
    Timestamp::default().plus(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_paused_clock_moves_only_when_it_is_moved() {
        let clock = Clock::start();
        let before = clock.now();
        assert_eq!(clock.now(), before);
        tokio::time::advance(Duration::from_hours(1)).await;
        assert_eq!(clock.now().since(before), Duration::from_hours(1));
        assert_eq!(clock.signing_now(), clock.now());
        assert_eq!(clock.instant(clock.now()), Instant::now());
    }
}
