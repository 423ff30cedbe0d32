//! What jobs cost by the price book: factors of models, models without a price, and quotes that are kept to while prices change.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::rig::{Options, PRICE, Rig, User};

/// The book that ships, with jobs priced so.
fn book(models: &Value, otherwise: &Value) -> Value {
    let mut book: Value = serde_json::from_str(include_str!("../../price-book.json")).unwrap();
    book["jobs"]["models"] = models.clone();
    book["jobs"]["otherwise"] = otherwise.clone();
    book
}

fn request() -> Value {
    json!({ "model": "tintype/shapes", "prompt": "a red circle" })
}

fn by(tariff: &Value) -> Value {
    let mut body = request();
    body["tariff"] = tariff.clone();
    body
}

async fn quoted(user: &User) -> (Value, Value) {
    let quote = user.post("/api/v1/quotes", request()).await;
    assert_eq!(quote.status, StatusCode::OK, "{}", quote.body);
    (quote.body["priceMillis"].clone(), quote.body["tariff"].clone())
}

/// The price of a job that was just made.
async fn made(user: &User, body: Value) -> Value {
    let made = user.post("/api/v1/jobs", body).await;
    assert_eq!(made.status, StatusCode::ACCEPTED, "{}", made.body);
    made.body["priceMillis"].clone()
}

#[tokio::test]
async fn a_quote_is_kept_to_for_a_while_when_prices_change() {
    let mut rig = Rig::start().await;
    let user = rig.user().await;
    let (old_price, old) = quoted(&user).await;
    assert_eq!(old_price, PRICE);
    rig.sell(book(&json!({ "tintype/shapes": 3 }), &json!(1)));
    rig.restart().await;
    let user = user.at(&rig.url);
    let (price, tariff) = quoted(&user).await;
    assert_eq!(price, 47, "64 x 64 pixels in 20 steps, three times");
    assert!(tariff != old);
    assert_eq!(made(&user, request()).await, 47);
    assert_eq!(made(&user, by(&tariff)).await, 47);
    assert_eq!(made(&user, by(&old)).await, PRICE, "as quoted");
    let batch = |tariff: &Value| json!({ "jobs": [request(), request()], "tariff": tariff });
    let quote = user.post("/api/v1/batches/quotes", batch(&old)).await.body;
    assert_eq!((&quote["priceMillis"], &quote["tariff"]), (&json!(94), &tariff));
    assert_eq!(user.post("/api/v1/batches", batch(&old)).await.body["priceMillis"], 2 * PRICE);

    // By which prices a job is asked for makes it no other job.
    let keyed =
        async |body| user.send(reqwest::Method::POST, "/api/v1/jobs", &[("idempotency-key", "k")], Some(body)).await;
    let first = keyed(by(&old)).await.body;
    let again = keyed(by(&tariff)).await;
    assert_eq!((&again.body["id"], again.header("idempotency-replayed")), (&first["id"], "true"));

    sqlx::query("update tariff set until_ms = until_ms - 15 * 60 * 1000 where name = $1")
        .bind(old.as_str().unwrap())
        .execute(&rig.pool)
        .await
        .unwrap();
    let refused = user.post("/api/v1/jobs", by(&old)).await;
    assert_eq!(refused.error(), (409, "price_changed", "tariff"));
    assert_eq!(user.post("/api/v1/batches", batch(&old)).await.error(), (409, "price_changed", "tariff"));
    assert_eq!(keyed(by(&old)).await.body["id"], first["id"], "what was made then was made");
    assert_eq!(user.post("/api/v1/jobs", by(&json!("t-0"))).await.error(), (400, "invalid_request", "tariff"));
    assert_eq!(user.post("/api/v1/jobs", by(&json!(7))).await.error(), (400, "invalid_request", "tariff"));

    // The old prices come back: what was quoted by them long ago counts again, for it is what is quoted now.
    rig.sell(book(&json!({}), &json!(1)));
    rig.restart().await;
    let user = user.at(&rig.url);
    assert_eq!(quoted(&user).await, (json!(PRICE), old.clone()));
    assert_eq!(made(&user, by(&old)).await, PRICE);
    assert_eq!(made(&user, by(&tariff)).await, 47, "the other ended just now");
    rig.audit().await;
}

#[tokio::test]
async fn a_model_without_a_price_is_refused_everywhere() {
    let price_book = Some(book(&json!({ "another": 1 }), &Value::Null));
    let rig = Rig::with(Options { price_book, ..Options::default() }).await;
    let user = rig.user().await;
    let prediction = json!({ "version": "tintype/shapes", "input": { "prompt": "a red circle" } });
    for (path, body, param) in [
        ("/api/v1/quotes", request(), "model"),
        ("/api/v1/jobs", request(), "model"),
        ("/v1/images/generations", request(), "model"),
        ("/api/v1/batches/quotes", json!({ "jobs": [request()] }), "jobs[0].model"),
        ("/api/v1/batches", json!({ "jobs": [request()] }), "jobs[0].model"),
        ("/replicate/v1/predictions", prediction, "version"),
    ] {
        let refused = user.post(path, body).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{path}: {}", refused.body);
        let said = refused.body["error"]["message"].as_str().unwrap_or_default();
        assert!(said.contains("has no price here"), "{path}: {}", refused.body);
        assert_eq!(refused.error().2, param, "{path}: {}", refused.body);
    }
    assert_eq!(user.credits().await, (10_000, 0, 0));
}
