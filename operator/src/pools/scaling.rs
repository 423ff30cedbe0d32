//! How many workers a pool with bounds is to have, from what the scheduler says it should have. Pure: it is told the time.
//!
//! More come at once, fewer only after a while in which fewer would always have done: the highest number said within that
//! while counts (what the horizontal pod autoscaler calls a stabilisation window). The scheduler already keeps idle workers
//! for what bringing them back would cost; this is against plans that go up and down between two jobs, and against a new
//! leader, who has not heard of any worker yet.

use std::collections::VecDeque;
use std::time::Duration;

use tintype_crds::PoolScaling;
use tintype_types::Timestamp;

/// What was said of one pool lately: the numbers that may still count, falling, each with when it was said last.
#[derive(Debug)]
pub(super) struct Steady(VecDeque<(Timestamp, u32)>);

impl Steady {
    /// Begins with the number there is.
    pub(super) fn begin(now: Timestamp, replicas: u32) -> Self {
        Self(VecDeque::from([(now, replicas)]))
    }

    /// The number to have now that the scheduler says `wanted`.
    pub(super) fn target(&mut self, now: Timestamp, scaling: PoolScaling, wanted: u32) -> u32 {
        let PoolScaling { min, max, down_after_seconds } = scaling;
        // A smaller number said earlier never counts again.
        while self.0.back().is_some_and(|(_, before)| *before <= wanted) {
            self.0.pop_back();
        }
        self.0.push_back((now, wanted));
        let window = Duration::from_secs(u64::from(down_after_seconds));
        while self.0.len() > 1 && self.0.front().is_some_and(|(said, _)| now.since(*said) >= window) {
            self.0.pop_front();
        }
        let highest = self.0.front().map_or(wanted, |(_, highest)| *highest);
        highest.clamp(min.min(max), max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: PoolScaling = PoolScaling { min: 0, max: 4, down_after_seconds: 10 };

    fn at(second: u64) -> Timestamp {
        Timestamp(second * 1_000)
    }

    /// What comes of what is said at each second.
    fn targets(bounds: PoolScaling, begin: u32, said: &[(u64, u32)]) -> Vec<u32> {
        let mut steady = Steady::begin(at(0), begin);
        said.iter().map(|(second, wanted)| steady.target(at(*second), bounds, *wanted)).collect()
    }

    #[test]
    fn more_come_at_once_and_fewer_after_a_while() {
        assert_eq!(targets(BOUNDS, 0, &[(1, 0), (2, 2), (3, 0), (11, 0), (12, 0)]), [0, 2, 2, 2, 0]);
    }

    #[test]
    fn a_plan_that_goes_up_and_down_changes_nothing() {
        let said: Vec<_> = (1..60).map(|second| (second, u32::try_from(second % 2).unwrap() * 3)).collect();
        assert_eq!(targets(BOUNDS, 0, &said), vec![3; 59]);
    }

    #[test]
    fn it_goes_down_to_the_highest_of_the_last_while() {
        // The three said at 5 s count until 15 s, the one of 9 s until 19 s.
        assert_eq!(
            targets(BOUNDS, 4, &[(5, 3), (9, 1), (10, 0), (14, 0), (15, 0), (18, 0), (19, 0)]),
            [4, 4, 3, 3, 1, 1, 0]
        );
    }

    #[test]
    fn a_new_leader_takes_nothing_away_before_it_has_seen_enough() {
        assert_eq!(targets(BOUNDS, 3, &[(0, 0), (9, 0), (10, 0)]), [3, 3, 0]);
    }

    #[test]
    fn bounds_hold_whatever_is_said() {
        let bounds = PoolScaling { min: 1, max: 2, down_after_seconds: 0 };
        assert_eq!(targets(bounds, 9, &[(1, 7), (2, 2), (3, 0), (4, u32::MAX)]), [2, 2, 1, 2]);
        let crossed = PoolScaling { min: 5, max: 2, down_after_seconds: 0 };
        assert_eq!(targets(crossed, 0, &[(1, 0)]), [2], "the API server refuses these; nothing panics");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut steady = Steady::begin(at(0), 0);
        for second in 0..10_000_u64 {
            steady.target(at(second), PoolScaling { max: 1_000, ..BOUNDS }, 5_000 - (second % 5_000) as u32);
        }
        assert!(steady.0.len() <= 11, "{}", steady.0.len());
    }
}
