//! Deadlines: what is promised is kept whatever comes later, what cannot be kept is refused at once, and what is said
//! would help does help.

use std::time::Duration;

use tintype_scheduler::{
    Change, ClaimSeen, Config, Decision, FinishedSeen, JobSeen, ModelSeen, Observation, Place, QueueSeen, Quota,
    Scheduler, Shape, WorldSeen,
};
use tintype_types::worker::Outcome;
use tintype_types::{Attempt, FailureReason, JobId, Timestamp};

/// What a run of 20 steps takes in these tests.
const RUN_MS: u64 = 8_000;

/// A scheduler, the jobs it knows and the clock.
struct Play {
    scheduler: Scheduler,
    now: Timestamp,
    jobs: Vec<JobSeen>,
}

impl Play {
    /// Two workers; w0 has "shapes" in memory and both models' runs are known by heart, w1 is in another pool.
    fn new() -> Self {
        let mut scheduler = Scheduler::new(Config::default());
        for name in ["shapes", "photos"] {
            scheduler.step(Timestamp(0), Observation::Model(ModelSeen { name: name.to_owned(), vram_bytes: 0 }));
        }
        let mut play = Self { scheduler, now: Timestamp(0), jobs: Vec::new() };
        for (number, model) in
            ["shapes", "shapes", "shapes", "shapes", "photos", "photos", "photos", "photos"].iter().enumerate()
        {
            let id = format!("past{number}");
            play.claim("w0", &[model]);
            play.tell(JobSeen { model: (*model).to_owned(), ..play.job(&id) });
            play.now = play.now.plus(Duration::from_millis(RUN_MS));
            play.finish(&id, "w0");
        }
        play
    }

    fn job(&self, id: &str) -> JobSeen {
        let shape = Shape { pixels: 1 << 18, images: 1, adapters: 0 };
        JobSeen { submitted: self.now, shape, ..JobSeen::new(id, "free", "shapes") }
    }

    /// A job that should be done in so many seconds.
    fn due(&self, id: &str, seconds: u64) -> JobSeen {
        JobSeen { deadline: Some(self.now.plus(Duration::from_secs(seconds))), ..self.job(id) }
    }

    fn step(&mut self, seen: Observation) -> Vec<Decision> {
        let decided = self.scheduler.step(self.now, seen);
        for decision in &decided {
            let Some(row) = self.jobs.iter_mut().find(|row| row.id == *decision.subject().0) else { continue };
            match decision {
                Decision::Assign { attempt, worker, promised, .. } => {
                    (row.place, row.attempt) = (Place::Assigned(worker.clone()), *attempt);
                    row.promised = *promised;
                }
                Decision::Complete { .. } | Decision::Fail { .. } => row.place = Place::Ended,
                Decision::Progress { .. }
                | Decision::Requeue { .. }
                | Decision::Cancel { .. }
                | Decision::Preempt { .. } => continue,
            }
            let seen = Box::new(row.clone());
            self.scheduler.step(self.now, Observation::Job(seen));
        }
        self.scheduler.check().expect("the invariants hold");
        decided
    }

    fn tell(&mut self, job: JobSeen) -> Vec<Decision> {
        self.jobs.push(job.clone());
        self.step(Observation::Job(Box::new(job)))
    }

    fn claim(&mut self, worker: &str, models: &[&str]) -> Vec<Decision> {
        self.claim_with_room(worker, models, 1)
    }

    fn claim_with_room(&mut self, worker: &str, models: &[&str], free_slots: u32) -> Vec<Decision> {
        self.step(Observation::Claim(ClaimSeen {
            worker: worker.into(),
            boot_id: "1".into(),
            pool: if worker == "w0" { "small" } else { "large" }.into(),
            gpus: Vec::new(),
            resident_models: models.iter().map(|model| (*model).to_owned()).collect(),
            loadable_models: Vec::new(),
            free_slots,
            warm_up: None,
            unwell: None,
        }))
    }

