//! Deadlines asked for by REST: kept with the job, told to the scheduler, refused at once where they cannot be met.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::rig::{Options, Reply, Rig, User};
use crate::support::now;

/// What a job of 20 steps costs here, in milli-credits.
const PRICE: i64 = 16;

fn asked(deadline_ms: impl Into<Value>, when_late: &str) -> Value {
    let mut body = json!({ "model": "tintype/shapes", "prompt": "a red circle" });
    body["deadlineMs"] = deadline_ms.into();
    body["whenLate"] = when_late.into();
    body
}

async fn post(user: &User, key: &str, body: Value) -> Reply {
    user.send(Method::POST, "/api/v1/jobs", &[("idempotency-key", key)], Some(body)).await
}

fn hence(time: Duration) -> u64 {
    now().plus(time).0
}

#[tokio::test]
async fn a_deadline_is_part_of_what_is_asked_for() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let deadline = hence(Duration::from_hours(1));
    let made = post(&user, "a", asked(deadline, "Refuse")).await;
    assert_eq!(made.status, StatusCode::ACCEPTED, "{}", made.body);
    assert_eq!(made.body["deadlineMs"], deadline);
    let id = made.body["id"].as_str().unwrap();
    assert_eq!(user.job(id).await["deadlineMs"], deadline);
    assert_eq!(user.job(id).await["request"].get("deadlineMs"), None, "it is nothing of the picture's");
    let again = post(&user, "a", asked(deadline, "Refuse")).await;
    assert_eq!((again.status, again.body["id"].as_str()), (StatusCode::ACCEPTED, Some(id)));
    for other in [asked(deadline + 1, "Refuse"), asked(deadline, "Run")] {
        assert_eq!(post(&user, "a", other).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    }
    for (body, param) in [
        (asked(hence(Duration::ZERO) - 1, "Run"), "deadlineMs"),
        (asked("tomorrow", "Run"), "deadlineMs"),
        (asked(-5, "Run"), "deadlineMs"),
        (asked(u64::MAX, "Run"), "deadlineMs"),
        (asked(hence(Duration::from_hours(367 * 24)), "Run"), "deadlineMs"),
        (asked(deadline, "Sometimes"), "whenLate"),
        (asked(Value::Null, "Refuse"), "whenLate"),
    ] {
        let refused = user.post("/api/v1/jobs", body.clone()).await;
        assert_eq!((refused.status, refused.body["param"].as_str()), (StatusCode::BAD_REQUEST, Some(param)), "{body}");
    }
    assert_eq!(user.credits().await, (10_000 - PRICE, PRICE, 0));
    rig.audit().await;
}

/// One worker is busy for minutes: what is wanted sooner is refused with what would help, and costs nothing.
#[tokio::test]
async fn what_cannot_be_in_time_is_refused_at_once_with_what_would_help() {
    let mut rig = Rig::with(Options { lease: Duration::from_mins(10), ..Options::default() }).await;
    let user = rig.user().await;
    let long = json!({ "model": "tintype/shapes", "prompt": "p", "steps": 150, "images": 4 });
    assert_eq!(user.post("/api/v1/jobs", long).await.status, StatusCode::ACCEPTED);
    rig.worker("w").claim().await;
    let (available, held, _) = user.credits().await;

    let soon = hence(Duration::from_mins(1));
    let refused = post(&user, "soon", asked(soon, "Refuse")).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.body);
    assert_eq!(refused.body["param"], "deadlineMs");
    let said = refused.body.to_string();
    assert!(said.contains("it would be with a deadline "), "{said}");
    let again = post(&user, "soon", asked(soon, "Refuse")).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST, "the same key has the same answer: {}", again.body);
    crate::rig::until("its credits are back", || async {
        let (now_available, now_held, spent) = user.credits().await;
        (now_available == available && now_held == held && spent == 0).then_some(())
    })
    .await;

    let late = post(&user, "late", asked(soon, "Run")).await;
    assert_eq!(late.status, StatusCode::ACCEPTED, "{}", late.body);
    let ends = |reply: &Reply| reply.body["estimate"]["endsMs"].as_u64().unwrap_or_else(|| panic!("{}", reply.body));
    assert!(ends(&late) > soon, "it says that it will be late: {}", late.body);
    let far = hence(Duration::from_hours(5));
    let fits = post(&user, "fits", asked(far, "Refuse")).await;
    assert_eq!(fits.status, StatusCode::ACCEPTED, "{}", fits.body);
    assert!(ends(&fits) <= far && fits.body["estimate"]["startsMs"].as_u64() > Some(0), "{}", fits.body);

    // Deadlines outlive the process.
    rig.restart().await;
    let user = user.at(&rig.url);
    let id = fits.body["id"].as_str().unwrap();
    assert_eq!(user.job(id).await["deadlineMs"], far);
    let still = post(&user, "fits", asked(far, "Refuse")).await;
    assert_eq!((still.status, still.body["id"].as_str()), (StatusCode::ACCEPTED, Some(id)));
    rig.audit().await;
}

