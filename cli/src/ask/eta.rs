//! An estimate in words.

use tintype_scheduler::Estimate;
use tintype_types::Timestamp;

use crate::show::{moment, ms};

/// When it starts and ends, and what that is made of.
pub(super) fn text(name: &str, told: &Estimate, now: Timestamp) -> String {
    let starts = if told.starts_p50 <= now { "started" } else { "starts " };
    let load =
        if told.load_ms > 0 { format!(", loading its model {}", ms(u64::from(told.load_ms))) } else { String::new() };
    [
        format!("job      {name}"),
        format!("{starts}  {}", moment(told.starts_p50, now)),
        format!("p50      ends {}", moment(told.ends_p50, now)),
        format!("p90      ends {}", moment(told.ends_p90, now)),
        format!("before   {} jobs on workers it could use; running {}{load}", told.ahead, ms(u64::from(told.run_ms))),
    ]
    .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_says_both_ends_and_what_they_are_made_of() {
        let told = Estimate {
            starts_p50: Timestamp(12_000),
            ends_p50: Timestamp(20_000),
            ends_p90: Timestamp(32_000),
            ahead: 3,
            run_ms: 6_000,
            load_ms: 2_000,
        };
        let said = text("j", &told, Timestamp(10_000));
        assert_eq!(
            said,
            "job      j\nstarts   in 2.0 s\np50      ends in 10.0 s\np90      ends in 22.0 s\n\
             before   3 jobs on workers it could use; running 6.0 s, loading its model 2.0 s"
        );
    }
}
