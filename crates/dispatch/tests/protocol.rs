//! The worker protocol as a worker meets it: claims, renewals, finishes, and who is turned away.
#![expect(clippy::unwrap_used, reason = "what fails in a test fails the test")]

mod rig;

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use rig::{Ended, READER_TOKEN, Rig, Runner, WORKER_TOKEN, answer, attempt_path, failed, output, path, soon, until};
use serde_json::{Value, json};
use tintype_scheduler::{Decision, Place};
use tintype_store::checkpoint_key;
use tintype_types::worker::{CheckpointLeft, Claim, Outcome, RenewAnswer};
use tintype_types::{Attempt, FailureReason, JobState};
use tower::ServiceExt as _;

#[tokio::test(start_paused = true)]
async fn a_claim_is_answered_after_its_assignment_is_written_and_not_before() {
    let rig = Rig::leading().await;
    let worker = Runner::new("w1", "b1");
    rig.record.hold();
    let claim = rig.spawn_claim(&worker.claim());
    let job = rig.record.add("j1", 2);
    until("the assignment is being written", || rig.record.asked() == 1).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!claim.is_finished(), "told before it was written");
    rig.record.release();
    let assignment = soon(claim).await.unwrap().assignment.unwrap();
    assert_eq!(rig.record.seen(&job).place, Place::Assigned("w1".into()));
    assert_eq!((&assignment.job, assignment.attempt), (&job, Attempt(1)));
    assert_eq!((assignment.lease_ms, assignment.request.images), (30_000, 2));
    let keys: Vec<_> = assignment.outputs.iter().map(|target| target.key.as_str()).collect();
    assert_eq!(keys, ["jobs/j1/1/0.png", "jobs/j1/1/1.png"]);
}

