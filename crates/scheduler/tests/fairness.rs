//! The bound of `docs/fairness.md` over random schedules: at every instant, queues that could run are no further apart
//! than the budget and one charge. `FAIRNESS_CASES=n` runs n schedules.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use tintype_scheduler::{
    ClaimSeen, Config, Decision, FinishedSeen, JobSeen, ModelSeen, Observation, Place, QueueSeen, Scheduler,
};
use tintype_types::worker::Outcome;
use tintype_types::{JobId, Timestamp, WorkerId};

const CASES: u32 = 1_000;
const STEP_MS: u64 = 100;
const LOAD_MS: u64 = 5_000;
const STEPS_MAX: u32 = 50;
/// The most one assignment is charged: the longest run and a load, both as guessed before anything was learned.
const CHARGE_MAX: Duration = Duration::from_secs(20 + 20);

/// A job of a random schedule: when after the last, whose, of which model, how long.
type Asked = (u64, usize, usize, u32);

#[derive(Clone, Debug)]
struct World {
    budget: Duration,
    weights: Vec<u32>,
    workers: usize,
    jobs: Vec<Asked>,
}

fn world() -> impl Strategy<Value = World> {
    let job = (prop::sample::select(vec![0, 0, 0, 500, 5_000]), 0..4_usize, 0..4_usize, 1..=STEPS_MAX);
    let weights = prop::collection::vec(1..5_u32, 4);
    (0..120_u64, weights, 1..5_usize, prop::collection::vec(job, 1..80)).prop_map(|(budget, weights, workers, jobs)| {
        World { budget: Duration::from_secs(budget), weights, workers, jobs }
    })
}

/// A fleet without faults around a scheduler.
struct Play {
    scheduler: Scheduler,
    now: u64,
    /// When each busy worker is done, with what.
    busy: BTreeMap<(u64, WorkerId), (JobSeen, u64)>,
    resident: BTreeMap<WorkerId, String>,
    jobs: BTreeMap<JobId, JobSeen>,
    gap_max: Duration,
    done: usize,
}

impl Play {
    fn tell(&mut self, seen: Observation) {
        let decisions = self.scheduler.step(Timestamp(self.now), seen);
        for decision in decisions {
            let Decision::Assign { job, attempt, worker, .. } = decision else { continue };
            let mut seen = self.jobs[&job].clone();
            (seen.place, seen.attempt) = (Place::Assigned(worker.clone()), attempt);
            let cold = self.resident.insert(worker.clone(), seen.model.clone()).as_ref() != Some(&seen.model);
            let takes = u64::from(seen.work_steps) * STEP_MS + if cold { LOAD_MS } else { 0 };
            self.busy.insert((self.now + takes, worker), (seen.clone(), takes));
            self.tell(Observation::Job(Box::new(seen)));
        }
        self.gap_max = self.gap_max.max(self.scheduler.fairness_gap());
    }

    fn claim(&mut self, worker: WorkerId) {
        let resident_models = self.resident.get(&worker).cloned().into_iter().collect();
        self.tell(Observation::Claim(ClaimSeen {
            worker,
            boot_id: "1".into(),
            pool: "p".into(),
            gpus: Vec::new(),
            resident_models,
            loadable_models: Vec::new(),
            free_slots: 1,
            warm_up: None,
            unwell: None,
        }));
    }

    /// Lets workers finish until this moment.
    fn until(&mut self, at: u64) {
        while let Some(((end, worker), (seen, gpu_ms))) = self.busy.pop_first() {
            if end > at {
                self.busy.insert((end, worker), (seen, gpu_ms));
                break;
            }
            self.now = end;
            self.done += 1;
            self.tell(Observation::Finished(FinishedSeen {
                job: seen.id.clone(),
                attempt: seen.attempt,
                worker: worker.clone(),
                boot_id: "1".into(),
                outcome: Outcome::Done { outputs: Vec::new() },
                gpu_ms,
            }));
            self.tell(Observation::JobGone(seen.id));
            self.claim(worker);
        }
        self.now = self.now.max(at);
        self.tell(Observation::Tick);
    }
}

fn play(world: &World) -> Play {
    // Longer than any run, so that no renewal is needed.
    let lease = Duration::from_hours(1);
    let config = Config { fairness_budget: world.budget, lease, ..Config::default() };
    let mut play = Play {
        scheduler: Scheduler::new(config),
        now: 0,
        busy: BTreeMap::new(),
        resident: BTreeMap::new(),
        jobs: BTreeMap::new(),
        gap_max: Duration::ZERO,
        done: 0,
    };
    for (number, weight) in world.weights.iter().enumerate() {
        let key = format!("q{number}").into();
        play.tell(Observation::Queue(QueueSeen { key, weight: *weight, running_max: None, ..QueueSeen::default() }));
        play.tell(Observation::Model(ModelSeen { name: format!("m{number}"), vram_bytes: 0 }));
    }
    for worker in 0..world.workers {
        play.claim(format!("w{worker}").into());
    }
    let mut at = 0;
    for (number, (after, queue, model, work_steps)) in world.jobs.iter().enumerate() {
        at += after;
        play.until(at);
        let seen = JobSeen {
            work_steps: *work_steps,
            submitted: Timestamp(at),
            deadline: work_steps.is_multiple_of(2).then_some(Timestamp(at + 60_000)),
            ..JobSeen::new(format!("j{number:03}"), format!("q{queue}"), format!("m{model}"))
        };
        play.jobs.insert(seen.id.clone(), seen.clone());
        play.tell(Observation::Job(Box::new(seen)));
    }
    // Nobody renews, and nobody has to: all is done long before the lease ends.
    play.until(at + 3_000_000);
    play
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn queues_stay_within_the_budget_and_one_charge(world in world()) {
        let play = play(&world);
        prop_assert!(play.gap_max <= world.budget + CHARGE_MAX, "{:?} apart with {:?}", play.gap_max, world.budget);
        prop_assert_eq!(play.done, world.jobs.len(), "every job runs in the end");
    }
}

fn cases() -> u32 {
    std::env::var("FAIRNESS_CASES").map_or(CASES, |text| text.parse().expect("FAIRNESS_CASES is a number"))
}