    fn finish(&mut self, id: &str, worker: &str) -> Vec<Decision> {
        self.step(Observation::Finished(FinishedSeen {
            job: id.into(),
            attempt: Attempt(1),
            worker: worker.into(),
            boot_id: "1".into(),
            outcome: Outcome::Done { outputs: Vec::new() },
            gpu_ms: RUN_MS,
        }))
    }

    fn promised(&self, id: &str) -> Option<u64> {
        self.scheduler.promise(&id.into()).map(|promised| promised.ends.0 - self.now.0)
    }

    /// A play in which w0 has run `running` for two seconds.
    fn busy() -> Self {
        let mut play = Self::new();
        play.claim("w0", &["shapes"]);
        assert_eq!(assigned(&play.tell(play.job("running"))), ["running"]);
        play.now = play.now.plus(Duration::from_secs(2));
        play
    }
}

fn assigned(decided: &[Decision]) -> Vec<String> {
    let assigned = decided.iter().filter(|decision| decision.name() == "assign");
    assigned.map(|decision| decision.subject().0.as_str().to_owned()).collect()
}

#[test]
fn a_job_that_starts_at_once_is_promised_its_deadline_where_that_is_sure() {
    let mut play = Play::new();
    play.claim("w0", &["shapes"]);
    play.tell(play.due("a", 15));
    assert!(play.promised("a").unwrap().abs_diff(RUN_MS) < 3);
    play.now = play.now.plus(Duration::from_millis(RUN_MS));
    play.finish("a", "w0");
    play.claim("w0", &["shapes"]);
    // Nobody knows how long pictures of this size take.
    let unknown = Shape { pixels: 1 << 20, images: 1, adapters: 0 };
    play.tell(JobSeen { shape: unknown, ..play.due("b", 60) });
    assert_eq!(play.promised("b"), None);
    let told = play.scheduler.overview();
    assert_eq!((told.promises_kept, told.promises_broken), (1, 0));
}

/// Another scheduler goes on from the record and from what was learned; nobody has told it of workers.
fn next_leader(play: &mut Play, queues: Vec<QueueSeen>) {
    let learned = play.scheduler.learned(1_000);
    let models = ["shapes", "photos"].map(|name| ModelSeen { name: name.to_owned(), vram_bytes: 0 }).to_vec();
    play.scheduler = Scheduler::new(Config::default());
    play.step(Observation::Learned(Box::new(learned)));
    let jobs = play.jobs.clone();
    play.step(Observation::Reset(Box::new(WorldSeen { jobs, queues, models, ..WorldSeen::default() })));
}

#[test]
fn what_was_promised_binds_the_next_leader() {
    let part = |name: &str, running_max, borrow| QueueSeen {
        key: name.into(),
        weight: 1,
        running_max: Some(running_max),
        parent: (name != "company").then(|| "company".into()),
        quota: Quota { borrow, ..Quota::default() },
    };
    let queues = vec![part("company", 2, None), part("borrows", 1, Some(1)), part("lent", 1, None)];
    let mut play = Play::new();
    for queue in queues.clone() {
        play.step(Observation::Queue(queue));
    }
    let of = |seen: JobSeen, queue: &str, priority| JobSeen { queue: queue.into(), priority, ..seen };
    play.claim("w0", &["shapes"]);
    play.tell(of(play.due("promised", 40), "borrows", -10));
    play.claim("w1", &["shapes"]);
    play.tell(of(play.job("other"), "borrows", 0));
    let told = play.scheduler.promise(&"promised".into());
    assert!(told.is_some() && play.jobs.iter().any(|job| job.promised == told.map(|told| told.ends)));

    next_leader(&mut play, queues);
    assert_eq!(play.scheduler.promise(&"promised".into()), told);
    assert_eq!(play.scheduler.promise(&"other".into()), None);
    for worker in ["w0", "w1"] {
        play.claim_with_room(worker, &["shapes"], 0);
    }
    let decided = play.tell(of(play.job("owed"), "lent", 0));
    let [Decision::Preempt { job, .. }] = decided.as_slice() else { panic!("{decided:?}") };
    assert_eq!(job.as_str(), "other", "of lower priority is only what was promised");
    play.now = play.now.plus(Duration::from_millis(RUN_MS));
    play.finish("promised", "w0");
    let told = play.scheduler.overview();
    assert_eq!((told.promises_kept, told.promises_broken), (1, 0));
}

