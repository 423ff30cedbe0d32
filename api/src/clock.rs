//! The wall clock, read at the edges and handed on as a number.

use std::time::{SystemTime, UNIX_EPOCH};

use tintype_types::Timestamp;

/// A day, in milliseconds.
const DAY_MS: u64 = 86_400_000;

/// Now. A clock before 1970 reads as 1970.
pub(crate) fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

/// The first moment of the month, in UTC.
pub(crate) fn month_start(at: Timestamp) -> Timestamp {
    let days = at.0 / DAY_MS;
    let (_, _, day) = date(days);
    Timestamp((days - (day - 1)) * DAY_MS)
}

/// The moment as RFC 3339 writes it, in UTC: `2026-11-26T05:45:02.017Z`.
pub(crate) fn rfc3339(at: Timestamp) -> String {
    let (days, ms) = (at.0 / DAY_MS, at.0 % DAY_MS);
    let (year, month, day) = date(days);
    let (hour, minute, second, milli) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// The day of the moment, in UTC: `2026-11-26`.
pub(crate) fn day(at: Timestamp) -> String {
    let (year, month, day) = date(at.0 / DAY_MS);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Year, month and day that began so many days after 1970 did.
fn date(days: u64) -> (u64, u64, u64) {
    // Days to a date: H. Hinnant, "chrono-compatible low-level date algorithms", for days since 1970 from 0.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

/// The moment as the database holds it.
pub(crate) fn to_ms(at: Timestamp) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

/// The database's moment.
pub(crate) fn from_ms(ms: i64) -> Timestamp {
    Timestamp(u64::try_from(ms).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_dates() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_827_696_789, "2000-02-29T12:34:56.789Z"),
            (1_735_689_599_999, "2024-12-31T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(Timestamp(ms)), text);
        }
    }

    #[test]
    fn a_month_begins_with_its_first_day() {
        for (ms, text) in [
            (86_400_000 - 1, "1970-01-01T00:00:00.000Z"),
            (951_827_696_789, "2000-02-01T00:00:00.000Z"),
            (1_735_689_599_999, "2024-12-01T00:00:00.000Z"),
            (1_735_689_600_000, "2025-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(month_start(Timestamp(ms))), text);
        }
    }
}
