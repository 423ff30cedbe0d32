//! Money paid to providers, as whole millionths of a US dollar. Sums saturate: too much is refused by every cap.

use std::iter::Sum;
use std::ops::Add;

use serde::{Deserialize, Serialize};

/// Millionths of a US dollar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MicroUsd(pub u64);

impl MicroUsd {
    /// So many times as much.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        Self(self.0.saturating_mul(count))
    }

    /// What is left after taking `other` away; nothing, if that is more.
    #[must_use]
    pub fn less(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Add for MicroUsd {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for MicroUsd {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

/// How a provider charges for a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Price {
    /// For each picture delivered; nothing for a job that fails.
    PerImage(MicroUsd),
    /// For each second its hardware is held, failed or not. Parts of a second are rounded up to whole millionths.
    PerSecond(MicroUsd),
}

impl Price {
    /// The most a job may cost that makes so many pictures and is ended by the provider after so many seconds.
    pub fn possible(self, images: u32, seconds_max: u32) -> MicroUsd {
        match self {
            Self::PerImage(price) => price.times(u64::from(images)),
            Self::PerSecond(price) => price.times(u64::from(seconds_max)),
        }
    }

    /// What a job cost that delivered so many pictures and held the hardware so long; `possible` where the provider does
    /// not say how long that was.
    pub fn cost(self, images: u32, held_ms: Option<u64>, possible: MicroUsd) -> MicroUsd {
        match (self, held_ms) {
            (Self::PerImage(price), _) => price.times(u64::from(images)),
            (Self::PerSecond(price), Some(held_ms)) => MicroUsd(price.times(held_ms).0.div_ceil(1_000)),
            (Self::PerSecond(_), None) => possible,
        }
    }
}

/// The most a pool may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// In a day of UTC.
    pub day: MicroUsd,
    /// In a month of UTC.
    pub month: MicroUsd,
}

/// What a pool has cost in a window, and may still cost for what is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spend {
    /// Settled.
    pub spent: MicroUsd,
    /// The most that open intents may come to.
    pub reserved: MicroUsd,
}

impl Spend {
    /// Both.
    pub fn total(self) -> MicroUsd {
        self.spent + self.reserved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_begun_is_paid_to_the_millionth_and_unknown_time_in_full() {
        let price = Price::PerSecond(MicroUsd(725));
        assert_eq!(price.possible(4, 60), MicroUsd(43_500));
        assert_eq!(price.cost(4, Some(1_001), MicroUsd(9)), MicroUsd(726));
        assert_eq!(price.cost(0, Some(0), MicroUsd(9)), MicroUsd(0));
        assert_eq!(price.cost(4, None, MicroUsd(9)), MicroUsd(9));
        let price = Price::PerImage(MicroUsd(3_000));
        assert_eq!((price.possible(4, 60), price.cost(0, Some(9), MicroUsd(7))), (MicroUsd(12_000), MicroUsd(0)));
    }

    #[test]
    fn sums_do_not_wrap() {
        assert_eq!(MicroUsd(u64::MAX) + MicroUsd(1), MicroUsd(u64::MAX));
        assert_eq!(MicroUsd(u64::MAX).times(2), MicroUsd(u64::MAX));
        assert_eq!(MicroUsd(1).less(MicroUsd(2)), MicroUsd(0));
    }
}
