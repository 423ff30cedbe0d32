//! Seeded simulation of the whole protocol around the scheduler; its parts live in `tests/sim`.
//!
//! `SIM_SEEDS=n` runs n seeds, `SIM_SEED=s` replays one with its trace. A seed that ever failed goes into
//! `tests/sim/seeds.txt` and is run first from then on.

#[path = "../../../tests/sim/audit.rs"]
mod audit;
#[path = "../../../tests/sim/knobs.rs"]
mod knobs;
#[path = "../../../tests/sim/record.rs"]
mod record;
#[path = "../../../tests/sim/rng.rs"]
mod rng;
#[path = "../../../tests/sim/shell.rs"]
mod shell;
#[path = "../../../tests/sim/worker.rs"]
mod worker;
#[path = "../../../tests/sim/world.rs"]
mod world;

use std::collections::BTreeMap;

use knobs::Bug;
use world::World;

/// Seeds of a plain run: some ten seconds.
const SEEDS: u64 = 2_000;
/// Within how many seeds a planted bug must be found.
const SEEDS_PER_BUG: u64 = 1_000;
/// Seeds whose decisions are written down, by how many at a time, and the digest they begin with.
const GOLDEN_SEEDS: u64 = 200;
const GOLDEN_GROUP: usize = 20;
const DIGEST_OF_NOTHING: u64 = 0xcbf2_9ce4_8422_2325;
/// Rare things a run of [`SEEDS`] must have reached, or the simulation has gone tame.
const REACHED: [&str; 10] = [
    "attempt told again",
    "cancelled",
    "complete after another try",
    "complete at once",
    "deleted",
    "failed for good",
    "preempted",
    "requeued",
    "too many attempts",
    "unknown model",
];

#[test]
fn no_seed_breaks_an_invariant() {
    if let Some(seed) = number("SIM_SEED") {
        let mut world = World::new(seed, None, true);
        let outcome = world.run();
        println!("{:#?}\n{}", world.knobs, world.trace.take().unwrap_or_default());
        outcome.unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        return;
    }
    let count = number("SIM_SEEDS").unwrap_or(SEEDS);
    let known = include_str!("../../../tests/sim/seeds.txt");
    let known = known.lines().filter_map(|line| line.split('#').next()?.trim().parse().ok());
    let (mut reached, mut events) = (BTreeMap::new(), 0);
    for seed in known.chain(1..=count) {
        let mut world = World::new(seed, None, false);
        if let Err(violation) = world.run() {
            panic!(
                "seed {seed}: {violation}\nreplay: SIM_SEED={seed} cargo test -p tintype-scheduler --test sim \
                 no_seed_breaks_an_invariant -- --nocapture\nthen add it to tests/sim/seeds.txt"
            );
        }
        events += world.events_done;
        for (what, times) in &world.audit.reached {
            *reached.entry(*what).or_insert(0_u64) += times;
        }
    }
    println!("{count} seeds, {events} events, reached {reached:#?}");
    if count >= SEEDS {
        for what in REACHED {
            assert!(reached.contains_key(what), "{count} seeds never reached: {what}");
        }
    }
}

#[test]
fn the_same_seed_is_the_same_world_byte_for_byte() {
    for seed in 1..=20 {
        let [first, second] = [(); 2].map(|()| {
            let mut world = World::new(seed, None, true);
            world.run().unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
            world.trace.take().unwrap_or_default()
        });
        assert!(first.len() > 100, "seed {seed} has hardly a trace");
        assert_eq!(first, second, "seed {seed} gave two different worlds");
    }
}

/// What is done for speed alone changes no decision: those of many worlds are written down by their digest. `UPDATE=1` writes
/// them anew, which is right only where a change of decisions is meant.
#[test]
fn decisions_are_those_written_down() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/sim/decisions.txt");
    let mut told = String::new();
    for first in (1..=GOLDEN_SEEDS).step_by(GOLDEN_GROUP) {
        let (mut count, mut digest) = (0_u64, DIGEST_OF_NOTHING);
        for seed in first..first + GOLDEN_GROUP as u64 {
            let mut world = World::new(seed, None, true);
            world.run().unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
            // A decision stands three blanks behind its moment, what was observed stands one behind.
            let trace = world.trace.take().unwrap_or_default();
            for line in trace.lines().filter(|line| line.contains("   ")) {
                (count, digest) = (count + 1, fnv(digest, line.as_bytes()));
            }
        }
        let line = format!("seeds from {first}: {count} decisions {digest:016x}");
        told = told + &line + "\n";
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &told).expect("the file beside the seeds is ours");
    }
    let known = std::fs::read_to_string(path).expect("the file is in the repository");
    assert_eq!(told, known, "decisions differ; if that is meant, run again with UPDATE=1");
}

/// FNV-1a.
fn fnv(digest: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(digest, |digest, byte| (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[test]
fn every_planted_bug_is_found() {
    let mut missed = Vec::new();
    for bug in Bug::ALL {
        let found = (1..=SEEDS_PER_BUG).find_map(|seed| Some((seed, World::new(seed, Some(bug), false).run().err()?)));
        match found {
            Some((seed, violation)) => println!("{bug:?}: seed {seed}: {violation}"),
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not found within {SEEDS_PER_BUG} seeds: {missed:?}");
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("SIM_SEED and SIM_SEEDS are numbers"))
}
