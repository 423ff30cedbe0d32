//! Which worker a job gets: spare time is free of charge, and a copy is given up only for a long line.

use std::collections::BTreeMap;
use std::time::Duration;

use tintype_scheduler::{
    ClaimSeen, Config, Decision, FinishedSeen, JobSeen, ModelSeen, Observation, Place, QueueSeen, Scheduler,
};
use tintype_types::worker::{Gpu, Outcome};
use tintype_types::{JobId, Timestamp};

/// What a step takes before anything was learned.
const STEP_MS: u64 = 400;
const MODEL_BYTES: u64 = 8 << 30;

/// A scheduler, and the record of jobs.
struct Play {
    scheduler: Scheduler,
    now: Timestamp,
    jobs: BTreeMap<JobId, JobSeen>,
    /// What the last assignment has its worker give up.
    evicted: Vec<String>,
}

impl Play {
    fn new(budget: Duration) -> Self {
        let config = Config { fairness_budget: budget, lease: Duration::from_hours(1), ..Config::default() };
        let (scheduler, jobs) = (Scheduler::new(config), BTreeMap::new());
        let mut play = Self { scheduler, now: Timestamp(1_000), jobs, evicted: Vec::new() };
        for name in ["m1", "m2", "m3"] {
            play.step(Observation::Model(ModelSeen { name: name.to_owned(), vram_bytes: MODEL_BYTES }));
        }
        play
    }

    /// Answers which jobs went where.
    fn step(&mut self, seen: Observation) -> Vec<(String, String)> {
        let mut went = Vec::new();
        for decision in self.scheduler.step(self.now, seen) {
            let Decision::Assign { job, attempt, worker, evict, .. } = decision else { continue };
            self.evicted = evict;
            went.push((job.as_str().to_owned(), worker.as_str().to_owned()));
            let row = self.jobs.get_mut(&job).expect("a job of ours");
            (row.place, row.attempt) = (Place::Assigned(worker), attempt);
            let seen = Box::new(row.clone());
            went.extend(self.step(Observation::Job(seen)));
        }
        self.scheduler.check().expect("the invariants hold");
        went
    }

    fn job(&mut self, id: &str, queue: &str, model: &str, work_steps: u32) -> Vec<(String, String)> {
        let seen = JobSeen { submitted: self.now, work_steps, ..JobSeen::new(id, queue, model) };
        self.jobs.insert(seen.id.clone(), seen.clone());
        self.step(Observation::Job(Box::new(seen)))
    }

    /// A worker claims that has these models, and room for no more.
    fn claim(&mut self, worker: &str, models: &[&str]) -> Vec<(String, String)> {
        self.step(Observation::Claim(ClaimSeen {
            worker: worker.into(),
            boot_id: "1".into(),
            pool: "p".into(),
            gpus: vec![Gpu { vram_total_bytes: MODEL_BYTES * models.len() as u64 * 3 / 2, ..Gpu::default() }],
            resident_models: models.iter().map(|model| (*model).to_owned()).collect(),
            loadable_models: Vec::new(),
            free_slots: 1,
            warm_up: None,
            unwell: None,
        }))
    }

    /// A worker claims that can run these models and no other, the first of which it has.
    fn claim_of(&mut self, worker: &str, models: &[&str]) -> Vec<(String, String)> {
        self.step(Observation::Claim(ClaimSeen {
            worker: worker.into(),
            boot_id: "1".into(),
            pool: "p".into(),
            gpus: Vec::new(),
            resident_models: vec![models[0].to_owned()],
            loadable_models: models.iter().map(|model| (*model).to_owned()).collect(),
            free_slots: 1,
            warm_up: None,
            unwell: None,
        }))
    }

    /// So many jobs, each of a queue and a model of its own that no worker can run.
    fn nobody_can_run(&mut self, count: u32) {
        for number in 0..count {
            let model = format!("x{number}");
            self.step(Observation::Model(ModelSeen { name: model.clone(), vram_bytes: MODEL_BYTES }));
            assert_eq!(self.job(&format!("x{number}"), &model, &model, 1), []);
        }
    }

    /// A worker ends a job that took what was expected.
    fn end(&mut self, worker: &str, job: &str) {
        let row = self.jobs[&job.into()].clone();
        self.step(Observation::Finished(FinishedSeen {
            job: row.id,
            attempt: row.attempt,
            worker: worker.into(),
            boot_id: "1".into(),
            outcome: Outcome::Done { outputs: Vec::new() },
            gpu_ms: u64::from(row.work_steps) * STEP_MS,
        }));
    }
}

fn went(job: &str, worker: &str) -> Vec<(String, String)> {
    vec![(job.to_owned(), worker.to_owned())]
}

