//! Who is next, who makes way, and how often: one worker, and the order in which its jobs go.

use std::time::Duration;

use tintype_scheduler::{
    ClaimSeen, Config, Decision, FinishedSeen, JobSeen, ModelSeen, Observation, Place, RenewedSeen, Scheduler,
};
use tintype_types::worker::{CheckpointLeft, Outcome};
use tintype_types::{JobId, Timestamp};

/// A scheduler, the jobs it knows and the clock.
struct Play {
    scheduler: Scheduler,
    now: Timestamp,
    jobs: Vec<JobSeen>,
}

impl Play {
    fn new(config: Config) -> Self {
        let mut scheduler = Scheduler::new(Config { lease: Duration::from_hours(9), ..config });
        scheduler.step(Timestamp(0), Observation::Model(ModelSeen { name: "m".to_owned(), vram_bytes: 0 }));
        Self { scheduler, now: Timestamp(0), jobs: Vec::new() }
    }

    /// Answers what was decided of which job.
    fn step(&mut self, seen: Observation) -> Vec<(&'static str, String)> {
        let decided = self.scheduler.step(self.now, seen);
        for decision in &decided {
            let (id, attempt) = decision.subject();
            let row = self.jobs.iter_mut().find(|row| row.id == *id).expect("a job of ours");
            match decision {
                Decision::Assign { worker, .. } => {
                    (row.place, row.attempt) = (Place::Assigned(worker.clone()), attempt);
                }
                Decision::Requeue { .. } => row.place = Place::Queued,
                Decision::Complete { .. } | Decision::Fail { .. } => row.place = Place::Ended,
                Decision::Progress { .. } | Decision::Cancel { .. } | Decision::Preempt { .. } => continue,
            }
            let seen = Box::new(row.clone());
            self.scheduler.step(self.now, Observation::Job(seen));
        }
        decided.iter().map(|decision| (decision.name(), decision.subject().0.as_str().to_owned())).collect()
    }

    fn job(&self, id: &str, work_steps: u32) -> JobSeen {
        JobSeen { submitted: self.now, work_steps, ..JobSeen::new(id, "q", "m") }
    }

    fn tell(&mut self, job: JobSeen) -> Vec<(&'static str, String)> {
        self.jobs.push(job.clone());
        self.step(Observation::Job(Box::new(job)))
    }

    fn claim(&mut self, worker: &str) -> Vec<(&'static str, String)> {
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
        }))
    }

    fn attempt_of(&self, id: &str) -> &JobSeen {
        self.jobs.iter().find(|job| job.id == JobId::from(id)).expect("told")
    }

    fn finish(&mut self, worker: &str, id: &str, outcome: Outcome, gpu_ms: u64) {
        let (job, attempt) = (id.into(), self.attempt_of(id).attempt);
        let (worker, boot_id) = (worker.into(), "1".into());
        self.step(Observation::Finished(FinishedSeen { job, attempt, worker, boot_id, outcome, gpu_ms }));
    }

    fn done(&mut self, worker: &str, id: &str, gpu_ms: u64) {
        self.finish(worker, id, Outcome::Done { outputs: Vec::new() }, gpu_ms);
    }

    /// An attempt stops after its first step, and its worker claims again.
    fn makes_way(&mut self, worker: &str, id: &str) -> Vec<(&'static str, String)> {
        let attempt = self.attempt_of(id).attempt;
        let (by, boot_id) = (worker.into(), "1".into());
        let renewed = RenewedSeen { job: id.into(), attempt, worker: by, boot_id, step: 1, steps: 100 };
        self.step(Observation::Renewed(renewed));
        let checkpoint = Some(CheckpointLeft { step: 1, bytes: 1, sha256: "0".repeat(64) });
        self.finish(worker, id, Outcome::Preempted { checkpoint }, 100);
        self.claim(worker)
    }

    fn later(&mut self, seconds: u64) {
        self.now = self.now.plus(Duration::from_secs(seconds));
        self.step(Observation::Tick);
    }
}

fn one(what: &'static str, id: &str) -> Vec<(&'static str, String)> {
    vec![(what, id.to_owned())]
}

