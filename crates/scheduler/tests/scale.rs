//! How many workers pools should have: for what waits, for what is worth keeping, and none where nothing is.

use std::time::Duration;

use tintype_scheduler::{ClaimSeen, Config, JobSeen, ModelSeen, Observation, PoolPlan, PoolSeen, Scheduler};
use tintype_types::Timestamp;
use tintype_types::worker::{Unwell, UnwellReason};

fn config() -> Config {
    Config { scale_horizon: Duration::from_secs(40), start_time: Duration::from_mins(1), ..Config::default() }
}

fn scheduler() -> Scheduler {
    let mut scheduler = Scheduler::new(config());
    scheduler.step(Timestamp(0), Observation::Model(ModelSeen { name: "m".to_owned(), vram_bytes: 0 }));
    for pool in ["big", "small"] {
        scheduler.step(
            Timestamp(0),
            Observation::Pool(PoolSeen { name: pool.into(), warm_models: Vec::new(), used_up: None }),
        );
    }
    scheduler
}

fn job(number: u32, pool: Option<&str>) -> Observation {
    let seen = JobSeen::new(format!("j{number}"), "q", "m");
    Observation::Job(Box::new(JobSeen { pool: pool.map(Into::into), work_steps: 25, ..seen }))
}

fn claim(worker: &str, pool: &str) -> Observation {
    Observation::Claim(ClaimSeen {
        worker: worker.into(),
        boot_id: "1".into(),
        pool: pool.into(),
        gpus: Vec::new(),
        resident_models: vec!["m".to_owned()],
        loadable_models: Vec::new(),
        free_slots: 1,
        warm_up: None,
        unwell: None,
    })
}

fn plan(scheduler: &Scheduler, pool: &str) -> PoolPlan {
    let all = scheduler.scale();
    all.into_iter().find(|plan| plan.pool.as_str() == pool).expect("every pool has a plan")
}

#[test]
fn nothing_to_do_is_no_worker_and_what_waits_brings_one_back() {
    let mut scheduler = scheduler();
    assert_eq!((plan(&scheduler, "big").wanted, plan(&scheduler, "small").wanted), (0, 0));
    scheduler.step(Timestamp(0), job(0, Some("small")));
    let told = plan(&scheduler, "small");
    assert_eq!((told.workers, told.waiting, told.wanted), (0, 1, 1));
    assert_eq!(plan(&scheduler, "big").wanted, 0);
    // Nobody was told of a pool for this one: the first will do.
    scheduler.step(Timestamp(0), job(1, None));
    assert_eq!(plan(&scheduler, "big").wanted, 1);
}

#[test]
fn what_waits_is_to_begin_within_the_horizon() {
    let mut scheduler = scheduler();
    for number in 0..9 {
        scheduler.step(Timestamp(0), job(number, Some("small")));
    }
    // Nine runs of 10 s as guessed and a load of 20 s: 110 s of work, in 40 s.
    assert_eq!(plan(&scheduler, "small").waiting_ms, 110_000);
    assert_eq!(plan(&scheduler, "small").wanted, 3);
    scheduler.step(Timestamp(0), claim("w", "small"));
    let told = plan(&scheduler, "small");
    assert_eq!((told.busy, told.waiting, told.wanted), (1, 8, 3), "it runs one, and eight of 10 s need two more");
}

#[test]
fn an_idle_worker_is_kept_for_as_long_as_bringing_it_back_takes() {
    let mut scheduler = scheduler();
    scheduler.step(Timestamp(5_000), claim("w", "small"));
    assert_eq!(plan(&scheduler, "small").wanted, 1);
    // It claims again and again, and was idle all the while: 60 s to start it and 20 s to load its model.
    for second in [30, 60, 84] {
        scheduler.step(Timestamp(second * 1_000), claim("w", "small"));
        assert_eq!(plan(&scheduler, "small").wanted, 1, "{second} s");
    }
    scheduler.step(Timestamp(85_000), claim("w", "small"));
    assert_eq!(plan(&scheduler, "small"), PoolPlan { kept: 0, wanted: 0, ..plan(&scheduler, "small") });
    scheduler.step(Timestamp(86_000), job(0, None));
    assert_eq!(plan(&scheduler, "small").wanted, 1, "it has work");
}

#[test]
fn a_job_that_names_no_pool_brings_workers_only_where_its_model_can_run() {
    let cannot = |worker: &str, pool: &str| {
        let Observation::Claim(seen) = claim(worker, pool) else { unreachable!() };
        let other = vec!["other".to_owned()];
        Observation::Claim(ClaimSeen { resident_models: other.clone(), loadable_models: other, ..seen })
    };
    let waiting = |scheduler: &Scheduler| (plan(scheduler, "big").waiting, plan(scheduler, "small").waiting);
    let mut scheduler = scheduler();
    scheduler.step(Timestamp(0), job(0, None));
    assert_eq!(waiting(&scheduler), (1, 0), "of pools nobody knows anything of, the first");
    let warm = PoolSeen { name: "small".into(), warm_models: vec!["m".to_owned()], used_up: None };
    scheduler.step(Timestamp(0), Observation::Pool(warm.clone()));
    assert_eq!(waiting(&scheduler), (0, 1), "one that wants it warm");
    scheduler.step(Timestamp(0), Observation::Pool(PoolSeen { warm_models: Vec::new(), ..warm }));
    scheduler.step(Timestamp(0), cannot("b", "big"));
    assert_eq!(waiting(&scheduler), (0, 1), "a worker of the other says that it cannot");
    scheduler.step(Timestamp(0), cannot("s", "small"));
    assert_eq!(waiting(&scheduler), (0, 0), "more of those would not help");
}

#[test]
fn an_unwell_worker_takes_nothing_and_one_more_takes_its_place() {
    let unwell = |worker: &str| {
        let Observation::Claim(seen) = claim(worker, "small") else { unreachable!() };
        let unwell = Some(Unwell { reason: UnwellReason::Hot, message: "it is hot".to_owned() });
        // Free slots that it says it has all the same are nobody's.
        Observation::Claim(ClaimSeen { unwell, ..seen })
    };
    let mut scheduler = scheduler();
    scheduler.step(Timestamp(0), unwell("w"));
    let told = plan(&scheduler, "small");
    assert_eq!((told.workers, told.unwell, told.kept, told.wanted), (1, 1, 0, 0), "it is not kept for itself");
    assert!(scheduler.step(Timestamp(0), job(0, Some("small"))).is_empty());
    assert_eq!(plan(&scheduler, "small").wanted, 2);
    assert_eq!(scheduler.skipped(&"w".into()), [("worker_unwell".to_owned(), 1)].into());
    let shown = &scheduler.overview().workers[0];
    assert_eq!((shown.idle, shown.models.len(), shown.unwell.is_some()), (false, 0, true));
    // The model it holds is no reason to wait for it.
    assert_eq!(scheduler.step(Timestamp(0), claim("other", "small")).len(), 1);
    assert!(scheduler.check().is_ok());
    // Kept and read again, it is the same.
    let kept = Scheduler::restore(config(), scheduler.snapshot());
    assert_eq!(kept.overview(), scheduler.overview());
    scheduler.step(Timestamp(0), job(1, Some("small")));
    assert_eq!(scheduler.step(Timestamp(0), claim("w", "small")).len(), 1, "well again");
    assert_eq!(plan(&scheduler, "small").unwell, 0);
}