#[test]
fn a_worker_all_others_pass_over_serves_a_queue_ahead_for_nothing() {
    let mut play = Play::new(Duration::ZERO);
    let behind = QueueSeen { key: "behind".into(), weight: 5, ..QueueSeen::default() };
    play.step(Observation::Queue(behind));
    play.claim("w1", &["m1"]);
    play.claim("w2", &["m2"]);
    assert_eq!(play.job("a1", "ahead", "m1", 50), went("a1", "w1"));
    assert_eq!(play.job("b1", "behind", "m2", 50), went("b1", "w2"));
    play.now = play.now.plus(Duration::from_secs(19));
    play.end("w1", "a1");
    for (id, queue, model, steps) in [("b2", "behind", "m2", 5), ("a2", "ahead", "m1", 50), ("a3", "ahead", "m1", 50)] {
        assert_eq!(play.job(id, queue, model, steps), [], "both are busy");
    }
    let before = play.scheduler.fairness_gap();
    assert!(before > Duration::from_secs(10), "the same work weighs less on the heavier queue: {before:?}");
    // b2 would rather wait for w2, which is free sooner than m2 is loaded.
    assert_eq!(play.claim("w1", &["m1"]), went("a2", "w1"));
    assert_eq!(play.scheduler.fairness_gap(), before, "what nobody within the budget wanted is not charged");
    play.end("w1", "a2");
    play.end("w2", "b1");
    assert_eq!(play.claim("w2", &["m2"]), went("b2", "w2"));
    assert_eq!(play.claim("w1", &["m1"]), went("a3", "w1"), "nobody else is left");
}

#[test]
fn a_copy_that_is_wanted_is_given_up_only_for_a_line_of_three_loads() {
    let mut play = Play::new(Duration::from_hours(1));
    play.claim("w1", &["m1"]);
    play.claim("w2", &["m2"]);
    assert_eq!(play.job("a1", "q", "m1", 50), went("a1", "w1"));
    assert_eq!(play.job("b1", "q", "m2", 50), went("b1", "w2"));
    play.end("w1", "a1");
    play.claim("w1", &["m1"]);
    // It waits for some 40 s where a load takes 20: longer, but m1 would be gone.
    assert_eq!(play.job("b2", "q", "m2", 50), []);
    assert_eq!(play.job("b3", "q", "m2", 25), [], "50 s");
    assert_eq!(play.job("b4", "q", "m2", 50).len(), 1, "70 s are more than three loads");
}

/// A load where `m3` is much asked for and `m1` is not; answers what goes.
fn given_up(waiting_for_m1: u32) -> Vec<String> {
    let mut play = Play::new(Duration::from_hours(1));
    play.step(Observation::Queue(QueueSeen { key: "shut".into(), running_max: Some(0), ..QueueSeen::default() }));
    play.claim("w1", &["m1", "m3"]);
    assert_eq!(play.job("a1", "q", "m3", 50), went("a1", "w1"));
    play.end("w1", "a1");
    play.claim("w1", &["m1", "m3"]);
    for number in 0..waiting_for_m1 {
        assert_eq!(play.job(&format!("s{number}"), "shut", "m1", 1), [], "its queue may run nothing");
    }
    assert_eq!(play.job("b1", "q", "m2", 1), went("b1", "w1"));
    play.evicted
}

#[test]
fn a_load_gives_up_what_is_asked_for_least_but_no_last_copy_that_jobs_wait_for() {
    assert_eq!(given_up(0), ["m1"]);
    assert_eq!(given_up(1), ["m3"]);
}

#[test]
fn the_one_worker_that_can_load_a_model_is_found_behind_many_that_cannot() {
    let mut play = Play::new(Duration::from_hours(1));
    for number in 0..100 {
        play.claim_of(&format!("w{number}"), &["m1"]);
    }
    play.claim_of("z", &["m1", "m2"]);
    assert_eq!(play.job("a", "q", "m2", 1), went("a", "z"));
}

#[test]
fn a_job_worth_a_load_is_found_behind_thirty_that_nobody_can_run() {
    let mut play = Play::new(Duration::from_hours(1));
    play.claim_of("w", &["m1", "m2"]);
    play.nobody_can_run(30);
    assert_eq!(play.job("z", "q", "m2", 1), went("z", "w"));
}

#[test]
fn the_budget_is_kept_behind_sixty_queues_that_nobody_can_run() {
    let mut play = Play::new(Duration::ZERO);
    play.nobody_can_run(60);
    for (id, queue, steps) in [("a1", "a", 1), ("a2", "a", 2), ("b1", "b", 50)] {
        assert_eq!(play.job(id, queue, "m1", steps), []);
    }
    assert_eq!(play.claim_of("w", &["m1"]), went("a1", "w"), "the shortest");
    play.end("w", "a1");
    assert_eq!(play.claim_of("w", &["m1"]), went("b1", "w"), "the next shortest is of the queue that is ahead");
}