#[test]
fn a_job_goes_first_once_it_waited_for_as_long_as_anyone_should_and_not_before() {
    let overdue_after = Config::default().overdue_after.as_secs();
    for (waited, first) in [(overdue_after - 1, "on-time"), (overdue_after, "overdue")] {
        let mut play = Play::new(Config::default());
        play.tell(play.job("overdue", 20));
        play.later(waited);
        play.tell(play.job("on-time", 1));
        assert_eq!(play.claim("w"), one("assign", first), "after {waited} s");
    }
}

#[test]
fn of_those_that_waited_too_long_the_most_urgent_goes_first_all_the_same() {
    let mut play = Play::new(Config::default());
    play.tell(play.job("overdue", 20));
    play.later(3_600);
    play.tell(JobSeen { priority: 1, ..play.job("urgent", 20) });
    assert_eq!(play.claim("w"), one("assign", "urgent"), "waiting makes no job more urgent than its priority");
}

#[test]
fn a_deadline_that_is_changed_while_the_job_waits_counts() {
    for (second, first) in [(None, "a"), (Some(30_000), "b"), (Some(500_000), "a")] {
        let mut play = Play::new(Config::default());
        let due = |play: &Play, id: &str| JobSeen { deadline: Some(Timestamp(100_000)), ..play.job(id, 10) };
        play.tell(due(&play, "a"));
        let waits = due(&play, "b");
        play.tell(waits.clone());
        if let Some(at) = second {
            play.step(Observation::Job(Box::new(JobSeen { deadline: Some(Timestamp(at)), ..waits })));
        }
        assert_eq!(play.claim("w"), one("assign", first), "{second:?}");
    }
}

#[test]
fn what_runs_took_long_ago_counts_for_little() {
    let mut play = Play::new(Config::default());
    for (number, gpu_ms) in std::iter::repeat_n(2_000, 100).chain(std::iter::repeat_n(10_000, 100)).enumerate() {
        play.claim("w");
        let id = format!("j{number}");
        play.tell(play.job(&id, 20));
        play.done("w", &id, gpu_ms);
    }
    play.tell(play.job("next", 20));
    let told = play.scheduler.estimate(&"next".into()).expect("it waits for its worker").run_ms;
    assert!((8_500..10_000).contains(&told), "{told} of 10,000, where all alike would say 6,000");
}

#[test]
fn one_job_makes_way_so_many_times_and_then_never_again() {
    for preemptions_max in [0, 1, 2] {
        let mut play = Play::new(Config { preemptions_max, ..Config::default() });
        play.claim("w");
        play.tell(play.job("long", 1_000));
        let mut stopped = 0;
        for number in 0..4 {
            play.later(60);
            let urgent = format!("urgent{number}");
            if play.tell(JobSeen { priority: 5, ..play.job(&urgent, 10) }) != one("preempt", "long") {
                break;
            }
            stopped += 1;
            assert_eq!(play.makes_way("w", "long"), one("assign", &urgent));
            play.done("w", &urgent, 4_000);
            assert_eq!(play.claim("w"), one("assign", "long"));
        }
        assert_eq!(stopped, preemptions_max);
    }
}

#[test]
fn for_one_queue_attempts_are_stopped_no_more_often_than_its_pace() {
    let pace = Config::default().preempt_interval.as_secs();
    let stopped = || one("preempt", "second");
    for (after, queue, decided) in [(pace - 1, "q", Vec::new()), (pace, "q", stopped()), (0, "other", stopped())] {
        let mut play = Play::new(Config::default());
        for (worker, id) in [("w0", "first"), ("w1", "second")] {
            play.claim(worker);
            assert_eq!(play.tell(play.job(id, 1_000)), one("assign", id));
        }
        assert_eq!(play.tell(JobSeen { priority: 5, ..play.job("urgent", 100) }), one("preempt", "first"));
        assert_eq!(play.makes_way("w0", "first"), one("assign", "urgent"));
        play.later(after);
        let more = JobSeen { priority: 5, queue: queue.into(), ..play.job("more", 100) };
        assert_eq!(play.tell(more), decided, "after {after} s, of {queue}");
    }
}
