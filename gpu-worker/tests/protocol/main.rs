//! The worker against a small dispatcher and store that keep the contract: claim, renew, put, finish, and every way an
//! attempt can end otherwise.
#![expect(clippy::unwrap_used, reason = "a test says what broke by panicking")]

mod checkpoints;
mod contract;
mod previews;
mod sources;
mod stepper;
mod warm;

use std::sync::atomic::Ordering;

use tintype_types::worker::{Assignment, Outcome, RenewAnswer};
use tintype_types::{Attempt, FailureReason, ImageFormat};
use tintype_worker::testing::shapes::{Expected, check, decode_png};

use crate::contract::{Contract, PATIENCE, Running, TOKEN, assignment, shapes_models};
use crate::stepper::Stepper;

#[tokio::test]
async fn a_job_is_claimed_renewed_stored_and_finished() {
    let contract = Contract::start().await;
    let mut job = assignment("job-1", 2);
    job.request.prompt = "a red circle on a blue background".to_owned();
    contract.give(job.clone());
    let worker = Running::with_shapes(&contract);
    let finish = contract.finished("job-1").await;
    let Outcome::Done { outputs } = &finish.outcome else { panic!("{finish:?}") };
    assert_eq!(outputs.iter().map(|output| output.seed).collect::<Vec<_>>(), [7, 8]);
    for (output, target) in outputs.iter().zip(&job.outputs) {
        let put = contract.stored(&target.put_url);
        assert_eq!(output.key, target.key);
        assert_eq!(output.bytes, put.bytes.len() as u64);
        assert_eq!(output.sha256, contract::sha256(&put.bytes));
        assert_eq!((put.content_type.as_deref(), put.authorization), (Some("image/png"), None));
        let image = decode_png(&put.bytes).unwrap();
        assert!(check(&image, Expected { colour: "red", shape: "circle", ground: "blue" }).all());
    }
    assert!(finish.gpu_ms > 0);
    let (first, next) = contract.claims_around("job-1").await;
    assert_eq!((first.free_slots, first.resident_models.len()), (1, 0));
    assert_eq!(first.loadable_models, ["tintype/shapes", "tintype/shapes-xl"]);
    assert_eq!(next.resident_models, ["tintype/shapes"]);
    let [resident] = &next.residents[..] else { unreachable!("one model is in memory: {:?}", next.residents) };
    assert!(resident.name == "tintype/shapes" && resident.bytes > 9 << 20 && resident.load_ms > 0, "{resident:?}");
    assert_eq!(first.gpus[0].uuid, "cpu-0");
    assert_eq!((finish.worker, finish.boot_id), (first.worker, first.boot_id));
    worker.drain().await;
}

#[tokio::test]
async fn a_picture_is_stored_in_the_format_asked_for() {
    let starts: [(ImageFormat, &[u8]); 2] = [(ImageFormat::Webp, b"RIFF"), (ImageFormat::Jpeg, b"\xff\xd8\xff")];
    for (format, start) in starts {
        let contract = Contract::start().await;
        let mut job = assignment("job-1", 1);
        job.request.format = format;
        contract.give(job.clone());
        let (stepper, steps) = Stepper::new();
        let worker = Running::with(&contract, stepper);
        steps.allow(20);
        assert!(matches!(contract.finished("job-1").await.outcome, Outcome::Done { .. }));
        let put = contract.stored(&job.outputs[0].put_url);
        assert_eq!(put.content_type.as_deref(), Some(format.media_type()));
        assert!(put.bytes.starts_with(start), "{format:?}");
        worker.drain().await;
    }
}

#[tokio::test]
async fn a_picture_the_filter_does_not_pass_is_not_stored_and_not_tried_again() {
    let contract = Contract::start().await;
    contract.give(assignment("job-1", 1));
    let (stepper, steps) = Stepper::new();
    let worker = Running::with_flags(&contract, stepper, &["--safety-filter", "command:/bin/false"]);
    steps.allow(20);
    let finish = contract.finished("job-1").await;
    assert_eq!(reason(&finish.outcome), (FailureReason::ContentRefused, false));
    assert_eq!(contract.puts(), 0);
    worker.drain().await;
}