#[test]
fn what_was_promised_goes_before_what_came_later_and_is_more_urgent() {
    let mut play = Play::busy();
    play.tell(play.due("promised", 40));
    assert!(play.promised("promised").unwrap().abs_diff(6_000 + RUN_MS) < 3);
    play.tell(play.due("urgent", 21));
    assert_eq!(play.promised("urgent"), None, "the worker's next is taken");
    let more = JobSeen { priority: 5, ..play.job("more urgent") };
    play.tell(more);
    assert!(play.scheduler.explain(&"promised".into()).unwrap().promised);
    play.now = play.now.plus(Duration::from_secs(6));
    play.finish("running", "w0");
    assert_eq!(assigned(&play.claim("w0", &["shapes"])), ["promised"]);
    play.now = play.now.plus(Duration::from_millis(RUN_MS));
    play.finish("promised", "w0");
    assert_eq!(play.scheduler.overview().promises_kept, 1);
}

#[test]
fn a_promised_job_takes_an_idle_worker_nobody_else_wants() {
    let mut play = Play::busy();
    play.tell(play.due("promised", 40));
    assert_eq!(assigned(&play.claim("w1", &["shapes"])), ["promised"]);
    play.now = play.now.plus(Duration::from_secs(6));
    play.finish("running", "w0");
    assert_eq!(assigned(&play.claim("w0", &["shapes"])), Vec::<String>::new());
}

#[test]
fn a_worker_that_comes_back_without_the_model_breaks_the_promise_and_the_job_goes_on() {
    let mut play = Play::busy();
    play.tell(play.due("promised", 40));
    play.now = play.now.plus(Duration::from_secs(6));
    play.finish("running", "w0");
    let gap = play.scheduler.fairness_gap();
    assert_eq!(assigned(&play.claim("w0", &["photos"])), ["promised"], "loaded where it is the only one");
    assert_eq!((play.promised("promised"), play.scheduler.overview().promises_broken), (None, 1));
    assert_eq!(gap, Duration::ZERO);
}

#[test]
fn a_promise_uses_its_queues_quota() {
    let mut play = Play::busy();
    let key = || "free".into();
    play.step(Observation::Queue(QueueSeen { key: key(), weight: 1, running_max: Some(2), ..QueueSeen::default() }));
    play.tell(play.due("promised", 40));
    assert!(play.promised("promised").is_some());
    play.tell(play.job("other"));
    assert_eq!(assigned(&play.claim("w1", &["shapes"])), ["promised"], "one more is all the quota has room for");
    let gone = JobSeen { cancelled: true, ..play.jobs.last().unwrap().clone() };
    play.step(Observation::Job(Box::new(gone)));
}

#[test]
fn a_deadline_that_cannot_be_met_is_refused_at_once_and_what_is_said_would_help_does() {
    let strict = |play: &Play, id: &str| JobSeen { refuse_late: true, ..play.due(id, 12) };
    let mut play = Play::busy();
    play.claim("w1", &["photos"]);
    let decided = play.tell(JobSeen { pool: Some("small".into()), ..strict(&play, "a") });
    let [Decision::Fail { reason: FailureReason::DeadlineExceeded, message, .. }] = decided.as_slice() else {
        panic!("{decided:?}")
    };
    let steps = message.strip_prefix("the deadline cannot be met; it would be with ").unwrap();
    let steps: u32 = steps.strip_suffix(" steps instead of 20").unwrap_or_else(|| panic!("{message}")).parse().unwrap();
    assert!((10..20).contains(&steps));
    let fewer = JobSeen { work_steps: steps, pool: Some("small".into()), ..strict(&play, "fewer") };
    assert_eq!(play.tell(fewer), []);
    let one_more = JobSeen { work_steps: steps + 1, pool: Some("small".into()), ..strict(&play, "one more") };
    assert_eq!(play.tell(one_more).len(), 1, "the most that is in time was named");
}

