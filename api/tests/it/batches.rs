//! Several jobs in one request: one price, all or none, one stream of events until all have ended.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::rig::{PRICE, Rig, User, until};
use crate::worker::client;

fn batch(prompts: &[&str]) -> Value {
    let job = |prompt: &&str| json!({ "model": "tintype/shapes", "prompt": prompt });
    json!({ "jobs": prompts.iter().map(job).collect::<Vec<_>>() })
}

async fn jobs(rig: &Rig) -> i64 {
    sqlx::query_scalar("select count(*) from generation").fetch_one(&rig.pool).await.unwrap()
}

/// The last event of each job, when the stream has ended.
async fn ends(rig: &Rig, user: &User, path: &str) -> BTreeMap<String, String> {
    let answer = client().get(format!("{}{path}/events", rig.url)).bearer_auth(&user.key).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let (mut bytes, mut text) = (answer.bytes_stream(), String::new());
    while let Some(chunk) = bytes.next().await {
        text.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
    }
    let events =
        text.lines().filter_map(|line| line.strip_prefix("data:")).map(|data| serde_json::from_str(data).unwrap());
    let last = |event: Value| (event["job"].as_str().unwrap().to_owned(), event["state"].as_str().unwrap().to_owned());
    events.map(last).collect()
}

#[tokio::test]
async fn a_batch_costs_what_was_quoted_and_is_followed_in_one_stream() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let prompts: Vec<String> = (0..40).map(|n| format!("circle {n}")).collect();
    let prompts: Vec<&str> = prompts.iter().map(String::as_str).collect();
    let quote = user.post("/api/v1/batches/quotes", batch(&prompts)).await;
    assert_eq!((quote.status, &quote.body["priceMillis"]), (StatusCode::OK, &json!(40 * PRICE)), "{}", quote.body);
    assert_eq!(quote.body["jobPriceMillis"].as_array().unwrap().len(), 40);
    assert_eq!((&quote.body["affordable"], user.credits().await), (&json!(true), (10_000, 0, 0)));

    let key = [("idempotency-key", "a")];
    let made = user.send(Method::POST, "/api/v1/batches", &key, Some(batch(&prompts))).await;
    assert_eq!(made.status, StatusCode::ACCEPTED, "{}", made.body);
    assert_eq!((&made.body["priceMillis"], &made.body["open"]), (&json!(40 * PRICE), &json!(40)));
    assert_eq!(user.credits().await, (10_000 - 40 * PRICE, 40 * PRICE, 0));
    let in_order = made.body["jobs"].as_array().unwrap().iter().map(|job| job["request"]["prompt"].as_str().unwrap());
    assert_eq!(in_order.collect::<Vec<_>>(), prompts);
    // The same key again: the same batch; with another body: a refusal.
    let again = user.send(Method::POST, "/api/v1/batches", &key, Some(batch(&prompts))).await;
    assert_eq!((again.header("idempotency-replayed"), &again.body["id"]), ("true", &made.body["id"]));
    let other = user.send(Method::POST, "/api/v1/batches", &key, Some(batch(&["x"]))).await;
    assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(jobs(&rig).await, 40);

    let path = format!("/api/v1/batches/{}", made.body["id"].as_str().unwrap());
    assert_eq!(rig.user().await.get(&path).await.status, StatusCode::NOT_FOUND, "somebody else's is not there");
    let _serving = rig.serve("w1");
    let ends = ends(&rig, &user, &path).await;
    assert_eq!(ends.len(), 40);
    assert!(ends.values().all(|state| state == "Complete"), "{ends:?}");
    assert_eq!(user.settled().await, (10_000 - 40 * PRICE, 40 * PRICE));
    let read = user.get(&path).await.body;
    assert_eq!((&read["complete"], &read["open"], &read["failed"]), (&json!(40), &json!(0), &json!(0)));
    rig.audit().await;
}

#[tokio::test]
async fn a_batch_is_made_all_or_none() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let many: Vec<String> = (0..100).map(|n| format!("circle {n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut dear = batch(&many);
    for job in dear["jobs"].as_array_mut().unwrap() {
        job["images"] = json!(8);
    }
    let refused = user.post("/api/v1/batches", dear).await;
    assert_eq!(refused.status, StatusCode::PAYMENT_REQUIRED, "{}", refused.body);
    let mut wrong = batch(&["a", "b"]);
    wrong["jobs"][1]["steps"] = json!(0);
    let refused = user.post("/api/v1/batches", wrong).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(refused.body.to_string().contains("jobs[1].steps"), "{}", refused.body);
    for bad in [json!({ "jobs": [] }), json!({}), batch(&["x"; 101])] {
        assert_eq!(user.post("/api/v1/batches", bad).await.status, StatusCode::BAD_REQUEST);
    }
    assert_eq!((jobs(&rig).await, user.credits().await), (0, (10_000, 0, 0)));
}

#[tokio::test]
async fn what_of_a_batch_has_not_ended_is_cancelled() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let made = user.post("/api/v1/batches", batch(&["a", "b", "c"])).await.body;
    let path = format!("/api/v1/batches/{}", made["id"].as_str().unwrap());
    rig.worker("w1").work().await;
    until("the first has ended", || async { (user.get(&path).await.body["complete"] == 1).then_some(()) }).await;
    user.delete(&path).await;
    until("the rest has ended", || async { (user.get(&path).await.body["failed"] == 2).then_some(()) }).await;
    assert_eq!(user.delete(&path).await.status, StatusCode::OK, "again: nothing is left to cancel");
    assert_eq!(user.settled().await, (10_000 - PRICE, PRICE));
    rig.audit().await;
}