#[tokio::test]
async fn progress_is_shown_with_every_renewal() {
    let contract = Contract::start().await;
    contract.give(assignment("job-1", 2));
    let (stepper, steps) = Stepper::new();
    let worker = Running::with(&contract, stepper);
    steps.allow(23);
    let renew = contract.renewed(|renew| renew.step == 23).await;
    assert_eq!((renew.steps, renew.gpus.len()), (40, 1));
    steps.allow(17);
    assert!(matches!(contract.finished("job-1").await.outcome, Outcome::Done { .. }));
    worker.drain().await;
}

#[tokio::test]
async fn a_cancelled_job_takes_no_further_step() {
    let contract = Contract::start().await;
    contract.give(assignment("job-1", 1));
    let (stepper, steps) = Stepper::new();
    let worker = Running::with(&contract, stepper);
    steps.allow(3);
    contract.renewed(|renew| renew.step == 3).await;
    contract.answer_renewals(Some(RenewAnswer::Cancel { reason: FailureReason::Cancelled }));
    let finish = contract.finished("job-1").await;
    assert_eq!(reason(&finish.outcome), (FailureReason::Cancelled, false));
    assert_eq!(steps.taken(), 3);
    assert_eq!(contract.puts(), 0);
    worker.drain().await;
}

#[tokio::test]
async fn an_attempt_that_is_not_ours_any_more_is_dropped_in_silence() {
    let contract = Contract::start().await;
    contract.give(assignment("job-1", 1));
    let (stepper, steps) = Stepper::new();
    let worker = Running::with(&contract, stepper);
    steps.allow(2);
    contract.renewed(|renew| renew.step == 2).await;
    contract.refuse_renewals();
    let (_, next) = contract.claims_around("job-1").await;
    assert_eq!(next.free_slots, 1);
    assert_eq!((steps.taken(), contract.puts(), contract.finishes("job-1")), (2, 0, 0));
    worker.drain().await;
}

#[tokio::test]
async fn a_drained_worker_gives_its_job_back_and_ends() {
    let contract = Contract::start().await;
    contract.give(assignment("job-1", 1));
    let (stepper, steps) = Stepper::new();
    let worker = Running::with(&contract, stepper);
    steps.allow(5);
    contract.renewed(|renew| renew.step == 5).await;
    worker.drain().await;
    let finish = contract.finished("job-1").await;
    assert_eq!(reason(&finish.outcome), (FailureReason::WorkerDrained, true));
    assert_eq!(steps.taken(), 5);
}

#[tokio::test]
async fn a_worker_with_slots_runs_jobs_side_by_side_and_claims_while_one_is_free() {
    let contract = Contract::start().await;
    contract.give(assignment("job-1", 1));
    contract.give(assignment("job-2", 1));
    let (stepper, steps) = Stepper::new();
    let worker = Running::with_slots(&contract, stepper, 3);
    contract.claimed(3).await;
    assert_eq!(contract.free_slots(), [3, 2, 1]);
    // Both move, though neither ends.
    steps.allow(10);
    contract.renewed(|renew| renew.step == 5).await;
    steps.allow(30);
    for job in ["job-1", "job-2"] {
        assert!(matches!(contract.finished(job).await.outcome, Outcome::Done { .. }), "{job}");
    }
    // The claim that was open is still the one, and takes the next job.
    assert_eq!(contract.claims(), 3);
    contract.give(assignment("job-3", 1));
    contract.claimed(4).await;
    assert_eq!(contract.free_slots()[3], 2);
    worker.drain().await;
    let finish = contract.finished("job-3").await;
    assert_eq!(reason(&finish.outcome), (FailureReason::WorkerDrained, true));
}

#[tokio::test]
async fn a_waiting_worker_ends_at_once() {
    let contract = Contract::start().await;
    let worker = Running::with(&contract, Stepper::new().0);
    contract.claimed(1).await;
    worker.drain().await;
    assert_eq!(contract.claims(), 1);
}

