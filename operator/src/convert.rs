//! Between Kubernetes' times and ours. The wall clock is read here and nowhere else in this program.

use std::time::{SystemTime, UNIX_EPOCH};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff;
use tintype_types::Timestamp;

/// Now, by the wall clock.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// As Kubernetes writes it: whole seconds, rounded down.
pub fn to_time(at: Timestamp) -> Time {
    let second = i64::try_from(at.0 / 1_000).unwrap_or(i64::MAX);
    Time(jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::MAX))
}

/// As Kubernetes writes it, rounded up: "not before this" must not become "a little before this".
pub fn to_time_up(at: Timestamp) -> Time {
    to_time(Timestamp(at.0.saturating_add(999)))
}

/// From what Kubernetes wrote; a time before 1970 is 1970.
pub fn from_time(at: &Time) -> Timestamp {
    Timestamp(u64::try_from(at.0.as_millisecond()).unwrap_or(0))
}

/// A resourceVersion as a number. They are opaque by old custom and comparable by the API's own word since 1.35; the
/// servers we run on (etcd behind them) have always counted up.
pub fn version_number(resource_version: Option<&str>) -> u128 {
    resource_version.and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_survives_to_the_second_and_a_wait_is_never_shortened() {
        assert_eq!(from_time(&to_time(Timestamp(12_345_678))), Timestamp(12_345_000));
        assert_eq!(from_time(&to_time_up(Timestamp(12_345_678))), Timestamp(12_346_000));
        assert_eq!(from_time(&to_time_up(Timestamp(12_345_000))), Timestamp(12_345_000));
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(version_number(Some("10")) > version_number(Some("9")));
        assert_eq!(version_number(None), 0);
    }
}
