//! The scheduler alone at scale: a million jobs waiting in a thousand queues for five hundred models, ten thousand GPUs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tintype_scheduler::{
    ClaimSeen, Config, Decision, FinishedSeen, JobSeen, ModelSeen, Observation, Place, QueueSeen, Scheduler, Shape,
};
use tintype_types::worker::{Gpu, Outcome};
use tintype_types::{Attempt, JobId, Timestamp, WorkerId};

use crate::{CpuTime, Goal, print};

const JOBS: usize = 1_000_000;
const QUEUES: usize = 1_000;
const MODELS: usize = 500;
const GPUS: usize = 10_000;
const PLACEMENTS: usize = 100_000;
/// Claims whose time is taken together: asking how long this thread ran takes a part of what one claim does.
const CLAIMS_A_TURN: usize = 50;
/// Jobs that come one by one to a fleet that is idle.
const ARRIVALS: usize = 5_000;
/// A model's memory, and a GPU's: room for two.
const MODEL_BYTES: u64 = 10 << 30;
const GPU_BYTES: u64 = 23 << 30;

/// Prints the figures of the parts asked for.
pub(crate) fn run(asked: impl Fn(&str) -> bool) {
    for (name, part) in [("saturated", saturated as fn()), ("idle", idle), ("negative", negative)] {
        if asked(name) {
            part();
        }
    }
}

/// Everything waits, and workers claim one after the other.
fn saturated() {
    let before = resident_bytes();
    let mut scheduler = scheduler();
    let mut jobs = BTreeMap::new();
    let begun = CpuTime::now();
    for number in 0..JOBS {
        scheduler.step(Timestamp(0), Observation::Job(Box::new(job(number))));
    }
    let took = begun.elapsed();
    print("scale_jobs_taken_in", JOBS as f64 / took.as_secs_f64(), "jobs/s", 100_000.0, &Goal::AtLeast(100_000.0));
    let bytes = resident_bytes().saturating_sub(before) as f64;
    print("scale_bytes_a_job", bytes / JOBS as f64, "bytes", 600.0, &Goal::AtMost(600.0));
    let (mut times, mut placed, mut rest) = (Vec::with_capacity(PLACEMENTS), Duration::ZERO, Duration::ZERO);
    for first in (0..PLACEMENTS).step_by(CLAIMS_A_TURN) {
        let turns = first..PLACEMENTS.min(first + CLAIMS_A_TURN);
        let claims: Vec<_> = turns.map(|turn| claim(turn, &[mix(turn) % MODELS, mix(turn + 7) % MODELS])).collect();
        let mut decisions = Vec::with_capacity(CLAIMS_A_TURN);
        let begun = CpuTime::now();
        for seen in claims {
            let begun = Instant::now();
            decisions.push(scheduler.step(Timestamp(1), Observation::Claim(seen)));
            times.push(begun.elapsed());
        }
        placed += begun.elapsed();
        let begun = CpuTime::now();
        for decision in decisions.into_iter().flatten() {
            if let Decision::Assign { job: id, attempt, worker, .. } = decision {
                live(&mut scheduler, &id, attempt, &worker);
                jobs.insert(id, worker);
            }
        }
        rest += begun.elapsed();
    }
    let rate = |took: Duration| jobs.len() as f64 / took.as_secs_f64();
    print("scale_placements", rate(placed), "placements/s", 100_000.0, &Goal::AtLeast(100_000.0));
    print("scale_job_lives", rate(placed + rest), "jobs/s", 20_000.0, &Goal::AtLeast(20_000.0));
    print("scale_decision_p99", p99_ms(&mut times), "ms", 1.0, &Goal::AtMost(1.0));
}

/// What follows an assignment: it is seen written, the worker renews, finishes, the end is seen written, the job goes.
fn live(scheduler: &mut Scheduler, id: &JobId, attempt: Attempt, worker: &WorkerId) {
    let number = id.as_str()[24..].parse().unwrap_or_default();
    let seen = |place| Observation::Job(Box::new(JobSeen { place, attempt, ..job(number) }));
    scheduler.step(Timestamp(1), seen(Place::Assigned(worker.clone())));
    let finished = FinishedSeen {
        job: id.clone(),
        attempt,
        worker: worker.clone(),
        boot_id: "1".into(),
        outcome: Outcome::Done { outputs: Vec::new() },
        gpu_ms: 9_000,
    };
    scheduler.step(Timestamp(1), Observation::Finished(finished));
    scheduler.step(Timestamp(1), seen(Place::Ended));
    scheduler.step(Timestamp(1), Observation::JobGone(id.clone()));
}

