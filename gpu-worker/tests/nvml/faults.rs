//! What a fault does to the work: the attempt ends, nothing is claimed, and who asks is told why.

use std::time::Instant;

use tintype_fake_nvml::{Machine, MigDevice, Process};
use tintype_types::FailureReason;
use tintype_types::worker::{Outcome, Unwell, UnwellReason};
use tintype_worker::pipeline::Pipeline;
use tintype_worker::probe::GpuProbe as _;

use crate::bench::{Bench, PATIENCE};
use crate::contract::{Contract, Running, assignment, free_address, shapes_models};
use crate::stepper::{GreyLane, Stepper, Steps, Then, Watched};

struct Scene {
    bench: Bench,
    contract: Contract,
    worker: Running,
    steps: Steps,
}

impl Scene {
    async fn start() -> Self {
        let (bench, contract) = (Bench::new(), Contract::start().await);
        let (stepper, steps) = Stepper::new();
        Self::with(bench, contract, steps, stepper).await
    }

    async fn with(bench: Bench, contract: Contract, steps: Steps, pipeline: impl Pipeline) -> Self {
        let probe = bench.start_probe().await;
        let worker = Running::with_probe(&contract, pipeline, Box::new(probe), Some(free_address().await));
        worker.listening().await;
        Self { bench, contract, worker, steps }
    }

    /// Has the worker draw three of twenty steps.
    async fn draw(&self, job: &str) {
        self.contract.give(assignment(job, 1));
        let taken = self.steps.taken();
        self.steps.allow(3);
        self.contract.renewed(|renew| renew.step == 3).await;
        assert_eq!(self.steps.taken(), taken + 3);
    }

    /// Waits for an answer of the worker's own pages.
    async fn page(&self, path: &str, wanted: impl Fn(u16, &str) -> bool) {
        let since = Instant::now();
        loop {
            let (status, text) = self.worker.get(path).await;
            if wanted(status, &text) {
                return;
            }
            assert!(since.elapsed() < PATIENCE, "{path} still says {status}: {text}");
        }
    }

    async fn unready(&self, why: &str) {
        self.page("/readyz", |status, text| status == 503 && text.contains(why)).await;
    }

    /// That no more claims than these came and no more steps were taken, as long as this is said of the GPU. Both are
    /// looked at first: the trouble may be over at any time.
    async fn at_rest(&self, why: &str, (claims, steps): (usize, u32)) {
        let seen = (self.contract.claims(), self.steps.taken());
        self.unready(why).await;
        assert_eq!(seen, (claims, steps), "{why}: a faulty GPU asked for work or went on");
    }

    /// That the worker has said that it takes no work, for this reason, with these words.
    async fn told_unwell(&self, reason: UnwellReason, words: &str) {
        let said = |unwell: &Unwell| unwell.reason == reason && unwell.message.contains(words);
        let claim = self.contract.claimed_with(|claim| claim.unwell.as_ref().is_some_and(said)).await;
        assert_eq!((claim.free_slots, claim.warm_up), (0, None));
    }

    async fn ready(&self) {
        self.page("/readyz", |status, _| status == 200).await;
    }
}

fn reason(outcome: &Outcome) -> (FailureReason, bool) {
    match outcome {
        Outcome::Failed { reason, retryable, .. } => (*reason, *retryable),
        Outcome::Done { outputs } => unreachable!("{} pictures came out", outputs.len()),
        Outcome::Preempted { checkpoint } => unreachable!("nobody asked it to stop: {checkpoint:?}"),
    }
}

/// What becomes of a job that is being drawn when something ails the GPU.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// It failed, and that counts.
    Failed,
    /// It is given back with its three steps.
    GivenBack,
    /// It is given back, and its steps are not trusted.
    Distrusted,
}

