//! A job whose GPU fails in its middle is finished by another worker, and shows the same to the byte. Where the trouble
//! comes, and what it is, follows from a seed.

use std::thread::yield_now;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tintype_fake_nvml::{Machine, MigDevice, Process};
use tintype_types::worker::{Assignment, CheckpointPlan, Outcome};
use tintype_types::{FailureReason, Sampler};
use tintype_worker::engine::Lane;
use tintype_worker::pipeline::{Lane as _, Pipeline};
use tintype_worker::probe::{GpuProbe as _, Health};
use tokio::sync::watch;

use crate::bench::{Bench, PATIENCE};
use crate::contract::{Contract, Running, assignment, shapes};
use crate::stepper::{Then, Watched};

/// Runs, each with a seed of its own.
const RUNS: u64 = 8;
/// Steps of the picture.
const STEPS: u32 = 60;

type Change = fn(&mut Machine);

/// Each kind of trouble, and whether what was drawn before is still good.
const TROUBLES: [(&str, bool, Change); 6] = [
    ("too hot", true, |machine| machine.gpus[0].temperature = Some(95)),
    ("ECC", false, |machine| machine.gpus[0].ecc_uncorrected = Some(3)),
    ("XID 79", true, |machine| machine.gpus[0].xids = Some(vec![79])),
    ("does not answer", true, |machine| machine.gpus[0].lost = true),
    ("MIG", true, |machine| {
        machine.gpus[0].mig = Some(true);
        machine.gpus[0].mig_devices = vec![MigDevice { uuid: "MIG-1".to_owned(), ..MigDevice::default() }];
    }),
    ("other processes", true, |machine| {
        machine.gpus[0].processes = Some(vec![Process { pid: 1, memory_used: 20 << 30 }]);
    }),
];

#[tokio::test]
async fn whatever_befalls_the_gpu_the_picture_is_the_same() {
    let contract = Contract::start().await;
    let mut job = assignment("undisturbed", 1);
    (job.request.steps, job.request.sampler) = (STEPS, Sampler::EulerA);
    contract.give(job.clone());
    let worker = Running::with_shapes(&contract);
    let undisturbed = picture(&contract.finished("undisturbed").await.outcome);
    worker.drain().await;
    for seed in 0..RUNS {
        let mut chance = StdRng::seed_from_u64(seed);
        // Each kind comes, whatever the number of runs.
        let (why, keeps, befall) = TROUBLES[seed as usize % TROUBLES.len()];
        let at = chance.random_range(1..STEPS / 4);
        job.job = format!("seed-{seed}").as_str().into();
        job.checkpoint = Some(CheckpointPlan { put_url: format!("/store/v1/{seed}-1?sig=abc"), resume_url: None });
        let steps = given_back(&contract, &job, (at, why, befall)).await;
        assert_eq!(steps.is_some(), keeps, "seed {seed}: {why} at step {at} left {steps:?}");
        contract.forget_finish(job.job.as_str());
        contract.forget_renewals();
        let resume_url = keeps.then(|| format!("/store/v1/{seed}-1?sig=abc"));
        job.attempt = job.attempt.next();
        job.checkpoint = Some(CheckpointPlan { put_url: format!("/store/v1/{seed}-2?sig=abc"), resume_url });
        contract.give(job.clone());
        let worker = Running::with_shapes(&contract);
        let finished = picture(&contract.finished(job.job.as_str()).await.outcome);
        assert_eq!(finished, undisturbed, "seed {seed}: {why} at step {at} shows in the picture");
        worker.drain().await;
    }
}

/// Runs the job on a GPU that something befalls once a step is done; the steps that were kept of it.
async fn given_back(contract: &Contract, job: &Assignment, (at, why, befall): (u32, &str, Change)) -> Option<u64> {
    let mut bench = Bench::new();
    let probe = bench.start_probe().await;
    let worker = Running::with_probe(contract, halting(at, probe.health()), Box::new(probe), None);
    contract.forget_renewals();
    contract.give(job.clone());
    contract.renewed(|renew| renew.step >= at).await;
    bench.change(befall);
    let outcome = contract.finished(job.job.as_str()).await.outcome;
    let Outcome::Failed { reason: FailureReason::WorkerDrained, message, retryable: true } = &outcome else {
        unreachable!("{why} at step {at}: {outcome:?}")
    };
    assert!(message.contains(why), "{message}");
    assert!(!FailureReason::WorkerDrained.counts());
    worker.drain().await;
    let said = message.split(", ").last()?.strip_suffix(" steps done")?;
    said.parse().ok()
}

/// Draws, and takes no step after `at` before trouble was noticed: the picture cannot be over first.
fn halting(at: u32, health: watch::Receiver<Health>) -> impl Pipeline {
    Watched::new(shapes(), move |lanes: &mut [&mut Lane]| {
        if lanes.iter().any(|lane| lane.progress().0 >= at) {
            let end = Instant::now() + PATIENCE;
            while health.borrow().trouble.is_none() {
                assert!(Instant::now() < end, "nothing was noticed");
                yield_now();
            }
        }
        Then::Step
    })
}

fn picture(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done { outputs } => outputs[0].sha256.clone(),
        Outcome::Preempted { .. } | Outcome::Failed { .. } => unreachable!("no picture came out: {outcome:?}"),
    }
}