#[test]
fn every_change_named_meets_the_deadline() {
    let mut play = Play::busy();
    play.claim("w1", &["photos"]);
    let asked = JobSeen { deadline: Some(play.now.plus(Duration::from_secs(13))), ..play.job("late") };
    play.tell(asked.clone());
    let told = play.scheduler.explain(&"late".into()).unwrap();
    assert!(told.late && told.changes.len() >= 3, "{told:?}");
    for (number, change) in told.changes.iter().enumerate() {
        let mut again = Play::busy();
        again.claim("w1", &["photos"]);
        let mut job = JobSeen { id: format!("again{number}").as_str().into(), ..asked.clone() };
        match change {
            Change::FewerSteps { to, .. } => job.work_steps = *to,
            Change::OtherModel { to } => job.model.clone_from(to),
            Change::Smaller { to, .. } => job.shape.pixels = *to,
            Change::LaterDeadline { to } => job.deadline = Some(*to),
        }
        let id: JobId = job.id.clone();
        again.tell(job);
        assert!(!again.scheduler.explain(&id).unwrap().late, "{change:?} does not help");
    }
}

#[test]
fn a_job_that_would_rather_fail_is_not_begun_late() {
    let mut play = Play::busy();
    let strict = JobSeen { refuse_late: true, pool: Some("small".into()), ..play.due("a", 16) };
    assert_eq!(play.tell(strict), []);
    // Its worker goes on for longer than expected.
    play.now = play.now.plus(Duration::from_secs(9));
    let decided = play.step(Observation::Tick);
    assert!(
        matches!(decided.as_slice(), [Decision::Fail { reason: FailureReason::DeadlineExceeded, .. }]),
        "{decided:?}"
    );
}

#[test]
fn nothing_is_promised_before_a_job_that_goes_first() {
    // Of one priority the one that waits is to be done sooner.
    for (priority, promised) in [(0, false), (-5, true)] {
        let mut play = Play::busy();
        play.tell(JobSeen { priority, ..play.job("waits") });
        play.tell(play.due("due", 60));
        assert_eq!(play.promised("due").is_some(), promised, "beside one of priority {priority}");
    }
}

#[test]
fn a_promise_that_ends_late_counts_as_broken() {
    for (late_ms, told) in [(0, (1, 0)), (1, (0, 1))] {
        let mut play = Play::new();
        play.claim("w0", &["shapes"]);
        play.tell(play.due("a", 15));
        assert!(play.promised("a").is_some());
        play.now = play.now.plus(Duration::from_millis(15_000 + late_ms));
        play.finish("a", "w0");
        let counted = play.scheduler.overview();
        assert_eq!((counted.promises_kept, counted.promises_broken), told, "{late_ms} ms late");
    }
}

#[test]
fn a_promise_whose_worker_is_not_free_in_time_is_broken_and_counts_so() {
    let mut play = Play::busy();
    play.tell(play.due("promised", 25));
    play.now = play.now.plus(Duration::from_millis(25_000 - RUN_MS - 100));
    play.step(Observation::Tick);
    assert!(play.scheduler.promise(&"promised".into()).is_some(), "begun now it would still be in time");
    play.now = play.now.plus(Duration::from_millis(200));
    play.step(Observation::Tick);
    let told = play.scheduler.overview();
    assert_eq!((told.promises_kept, told.promises_broken), (0, 1));
    assert_eq!(play.scheduler.promise(&"promised".into()), None);
}