/// One trouble in mid-attempt, told to the end; and how it heals. Faults are counted.
async fn fault(ails: UnwellReason, why: &str, fate: Fate, (fall_ill, heal): (Change, Change)) {
    let mut scene = Scene::start().await;
    scene.draw("job-1").await;
    scene.bench.change(fall_ill);
    let finish = scene.contract.finished("job-1").await;
    let expected = if fate == Fate::Failed { FailureReason::GpuFault } else { FailureReason::WorkerDrained };
    assert_eq!((reason(&finish.outcome), expected.counts()), ((expected, true), fate == Fate::Failed), "{why}");
    assert_eq!(scene.steps.taken(), 3, "{why}: a step was taken after the fault");
    assert_eq!(scene.contract.puts(), usize::from(fate == Fate::GivenBack), "{why}: checkpoints");
    scene.at_rest(why, (1, 3)).await;
    scene.told_unwell(ails, why).await;
    // Work that waits goes to it only once it is well.
    scene.steps.allow(20);
    scene.contract.give(assignment("job-2", 1));
    scene.at_rest(why, (1, 3)).await;
    let kind = ails.as_str();
    let counted = format!("tintype_worker_gpu_faults_total{{kind=\"{kind}\"}} 1");
    let shown = format!("tintype_worker_unwell{{reason=\"{kind}\"}} 1");
    let is_fault = ails != UnwellReason::Crowded;
    scene.page("/metrics", |_, text| text.contains(&shown) && (text.contains(&counted) || !is_fault)).await;
    scene.bench.change(heal);
    assert!(matches!(scene.contract.finished("job-2").await.outcome, Outcome::Done { .. }));
    scene.ready().await;
    scene.worker.drain().await;
}

type Change = fn(&mut Machine);

#[tokio::test]
async fn an_error_that_the_work_may_have_caused_is_a_failure_and_the_worker_rests() {
    fault(UnwellReason::Xid, "XID 43", Fate::Failed, (|machine| machine.gpus[0].xids = Some(vec![43]), |_| {})).await;
}

#[tokio::test]
async fn a_gpu_that_falls_off_the_bus_gives_its_job_back_as_far_as_it_came() {
    fault(UnwellReason::Xid, "XID 79", Fate::GivenBack, (|machine| machine.gpus[0].xids = Some(vec![79]), |_| {}))
        .await;
    let lose: Change = |machine| machine.gpus[0].lost = true;
    fault(UnwellReason::Lost, "does not answer", Fate::GivenBack, (lose, |machine| machine.gpus[0].lost = false)).await;
}

#[tokio::test]
async fn after_memory_errors_the_steps_are_not_trusted_and_the_page_must_be_gone() {
    let spoil: Change = |machine| {
        (machine.gpus[0].ecc_uncorrected, machine.gpus[0].retirement_pending) = (Some(1), Some(true));
    };
    fault(
        UnwellReason::Ecc,
        "ECC",
        Fate::Distrusted,
        (spoil, |machine| machine.gpus[0].retirement_pending = Some(false)),
    )
    .await;
}

#[tokio::test]
async fn a_gpu_that_is_cut_anew_or_shared_gives_its_job_back() {
    let cut: Change = |machine| {
        machine.gpus[0].mig = Some(true);
        machine.gpus[0].mig_devices = vec![MigDevice { uuid: "MIG-1".to_owned(), ..MigDevice::default() }];
    };
    fault(UnwellReason::Recut, "MIG", Fate::GivenBack, (cut, |_| {})).await;
    let crowd: Change = |machine| machine.gpus[0].processes = Some(vec![Process { pid: 1, memory_used: 4 << 30 }]);
    fault(UnwellReason::Crowded, "4096 MiB", Fate::GivenBack, (crowd, |machine| machine.gpus[0].processes = None))
        .await;
}

#[tokio::test]
async fn a_fault_of_another_gpu_is_counted_and_the_work_goes_on() {
    let mut scene = Scene::start().await;
    scene.draw("job-1").await;
    scene.bench.change(|machine| {
        machine.gpus[1].lost = true;
        machine.gpus[1].xids = Some(vec![79]);
    });
    scene.page("/metrics", |_, text| text.contains("gpu_faults_total{kind=\"xid\"} 1")).await;
    scene.steps.allow(17);
    assert!(matches!(scene.contract.finished("job-1").await.outcome, Outcome::Done { .. }));
    scene.contract.claimed(2).await;
    let (_, next) = scene.contract.claims_around("job-1").await;
    assert_eq!((next.gpus[1].xid_count, next.gpus[1].vram_free_bytes, next.gpus[0].xid_count), (1, 0, 0));
    scene.ready().await;
    scene.worker.drain().await;
}

#[tokio::test]
async fn a_claim_held_open_is_let_go() {
    let mut scene = Scene::start().await;
    scene.contract.claimed(1).await;
    scene.bench.raise(0, 79);
    scene.at_rest("XID 79", (1, 0)).await;
    // The first is never answered: a second one means that it was let go, and that the rest is over.
    scene.contract.claimed(2).await;
    scene.page("/readyz", |_, text| !text.contains("XID")).await;
    let (_, text) = scene.worker.get("/metrics").await;
    let none = "calls_total{call=\"claim\",outcome=\"unreachable\"} 0";
    assert!(text.contains(none), "it was not let go, but ran out of time: {text}");
    scene.worker.drain().await;
}

