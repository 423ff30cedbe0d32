//! The report of one policy, and a table of several.

use std::fmt::Write as _;

use serde::Serialize;

use crate::{Figures, Promises};

/// What is said of one policy on one piece of work.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Its word.
    pub policy: String,
    /// GPUs of the fleet.
    pub gpus: usize,
    /// Requests replayed.
    pub requests: usize,
    /// Rows of the trace skipped because a cell was empty.
    pub skipped: usize,
    /// The figures of its schedule.
    pub figures: Figures,
    /// Its mean flow time divided by the bound of shortest-remaining-first.
    pub flow_to_bound: f64,
    /// What it promised, and what came of it. Ours alone.
    pub promises: Option<Promises>,
    /// Over time in seconds: the furthest a waiting queue was behind another, in GPU-seconds. Ours alone.
    #[serde(skip)]
    pub lag: Vec<(f64, f64)>,
}

/// A table of reports for people.
pub fn table(reports: &[Report]) -> String {
    let mut out = format!(
        "{:<14} {:>8} {:>10} {:>9} {:>8} {:>8} {:>8} {:>8}\n",
        "policy", "loads", "mean flow", "to bound", "p50", "p99", "on time", "busy"
    );
    for report in reports {
        let figures = &report.figures;
        let _ = writeln!(
            out,
            "{:<14} {:>7.2}% {:>8.2} s {:>8.2}x {:>6.1} s {:>6.1} s {:>7.2}% {:>7.2}%",
            report.policy,
            figures.switch_ratio * 100.0,
            figures.mean_flow_s,
            report.flow_to_bound,
            figures.p50_s,
            figures.p99_s,
            figures.on_time * 100.0,
            figures.utilisation * 100.0
        );
    }
    for (policy, promises) in reports.iter().filter_map(|report| Some((&report.policy, report.promises?))) {
        let _ = writeln!(
            out,
            "{policy} promised {} deadlines, kept {:.2}%; nine in ten ended within {:.1}% of their flow time of the end told",
            promises.made,
            promises.kept * 100.0,
            promises.eta_error_p90 * 100.0
        );
    }
    if let Some(report) = reports.first() {
        let _ = writeln!(
            out,
            "{} requests on {} GPUs; {} rows skipped for an empty cell",
            report.requests, report.gpus, report.skipped
        );
    }
    out
}
