//! Reading `YYYY-MM-DD HH:MM:SS` without a time zone: a trace only needs differences.

/// Seconds from a fixed day to the moment the text names; `None` if it names none.
pub(crate) fn seconds(text: &str) -> Option<i64> {
    let (date, clock) = text.split_once([' ', 'T'])?;
    let [year, month, day] = three(date, '-')?;
    let [hour, minute, second] = three(clock, ':')?;
    let in_range = (1..=9_999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..60).contains(&second);
    in_range.then(|| days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second)
}

fn three(text: &str, separator: char) -> Option<[i64; 3]> {
    let mut parts = text.split(separator).map(|part| part.parse().ok().filter(|_| part.len() <= 4));
    let three = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(three)
}

fn days_in(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        _ => 31,
    }
}

/// Days from 0000-03-01 in the Gregorian calendar (years begin in March, so that a leap day comes last).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month <= 2 { (year - 1, month + 12) } else { (year, month) };
    365 * year + year / 4 - year / 100 + year / 400 + (153 * (month - 3) + 2) / 5 + day
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_cross_months_and_leap_days() {
        let between = |from: &str, to: &str| seconds(to).unwrap() - seconds(from).unwrap();
        assert_eq!(between("2024-11-30 23:59:59", "2024-12-01 00:00:01"), 2);
        assert_eq!(between("2024-02-28 00:00:00", "2024-03-01T00:00:00"), 2 * 86_400);
        assert_eq!(between("2023-02-28 00:00:00", "2023-03-01 00:00:00"), 86_400);
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in
            ["", "2024-11-15", "2024-13-01 00:00:00", "2023-02-29 00:00:00", "2024-11-15 24:00:00", "a-b-c d:e:f"]
        {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