#[tokio::test]
async fn a_hot_gpu_gives_its_job_back_and_takes_no_other_until_it_has_cooled() {
    let mut scene = Scene::start().await;
    scene.draw("job-1").await;
    scene.bench.change(|machine| machine.gpus[0].temperature = Some(91));
    let finish = scene.contract.finished("job-1").await;
    assert_eq!(reason(&finish.outcome), (FailureReason::WorkerDrained, true));
    assert_eq!(scene.contract.puts(), 1, "a checkpoint");
    scene.unready("too hot").await;
    scene.told_unwell(UnwellReason::Hot, "limit is 90").await;
    scene.steps.allow(20);
    scene.contract.give(assignment("job-2", 1));
    // Below the threshold is not enough: it would be back there at once. The neighbour's error shows that it was read.
    scene.bench.change(|machine| {
        machine.gpus[0].temperature = Some(88);
        machine.gpus[1].xids = Some(vec![31]);
    });
    scene.page("/metrics", |_, text| text.contains("gpu_faults_total{kind=\"xid\"} 1")).await;
    scene.at_rest("limit is 90", (1, 3)).await;
    scene.bench.change(|machine| machine.gpus[0].temperature = Some(70));
    assert!(matches!(scene.contract.finished("job-2").await.outcome, Outcome::Done { .. }));
    let (_, text) = scene.worker.get("/metrics").await;
    for line in ["{kind=\"xid\"} 1", "{kind=\"ecc\"} 0", "{kind=\"lost\"} 0", "{kind=\"recut\"} 0"] {
        assert!(text.contains(&format!("gpu_faults_total{line}")), "heat is no fault: {text}");
    }
    scene.worker.drain().await;
}

#[tokio::test]
async fn a_pipeline_that_breaks_on_a_faulty_gpu_is_the_gpus_fault() {
    // The driver tells of an error at once, and of memory errors when it is read next: a good while after the pipeline broke.
    let faults: [(Change, FailureReason); 2] = [
        (|machine| machine.gpus[0].xids = Some(vec![31]), FailureReason::GpuFault),
        (|machine| machine.gpus[0].ecc_uncorrected = Some(1), FailureReason::WorkerDrained),
    ];
    for (fall_ill, expected) in faults {
        let (bench, contract) = (Bench::new(), Contract::start().await);
        let (stepper, steps) = Stepper::new();
        let mut change = bench.change_later(fall_ill);
        let breaking = Watched::new(stepper, move |lanes: &mut [&mut GreyLane]| -> Then {
            change();
            unreachable!("the test wants this panic in a step of {} lanes", lanes.len())
        });
        let scene = Scene::with(bench, contract, steps, breaking).await;
        scene.contract.give(assignment("job-1", 1));
        let finish = scene.contract.finished("job-1").await;
        assert_eq!(reason(&finish.outcome), (expected, true));
        scene.worker.drain().await;
    }
}

#[tokio::test]
async fn the_program_reports_the_gpus_of_the_library_it_is_given() {
    let (mut bench, contract) = (Bench::new(), Contract::start().await);
    let file = bench.file().with_file_name("elsewhere.json");
    std::fs::rename(bench.file(), &file).unwrap();
    let (mut program, _folder) = contract.program(&shapes_models());
    program.arg("--nvml-lib").arg(&bench.library).env("TINTYPE_FAKE_NVML", &file);
    let mut child = program.kill_on_drop(true).spawn().unwrap();
    contract.give(assignment("job-1", 1));
    assert!(matches!(contract.finished("job-1").await.outcome, Outcome::Done { .. }));
    let (first, _) = contract.claims_around("job-1").await;
    assert_eq!(first.gpus.iter().map(|gpu| &*gpu.uuid).collect::<Vec<_>>(), ["GPU-aa", "GPU-bb"]);
    assert_eq!(first.gpus, bench.reading());
    let id = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let ended = tokio::time::timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    assert_eq!(ended.code(), Some(0));
}

impl Bench {
    /// What a probe of our own reads here.
    fn reading(&mut self) -> Vec<tintype_types::worker::Gpu> {
        self.change(|_| {});
        self.probe().read()
    }
}