/// Every GPU waits, and jobs come one after the other: warm ones, and ones whose model nobody holds.
fn idle() {
    let mut scheduler = scheduler();
    for turn in 0..GPUS {
        scheduler
            .step(Timestamp(0), Observation::Claim(claim(turn, &[turn % (MODELS / 2), (turn * 7) % (MODELS / 2)])));
    }
    let mut times = Vec::with_capacity(ARRIVALS);
    for number in 0..ARRIVALS {
        let seen = Observation::Job(Box::new(job(mix(number))));
        let begun = CpuTime::now();
        scheduler.step(Timestamp(number as u64), seen);
        times.push(begun.elapsed());
    }
    print("scale_idle_decision_p99", p99_ms(&mut times), "ms", 1.0, &Goal::AtMost(1.0));
}

/// Answers of no: why a job cannot run at all, behind a million that wait, and its queue's quota.
fn negative() {
    let mut scheduler = scheduler();
    for turn in 0..8_000 {
        let loadable = vec!["m0".to_owned(), "m1".to_owned()];
        let seen = ClaimSeen { loadable_models: loadable, ..claim(turn, &[0]) };
        scheduler.step(Timestamp(0), Observation::Claim(seen));
    }
    for queue in 0..QUEUES {
        let key = format!("namespace/queue-{queue}").into();
        scheduler.step(
            Timestamp(0),
            Observation::Queue(QueueSeen { key, weight: 1, running_max: Some(0), ..QueueSeen::default() }),
        );
    }
    let mut times = Vec::new();
    for number in 0..20_000 {
        scheduler.step(Timestamp(0), Observation::Job(Box::new(job(number))));
        if number % 20 == 0 {
            let begun = CpuTime::now();
            let verdict = scheduler.verdict(&job(number).id);
            times.push(begun.elapsed());
            assert!(verdict.is_some(), "a job that waits has a verdict");
        }
    }
    print("scale_negative_answer_p99", p99_ms(&mut times), "ms", 50.0, &Goal::AtMost(50.0));
}

fn p99_ms(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times.get(times.len() * 99 / 100).copied().unwrap_or_default().as_secs_f64() * 1e3
}

/// A scheduler that knows the models and no more.
fn scheduler() -> Scheduler {
    let mut scheduler = Scheduler::new(Config { jobs_max: JOBS + 1, decisions_max: 4_096, ..Config::default() });
    for model in 0..MODELS {
        let seen = ModelSeen { name: format!("m{model}"), vram_bytes: MODEL_BYTES };
        scheduler.step(Timestamp(0), Observation::Model(seen));
    }
    scheduler
}

/// Scatters numbers (SplitMix64), so that queues and models of jobs have nothing to do with each other.
fn mix(number: usize) -> usize {
    let mut z = (number as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) as usize >> 1
}

fn claim(turn: usize, resident: &[usize]) -> ClaimSeen {
    ClaimSeen {
        worker: format!("worker-{:05}", turn % GPUS).into(),
        boot_id: "1".into(),
        pool: "p".into(),
        gpus: vec![Gpu { name: "L40S".to_owned(), vram_total_bytes: GPU_BYTES, ..Gpu::default() }],
        resident_models: resident.iter().map(|model| format!("m{model}")).collect(),
        loadable_models: Vec::new(),
        free_slots: 1,
        warm_up: None,
        unwell: None,
    }
}

fn job(number: usize) -> JobSeen {
    let id = format!("00000000-0000-7000-8000-{:012}", number % 1_000_000_000_000);
    let queue = format!("namespace/queue-{}", mix(number) % QUEUES);
    JobSeen {
        work_steps: 20 + (mix(number) >> 40) as u32 % 20,
        submitted: Timestamp(number as u64 / 100),
        shape: Shape { pixels: 1 << 20, images: 1, adapters: 0 },
        ..JobSeen::new(id, queue, format!("m{}", mix(number) / QUEUES % MODELS))
    }
}

/// Memory this process has resident, where the system tells (Linux); 0 elsewhere.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or_default();
    pages * 4_096
}
