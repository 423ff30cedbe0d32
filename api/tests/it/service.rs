//! Quotes, usage and status over real HTTP.

use reqwest::StatusCode;
use serde_json::{Value, json};
use tintype_store::testing::own_address;

use crate::rig::{Options, PRICE, Rig};
use crate::worker::client;

#[tokio::test]
async fn a_quote_is_the_price_that_is_charged_and_costs_nothing() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let request = json!({ "model": "gpt-image-1", "images": 3, "steps": 30, "width": 128 });
    let quote = user.post("/api/v1/quotes", request.clone()).await;
    assert_eq!(quote.status, StatusCode::OK, "{}", quote.body);
    assert_eq!(user.credits().await, (10_000, 0, 0));
    let mut with_prompt = request;
    with_prompt["prompt"] = json!("a red circle");
    let job = user.post("/api/v1/jobs", with_prompt).await;
    assert_eq!(quote.body["priceMillis"], job.body["priceMillis"]);
    for (name, value) in [
        ("model", json!("tintype/shapes")),
        ("images", json!(3)),
        ("width", json!(128)),
        ("height", json!(64)),
        ("affordable", json!(true)),
        ("availableMillis", json!(10_000)),
        ("ahead", json!(0)),
        ("takes", Value::Null),
    ] {
        assert_eq!(quote.body[name], value, "{name} of {}", quote.body);
    }
    let dear =
        user.post("/api/v1/quotes", json!({ "model": "tintype/shapes", "width": 2048, "height": 2048, "images": 10 }));
    assert_eq!(dear.await.body["affordable"], false);
    for (body, param) in [
        (json!({ "model": "nobody/knows" }), "model"),
        (json!({ "model": "tintype/shapes", "steps": 0 }), "steps"),
        (json!({ "model": "tintype/shapes", "prompt": 7 }), "prompt"),
    ] {
        assert_eq!(user.post("/api/v1/quotes", body).await.error().2, param);
    }
}

#[tokio::test]
async fn a_quote_says_how_it_went_of_late_and_usage_what_was_spent() {
    let rig = Rig::start().await;
    let (user, other) = (rig.user().await, rig.user().await);
    let worker = rig.worker("w1");
    for _ in 0..3 {
        user.submit().await;
        worker.work().await;
    }
    let cancelled = user.submit().await;
    user.delete(&format!("/api/v1/jobs/{cancelled}")).await;
    user.job_in(&cancelled, "Failed").await;
    user.settled().await;
    let quote = user.post("/api/v1/quotes", json!({ "model": "tintype/shapes" })).await.body;
    // The tests' worker says 5 ms for every job.
    assert_eq!(quote["takes"], json!({ "p50Ms": 5, "p90Ms": 5 }), "{quote}");
    assert!(quote["startsIn"]["p50Ms"].is_u64(), "{quote}");

    let usage = user.get("/api/v1/usage").await.body;
    assert_eq!(usage["data"].as_array().map(Vec::len), Some(1), "{usage}");
    let line = &usage["data"][0];
    for (name, value) in [
        ("model", json!("tintype/shapes")),
        ("jobs", json!(4)),
        ("failed", json!(1)),
        ("images", json!(3)),
        ("gpuMs", json!(15)),
        ("spentMillis", json!(3 * PRICE)),
        ("key", json!(user.key[3..11])),
    ] {
        assert_eq!(line[name], value, "{name} of {line}");
    }
    assert_eq!(line["dayMs"].as_i64().unwrap() % 86_400_000, 0);
    assert_eq!(other.get("/api/v1/usage").await.body["data"], json!([]));
    let before = format!("/api/v1/usage?from=0&to={}", line["dayMs"]);
    assert_eq!(user.get(&before).await.error(), (400, "invalid_request", "from"), "more than a year");
    assert_eq!(user.get("/api/v1/usage?from=5&to=6").await.body["data"], json!([]));
}

#[tokio::test]
async fn anybody_may_ask_how_the_service_is() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let stranger = user.with_key("");
    let status = stranger.get("/api/v1/status").await;
    assert_eq!((status.status, &status.body["status"]), (StatusCode::OK, &json!("operational")), "{}", status.body);
    let parts: Vec<_> = status.body["components"].as_array().unwrap().iter().map(|part| part["name"].clone()).collect();
    assert_eq!(parts, ["api", "database", "scheduler", "workers"]);
    assert_eq!((&status.body["queue"]["waiting"], &status.body["queue"]["running"]), (&json!(0), &json!(0)));
    user.submit().await;
    let cached = stranger.get("/api/v1/status").await.body;
    assert_eq!(cached["atMs"], status.body["atMs"], "the database is not asked each time");
}

#[tokio::test]
async fn numbers_may_have_a_listener_of_their_own() {
    let free = own_address();
    let rig = Rig::with(Options { metrics_listen: Some(free), ..Options::default() }).await;
    let get = async |url: String| client().get(url).send().await.unwrap();
    let numbers = get(format!("http://{free}/metrics")).await;
    assert_eq!(numbers.status(), StatusCode::OK);
    assert!(numbers.text().await.unwrap().contains("tintype_api_waiting_requests"));
    assert_eq!(get(format!("http://{free}/api/v1/status")).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(get(format!("{}/metrics", rig.url)).await.status(), StatusCode::NOT_FOUND);
}
