//! How promises made when requests came turned out.

use serde::Serialize;

use crate::figures::finishes;
use crate::{Driven, Work};

/// What was promised, and what came of it. Shares of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Promises {
    /// Requests that were promised their deadline when they came.
    pub made: usize,
    /// Of those, the ones done by their deadline.
    pub kept: f64,
    /// Nine in ten of them ended no further from the end they were told than this part of their flow time.
    pub eta_error_p90: f64,
}

impl Promises {
    /// The promises of a replay.
    pub fn of(work: &Work, driven: &Driven) -> Self {
        let ends = finishes(work, &driven.schedule);
        let all = work.requests.iter().zip(&driven.promised).zip(ends);
        let (mut errors, mut kept, mut made) = (Vec::new(), 0_usize, 0_usize);
        for ((request, told), end) in all {
            let Some(told) = told else { continue };
            made += 1;
            let Some(end) = end else { continue };
            kept += usize::from(end <= request.deadline_ms);
            errors.push(end.abs_diff(*told) as f64 / (end - request.arrival_ms).max(1) as f64);
        }
        errors.sort_unstable_by(f64::total_cmp);
        let eta_error_p90 = errors.get(errors.len() * 9 / 10).copied().unwrap_or_default();
        Self { made, kept: kept as f64 / made.max(1) as f64, eta_error_p90 }
    }
}
