//! The figures of a schedule, recomputed from its rows alone.

use serde::Serialize;

use crate::{Doing, Fleet, Schedule, Work};

/// What a schedule is judged by. Seconds, and shares of one.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Model loads for each request.
    pub switch_ratio: f64,
    /// Mean of finish less arrival.
    pub mean_flow_s: f64,
    /// Median of it.
    pub p50_s: f64,
    /// The flow 99 of 100 stay under.
    pub p99_s: f64,
    /// Requests done by their deadline.
    pub on_time: f64,
    /// Time of all GPUs spent on steps, from the first arrival to the last finish.
    pub utilisation: f64,
    /// Time of all GPUs spent on loads.
    pub loading: f64,
    /// Requests that never finished; anything but 0 is a fault.
    pub unfinished: usize,
}

impl Figures {
    /// The figures of a schedule.
    pub fn of(work: &Work, fleet: Fleet, schedule: &Schedule) -> Self {
        let mut flows: Vec<u64> = Vec::with_capacity(work.requests.len());
        let finishes = finishes(work, schedule);
        let mut on_time = 0_usize;
        for (request, finish) in work.requests.iter().zip(&finishes) {
            if let Some(finish) = finish {
                flows.push(finish - request.arrival_ms);
                on_time += usize::from(*finish <= request.deadline_ms);
            }
        }
        flows.sort_unstable();
        let (mut loads, mut loading, mut running) = (0_usize, 0_u64, 0_u64);
        for row in &schedule.rows {
            let took = row.end_ms - row.start_ms;
            match row.doing {
                Doing::Load { .. } => (loads, loading) = (loads + 1, loading + took),
                Doing::Run { .. } => running += took,
            }
        }
        let span = schedule.rows.iter().map(|row| row.end_ms).max().unwrap_or_default() * fleet.gpus as u64;
        let (count, span) = (work.requests.len().max(1) as f64, span.max(1) as f64);
        let at = |share: f64| flows.get((count * share) as usize).copied().unwrap_or_default() as f64 / 1_000.0;
        Self {
            switch_ratio: loads as f64 / count,
            mean_flow_s: flows.iter().sum::<u64>() as f64 / 1_000.0 / count,
            p50_s: at(0.5),
            p99_s: at(0.99),
            on_time: on_time as f64 / count,
            utilisation: running as f64 / span,
            loading: loading as f64 / span,
            unfinished: work.requests.len() - flows.len(),
        }
    }
}

/// When each request's last step ended.
pub(crate) fn finishes(work: &Work, schedule: &Schedule) -> Vec<Option<u64>> {
    let mut finishes = vec![None; work.requests.len()];
    for row in &schedule.rows {
        if let Doing::Run { request, to, .. } = row.doing
            && to == work.requests[request].steps
        {
            finishes[request] = Some(row.end_ms);
        }
    }
    finishes
}
