//! The tree of queues: shares inside shares, what is borrowed and taken back, windows of GPU time, and circles.

use std::collections::BTreeMap;
use std::time::Duration;

use tintype_scheduler::{
    ClaimSeen, Config, Decision, FinishedSeen, Held, JobSeen, ModelSeen, Observation, Place, QueueSeen, Quota,
    Scheduler, Verdict,
};
use tintype_types::worker::{CheckpointLeft, Outcome};
use tintype_types::{JobId, Timestamp, WorkerId};

const RUN_MS: u64 = 8_000;

/// A scheduler, what runs where, and the record.
struct Play {
    scheduler: Scheduler,
    now: Timestamp,
    jobs: BTreeMap<JobId, JobSeen>,
    runs: BTreeMap<WorkerId, JobId>,
    stopped: Vec<JobId>,
    made: u32,
}

impl Play {
    fn new(queues: Vec<QueueSeen>) -> Self {
        let config = Config { fairness_budget: Duration::ZERO, lease: Duration::from_hours(1), ..Config::default() };
        let (jobs, runs) = (BTreeMap::new(), BTreeMap::new());
        let scheduler = Scheduler::new(config);
        let mut play = Self { scheduler, now: Timestamp(1_000), jobs, runs, stopped: Vec::new(), made: 0 };
        play.step(Observation::Model(ModelSeen { name: "m".to_owned(), vram_bytes: 4 << 30 }));
        for queue in queues {
            play.step(Observation::Queue(queue));
        }
        play
    }

    fn step(&mut self, seen: Observation) -> Vec<Decision> {
        let decided = self.scheduler.step(self.now, seen);
        for decision in &decided {
            let (job, attempt) = (decision.subject().0.clone(), decision.subject().1);
            let Some(row) = self.jobs.get_mut(&job) else { continue };
            match decision {
                Decision::Assign { worker, .. } => {
                    (row.place, row.attempt) = (Place::Assigned(worker.clone()), attempt);
                    self.runs.insert(worker.clone(), job.clone());
                }
                Decision::Requeue { .. } => row.place = Place::Queued,
                Decision::Preempt { .. } => {
                    self.stopped.push(job.clone());
                    continue;
                }
                Decision::Complete { .. } | Decision::Fail { .. } => row.place = Place::Ended,
                Decision::Progress { .. } | Decision::Cancel { .. } => continue,
            }
            let seen = Box::new(row.clone());
            self.step(Observation::Job(seen));
        }
        self.scheduler.check().expect("the invariants hold");
        decided
    }

    fn jobs(&mut self, queue: &str, count: u32) {
        for _ in 0..count {
            self.made += 1;
            let id = format!("{queue}-{:03}", self.made);
            let seen = JobSeen { submitted: self.now, ..JobSeen::new(id, queue, "m") };
            self.jobs.insert(seen.id.clone(), seen.clone());
            self.step(Observation::Job(Box::new(seen)));
        }
    }

    fn claim(&mut self, worker: &str) {
        self.step(Observation::Claim(ClaimSeen {
            worker: worker.into(),
            boot_id: "1".into(),
            pool: "p".into(),
            gpus: Vec::new(),
            resident_models: vec!["m".to_owned()],
            loadable_models: Vec::new(),
            free_slots: 1,
            warm_up: None,
            unwell: None,
        }));
    }

    /// Ends what a worker runs, and has it claim again.
    fn end(&mut self, worker: &str, outcome: Outcome) {
        let Some(job) = self.runs.remove(&worker.into()) else { return };
        self.step(Observation::Finished(FinishedSeen {
            attempt: self.jobs[&job].attempt,
            job,
            worker: worker.into(),
            boot_id: "1".into(),
            outcome,
            gpu_ms: RUN_MS,
        }));
        self.claim(worker);
    }

    /// Every worker ends what it runs, so many times; answers how many jobs of each queue ended.
    fn rounds(&mut self, workers: &[&str], rounds: u32) -> BTreeMap<String, u32> {
        let mut ended = BTreeMap::new();
        for _ in 0..rounds {
            self.now = self.now.plus(Duration::from_millis(RUN_MS));
            for worker in workers {
                if let Some(job) = self.runs.get(&(*worker).into()) {
                    *ended.entry(queue_of(job)).or_insert(0) += 1;
                }
                self.end(worker, Outcome::Done { outputs: Vec::new() });
            }
        }
        ended
    }

    fn running(&self, queue: &str) -> usize {
        self.runs.values().filter(|job| queue_of(job) == queue).count()
    }
}

fn queue_of(job: &JobId) -> String {
    job.as_str().split('-').next().unwrap_or_default().to_owned()
}