/// One worker is busy for minutes, and a batch or a dialect wants something sooner.
#[tokio::test]
async fn batches_and_dialects_have_deadlines_too() {
    let rig = Rig::with(Options { lease: Duration::from_mins(10), ..Options::default() }).await;
    let user = rig.user().await;
    let long = json!({ "model": "tintype/shapes", "prompt": "p", "steps": 150, "images": 4 });
    assert_eq!(user.post("/api/v1/jobs", long).await.status, StatusCode::ACCEPTED);
    rig.worker("w").claim().await;
    let before = user.credits().await;
    let (soon, far) = (hence(Duration::from_mins(1)), hence(Duration::from_hours(5)));

    let late = json!({ "prompt": "a cat", "deadline_ms": soon, "when_late": "Refuse" });
    for path in ["/v1/images/generations", "/openai/v1/images/generations"] {
        let refused = user.post(path, late.clone()).await;
        assert_eq!(refused.error(), (400, "invalid_request", "deadline_ms"), "{}", refused.body);
        assert!(refused.body.to_string().contains("it would be with a deadline "), "{}", refused.body);
    }
    let wrong = user.post("/v1/images/generations", json!({ "prompt": "a cat", "when_late": "Refuse" })).await;
    assert_eq!(wrong.error(), (400, "invalid_request", "when_late"));
    let prediction = |at: u64| json!({ "version": "tintype/shapes", "input": { "prompt": "p", "deadline_ms": at, "when_late": "Refuse" } });
    let refused = user.post("/replicate/v1/predictions", prediction(soon)).await;
    assert_eq!(
        (refused.status, &refused.body["param"]),
        (StatusCode::BAD_REQUEST, &json!("input.deadline_ms")),
        "{}",
        refused.body
    );
    crate::rig::until("their credits are back", || async { (user.credits().await == before).then_some(()) }).await;
    assert_eq!(user.post("/replicate/v1/predictions", prediction(far)).await.status, StatusCode::CREATED);

    let body = json!({ "deadlineMs": far, "jobs": [
        { "model": "tintype/shapes", "prompt": "a" },
        { "model": "tintype/shapes", "prompt": "b", "deadlineMs": soon, "whenLate": "Refuse" },
        { "model": "tintype/shapes", "prompt": "c", "whenLate": "Run" },
    ] });
    let made = user.post("/api/v1/batches", body).await;
    assert_eq!(made.status, StatusCode::ACCEPTED, "{}", made.body);
    let deadlines: Vec<_> = (0..3).map(|n| made.body["jobs"][n]["deadlineMs"].as_u64()).collect();
    assert_eq!(deadlines, [Some(far), Some(soon), Some(far)]);
    let path = format!("/api/v1/batches/{}", made.body["id"].as_str().unwrap());
    let batch = crate::rig::until("the one that cannot be in time is refused", || async {
        Some(user.get(&path).await.body).filter(|batch| batch["failed"] == 1)
    })
    .await;
    assert_eq!((&batch["open"], &batch["jobs"][1]["failure"]), (&json!(2), &json!("DeadlineExceeded")), "{batch}");
    for (body, param) in [
        (json!({ "deadlineMs": 5, "jobs": [{ "model": "tintype/shapes", "prompt": "a" }] }), "deadlineMs"),
        (json!({ "jobs": [{ "model": "tintype/shapes", "prompt": "a", "deadlineMs": "x" }] }), "jobs[0].deadlineMs"),
        (json!({ "jobs": [{ "model": "tintype/shapes", "prompt": "a", "whenLate": "no" }] }), "jobs[0].whenLate"),
        (json!({ "jobs": [{ "model": "tintype/shapes" }] }), "jobs[0].prompt"),
    ] {
        let refused = user.post("/api/v1/batches", body.clone()).await;
        assert_eq!((refused.status, refused.body["param"].as_str()), (StatusCode::BAD_REQUEST, Some(param)), "{body}");
    }
    rig.audit().await;
}
