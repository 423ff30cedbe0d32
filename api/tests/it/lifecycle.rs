//! What happens to a job: workers that die, jobs that fail, owners who cancel, those who watch.

use std::time::Duration;

use futures::StreamExt;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tintype_types::worker::RenewAnswer;
use tintype_types::{Attempt, FailureReason, ImageFormat, Preview};

use crate::rig::{Options, PRICE, Rig, User, until};
use crate::worker::{client, moved};

#[tokio::test]
async fn a_worker_that_dies_costs_an_attempt_and_not_a_second_payment() {
    let rig = Rig::with(Options { lease: Duration::from_millis(400), ..Options::default() }).await;
    let user = rig.user().await;
    let id = user.submit().await;
    let dead = rig.worker("w1");
    let lost = dead.claim().await;
    assert_eq!(lost.attempt, Attempt(1));
    let late = dead.upload(&lost).await.unwrap();

    let work = rig.worker("w2").work().await;
    assert_eq!((work.job.as_str(), work.attempt), (id.as_str(), Attempt(2)));
    // The dead one wakes up, and is too late.
    assert_eq!(dead.done(&lost, late).await, Some(StatusCode::CONFLICT));
    let job = user.job_in(&id, "Complete").await;
    assert_eq!((&job["attempt"], &job["failedAttempts"]), (&json!(2), &json!(1)));
    assert_eq!(user.settled().await, (10_000 - PRICE, PRICE));
    rig.audit().await;
}

#[tokio::test]
async fn a_job_that_fails_for_good_costs_nothing() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let (path, key) = ("/v1/images/generations", [("idempotency-key", "k")]);
    let asking = tokio::spawn({
        let user = user.clone();
        async move { user.send(Method::POST, path, &key, Some(json!({ "prompt": "a red circle" }))).await }
    });
    let worker = rig.worker("w1");
    let work = worker.claim().await;
    worker.failed(&work, FailureReason::ModelUnreadable, false).await;
    let reply = asking.await.unwrap();
    assert_eq!(reply.error(), (500, "generation_failed", ""));
    assert_eq!(reply.header("x-should-retry"), "false");
    assert!(reply.body["error"]["message"].as_str().unwrap().contains("the test wants it so"));
    let job = user.job(reply.header("x-tintype-job")).await;
    assert_eq!((&job["state"], &job["failure"]), (&json!("Failed"), &json!("ModelUnreadable")));
    let again = user.send(Method::POST, path, &key, Some(json!({ "prompt": "a red circle" }))).await;
    assert_eq!((again.error(), again.header("idempotency-replayed")), ((500, "generation_failed", ""), "true"));
    assert_eq!(user.settled().await, (10_000, 0));
    rig.audit().await;
}

#[tokio::test]
async fn cancelling_a_waiting_job_gives_the_credits_back() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let id = user.submit().await;
    assert_eq!(user.credits().await, (10_000 - PRICE, PRICE, 0));
    let reply = user.delete(&format!("/api/v1/jobs/{id}")).await;
    assert!(reply.status.is_success() && reply.body["cancelled"] == json!(true), "{}", reply.body);
    let job = user.job_in(&id, "Failed").await;
    assert_eq!(job["failure"], "Cancelled");
    assert_eq!(user.settled().await, (10_000, 0));
    assert_eq!(user.delete(&format!("/api/v1/jobs/{id}")).await.status, StatusCode::OK, "twice is fine");
    rig.audit().await;
}

#[tokio::test]
async fn cancelling_a_running_job_stops_the_worker_and_gives_the_credits_back() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let id = user.submit().await;
    let worker = rig.worker("w1");
    let work = worker.claim().await;
    worker.renew(&work, 1).await.unwrap();
    user.delete(&format!("/api/v1/jobs/{id}")).await;
    let told = until("the worker is told", || async {
        match worker.renew(&work, 2).await {
            Ok(RenewAnswer::Continue { .. }) => None,
            other => Some(other),
        }
    })
    .await;
    assert!(matches!(told, Ok(RenewAnswer::Cancel { reason: FailureReason::Cancelled })), "{told:?}");
    worker.failed(&work, FailureReason::Cancelled, false).await;
    user.job_in(&id, "Failed").await;
    assert_eq!(user.settled().await, (10_000, 0));
    rig.audit().await;
}

#[tokio::test]
async fn events_begin_with_a_snapshot_tell_steps_and_end_with_the_end() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let id = user.submit().await;
    let mut events = Events::open(&rig, &user, &id).await;
    let first = events.next().await.unwrap();
    assert_eq!((&first["job"], &first["state"]), (&json!(id), &json!("Queued")));

    let worker = rig.worker("w1");
    let work = worker.claim().await;
    events.until("Assigned").await;
    worker.renew(&work, 5).await.unwrap();
    let running = events.until("Running").await;
    assert_eq!((&running["step"], &running["steps"]), (&json!(5), &json!(20)));
    assert!(work.watched, "a stream is open");
    let preview = Preview { image: 0, step: 5, format: ImageFormat::Jpeg, data: "/9j/4AAQ".to_owned() };
    worker.show(&work, 5, vec![preview.clone()]).await.unwrap();
    let shown = events.until("Running").await;
    assert_eq!(shown["previews"], json!([{ "image": 0, "step": 5, "format": "jpeg", "data": "/9j/4AAQ" }]));
    let job = user.get(&format!("/api/v1/jobs/{id}")).await;
    assert!(!job.body.to_string().contains("/9j/"), "a preview was recorded");
    let outputs = worker.upload(&work).await.unwrap();
    worker.done(&work, outputs).await;
    let last = events.until("Complete").await;
    assert_eq!(last["outputs"].as_array().unwrap().len(), 1);
    assert_eq!(last.get("previews"), None, "an end shows pictures, not previews");
    assert_eq!(events.next().await, None, "the stream ends");

    // Who comes late gets the end at once.
    let mut late = Events::open(&rig, &user, &id).await;
    assert_eq!(late.next().await.unwrap()["state"], "Complete");
    assert_eq!(late.next().await, None);
}

