//! Telling everything at once is telling it piece by piece: the property a new leader lives by.

use proptest::prelude::*;
use tintype_scheduler::{
    ClaimSeen, Config, Decision, JobSeen, ModelSeen, Observation, Place, PoolSeen, QueueSeen, Quota, Scheduler,
    WorldSeen,
};
use tintype_types::{Attempt, Timestamp};

const MODELS: [&str; 3] = ["shapes", "photos", "unknown"];
/// How far the clock is moved afterwards, to see leases, backoffs and graces run out alike.
const LATER_MS: u64 = 120_000;

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_reset_is_the_sum_of_its_facts(world in world(), order in any::<u64>(), now in 0_u64..5_000) {
        let now = Timestamp(now);
        let mut at_once = Scheduler::new(Config::default());
        let mut first = at_once.step(now, Observation::Reset(Box::new(world.clone())));
        let mut piecemeal = Scheduler::new(Config::default());
        let mut second = Vec::new();
        for fact in shuffled(facts(&world), order) {
            second.extend(piecemeal.step(now, fact));
        }
        sort(&mut first);
        sort(&mut second);
        prop_assert_eq!(first, second);
        prop_assert_eq!(at_once.snapshot(), piecemeal.snapshot());
        // What follows is the same too.
        for probe in probes(now) {
            prop_assert_eq!(at_once.step(probe.0, probe.1.clone()), piecemeal.step(probe.0, probe.1));
        }
        prop_assert_eq!(at_once.snapshot(), piecemeal.snapshot());
    }

    #[test]
    fn a_reset_leaves_nothing_of_what_was_before(before in world(), world in world(), now in 0_u64..5_000) {
        let now = Timestamp(now);
        let reset = Observation::Reset(Box::new(world));
        let mut used = Scheduler::new(Config::default());
        used.step(now, Observation::Reset(Box::new(before)));
        used.step(now, reset.clone());
        let mut fresh = Scheduler::new(Config::default());
        fresh.step(now, reset);
        for probe in probes(now) {
            prop_assert_eq!(used.step(probe.0, probe.1.clone()), fresh.step(probe.0, probe.1));
        }
    }

    #[test]
    fn telling_a_fact_twice_changes_nothing(world in world(), now in 0_u64..5_000) {
        let now = Timestamp(now);
        let mut scheduler = Scheduler::new(Config::default());
        scheduler.step(now, Observation::Reset(Box::new(world.clone())));
        let before = scheduler.snapshot();
        for fact in facts(&world) {
            prop_assert_eq!(scheduler.step(now, fact), Vec::new());
        }
        prop_assert_eq!(scheduler.snapshot(), before);
    }

    #[test]
    fn a_snapshot_goes_through_json_and_goes_on_alike(world in world(), now in 0_u64..5_000) {
        let now = Timestamp(now);
        let mut scheduler = Scheduler::new(Config::default());
        scheduler.step(now, Observation::Reset(Box::new(world)));
        let json = serde_json::to_string(&scheduler.snapshot()).unwrap();
        let mut restored = Scheduler::restore(Config::default(), serde_json::from_str(&json).unwrap());
        for probe in probes(now) {
            prop_assert_eq!(scheduler.step(probe.0, probe.1.clone()), restored.step(probe.0, probe.1));
        }
        prop_assert_eq!(scheduler.snapshot(), restored.snapshot());
    }
}

fn facts(world: &WorldSeen) -> Vec<Observation> {
    let WorldSeen { jobs, queues, pools, models } = world.clone();
    let mut facts: Vec<Observation> = jobs.into_iter().map(|job| Observation::Job(Box::new(job))).collect();
    facts.extend(queues.into_iter().map(Observation::Queue));
    facts.extend(pools.into_iter().map(Observation::Pool));
    facts.extend(models.into_iter().map(Observation::Model));
    facts
}

/// Claims of workers, then time.
fn probes(now: Timestamp) -> Vec<(Timestamp, Observation)> {
    let claim = |worker: &str, pool: &str| {
        Observation::Claim(ClaimSeen {
            worker: worker.into(),
            boot_id: "boot".into(),
            pool: pool.into(),
            gpus: Vec::new(),
            resident_models: vec!["photos".to_owned()],
            loadable_models: Vec::new(),
            free_slots: 1,
            warm_up: None,
            unwell: None,
        })
    };
    let mut probes: Vec<_> = ["w0", "w1", "w2"].map(|worker| (now, claim(worker, "small"))).into();
    probes.push((Timestamp(now.0 + 1), claim("w3", "large")));
    probes.extend((1..=12).map(|part| (Timestamp(now.0 + part * LATER_MS / 12), Observation::Tick)));
    probes
}

fn shuffled(mut facts: Vec<Observation>, order: u64) -> Vec<Observation> {
    let mut state = order | 1;
    for last in (1..facts.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        facts.swap(last, (state >> 33) as usize % (last + 1));
    }
    facts
}

/// Decisions about different jobs may come in any order, as the facts did.
fn sort(decisions: &mut [Decision]) {
    decisions.sort_by_key(|decision| format!("{decision:?}"));
}

fn world() -> impl Strategy<Value = WorldSeen> {
    let jobs = prop::collection::vec(job(), 0..12);
    let parent = prop::option::of(0_usize..4);
    let queues =
        prop::collection::vec((1_u32..5, prop::option::of(1_u32..3), parent, prop::option::of(0_u32..3)), 0..3);
    (jobs, queues).prop_map(|(mut jobs, queues)| {
        for (number, job) in jobs.iter_mut().enumerate() {
            job.id = format!("j{number}").into();
        }
        // Parents that are not there, and circles of them, are among these.
        let queue = |(number, (weight, running_max, parent, borrow))| QueueSeen {
            key: format!("q{number}").into(),
            weight,
            running_max,
            parent: Option::map(parent, |parent: usize| format!("q{parent}").into()),
            quota: Quota { borrow, lend: borrow, ..Quota::default() },
        };
        WorldSeen {
            jobs,
            queues: queues.into_iter().enumerate().map(queue).collect(),
            pools: vec![PoolSeen { name: "small".into(), warm_models: Vec::new(), used_up: None }],
            models: MODELS[..2].iter().map(|name| ModelSeen { name: (*name).to_owned(), vram_bytes: 0 }).collect(),
        }
    })
}

fn job() -> impl Strategy<Value = JobSeen> {
    let place = (0_usize..5, 0_u32..4, 0_u32..3, prop::option::of(0_u64..20_000));
    let wants = (0_usize..4, 0_i32..3, prop::sample::select(MODELS.to_vec()), any::<bool>());
    (place, wants, 1_u32..50, 0_u64..1_000, prop::bool::weighted(0.1)).prop_map(
        |((place, attempt, failed, not_before), (queue, priority, model, pooled), work_steps, submitted, cancelled)| {
            let (place, attempt) = match place {
                0..=2 => (Place::Queued, attempt),
                3 => (Place::Assigned(format!("w{}", attempt % 3).into()), attempt + 1),
                _ => (Place::Ended, attempt),
            };
            JobSeen {
                priority,
                pool: pooled.then(|| "small".into()),
                work_steps,
                submitted: Timestamp(submitted),
                place,
                deadline: (priority == 1).then_some(Timestamp(submitted * 40)),
                refuse_late: priority == 1 && work_steps % 2 == 0,
                attempt: Attempt(attempt),
                failed_attempts: failed.min(attempt),
                not_before: not_before.map(Timestamp),
                cancelled,
                ..JobSeen::new("", format!("q{queue}"), model)
            }
        },
    )
}
