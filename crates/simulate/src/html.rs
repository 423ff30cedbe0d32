//! The report as one page: the table, and charts of latency, switches, utilisation and fairness.

use std::fmt::Write as _;

use crate::figures::finishes;
use crate::plot::{Line, chart, escape};
use crate::{Doing, Report, Schedule, Work, table};

/// Points of a line: enough for a chart of this width.
const POINTS: usize = 200;

const HEAD: &str = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>tintype simulate</title>\n\
<style>body{font:15px system-ui;margin:2em auto;max-width:44em}svg{width:100%}polyline{fill:none;stroke-width:1.5}\
text{font-size:11px;fill:#555}.grid{stroke:#ddd}pre{overflow:auto;background:#f6f6f6;padding:1em}</style></head><body>\n";

/// One policy's report and schedule.
type Run = (Report, Schedule);

/// A page about some schedules of the same work, each with its report.
pub fn page(work: &Work, runs: &[Run]) -> String {
    let reports: Vec<Report> = runs.iter().map(|(report, _)| report.clone()).collect();
    let mut out = String::from(HEAD);
    let _ = writeln!(out, "<h1>tintype simulate</h1>\n<pre>{}</pre>", escape(&table(&reports)));
    let lines = |points: &dyn Fn(&Run) -> Vec<(f64, f64)>| -> Vec<Line> {
        runs.iter().map(|run| Line { name: run.0.policy.clone(), points: points(run) }).collect()
    };
    let latency = lines(&|(_, schedule)| latency(work, schedule));
    out.push_str(&chart("Latency", "seconds from arrival to finish", "share of requests", &latency));
    let switches = lines(&|(_, schedule)| switches(schedule));
    out.push_str(&chart("Switches", "seconds", "models loaded so far", &switches));
    let busy = lines(&|(report, schedule)| utilisation(schedule, report.gpus));
    out.push_str(&chart("Utilisation", "seconds", "share of GPUs that run steps", &busy));
    let lag = lines(&|(report, _)| report.lag.clone());
    out.push_str(&chart("Fairness", "seconds", "GPU-seconds the least served waiting queue is behind", &lag));
    out.push_str("</body></html>\n");
    out
}

fn latency(work: &Work, schedule: &Schedule) -> Vec<(f64, f64)> {
    let pairs = work.requests.iter().zip(finishes(work, schedule));
    let mut flows: Vec<u64> = pairs.filter_map(|(request, finish)| Some(finish? - request.arrival_ms)).collect();
    flows.sort_unstable();
    let last = flows.len().saturating_sub(1);
    let point = |part: usize| {
        let place = last * part / POINTS;
        Some((*flows.get(place)? as f64 / 1_000.0, (place + 1) as f64 / flows.len() as f64))
    };
    (0..=POINTS).filter_map(point).collect()
}

fn switches(schedule: &Schedule) -> Vec<(f64, f64)> {
    let loads = schedule.rows.iter().filter(|row| matches!(row.doing, Doing::Load { .. }));
    let mut starts: Vec<u64> = loads.map(|row| row.start_ms).collect();
    starts.sort_unstable();
    let every = (starts.len() / POINTS).max(1);
    let counted = starts.iter().enumerate().filter(|(place, _)| place % every == 0 || place + 1 == starts.len());
    counted.map(|(place, start)| (*start as f64 / 1_000.0, (place + 1) as f64)).collect()
}

fn utilisation(schedule: &Schedule, gpus: usize) -> Vec<(f64, f64)> {
    let end = schedule.rows.iter().map(|row| row.end_ms).max().unwrap_or_default();
    let width = (end / POINTS as u64).max(1);
    let mut busy = vec![0_u64; POINTS + 2];
    for row in schedule.rows.iter().filter(|row| matches!(row.doing, Doing::Run { .. })) {
        let (mut from, last) = (row.start_ms, row.end_ms);
        while from < last {
            let part = (from / width) as usize;
            let until = last.min((part as u64 + 1) * width);
            busy[part.min(POINTS + 1)] += until - from;
            from = until;
        }
    }
    let share = |(part, busy): (usize, &u64)| {
        ((part as u64 * width) as f64 / 1_000.0, *busy as f64 / (width * gpus.max(1) as u64) as f64)
    };
    busy.iter().enumerate().map(share).collect()
}
