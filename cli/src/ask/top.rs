//! Queues and workers as tables.

use tintype_scheduler::{Overview, QueueLoad, WorkerLoad};
use tintype_types::Timestamp;

use crate::args::OutputFormat;
use crate::show::{Cells, ms, span, table};

/// Queues with most jobs first, then workers by name.
pub(super) fn text(told: &Overview, form: OutputFormat) -> String {
    let (waiting, running) = told.queues.iter().fold((0, 0), |(waiting, running), queue| {
        (waiting + u64::from(queue.waiting), running + u64::from(queue.running))
    });
    let idle = told.workers.iter().filter(|worker| worker.idle).count();
    let summary = format!(
        "{waiting} jobs wait, {running} run; {} workers, {idle} idle; queues are {} of GPU time apart",
        told.workers.len(),
        ms(told.fairness_gap_ms)
    );
    let cells = Cells::from(form);
    let least = told.queues.iter().filter(|queue| queue.waiting > 0).map(|queue| queue.served_ms).min();
    let queues: Vec<_> = told.queues.iter().map(|it| queue(it, least, told.now)).collect();
    let workers: Vec<_> = told.workers.iter().map(|it| worker(it, told.now)).collect();
    let heads = ["QUEUE", "WEIGHT", "RUNNING", "WAITING", "AHEAD", "LONGEST WAIT"];
    let mut parts = vec![summary, table(&heads, &queues, cells)];
    parts.push(table(&["WORKER", "POOL", "GPU", "HEARD", "RUNS", "MODELS"], &workers, cells));
    for pool in told.pools.iter().filter(|pool| pool.workers != pool.wanted) {
        parts.push(format!("pool {} has {} workers and should have {}", pool.pool, pool.workers, pool.wanted));
    }
    if told.promises_kept + told.promises_broken > 0 {
        parts.push(format!("promised deadlines: {} kept, {} broken", told.promises_kept, told.promises_broken));
    }
    if told.jobs_dropped > 0 {
        parts.push(format!("{} jobs were not taken in: too many are known", told.jobs_dropped));
    }
    parts.join("\n\n")
}

fn queue(it: &QueueLoad, least: Option<u64>, now: Timestamp) -> Vec<String> {
    let running = it.running_max.map_or_else(|| it.running.to_string(), |max| format!("{} of {max}", it.running));
    let wait = it.first.as_ref().map_or_else(String::new, |(_, since)| span(now.since(*since)));
    let ahead = ms(it.served_ms.saturating_sub(least.unwrap_or(it.served_ms)));
    vec![it.queue.to_string(), it.weight.to_string(), running, it.waiting.to_string(), ahead, wait]
}

fn worker(it: &WorkerLoad, now: Timestamp) -> Vec<String> {
    let run = |(job, step, steps): &(tintype_types::JobId, u32, u32)| format!("{} {step}/{steps}", short(job.as_str()));
    let runs = it.jobs.iter().map(run).collect::<Vec<_>>().join(" ");
    let runs = match (runs.is_empty(), it.idle, &it.unwell) {
        (false, ..) => runs,
        (true, _, Some(unwell)) => format!("unwell: {}", unwell.reason.as_str()),
        (true, true, None) => "idle".to_owned(),
        (true, false, None) => "-".to_owned(),
    };
    vec![
        it.worker.to_string(),
        it.pool.to_string(),
        it.gpu.clone().unwrap_or_default(),
        span(now.since(it.last_heard)),
        runs,
        it.models.join(" "),
    ]
}

/// Enough of an id to tell jobs apart: its end, as those made together begin alike.
fn short(id: &str) -> &str {
    let from = id.char_indices().rev().nth(7).map_or(0, |(at, _)| at);
    &id[from..]
}

#[cfg(test)]
mod tests {
    use tintype_scheduler::PoolPlan;
    use tintype_types::worker::{Unwell, UnwellReason};

    use super::*;
    use crate::show::WIDTH;

    #[test]
    fn the_overview_fits_the_screen_and_says_who_runs_what() {
        let told = Overview {
            now: Timestamp(60_000),
            queues: vec![QueueLoad {
                queue: format!("team/{}", "q".repeat(60)).as_str().into(),
                weight: 2,
                running: 1,
                waiting: 4,
                running_max: Some(3),
                parent: None,
                cyclic: false,
                served_ms: 9_000,
                first: Some(("j".into(), Timestamp(0))),
            }],
            workers: vec![
                WorkerLoad {
                    worker: "gpu-0".into(),
                    pool: "l40s".into(),
                    gpu: Some("NVIDIA L40S".to_owned()),
                    idle: false,
                    unwell: None,
                    models: vec!["tintype/shapes".to_owned(); 9],
                    jobs: vec![("01d1f3f4-c4dc-4dff-9e03-1d62be17495a".into(), 5, 20)],
                    last_heard: Timestamp(59_000),
                },
                WorkerLoad {
                    worker: "gpu-1".into(),
                    pool: "l40s".into(),
                    gpu: None,
                    idle: false,
                    unwell: Some(Unwell { reason: UnwellReason::Ecc, message: "it has memory errors".to_owned() }),
                    models: Vec::new(),
                    jobs: Vec::new(),
                    last_heard: Timestamp(59_000),
                },
            ],
            warm: Vec::new(),
            pools: vec![PoolPlan {
                pool: "l40s".into(),
                workers: 1,
                busy: 1,
                kept: 0,
                unwell: 0,
                waiting: 4,
                waiting_ms: 90_000,
                wanted: 3,
            }],
            fairness_gap_ms: 1_500,
            jobs_dropped: 0,
            promises_kept: 7,
            promises_broken: 1,
        };
        let said = text(&told, OutputFormat::Table);
        assert!(said.lines().all(|line| line.chars().count() <= WIDTH), "{said}");
        for words in [
            "4 jobs wait, 1 run; 2 workers, 0 idle",
            "unwell: ecc",
            "1 of 3",
            "1 min 0 s",
            "be17495a 5/20",
            "pool l40s has 1 workers and should have 3",
            "promised deadlines: 7 kept, 1 broken",
        ] {
            assert!(said.contains(words), "no {words:?} in\n{said}");
        }
        assert!(text(&told, OutputFormat::Wide).lines().any(|line| line.chars().count() > WIDTH));
    }
}
