//! Days and months of UTC, counted by arithmetic. A budget's windows are these.

use serde::{Deserialize, Serialize};
use tintype_types::Timestamp;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// A day of UTC, counted from 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Day(pub u32);

/// A month of UTC: twelve times the year, and the month from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month(pub u32);

/// Which window of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Window {
    /// A day of UTC.
    Day,
    /// A month of UTC.
    Month,
}

impl Window {
    /// Every window.
    pub const ALL: [Self; 2] = [Self::Day, Self::Month];

    /// Its name in metrics and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
        }
    }
}

impl Day {
    /// The day of a moment.
    pub fn of(at: Timestamp) -> Self {
        Self(u32::try_from(at.0 / DAY_MS).unwrap_or(u32::MAX))
    }

    /// The month of a day. Years of the arithmetic begin in March, so that a leap day is the last of its year.
    pub fn month(self) -> Month {
        let days = u64::from(self.0) + 719_468;
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let from_march = (5 * day + 2) / 153;
        let (year, month) = (era * 400 + year + u64::from(from_march >= 10), (from_march + 2) % 12);
        Month(u32::try_from(year * 12 + month).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_four_hundred_years_falls_into_the_month_a_calendar_says() {
        let (mut day, mut year) = (0_u32, 1970_u32);
        while year < 2370 {
            let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
            let february = if leap { 29 } else { 28 };
            for (month, length) in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31].into_iter().enumerate() {
                for _ in 0..length {
                    assert_eq!(Day(day).month(), Month(year * 12 + month as u32), "day {day}");
                    day += 1;
                }
            }
            year += 1;
        }
    }

    #[test]
    fn a_day_ends_at_midnight() {
        assert_eq!((Day::of(Timestamp(DAY_MS - 1)), Day::of(Timestamp(DAY_MS))), (Day(0), Day(1)));
    }
}