#[tokio::test]
async fn a_store_that_stumbles_is_tried_again() {
    let contract = Contract::start().await;
    contract.shared.put_failures.store(2, Ordering::SeqCst);
    contract.give(assignment("job-1", 1));
    let (stepper, steps) = Stepper::new();
    let worker = Running::with(&contract, stepper);
    steps.allow(20);
    assert!(matches!(contract.finished("job-1").await.outcome, Outcome::Done { .. }));
    assert_eq!(contract.puts(), 3);
    worker.drain().await;
}

#[tokio::test]
async fn a_url_the_store_refuses_fails_the_attempt_and_not_the_job() {
    let contract = Contract::start().await;
    let mut job = assignment("job-1", 3);
    job.outputs[1].put_url = "/store/forbidden".to_owned();
    contract.give(job);
    let (stepper, steps) = Stepper::new();
    let worker = Running::with(&contract, stepper);
    steps.allow(60);
    let finish = contract.finished("job-1").await;
    assert_eq!(reason(&finish.outcome), (FailureReason::UploadFailed, true));
    worker.drain().await;
}

#[tokio::test]
async fn the_end_is_said_until_it_is_heard() {
    let contract = Contract::start().await;
    contract.shared.finish_failures.store(2, Ordering::SeqCst);
    // It is said again for two leases, which must not be over first.
    contract.give(Assignment { lease_ms: PATIENCE.as_millis() as u64, ..assignment("job-1", 1) });
    let (stepper, steps) = Stepper::new();
    let worker = Running::with(&contract, stepper);
    steps.allow(20);
    contract.finished("job-1").await;
    assert_eq!(contract.finishes("job-1"), 3);
    worker.drain().await;
}

#[tokio::test]
async fn a_stale_end_is_said_once_and_the_worker_goes_on() {
    let contract = Contract::start().await;
    let mut stale = assignment("stale", 1);
    stale.attempt = Attempt(1);
    contract.give(stale);
    contract.give(assignment("job-2", 1));
    let (stepper, steps) = Stepper::new();
    let worker = Running::with(&contract, stepper);
    steps.allow(40);
    assert!(matches!(contract.finished("job-2").await.outcome, Outcome::Done { .. }));
    assert_eq!(contract.finishes("stale"), 1);
    worker.drain().await;
}

#[tokio::test]
async fn what_cannot_be_drawn_fails_for_good() {
    let contract = Contract::start().await;
    let worker = Running::with_shapes(&contract);
    for (job, expected, images) in [
        ("unknown", FailureReason::UnknownModel, 1),
        ("odd", FailureReason::InvalidRequest, 1),
        ("many", FailureReason::InvalidRequest, 2),
    ] {
        let mut given = assignment(job, 1);
        match job {
            "unknown" => given.request.model = "nobody/nothing".to_owned(),
            "odd" => given.request.width = 100,
            _ => given.request.images = images,
        }
        contract.give(given);
        let finish = contract.finished(job).await;
        assert_eq!(reason(&finish.outcome), (expected, false), "{job}");
    }
    worker.drain().await;
}

#[tokio::test]
async fn a_damaged_model_is_named_and_the_worker_lives() {
    let contract = Contract::start().await;
    let models = tempfile::tempdir().unwrap();
    contract::copy_dir(&shapes_models(), models.path());
    let unet = models.path().join("shapes/unet/diffusion_pytorch_model.safetensors");
    let whole = std::fs::read(&unet).unwrap();
    std::fs::write(&unet, &whole[..whole.len() / 2]).unwrap();
    let worker = Running::with_models(&contract, models.path());
    contract.give(assignment("job-1", 1));
    let finish = contract.finished("job-1").await;
    assert_eq!(reason(&finish.outcome), (FailureReason::ModelUnreadable, false));
    let Outcome::Failed { message, .. } = &finish.outcome else { unreachable!() };
    assert!(message.contains("diffusion_pytorch_model.safetensors"), "{message}");
    std::fs::write(&unet, &whole).unwrap();
    contract.give(assignment("job-2", 1));
    assert!(matches!(contract.finished("job-2").await.outcome, Outcome::Done { .. }));
    worker.drain().await;
}

