//! What goes wrong between worker, dispatcher and record: refused writes, lost answers, hung-up callers, leadership that
//! comes and goes.
#![expect(clippy::unwrap_used, reason = "what fails in a test fails the test")]

mod rig;

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use rig::{Ended, Fault, Rig, Runner, WORKER_TOKEN, failed, path, soon, until};
use serde_json::json;
use tintype_scheduler::{Decision, Place};
use tintype_types::worker::{Claim, Finish, RenewAnswer};
use tintype_types::{Attempt, FailureReason, JobState};
use tower::ServiceExt as _;

#[tokio::test(start_paused = true)]
async fn an_assignment_whose_write_was_done_but_not_answered_reaches_the_worker_with_its_next_claim() {
    let rig = Rig::leading().await;
    let worker = Runner::new("w1", "b1");
    rig.record.fail_next([Fault::LoseAck]);
    let job = rig.record.add("j1", 1);
    let started = tokio::time::Instant::now();
    assert_eq!(rig.claim(&worker.claim()).await.assignment, None, "nobody may be told of a write in doubt");
    assert_eq!(rig.record.seen(&job).place, Place::Assigned("w1".into()));
    let assignment = rig.assigned(&worker).await;
    assert_eq!((&assignment.job, assignment.attempt), (&job, Attempt(1)));
    assert!(started.elapsed() < rig::LEASE, "the lease must not have to run out for it");
    let outcome = rig.draw(&assignment).await;
    assert_eq!(rig.finish(&worker, &assignment, outcome).await, 200);
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_parked_when_a_lost_assignment_shows_up_gets_it() {
    for start_over in [false, true] {
        let rig = Rig::leading().await;
        let worker = Runner::new("w1", "b1");
        rig.record.fail_next([Fault::LoseAck]);
        let job = rig.record.add("j1", 1);
        rig.knows(&job).await;
        rig.record.set_mute(true);
        assert_eq!(rig.claim(&worker.claim()).await.assignment, None);
        // The watch lags: the next claim is parked before the record is heard of.
        let claim = rig.spawn_claim(&worker.claim());
        until("the claim is parked", || rig.metric("tintype_dispatch_parked_claims", &[]) == 1).await;
        rig.record.set_mute(false);
        if start_over {
            rig.lead().await;
        } else {
            rig.record.tell_all();
        }
        let assignment = soon(claim).await.unwrap().assignment.expect("the parked claim must get it");
        assert_eq!((&assignment.job, assignment.attempt), (&job, Attempt(1)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_wait_ends_while_its_assignment_is_written_is_held_a_little_longer() {
    for (write_ms, in_time) in [(3_000, true), (9_000, false)] {
        let rig = Rig::leading().await;
        let worker = Runner::new("w1", "b1");
        rig.record.hold();
        let job = rig.record.add("j1", 1);
        let claim = rig.spawn_claim(&Claim { wait_ms: 1_000, ..worker.claim() });
        until("the assignment is being written", || rig.record.asked() == 1).await;
        tokio::time::sleep(Duration::from_millis(write_ms)).await;
        rig.record.release();
        assert_eq!(soon(claim).await.unwrap().assignment.is_some(), in_time);
        if !in_time {
            assert_eq!(rig.assigned(&worker).await.job, job, "it is told with the next claim");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_hung_up_while_its_assignment_was_written_gets_it_with_its_next_claim() {
    let rig = Rig::leading().await;
    let worker = Runner::new("w1", "b1");
    rig.record.hold();
    let job = rig.record.add("j1", 1);
    let claim = rig.spawn_claim(&worker.claim());
    until("the assignment is being written", || rig.record.asked() == 1).await;
    claim.abort();
    until("the hang-up is seen", || rig.metric("tintype_dispatch_claims_total", &["gone"]) == 1).await;
    rig.record.release();
    let assignment = rig.assigned(&worker).await;
    assert_eq!((&assignment.job, assignment.attempt), (&job, Attempt(1)));
    assert_eq!(rig.record.seen(&job).attempt, Attempt(1));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_hung_up_is_given_nothing() {
    let rig = Rig::leading().await;
    let claim = rig.spawn_claim(&Runner::new("w1", "b1").claim());
    until("the claim is parked", || rig.metric("tintype_dispatch_parked_claims", &[]) == 1).await;
    claim.abort();
    until("the hang-up is seen", || rig.metric("tintype_dispatch_parked_claims", &[]) == 0).await;
    rig.record.add("j1", 1);
    let other = rig.assigned(&Runner::new("w2", "b1")).await;
    assert_eq!(other.attempt, Attempt(1));
}

#[tokio::test(start_paused = true)]
async fn a_refused_or_failed_assignment_is_decided_anew() {
    let rig = Rig::leading().await;
    let worker = Runner::new("w1", "b1");
    rig.record.fail_next([Fault::Refuse, Fault::Down, Fault::Down]);
    let job = rig.record.add("j1", 1);
    let mut claims = 0;
    let assignment = loop {
        claims += 1;
        assert!(claims <= 5, "it was not tried again");
        if let Some(assignment) = rig.claim(&worker.claim()).await.assignment {
            break assignment;
        }
    };
    assert_eq!((&assignment.job, assignment.attempt, claims), (&job, Attempt(1), 4));
}

#[tokio::test(start_paused = true)]
async fn a_finish_that_could_not_be_written_is_repeated_until_it_is() {
    for fault in [Fault::Down, Fault::LoseAck] {
        let rig = Rig::leading().await;
        let worker = Runner::new("w1", "b1");
        let job = rig.record.add("j1", 1);
        let assignment = rig.assigned(&worker).await;
        let outcome = rig.draw(&assignment).await;
        let mut watch = rig.dispatch.watch_job(&job).unwrap();
        rig.record.fail_next([fault]);
        let (status, body) = rig.finish_says(&worker, &assignment, outcome.clone()).await;
        assert_eq!((status.as_u16(), &body["error"]["code"]), (503, &json!("unavailable")), "{fault:?}");
        assert_eq!(rig.finish(&worker, &assignment, outcome.clone()).await, 200, "{fault:?}");
        assert!(matches!(rig.record.ended(&job), Some(Ended::Complete(_))));
        assert_eq!(rig.finish(&worker, &assignment, outcome).await, 200, "{fault:?}");
        let mut states = Vec::new();
        while let Some(event) = soon(watch.next()).await {
            states.push((event.state, event.outputs.len()));
        }
        assert_eq!(states.last(), Some(&(JobState::Complete, 1)), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_faster_than_the_writes_own_answer_ends_no_stream_early() {
    for (fault, status) in [(Fault::LateAck, 200), (Fault::LateLostAck, 503)] {
        let rig = Rig::leading().await;
        let worker = Runner::new("w1", "b1");
        let job = rig.record.add("j1", 1);
        let assignment = rig.assigned(&worker).await;
        let outcome = rig.draw(&assignment).await;
        let mut watch = rig.dispatch.watch_job(&job).unwrap();
        assert_eq!(soon(watch.next()).await.unwrap().state, JobState::Assigned);
        rig.record.fail_next([fault]);
        let finish = Finish { worker: "w1".into(), boot_id: "b1".into(), outcome: outcome.clone(), gpu_ms: 1 };
        let request = Request::post(path(&assignment, "finish"))
            .header(header::AUTHORIZATION, format!("Bearer {WORKER_TOKEN}"))
            .body(Body::from(json!(finish).to_string()))
            .unwrap();
        let waiting = tokio::spawn(rig.dispatch.worker_router().oneshot(request));
        until("the end is in the record", || rig.record.ended(&job).is_some()).await;
        // The queue is in order: once this is answered, the observation sent before it was taken in.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(rig.dispatch.verdict(&job).await.is_some());
        rig.record.release();
        assert_eq!(waiting.await.unwrap().unwrap().status(), status, "{fault:?}");
        assert_eq!(soon(watch.next()).await.map(|event| event.state), Some(JobState::Complete), "{fault:?}");
        assert_eq!(rig.finish(&worker, &assignment, outcome).await, 200, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_finish_the_record_refuses_is_stale() {
    let rig = Rig::leading().await;
    let worker = Runner::new("w1", "b1");
    rig.record.add("j1", 1);
    let assignment = rig.assigned(&worker).await;
    rig.record.fail_next([Fault::Refuse]);
    assert_eq!(rig.finish(&worker, &assignment, failed(FailureReason::Internal, true)).await, 409);
}

#[tokio::test(start_paused = true)]
async fn a_slow_write_sends_the_finish_away_and_its_repetition_joins_it() {
    let rig = Rig::leading().await;
    let worker = Runner::new("w1", "b1");
    let job = rig.record.add("j1", 1);
    let assignment = rig.assigned(&worker).await;
    let outcome = rig.draw(&assignment).await;
    rig.record.hold();
    let started = tokio::time::Instant::now();
    assert_eq!(rig.finish(&worker, &assignment, outcome.clone()).await, 503);
    assert!(started.elapsed() >= Duration::from_secs(10));
    let finish = Finish { worker: "w1".into(), boot_id: "b1".into(), outcome: outcome.clone(), gpu_ms: 1 };
    let request = Request::post(path(&assignment, "finish"))
        .header(header::AUTHORIZATION, format!("Bearer {WORKER_TOKEN}"))
        .body(Body::from(json!(finish).to_string()))
        .unwrap();
    let again = tokio::spawn(rig.dispatch.worker_router().oneshot(request));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!again.is_finished());
    rig.record.release();
    assert_eq!(again.await.unwrap().unwrap().status(), 200);
    let completes = |done: &[Decision]| done.iter().filter(|d| matches!(d, Decision::Complete { .. })).count();
    assert_eq!(completes(&rig.record.done()), 1);
    assert!(rig.record.ended(&job).is_some());
}

#[tokio::test(start_paused = true)]
async fn who_does_not_lead_serves_nobody() {
    let rig = Rig::start();
    let worker = Runner::new("w1", "b1");
    let calls = [
        ("/worker/v1/claim", json!(worker.claim())),
        ("/worker/v1/jobs/j/attempts/1/renew", json!({ "worker": "w1", "bootId": "b1", "step": 1, "steps": 2 })),
        (
            "/worker/v1/jobs/j/attempts/1/finish",
            json!({ "worker": "w1", "bootId": "b1", "gpuMs": 1, "outcome": failed(FailureReason::Internal, true) }),
        ),
    ];
    assert!(!rig.dispatch.is_leading());
    for (path, body) in &calls {
        let request = Request::post(*path).header(header::AUTHORIZATION, format!("Bearer {WORKER_TOKEN}"));
        let request = request.body(Body::from(body.to_string())).unwrap();
        let response = rig.dispatch.worker_router().oneshot(request).await.unwrap();
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        let (status, body) = rig::answer(response).await;
        assert_eq!((status.as_u16(), &body["error"]["code"]), (503, &json!("unavailable")), "{path}: {body}");
    }
    for path in ["jobs/j/events", "verdicts?job=j", "workers"] {
        assert_eq!(rig.read(&format!("/dispatch/v1/{path}")).await.status(), 503);
    }
    rig.lead().await;
    assert!(rig.dispatch.is_leading());
    rig.record.add("j1", 1);
    rig.assigned(&worker).await;
}

#[tokio::test(start_paused = true)]
async fn stepping_down_answers_everybody_and_the_next_leader_goes_on() {
    let rig = Rig::leading().await;
    let (idle, busy) = (Runner::new("w1", "b1"), Runner::new("w2", "b1"));
    let job = rig.record.add("j1", 1);
    let assignment = rig.assigned(&busy).await;
    let outcome = rig.draw(&assignment).await;
    let claim = rig.spawn_claim(&idle.claim());
    until("the claim is parked", || rig.metric("tintype_dispatch_parked_claims", &[]) == 1).await;
    let mut watch = rig.dispatch.watch_job(&job).unwrap();
    assert_eq!(soon(watch.next()).await.unwrap().state, JobState::Assigned);
    rig.record.hold();
    let waiting = {
        let finish = Finish { worker: "w2".into(), boot_id: "b1".into(), outcome: outcome.clone(), gpu_ms: 1 };
        let request = Request::post(path(&assignment, "finish"))
            .header(header::AUTHORIZATION, format!("Bearer {WORKER_TOKEN}"))
            .body(Body::from(json!(finish).to_string()))
            .unwrap();
        tokio::spawn(rig.dispatch.worker_router().oneshot(request))
    };
    until("the finish is being written", || rig.record.asked() == 2).await;
    rig.dispatch.step_down().await;
    assert_eq!(soon(claim).await.unwrap().assignment, None);
    assert_eq!(waiting.await.unwrap().unwrap().status(), 503);
    assert_eq!(soon(watch.next()).await, None);
    rig.record.release();
    assert_eq!(rig.renew(&busy, &assignment, 1).await, Err(StatusCode::SERVICE_UNAVAILABLE));
    // The broken-off write was not done; a whole lease later nothing was decided either.
    tokio::time::advance(rig::LEASE * 2).await;
    assert_eq!(rig.record.asked(), 2);
    rig.lead().await;
    assert!(matches!(rig.renew(&busy, &assignment, 1).await, Ok(RenewAnswer::Continue { .. })), "a whole lease anew");
    assert_eq!(rig.finish(&busy, &assignment, outcome).await, 200);
    assert!(matches!(rig.record.ended(&job), Some(Ended::Complete(_))));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_starts_over_keeps_its_claims_and_its_attempts() {
    let rig = Rig::leading().await;
    let (idle, busy) = (Runner::new("w1", "b1"), Runner::new("w2", "b1"));
    rig.record.add("j1", 1);
    let assignment = rig.assigned(&busy).await;
    assert!(rig.renew(&busy, &assignment, 1).await.is_ok());
    let claim = rig.spawn_claim(&idle.claim());
    until("the claim is parked", || rig.metric("tintype_dispatch_parked_claims", &[]) == 1).await;
    rig.lead().await;
    assert!(matches!(rig.renew(&busy, &assignment, 2).await, Ok(RenewAnswer::Continue { .. })));
    let second = rig.record.add("j2", 1);
    assert_eq!(soon(claim).await.unwrap().assignment.unwrap().job, second);
    let outcome = rig.draw(&assignment).await;
    assert_eq!(rig.finish(&busy, &assignment, outcome).await, 200);
}

#[tokio::test(start_paused = true)]
async fn shutting_down_ends_claims_and_streams_and_the_task() {
    let mut rig = Rig::leading().await;
    let claim = rig.spawn_claim(&Runner::new("w1", "b1").claim());
    until("the claim is parked", || rig.metric("tintype_dispatch_parked_claims", &[]) == 1).await;
    let mut watch = rig.dispatch.watch_job(&"j1".into()).unwrap();
    rig.dispatch.shutdown().await;
    assert_eq!(soon(claim).await.unwrap().assignment, None);
    assert_eq!(soon(watch.next()).await, None);
    (&mut rig.task).await.unwrap();
    assert!(!rig.dispatch.is_leading());
    assert!(rig.dispatch.lead(tintype_scheduler::WorldSeen::default()).await.is_err());
    assert_eq!(rig.dispatch.verdict(&"j1".into()).await, None);
    let (status, _) = rig.worker_call("/worker/v1/claim", &json!(Runner::new("w1", "b1").claim())).await;
    assert_eq!(status, 503);
}

#[tokio::test(start_paused = true)]
async fn how_things_stand_is_told_as_of_now_however_long_nothing_happened() {
    let rig = Rig::start();
    rig.lead().await;
    let before = rig.dispatch.overview().await.now;
    tokio::time::advance(Duration::from_hours(3)).await;
    assert_eq!(rig.dispatch.overview().await.now.since(before), Duration::from_hours(3));
}
