//! How many requests an account may make: the generic cell rate algorithm (ITU-T I.371), in whole microseconds. Pure but
//! for the table; the caller says what time it is.
//!
//! Counted by account and not by key: an account may make a hundred keys, and they must not multiply its rate.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tintype_types::Timestamp;
use uuid::Uuid;

/// Accounts (or whoever is counted) remembered; those that have been silent long enough to start afresh are dropped first.
const KNOWN_MAX: usize = 100_000;
/// Microseconds in a minute.
const MINUTE_MICROS: u64 = 60_000_000;

/// How much is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests a minute, on and on.
    pub per_minute: u32,
    /// Requests at once after a silence.
    pub burst: u32,
}

/// Where a caller stands after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Requests there may be at once.
    pub limit: u32,
    /// Requests left right now.
    pub remaining: u32,
    /// Seconds until all of them are there again.
    pub reset_seconds: u64,
    /// The request is one too many: seconds until the next may come.
    pub retry_seconds: Option<u64>,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may be made.
    Passed,
    /// It is one too many.
    Refused,
}

impl Rate {
    /// Microseconds that pay for one request.
    pub fn interval(self) -> u64 {
        MINUTE_MICROS / u64::from(self.per_minute.max(1))
    }

    /// Most microseconds that may be owed.
    pub fn full(self) -> u64 {
        self.interval().saturating_mul(u64::from(self.burst.max(1)))
    }

    /// How somebody stands who owes so many microseconds.
    pub fn standing(self, owed: u64, verdict: Verdict) -> Standing {
        let (interval, full, limit) = (self.interval(), self.full(), self.burst.max(1));
        let seconds = |micros: u64| micros.div_ceil(1_000_000);
        let retry_seconds = match verdict {
            Verdict::Passed => None,
            Verdict::Refused => Some(seconds((owed + interval).saturating_sub(full))),
        };
        let remaining = u32::try_from(full.saturating_sub(owed) / interval.max(1)).unwrap_or(limit);
        Standing { limit, remaining, reset_seconds: seconds(owed), retry_seconds }
    }

    /// A request at `now`, after requests that are paid off at `paid_off`: the new `paid_off`, and how it stands.
    pub fn take(self, paid_off: u64, now: u64) -> (u64, Standing) {
        let before = paid_off.max(now);
        let after = before.saturating_add(self.interval());
        if after - now > self.full() {
            return (paid_off, self.standing(before - now, Verdict::Refused));
        }
        (after, self.standing(after - now, Verdict::Passed))
    }
}

/// Everybody's standings: accounts', unless it says otherwise.
#[derive(Debug)]
pub(crate) struct Limiter<Who = Uuid> {
    rate: Rate,
    paid_off: Mutex<BTreeMap<Who, u64>>,
}

impl<Who: Ord> Limiter<Who> {
    pub(crate) fn new(rate: Rate) -> Self {
        Self { rate, paid_off: Mutex::default() }
    }

    /// A request of theirs.
    pub(crate) fn take(&self, who: Who, now: Timestamp) -> Standing {
        let now = now.0.saturating_mul(1_000);
        let mut table = self.paid_off.lock().unwrap_or_else(PoisonError::into_inner);
        if table.len() >= KNOWN_MAX && !table.contains_key(&who) {
            table.retain(|_, paid_off| *paid_off > now);
            if table.len() >= KNOWN_MAX {
                // All of them are busy: one of them starts afresh, which is kinder than refusing a newcomer.
                table.pop_first();
            }
        }
        let paid_off = table.entry(who).or_insert(0);
        let (after, standing) = self.rate.take(*paid_off, now);
        *paid_off = after;
        standing
    }

    /// They start afresh.
    pub(crate) fn forget(&self, who: &Who) {
        self.paid_off.lock().unwrap_or_else(PoisonError::into_inner).remove(who);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_minute: 60, burst: 3 };

    #[test]
    fn a_burst_passes_then_one_a_second() {
        let limiter = Limiter::new(RATE);
        let account = Uuid::from_u128(1);
        let take = |ms: u64| limiter.take(account, Timestamp(1_000_000 + ms));
        let left: Vec<_> =
            (0..3).map(|_| take(0)).map(|standing| (standing.remaining, standing.reset_seconds)).collect();
        assert_eq!(left, [(2, 1), (1, 2), (0, 3)]);
        let refused = take(0);
        assert_eq!((refused.retry_seconds, refused.remaining, refused.limit), (Some(1), 0, 3));
        assert_eq!(take(999).retry_seconds, Some(1), "a refusal costs nothing and hastens nothing");
        assert_eq!(take(1_000).retry_seconds, None);
        assert_eq!(take(1_001).retry_seconds, Some(1));
        assert_eq!(take(60_000).remaining, 2, "after a silence all of it is there again, and no more");
        assert_eq!(limiter.take(Uuid::from_u128(2), Timestamp(1_000_000)).remaining, 2, "others are not touched");
    }

    #[test]
    fn over_any_minute_no_more_pass_than_rate_and_burst() {
        let limiter = Limiter::new(RATE);
        let account = Uuid::from_u128(1);
        let passed = (0..60_000_u64)
            .step_by(7)
            .filter(|ms| limiter.take(account, Timestamp(5_000_000 + ms)).retry_seconds.is_none());
        assert!((62..=63).contains(&passed.count()));
    }
}