#[tokio::test]
async fn a_pipeline_that_panics_costs_one_attempt() {
    let contract = Contract::start().await;
    let mut job = assignment("job-1", 1);
    job.request.prompt = stepper::PANIC.to_owned();
    contract.give(job);
    let (stepper, steps) = Stepper::new();
    let worker = Running::with(&contract, stepper);
    assert_eq!(reason(&contract.finished("job-1").await.outcome), (FailureReason::Internal, true));
    contract.give(assignment("job-2", 1));
    steps.allow(20);
    assert!(matches!(contract.finished("job-2").await.outcome, Outcome::Done { .. }));
    worker.drain().await;
}

#[tokio::test]
async fn a_rotated_token_is_picked_up() {
    let contract = Contract::start().await;
    let (stepper, steps) = Stepper::new();
    let worker = Running::with(&contract, stepper);
    contract.claimed(1).await;
    contract.set_token("another-secret-of-ours");
    std::fs::write(worker.token_file(), "another-secret-of-ours\n").unwrap();
    contract.give(assignment("job-1", 1));
    steps.allow(20);
    assert!(matches!(contract.finished("job-1").await.outcome, Outcome::Done { .. }));
    assert_ne!(TOKEN, "another-secret-of-ours");
    worker.drain().await;
}

#[tokio::test]
async fn without_a_model_it_is_alive_not_ready_and_claims_nothing() {
    let contract = Contract::start().await;
    let empty = tempfile::tempdir().unwrap();
    let worker = Running::with_models_listening(&contract, empty.path()).await;
    assert_eq!(worker.get("/healthz").await, (200, "ok\n".to_owned()));
    assert_eq!(worker.get("/readyz").await.0, 503);
    assert_eq!(contract.claims(), 0);
    worker.drain().await;
}

#[tokio::test]
async fn readiness_and_metrics_follow_the_work() {
    let contract = Contract::start().await;
    let worker = Running::with_models_listening(&contract, &shapes_models()).await;
    contract.give(assignment("job-1", 1));
    contract.finished("job-1").await;
    contract.claimed(2).await;
    assert_eq!(worker.get("/readyz").await, (200, "ok\n".to_owned()));
    let (_, text) = worker.get("/metrics").await;
    for line in [
        "tintype_worker_images_total 1",
        "tintype_worker_attempts_total{outcome=\"done\"} 1",
        "tintype_worker_calls_total{call=\"put\",outcome=\"ok\"} 1",
        "tintype_worker_step_seconds_count{family=\"sd15\"} 20",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    worker.drain().await;
}

#[tokio::test]
async fn a_dispatcher_that_is_away_is_waited_for() {
    let contract = Contract::start().await;
    contract.shared.claim_failures.store(3, Ordering::SeqCst);
    contract.give(assignment("job-1", 1));
    let (stepper, steps) = Stepper::new();
    let worker = Running::with(&contract, stepper);
    steps.allow(20);
    let finish = contract.finished("job-1").await;
    assert!(matches!(finish.outcome, Outcome::Done { .. }));
    worker.drain().await;
}

#[tokio::test]
async fn the_program_ends_well_on_sigterm_and_says_what_it_lacks() {
    let contract = Contract::start().await;
    let (mut program, _folder) = contract.program(&shapes_models());
    let mut child = program.kill_on_drop(true).spawn().unwrap();
    contract.give(assignment("job-1", 1));
    assert!(matches!(contract.finished("job-1").await.outcome, Outcome::Done { .. }));
    contract.claimed(2).await;
    let id = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let ended = tokio::time::timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    assert_eq!(ended.code(), Some(0));
    let (mut program, _folder) = contract.program(&shapes_models());
    let refused = program.arg("--dispatch-url=nowhere").output().await.unwrap();
    assert_ne!(refused.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("dispatch-url"), "{refused:?}");
}

fn reason(outcome: &Outcome) -> (FailureReason, bool) {
    match outcome {
        Outcome::Failed { reason, retryable, .. } => (*reason, *retryable),
        Outcome::Done { outputs } => unreachable!("{} pictures came out", outputs.len()),
        Outcome::Preempted { checkpoint } => unreachable!("nobody asked it to stop: {checkpoint:?}"),
    }
}