fn queue(key: &str, parent: Option<&str>, weight: u32, running_max: Option<u32>, quota: Quota) -> QueueSeen {
    QueueSeen { key: key.into(), weight, running_max, parent: parent.map(Into::into), quota }
}

fn lending(borrow: u32) -> Quota {
    Quota { borrow: Some(borrow), ..Quota::default() }
}

#[test]
fn a_part_shares_what_its_parent_gets_whatever_the_number_of_parts() {
    let mut queues =
        vec![queue("team", None, 1, None, Quota::default()), queue("alone", None, 1, None, Quota::default())];
    for (name, weight) in [("x", 3), ("y", 1)] {
        queues.push(queue(name, Some("team"), weight, None, Quota::default()));
    }
    let mut play = Play::new(queues);
    for name in ["alone", "x", "y"] {
        play.jobs(name, 200);
    }
    play.claim("w0");
    let ended = play.rounds(&["w0"], 160);
    let near = |name: &str, wanted: u32| ended[name].abs_diff(wanted) <= 4;
    assert!(near("alone", 80) && near("x", 60) && near("y", 20), "{ended:?}");
}

#[test]
fn what_was_served_beyond_others_is_forgotten_while_idle() {
    let mut play =
        Play::new(vec![queue("a", None, 1, None, Quota::default()), queue("b", None, 1, None, Quota::default())]);
    play.jobs("a", 20);
    play.claim("w0");
    play.rounds(&["w0"], 20);
    let served = |play: &Play, name: &str| {
        let told = play.scheduler.overview();
        told.queues.iter().find(|queue| queue.queue.as_str() == name).map(|queue| queue.served_ms).unwrap()
    };
    let (ahead, half_life) = (served(&play, "a"), Duration::from_hours(1));
    assert!(ahead > 100_000);
    play.runs.clear();
    play.now = play.now.plus(half_life * 2);
    play.step(Observation::Tick);
    play.step(Observation::Queue(queue("a", None, 1, Some(0), Quota::default())));
    play.step(Observation::Queue(queue("b", None, 1, Some(0), Quota::default())));
    play.jobs("b", 1);
    play.jobs("a", 1);
    let (a, b) = (served(&play, "a"), served(&play, "b"));
    assert!(a >= b && a - b < ahead / 3, "{a} and {b} of {ahead}");
}

#[test]
fn a_queue_borrows_what_its_sibling_leaves_and_gives_it_back() {
    let part = |name| queue(name, Some("team"), 1, Some(2), lending(2));
    let mut play = Play::new(vec![queue("team", None, 1, Some(4), Quota::default()), part("x"), part("y")]);
    play.jobs("x", 8);
    for worker in ["w0", "w1", "w2", "w3", "w4"] {
        play.claim(worker);
    }
    assert_eq!(play.running("x"), 4, "its two and two that y does not use; the team's four are all");
    assert!(play.stopped.is_empty());
    play.jobs("y", 3);
    assert_eq!(play.stopped.len(), 1, "taken back one at a time");
    for _ in 0..2 {
        let job = play.stopped.last().unwrap().clone();
        let worker = play.runs.iter().find(|(_, runs)| **runs == job).unwrap().0.clone();
        let checkpoint = Some(CheckpointLeft { step: 3, bytes: 1, sha256: "0".repeat(64) });
        play.now = play.now.plus(Duration::from_secs(11));
        play.end(worker.as_str(), Outcome::Preempted { checkpoint });
        play.step(Observation::Tick);
    }
    assert_eq!((play.running("x"), play.running("y"), play.stopped.len()), (2, 2, 2), "nobody goes below its own");
}

#[test]
fn what_is_not_lent_is_kept_free() {
    let kept = Quota { lend: Some(0), ..Quota::default() };
    let queues = vec![
        queue("team", None, 1, Some(4), Quota::default()),
        queue("x", Some("team"), 1, Some(1), lending(9)),
        queue("y", Some("team"), 1, Some(2), kept),
    ];
    let mut play = Play::new(queues);
    play.jobs("x", 4);
    for worker in ["w0", "w1", "w2", "w3"] {
        play.claim(worker);
    }
    assert_eq!(play.running("x"), 2, "y's two of the team's four stay free");
    play.jobs("y", 3);
    assert_eq!((play.running("x"), play.running("y"), play.stopped.len()), (2, 2, 0));
}

