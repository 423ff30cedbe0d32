//! What an explanation says would start a job does start it, and what an estimate says comes about where nothing else does.

use tintype_scheduler::{
    BudgetWindow, ClaimSeen, Config, Decision, JobSeen, ModelSeen, Observation, Place, PoolSeen, QueueSeen, Remedy,
    Scheduler, Verdict,
};
use tintype_types::worker::Outcome;
use tintype_types::{Attempt, JobId, Timestamp};

const NOW: Timestamp = Timestamp(1_000);

#[test]
fn a_quota_raised_as_told_starts_the_job() {
    let mut scheduler = with_models(&["shapes"]);
    step(&mut scheduler, Observation::Queue(queue("free", Some(1))));
    tell_job(&mut scheduler, job("a", "free"));
    step(&mut scheduler, claim("w0", "small", &["shapes"]));
    tell_job(&mut scheduler, job("b", "free"));
    step(&mut scheduler, claim("w1", "small", &["shapes"]));
    let told = scheduler.explain(&"b".into()).unwrap();
    assert_eq!(told.verdict, Verdict::WaitingForQuota { used: 1, limit: 1 });
    let [Remedy::RaiseQuota { queue: key, from: 1, to }] = told.remedies.as_slice() else { panic!("{told:?}") };
    let decided = step(&mut scheduler, Observation::Queue(QueueSeen { running_max: Some(*to), ..queue(&key.0, None) }));
    assert_eq!(assigned(&decided), ["b"]);
}

#[test]
fn a_pool_named_as_told_starts_the_job() {
    let mut scheduler = with_models(&["shapes"]);
    step(&mut scheduler, claim("w0", "small", &["shapes"]));
    let asked = JobSeen { pool: Some("large".into()), ..job("a", "free") };
    tell_job(&mut scheduler, asked.clone());
    let told = scheduler.explain(&"a".into()).unwrap();
    assert!(matches!(told.verdict, Verdict::NoMatchingWorker { .. }), "{told:?}");
    assert_eq!(told.estimate, None);
    let Some(Remedy::ChangePool { to }) = told.remedies.first() else { panic!("{told:?}") };
    let decided = tell_job(&mut scheduler, JobSeen { pool: Some(to.clone()), id: "again".into(), ..asked });
    assert_eq!(assigned(&decided), ["again"]);
}

/// Its adapter asks for nothing while that is so. Where another pool could, that is no budget's fault.
#[test]
fn a_budget_that_is_used_up_is_named_and_what_is_allowed_again_starts_the_job() {
    let mut scheduler = with_models(&["shapes"]);
    let burst = |used_up| Observation::Pool(PoolSeen { name: "burst".into(), warm_models: Vec::new(), used_up });
    step(&mut scheduler, burst(Some(BudgetWindow::Day)));
    let verdict = Verdict::BudgetUsedUp { pool: "burst".into(), window: BudgetWindow::Day };
    // The pool it asks for, before any adapter has claimed.
    tell_job(&mut scheduler, JobSeen { pool: Some("burst".into()), ..job("there", "free") });
    assert_eq!(scheduler.verdict(&"there".into()), Some(verdict.clone()));
    // Any pool, where the only one that could is that.
    tell_job(&mut scheduler, job("anywhere", "paid"));
    assert_eq!(scheduler.verdict(&"anywhere".into()), Some(Verdict::NoMatchingWorker { pool: None }));
    step(&mut scheduler, idle(claim("adapter", "burst", &["shapes"])));
    for job in ["there", "anywhere"] {
        let told = scheduler.explain(&job.into()).unwrap();
        assert_eq!(told.verdict, verdict, "{job}");
        assert_eq!(told.remedies, [Remedy::RaiseBudget { pool: "burst".into(), window: BudgetWindow::Day }]);
    }
    step(&mut scheduler, idle(claim("own", "small", &["shapes"])));
    assert_eq!(scheduler.verdict(&"anywhere".into()), Some(Verdict::WaitingForWorker));
    let told = scheduler.explain(&"there".into()).unwrap();
    assert_eq!((told.verdict, &told.remedies[0]), (verdict, &Remedy::ChangePool { to: "small".into() }));

    step(&mut scheduler, burst(None));
    assert_eq!(scheduler.verdict(&"there".into()), Some(Verdict::WaitingForWorker));
    let decided = step(&mut scheduler, claim("adapter", "burst", &["shapes"]));
    assert_eq!(assigned(&decided).len(), 1);
}