#[tokio::test(start_paused = true)]
async fn a_job_goes_from_claim_to_complete_and_a_finish_may_be_repeated() {
    let rig = Rig::leading().await;
    let worker = Runner::new("w1", "b1");
    let job = rig.record.add("j1", 2);
    let assignment = rig.assigned(&worker).await;
    let RenewAnswer::Continue { lease_end, .. } = rig.renew(&worker, &assignment, 3).await.unwrap() else {
        panic!("the attempt must go on")
    };
    assert!(lease_end >= assignment.lease_end);
    let outcome = rig.draw(&assignment).await;
    // Repeated before and after the dispatcher has seen the record come back.
    rig.record.set_mute(true);
    assert_eq!(rig.finish(&worker, &assignment, outcome.clone()).await, 200);
    assert_eq!(rig.finish(&worker, &assignment, outcome.clone()).await, 200);
    rig.record.set_mute(false);
    rig.record.tell_all();
    assert_eq!(rig.finish(&worker, &assignment, outcome.clone()).await, 200);
    let Outcome::Done { outputs } = outcome else { panic!("pictures were drawn") };
    assert_eq!(rig.record.ended(&job), Some(Ended::Complete(outputs)));
    let completes = rig.record.done().iter().filter(|done| matches!(done, Decision::Complete { .. })).count();
    assert_eq!(completes, 1);
    // A finish of somebody else, or of another start, is not a repetition.
    let stranger = Runner::new("w1", "b0");
    assert_eq!(rig.finish(&stranger, &assignment, failed(FailureReason::Internal, true)).await, 409);
    assert_eq!(rig.metric("tintype_dispatch_finishes_total", &["written"]), 3);
    assert_eq!(rig.metric("tintype_dispatch_claims_total", &["assigned"]), 1);
    assert_eq!(rig.metric("tintype_dispatch_write_seconds", &["complete", "written"]), 1);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_not_heard_of_is_lost_and_its_late_calls_are_stale() {
    let rig = Rig::leading().await;
    let (late, other) = (Runner::new("w1", "b1"), Runner::new("w2", "b1"));
    let job = rig.record.add("j1", 1);
    let assignment = rig.assigned(&late).await;
    let outcome = rig.draw(&assignment).await;
    tokio::time::advance(rig::LEASE.saturating_sub(Duration::from_millis(1))).await;
    assert!(rig.renew(&late, &assignment, 1).await.is_ok(), "a lease must hold to its end");
    tokio::time::advance(rig::LEASE + Duration::from_millis(5)).await;
    until("the job waits again", || rig.record.seen(&job).place == Place::Queued).await;
    assert_eq!(rig.record.seen(&job).failed_attempts, 1);
    assert_eq!(rig.finish(&late, &assignment, outcome).await, 409);
    assert_eq!(rig.renew(&late, &assignment, 2).await, Err(StatusCode::CONFLICT));
    let again = rig.assigned(&other).await;
    assert_eq!((&again.job, again.attempt), (&job, Attempt(2)));
    assert_eq!(again.outputs[0].key, "jobs/j1/2/0.png");
    assert_eq!(rig.renew(&late, &assignment, 3).await, Err(StatusCode::CONFLICT));
    assert!(rig.renew(&other, &again, 1).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_new_start_of_a_worker_ends_what_the_old_one_ran_at_once() {
    let rig = Rig::leading().await;
    let (before, after) = (Runner::new("w1", "b1"), Runner::new("w1", "b2"));
    let job = rig.record.add("j1", 1);
    let assignment = rig.assigned(&before).await;
    assert!(rig.renew(&before, &assignment, 1).await.is_ok());
    let started = tokio::time::Instant::now();
    let claim = rig.spawn_claim(&after.claim());
    until("the job waits again", || rig.record.seen(&job).place == Place::Queued).await;
    assert!(started.elapsed() < Duration::from_secs(1), "it waited for the lease");
    assert_eq!(rig.renew(&before, &assignment, 2).await, Err(StatusCode::CONFLICT));
    let again = soon(claim).await.unwrap().assignment.unwrap();
    assert_eq!((&again.job, again.attempt), (&job, Attempt(2)));
}

#[tokio::test(start_paused = true)]
async fn a_worker_with_slots_holds_several_attempts() {
    let rig = Rig::leading().await;
    let worker = Runner::new("w1", "b1");
    let jobs = [rig.record.add("j1", 1), rig.record.add("j2", 1)];
    let mut held = Vec::new();
    for free_slots in [2, 1] {
        let claim = Claim { free_slots, ..worker.claim() };
        held.push(rig.claim(&claim).await.assignment.unwrap());
    }
    assert_eq!(held.iter().map(|held| &held.job).collect::<Vec<_>>(), [&jobs[0], &jobs[1]]);
    for assignment in &held {
        assert!(rig.renew(&worker, assignment, 1).await.is_ok());
    }
    for assignment in &held {
        let outcome = rig.draw(assignment).await;
        assert_eq!(rig.finish(&worker, assignment, outcome).await, 200);
    }
    assert!(jobs.iter().all(|job| matches!(rig.record.ended(job), Some(Ended::Complete(_)))));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_job_is_stopped_at_the_next_renew() {
    let rig = Rig::leading().await;
    let worker = Runner::new("w1", "b1");
    let job = rig.record.add("j1", 1);
    let assignment = rig.assigned(&worker).await;
    assert!(matches!(rig.renew(&worker, &assignment, 1).await, Ok(RenewAnswer::Continue { .. })));
    rig.record.cancel(&job);
    let mut watch = rig.dispatch.watch_job(&job).unwrap();
    until("the cancellation is known", || rig.record.done().len() == 1 && rig.record.seen(&job).cancelled).await;
    let cancel = RenewAnswer::Cancel { reason: FailureReason::Cancelled };
    // The watch and the renewals race; no more than a few renewals may pass it.
    let mut told = rig.renew(&worker, &assignment, 2).await.unwrap();
    for step in 3..10 {
        if told == cancel {
            break;
        }
        told = rig.renew(&worker, &assignment, step).await.unwrap();
    }
    assert_eq!(told, cancel);
    assert_eq!(rig.finish(&worker, &assignment, failed(FailureReason::Cancelled, false)).await, 200);
    assert_eq!(rig.record.ended(&job), Some(Ended::Failed(FailureReason::Cancelled)));
    let mut last = None;
    while let Some(event) = soon(watch.next()).await {
        last = Some(event);
    }
    assert_eq!(last.unwrap().failure, Some(FailureReason::Cancelled));
}

#[tokio::test(start_paused = true)]
async fn pictures_that_are_not_in_the_store_complete_nothing() {
    let rig = Rig::leading().await;
    let worker = Runner::new("w1", "b1");
    let job = rig.record.add("j1", 2);
    let assignment = rig.assigned(&worker).await;
    let (first, second) = (&assignment.outputs[0].key, &assignment.outputs[1].key);
    let none = Outcome::Done { outputs: vec![output(first, 5), output(second, 5)] };
    let (status, body) = rig.finish_says(&worker, &assignment, none).await;
    assert_eq!((status.as_u16(), &body["error"]["param"]), (400, &json!("outputs")));
    let Outcome::Done { outputs } = rig.draw(&assignment).await else { panic!("pictures were drawn") };
    let mut longer = outputs.clone();
    longer[1].bytes += 1;
    let mut foreign = outputs.clone();
    foreign[1].key = "jobs/other/1/1.png".to_owned();
    for bad in [longer, foreign, outputs[1..].to_vec(), vec![]] {
        assert_eq!(rig.finish(&worker, &assignment, Outcome::Done { outputs: bad }).await, 400);
    }
    assert_eq!(rig.record.ended(&job), None);
    assert_eq!(rig.metric("tintype_dispatch_finishes_total", &["invalid"]), 5);
    // One of two is better than none: the record has what there is, and as much is charged.
    let fewer = Outcome::Done { outputs: outputs[..1].to_vec() };
    assert_eq!(rig.finish(&worker, &assignment, fewer).await, 200);
}

#[tokio::test(start_paused = true)]
async fn a_failed_attempt_is_tried_again_unless_it_cannot_end_otherwise() {
    let rig = Rig::leading().await;
    let worker = Runner::new("w1", "b1");
    let job = rig.record.add("j1", 1);
    let first = rig.assigned(&worker).await;
    assert_eq!(rig.finish(&worker, &first, failed(FailureReason::OutOfMemory, true)).await, 200);
    assert_eq!(rig.record.seen(&job).place, Place::Queued);
    let second = rig.assigned(&worker).await;
    assert_eq!(second.attempt, Attempt(2));
    assert_eq!(rig.finish(&worker, &second, failed(FailureReason::InvalidRequest, false)).await, 200);
    assert_eq!(rig.record.ended(&job), Some(Ended::Failed(FailureReason::InvalidRequest)));
    assert_eq!(rig.finish(&worker, &first, failed(FailureReason::OutOfMemory, true)).await, 200, "it was written");
}

#[tokio::test(start_paused = true)]
async fn a_claim_without_work_waits_and_says_why_it_got_none() {
    let rig = Rig::leading().await;
    let worker = Runner::new("w1", "b1");
    let mut claim = worker.claim();
    claim.loadable_models = vec!["another".to_owned()];
    claim.resident_models.clear();
    rig.record.add("j1", 1);
    let started = tokio::time::Instant::now();
    let answer = rig.claim(&claim).await;
    assert_eq!(answer.assignment, None);
    assert_eq!(answer.skipped.get("model_not_loadable"), Some(&1), "{:?}", answer.skipped);
    let waited = started.elapsed();
    assert!(Duration::from_secs(20) <= waited && waited < Duration::from_secs(21), "{waited:?}");
    claim.wait_ms = u64::MAX;
    let started = tokio::time::Instant::now();
    rig.claim(&claim).await;
    let waited = started.elapsed();
    assert!(Duration::from_secs(55) <= waited && waited < Duration::from_secs(56), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_second_claim_of_a_worker_replaces_the_first() {
    let rig = Rig::leading().await;
    let worker = Runner::new("w1", "b1");
    let first = rig.spawn_claim(&worker.claim());
    until("the first is parked", || rig.metric("tintype_dispatch_parked_claims", &[]) == 1).await;
    let started = tokio::time::Instant::now();
    let second = rig.spawn_claim(&worker.claim());
    assert_eq!(first.await.unwrap().assignment, None);
    assert!(started.elapsed() < Duration::from_secs(1));
    rig.record.add("j1", 1);
    assert!(second.await.unwrap().assignment.is_some());
    assert_eq!(rig.metric("tintype_dispatch_claims_total", &["replaced"]), 1);
}

#[tokio::test]
async fn who_has_no_token_or_a_wrong_one_is_turned_away() {
    let rig = Rig::leading().await;
    let claim = json!(Runner::new("w1", "b1").claim()).to_string();
    let (long, lower) = (format!("Bearer {WORKER_TOKEN}x"), format!("bearer {WORKER_TOKEN}"));
    let (wrong, bare) = (format!("Bearer {READER_TOKEN}"), WORKER_TOKEN.to_owned());
    let cases = [None, Some(wrong), Some(bare), Some(long), Some(String::new())];
    for token in cases {
        for path in ["/worker/v1/claim", "/worker/v1/jobs/j/attempts/1/renew", "/worker/v1/jobs/j/attempts/1/finish"] {
            let mut request = Request::post(path);
            if let Some(token) = &token {
                request = request.header(header::AUTHORIZATION, token);
            }
            let request = request.body(Body::from(claim.clone())).unwrap();
            let (status, body) = answer(rig.dispatch.worker_router().oneshot(request).await.unwrap()).await;
            assert_eq!((status.as_u16(), &body["error"]["code"]), (401, &json!("invalid_api_key")), "{token:?}");
        }
        for path in ["jobs/j/events", "jobs/j/image/0", "verdicts?job=j", "workers"] {
            let mut request = Request::get(format!("/dispatch/v1/{path}"));
            if let Some(token) = token.as_ref().filter(|token| !token.contains(READER_TOKEN)) {
                request = request.header(header::AUTHORIZATION, token);
            }
            let request = request.body(Body::empty()).unwrap();
            assert_eq!(rig.dispatch.read_router().oneshot(request).await.unwrap().status(), 401, "{path}");
        }
    }
    let request = Request::post(attempt_path(&"j".into(), 1, "renew")).header(header::AUTHORIZATION, lower);
    let response = rig.dispatch.worker_router().oneshot(request.body(Body::from("{}")).unwrap()).await.unwrap();
    assert_eq!(response.status(), 400, "the scheme's case does not matter");
}

#[tokio::test]
async fn bodies_and_paths_that_make_no_sense_are_refused() {
    let rig = Rig::leading().await;
    let worker = Runner::new("w1", "b1");
    let huge = json!({ "worker": "x".repeat(300_000) });
    let (status, body) = rig.worker_call("/worker/v1/claim", &huge).await;
    assert_eq!((status.as_u16(), &body["error"]["code"]), (413, &json!("payload_too_large")));
    for bad in [json!({}), json!([]), Value::Null, json!("claim")] {
        let (status, body) = rig.worker_call("/worker/v1/claim", &bad).await;
        assert_eq!((status.as_u16(), &body["error"]["code"]), (400, &json!("invalid_request")), "{body}");
    }
    let mut nameless = worker.claim();
    nameless.worker = "".into();
    let (status, body) = rig.worker_call("/worker/v1/claim", &json!(nameless)).await;
    assert_eq!((status.as_u16(), &body["error"]["param"]), (400, &json!("worker")));
    let renew = json!({ "worker": "w1", "bootId": "b1", "step": 1, "steps": 2 });
    for path in ["/worker/v1/jobs/j/attempts/x/renew", "/worker/v1/jobs/j%2Fk/attempts/1/renew"] {
        let (status, body) = rig.worker_call(path, &renew).await;
        assert_eq!((status.as_u16(), &body["error"]["code"]), (400, &json!("invalid_request")), "{body}");
    }
    let (status, body) = rig.worker_call(&attempt_path(&"nobody".into(), 1, "renew"), &renew).await;
    assert_eq!((status.as_u16(), &body["error"]["code"]), (409, &json!("stale_attempt")));
}

#[tokio::test(start_paused = true)]
async fn the_workers_and_verdicts_can_be_read() {
    let rig = Rig::leading().await;
    let worker = Runner::new("w1", "b1");
    let job = rig.record.add("j1", 1);
    let assignment = rig.assigned(&worker).await;
    assert_eq!(path(&assignment, "renew"), "/worker/v1/jobs/j1/attempts/1/renew");
    let (status, body) = answer(rig.read("/dispatch/v1/verdicts?job=j1").await).await;
    assert_eq!((status.as_u16(), body), (200, json!({ "kind": "running", "attempt": 1, "worker": "w1" })));
    assert!(rig.dispatch.verdict(&job).await.is_some());
    assert_eq!(rig.read("/dispatch/v1/verdicts?job=unknown").await.status(), 404);
    assert_eq!(rig.read("/dispatch/v1/verdicts").await.status(), 400);
    let (status, body) = answer(rig.read("/dispatch/v1/workers").await).await;
    assert_eq!((status.as_u16(), &body[0]["worker"], &body[0]["pool"]), (200, &json!("w1"), &json!("cpu")));
    let seen = rig.dispatch.workers().await;
    assert_eq!((seen.len(), seen[0].gpus.len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_goes_on_from_the_newest_checkpoint_before_it_and_none_is_left_in_the_end() {
    let rig = Rig::leading().await;
    let (first, second) = (Runner::new("w1", "b1"), Runner::new("w2", "b1"));
    let job = rig.record.add("j1", 1);
    let stopped =
        |step| Outcome::Preempted { checkpoint: Some(CheckpointLeft { step, bytes: 5, sha256: "ab".repeat(32) }) };
    let mut assignment = rig.assigned(&first).await;
    for (attempt, left, found) in [(1, true, None), (2, false, Some(1)), (3, true, Some(1)), (4, false, Some(3))] {
        let plan = assignment.checkpoint.clone().unwrap();
        let from = plan.resume_url.as_deref().map(|url| url.split_once('?').unwrap().0.to_owned());
        let wanted = found.map(|earlier| format!("http://store.test/store/v1/jobs/j1/{earlier}/checkpoint"));
        assert_eq!((assignment.attempt, from), (Attempt(attempt), wanted));
        if let Some(url) = plan.resume_url {
            assert_eq!(rig.store_call(Request::get(url.as_str()), "").await, 200);
        }
        for content in ["once", "again"] {
            if left {
                assert_eq!(rig.store_call(Request::put(plan.put_url.as_str()), content).await, 200);
            }
        }
        let mut watch = rig.dispatch.watch_job(&job).unwrap();
        assert_eq!(rig.finish(&first, &assignment, stopped(3)).await, 200);
        while soon(watch.next()).await.unwrap().state != JobState::Preempted {}
        assert_eq!(rig.record.seen(&job).failed_attempts, 0);
        assignment = rig.assigned(&first).await;
    }
    let again = assignment;
    assert_eq!(again.attempt, Attempt(5));
    let bad = Outcome::Preempted { checkpoint: Some(CheckpointLeft { step: 1, bytes: 1, sha256: "x".to_owned() }) };
    assert_eq!(rig.finish(&first, &again, bad).await, 400);
    assert_eq!(rig.finish(&second, &again, stopped(1)).await, 409);
    let outcome = rig.draw(&again).await;
    assert_eq!(rig.finish(&first, &again, outcome).await, 200);
    let started = std::time::Instant::now();
    for attempt in 1..=5 {
        while rig.store.stat(&checkpoint_key(&job, Attempt(attempt))).await.unwrap().is_some() {
            assert!(started.elapsed() < Duration::from_secs(30), "the checkpoint of attempt {attempt} stays");
        }
    }
    assert!(rig.store.stat("jobs/j1/5/0.png").await.unwrap().is_some(), "the picture stays");
}