#[tokio::test]
async fn events_of_a_cancelled_job_end_too() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let id = user.submit().await;
    let mut events = Events::open(&rig, &user, &id).await;
    events.next().await.unwrap();
    user.delete(&format!("/api/v1/jobs/{id}")).await;
    let last = events.until("Failed").await;
    assert_eq!(last["failure"], "Cancelled");
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_restart_loses_no_job() {
    let mut rig = Rig::start().await;
    let user = rig.user().await;
    let (waiting, running) = (user.submit().await, user.submit().await);
    let worker = rig.worker("w1");
    let work = worker.claim().await;
    let asking = tokio::spawn({
        let user = user.clone();
        async move { user.post("/v1/images/generations", json!({ "prompt": "a red circle" })).await }
    });
    until("somebody waits", || async { (rig.metric("tintype_api_waiting_requests").await > 0.5).then_some(()) }).await;
    rig.restart().await;
    let reply = asking.await.unwrap();
    assert_eq!(reply.error(), (503, "unavailable", ""), "told that the server goes and where the job is");
    let third = reply.header("x-tintype-job").to_owned();

    // The one that ran goes on with its worker, which only has to find the new address.
    let user = user.at(&rig.url);
    let worker = worker.at(&rig.url);
    let work = moved(work, &rig.url);
    let outputs = worker.upload(&work).await.unwrap();
    assert_eq!(worker.done(&work, outputs).await, Some(StatusCode::OK));
    worker.work().await;
    worker.work().await;
    for id in [&waiting, &running, &third] {
        let job = user.job_in(id, "Complete").await;
        assert_eq!(job["attempt"], 1);
    }
    assert_eq!(user.settled().await, (10_000 - 3 * PRICE, 3 * PRICE));
    rig.audit().await;
}

#[tokio::test]
async fn two_schedulers_on_one_database_are_refused() {
    let rig = Rig::start().await;
    let second: Result<bool, _> = sqlx::query_scalar("select pg_try_advisory_lock($1)")
        .bind(0x7469_6e74_7970_6531_i64)
        .fetch_one(&rig.pool)
        .await;
    assert!(!second.unwrap());
}

/// A stream of events, read.
pub(crate) struct Events {
    stream: futures::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    rest: String,
}

impl Events {
    pub(crate) async fn open(rig: &Rig, user: &User, id: &str) -> Self {
        Self::open_at(rig, user, &format!("/api/v1/jobs/{id}/events")).await
    }

    pub(crate) async fn open_at(rig: &Rig, user: &User, path: &str) -> Self {
        let url = format!("{}{path}", rig.url);
        let response = client().get(url).bearer_auth(&user.key).send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { stream: response.bytes_stream().boxed(), rest: String::new() }
    }

    pub(crate) async fn next(&mut self) -> Option<Value> {
        let read = async {
            loop {
                if let Some(end) = self.rest.find("\n\n") {
                    let event: String = self.rest.drain(..end + 2).collect();
                    let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                    let data = data.map(|data| serde_json::from_str(data).unwrap());
                    if data.is_some() {
                        return data;
                    }
                    continue;
                }
                let bytes = self.stream.next().await?.unwrap();
                self.rest.push_str(std::str::from_utf8(&bytes).unwrap());
            }
        };
        tokio::time::timeout(Duration::from_secs(20), read).await.expect("no event in 20 s")
    }

    /// The first event that this finds something in: that.
    pub(crate) async fn first(&mut self, find: impl Fn(&Value) -> Option<Value>) -> Value {
        loop {
            let event = self.next().await.expect("the stream ended");
            if let Some(found) = find(&event) {
                return found;
            }
        }
    }

    pub(crate) async fn until(&mut self, state: &str) -> Value {
        loop {
            let event = self.next().await.unwrap_or_else(|| panic!("the stream ended before {state}"));
            if event["state"] == state {
                return event;
            }
        }
    }
}

#[tokio::test]
async fn who_comes_back_to_a_jobs_events_is_told_what_is_new() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let id = user.submit().await;
    let path = format!("/api/v1/jobs/{id}/events");
    let come = async |last: &str| {
        let request = client().get(format!("{}{path}", rig.url)).bearer_auth(&user.key).header("last-event-id", last);
        request.send().await.unwrap()
    };
    rig.worker("w1").work().await;
    user.job_in(&id, "Complete").await;
    let whole = come("0.0.Queued").await.text().await.unwrap();
    let last = whole.lines().find_map(|line| line.strip_prefix("id: ")).unwrap();
    assert!(last.ends_with(".Complete"), "what was missed is left out: {whole}");
    let told = come(last).await;
    assert_eq!(told.status(), 204, "the end was told: a browser's EventSource comes back no more");
}