#[test]
fn a_model_installed_or_declared_as_told_starts_the_job() {
    let mut scheduler = with_models(&["shapes", "photos"]);
    step(&mut scheduler, claim("w0", "small", &["shapes"]));
    tell_job(&mut scheduler, JobSeen { model: "photos".to_owned(), ..job("a", "free") });
    let told = scheduler.explain(&"a".into()).unwrap();
    let wanted = Remedy::InstallModel { model: "photos".to_owned(), pool: None };
    assert_eq!(told.remedies, [wanted]);
    assert_eq!(assigned(&step(&mut scheduler, claim("w0", "small", &["shapes", "photos"]))), ["a"]);

    let mut scheduler = with_models(&[]);
    step(&mut scheduler, claim("w0", "small", &["shapes"]));
    tell_job(&mut scheduler, job("a", "free"));
    let told = scheduler.explain(&"a".into()).unwrap();
    let [Remedy::DeclareModel { model }] = told.remedies.as_slice() else { panic!("{told:?}") };
    let declared = ModelSeen { name: model.clone(), vram_bytes: 0 };
    assert_eq!(assigned(&step(&mut scheduler, Observation::Model(declared))), ["a"]);
}

#[test]
fn as_many_workers_as_told_start_the_job_and_one_fewer_does_not() {
    let mut scheduler = with_models(&["shapes"]);
    step(&mut scheduler, claim("w0", "small", &["shapes"]));
    for name in ["a", "b", "c", "d"] {
        tell_job(&mut scheduler, job(name, "free"));
    }
    let told = scheduler.explain(&"d".into()).unwrap();
    assert_eq!(told.verdict, Verdict::BehindInQueue { ahead: 2 });
    let Some(Remedy::AddWorkers { count, .. }) = told.remedies.last() else { panic!("{told:?}") };
    let mut started = Vec::new();
    for number in 1..=*count {
        assert!(!started.contains(&"d".to_owned()), "{number} workers were told, fewer do");
        started.extend(assigned(&step(&mut scheduler, claim(&format!("w{number}"), "small", &["shapes"]))));
    }
    assert!(started.contains(&"d".to_owned()), "{started:?}");
}

#[test]
fn a_priority_raised_as_told_makes_the_job_next() {
    let mut scheduler = with_models(&["shapes"]);
    step(&mut scheduler, claim("w0", "small", &["shapes"]));
    for name in ["a", "b", "c"] {
        tell_job(&mut scheduler, JobSeen { priority: 3, ..job(name, "free") });
    }
    let told = scheduler.explain(&"c".into()).unwrap();
    let Some(Remedy::RaisePriority { from: 3, to: 4 }) = told.remedies.first() else { panic!("{told:?}") };
    tell_job(&mut scheduler, JobSeen { priority: 4, ..job("c", "free") });
    assert_eq!(assigned(&step(&mut scheduler, claim("w1", "small", &["shapes"]))), ["c"]);
}

#[test]
fn with_nothing_else_coming_jobs_end_when_they_were_estimated_to() {
    let mut scheduler = with_models(&["shapes"]);
    step(&mut scheduler, claim("w0", "small", &["shapes"]));
    for number in 0..6 {
        tell_job(&mut scheduler, job(&format!("j{number}"), "free"));
    }
    let promised: Vec<_> =
        (0..6).map(|number| scheduler.estimate(&format!("j{number}").as_str().into()).unwrap()).collect();
    let mut now = NOW;
    for promise in &promised {
        // Every run takes what it is estimated to.
        let running = scheduler.overview().workers[0].jobs[0].0.clone();
        now = now.plus(std::time::Duration::from_millis(u64::from(promise.run_ms)));
        assert_eq!(promise.ends_p50, now, "{running}");
        assert!(promise.ends_p90 >= promise.ends_p50);
        finish(&mut scheduler, now, &running, u64::from(promise.run_ms));
    }
    assert_eq!(promised.iter().map(|promise| promise.ahead).collect::<Vec<_>>(), [0, 0, 1, 2, 3, 4]);
    assert!(scheduler.estimate(&"j0".into()).is_none());
}

#[test]
fn what_one_scheduler_learned_the_next_one_knows() {
    let mut first = with_models(&["shapes"]);
    step(&mut first, claim("w0", "small", &["shapes"]));
    tell_job(&mut first, job("a", "free"));
    let guessed = first.estimate(&"a".into()).unwrap().run_ms;
    finish(&mut first, Timestamp(3_500), &"a".into(), 2_500);
    let mut second = Scheduler::new(Config::default());
    second.step(NOW, Observation::Learned(Box::new(first.learned(100))));
    second.step(NOW, Observation::Model(ModelSeen { name: "shapes".to_owned(), vram_bytes: 0 }));
    step(&mut second, claim("w0", "small", &["shapes"]));
    tell_job(&mut second, job("b", "free"));
    let learned = second.estimate(&"b".into()).unwrap().run_ms;
    assert_eq!(learned, 2_500, "{guessed} before anything was learned");
}