#[test]
fn gpu_time_and_memory_of_a_window_hold_a_queue_until_the_next() {
    let window = Quota { gpu_ms: Some(20_000), window_ms: 60_000, ..Quota::default() };
    let mut play =
        Play::new(vec![queue("team", None, 1, None, window), queue("x", Some("team"), 1, None, Quota::default())]);
    play.jobs("x", 9);
    play.claim("w0");
    play.rounds(&["w0"], 4);
    assert_eq!(play.running("x"), 0, "three of 8 s each are more than 20 s");
    for (at, running) in [(59_999, 0), (60_000, 1)] {
        assert!(play.scheduler.next_deadline().unwrap().0 <= Timestamp(60_000), "the clock is to come back by then");
        play.now = Timestamp(at);
        play.step(Observation::Tick);
        assert_eq!(play.running("x"), running, "at {at} ms");
    }

    let memory = Quota { vram_bytes: Some(8 << 30), ..Quota::default() };
    let mut play = Play::new(vec![queue("x", None, 1, None, memory)]);
    play.jobs("x", 4);
    for worker in ["w0", "w1", "w2", "w3"] {
        play.claim(worker);
    }
    assert_eq!(play.running("x"), 2, "two models of 4 GiB");
    let held = Verdict::HeldByQuota { queue: "x".into(), what: Held::Vram };
    assert_eq!(play.scheduler.verdict(&"x-004".into()), Some(held));
}

#[test]
fn a_circle_of_parents_is_told_and_its_queues_stand_for_themselves() {
    let none = Quota::default();
    let mut play = Play::new(vec![queue("x", Some("y"), 1, Some(1), none), queue("y", Some("x"), 1, None, none)]);
    let cyclic =
        |play: &Play| -> Vec<bool> { play.scheduler.overview().queues.iter().map(|queue| queue.cyclic).collect() };
    assert_eq!(cyclic(&play), [true, true]);
    play.jobs("x", 2);
    play.jobs("y", 1);
    for worker in ["w0", "w1", "w2"] {
        play.claim(worker);
    }
    assert_eq!((play.running("x"), play.running("y")), (1, 1));
    play.step(Observation::Queue(queue("y", None, 1, None, none)));
    assert_eq!(cyclic(&play), [false, false]);
    let itself = queue("x", Some("x"), 1, Some(2), none);
    play.step(Observation::Queue(itself));
    assert!(cyclic(&play).contains(&true));
    assert_eq!(play.running("x"), 2);
}

#[test]
fn a_queue_borrows_no_more_than_it_may_and_never_without_a_sibling_that_leaves_room() {
    let part = |name, borrow| queue(name, Some("team"), 1, Some(2), borrow);
    for (borrow, running) in [(Quota::default(), 2), (lending(1), 3), (lending(2), 4), (lending(9), 4)] {
        let parts = vec![part("x", borrow), part("y", Quota::default())];
        let mut play = Play::new([vec![queue("team", None, 1, Some(4), Quota::default())], parts].concat());
        play.jobs("x", 8);
        for worker in ["w0", "w1", "w2", "w3", "w4"] {
            play.claim(worker);
        }
        assert_eq!(play.running("x"), running, "{borrow:?}");
    }
    let mut play = Play::new(vec![queue("alone", None, 1, Some(2), lending(2))]);
    play.jobs("alone", 4);
    for worker in ["w0", "w1", "w2"] {
        play.claim(worker);
    }
    assert_eq!(play.running("alone"), 2, "a queue that is part of nothing has nobody to borrow of");
}

#[test]
fn nothing_is_taken_back_of_a_queue_that_runs_its_own_alone() {
    let part = |name, own| queue(name, Some("team"), 1, Some(own), lending(2));
    let team = queue("team", None, 1, Some(3), Quota::default());
    let mut play = Play::new(vec![team, part("x", 3), part("y", 2)]);
    play.jobs("x", 6);
    for worker in ["w0", "w1", "w2", "w3"] {
        play.claim(worker);
    }
    assert_eq!(play.running("x"), 3);
    play.jobs("y", 3);
    assert_eq!(play.stopped.len(), 0, "the team has less than its parts have together; nobody runs more than its own");
}

#[test]
fn what_is_lent_in_part_is_kept_in_part() {
    for (lend, running) in [(None, 4), (Some(2), 4), (Some(1), 3), (Some(0), 2)] {
        let kept = Quota { lend, ..Quota::default() };
        let team = queue("team", None, 1, Some(4), Quota::default());
        let x = queue("x", Some("team"), 1, Some(1), lending(9));
        let mut play = Play::new(vec![team, x, queue("y", Some("team"), 1, Some(2), kept)]);
        play.jobs("x", 6);
        for worker in ["w0", "w1", "w2", "w3", "w4"] {
            play.claim(worker);
        }
        assert_eq!(play.running("x"), running, "{lend:?}");
    }
}