#[test]
fn a_run_the_queue_was_not_charged_for_teaches_as_much() {
    let budget = std::time::Duration::ZERO;
    let mut scheduler = knowing(&["shapes", "other"], Config { fairness_budget: budget, ..Config::default() });
    let both = |worker: &str, resident: &str| {
        let Observation::Claim(seen) = claim(worker, "small", &[resident]) else { unreachable!() };
        Observation::Claim(ClaimSeen { loadable_models: vec!["shapes".to_owned(), "other".to_owned()], ..seen })
    };
    step(&mut scheduler, both("w1", "other"));
    for name in ["runs", "waits-for-the-same-worker"] {
        tell_job(&mut scheduler, JobSeen { model: "other".to_owned(), ..job(name, "least-served") });
    }
    let run = |scheduler: &mut Scheduler, name: &str, gpu_ms: u64| {
        step(scheduler, both("w0", "shapes"));
        assert_eq!(assigned(&tell_job(scheduler, job(name, "free"))), [name]);
        finish(scheduler, Timestamp(3_500), &name.into(), gpu_ms);
    };
    run(&mut scheduler, "charged", 2_500);
    // Its queue is ahead by now, and the other's job waits for its own worker.
    run(&mut scheduler, "in-spare-time", 5_000);
    tell_job(&mut scheduler, job("next", "free"));
    let learned = scheduler.estimate(&"next".into()).unwrap().run_ms;
    assert!((3_000..5_000).contains(&learned), "{learned}");
}

fn with_models(names: &[&str]) -> Scheduler {
    knowing(names, Config::default())
}

fn knowing(names: &[&str], config: Config) -> Scheduler {
    let mut scheduler = Scheduler::new(config);
    for name in names {
        scheduler.step(NOW, Observation::Model(ModelSeen { name: (*name).to_owned(), vram_bytes: 0 }));
    }
    scheduler
}

fn step(scheduler: &mut Scheduler, seen: Observation) -> Vec<Decision> {
    scheduler.step(NOW, seen)
}

fn tell_job(scheduler: &mut Scheduler, seen: JobSeen) -> Vec<Decision> {
    step(scheduler, Observation::Job(Box::new(seen)))
}

/// Ends an attempt, has the worker claim again, and writes down what is decided.
fn finish(scheduler: &mut Scheduler, now: Timestamp, id: &JobId, gpu_ms: u64) {
    let by = ("w0".into(), "boot".into());
    let seen = tintype_scheduler::FinishedSeen {
        job: id.clone(),
        attempt: Attempt(1),
        worker: by.0,
        boot_id: by.1,
        outcome: Outcome::Done { outputs: Vec::new() },
        gpu_ms,
    };
    let decided = scheduler.step(now, Observation::Finished(seen));
    assert!(matches!(decided.as_slice(), [Decision::Complete { .. }]), "{decided:?}");
    let ended = JobSeen { attempt: Attempt(1), place: Place::Ended, ..job(id.as_str(), "free") };
    scheduler.step(now, Observation::Job(Box::new(ended)));
    scheduler.step(now, claim("w0", "small", &["shapes"]));
}

fn assigned(decided: &[Decision]) -> Vec<String> {
    let assigned = decided.iter().filter(|decision| decision.name() == "assign");
    assigned.map(|decision| decision.subject().0.as_str().to_owned()).collect()
}

fn queue(key: &str, running_max: Option<u32>) -> QueueSeen {
    QueueSeen { key: key.into(), weight: 1, running_max, ..QueueSeen::default() }
}

fn claim(worker: &str, pool: &str, models: &[&str]) -> Observation {
    let models: Vec<String> = models.iter().map(|model| (*model).to_owned()).collect();
    Observation::Claim(ClaimSeen {
        worker: worker.into(),
        boot_id: "boot".into(),
        pool: pool.into(),
        gpus: Vec::new(),
        resident_models: models.clone(),
        loadable_models: models,
        free_slots: 1,
        warm_up: None,
        unwell: None,
    })
}

/// One that asks for nothing now.
fn idle(mut claim: Observation) -> Observation {
    if let Observation::Claim(claim) = &mut claim {
        claim.free_slots = 0;
    }
    claim
}

fn job(id: &str, queue: &str) -> JobSeen {
    JobSeen { submitted: Timestamp(500), ..JobSeen::new(id, queue, "shapes") }
}
