//! The front door over real HTTP: what clients get, what is refused, and that refusals cost nothing.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::rig::{Options, PRICE, Rig, until};
use crate::worker::{client, sha256_hex};

fn good() -> Value {
    json!({ "model": "tintype/shapes", "prompt": "a red circle", "seed": 7 })
}

#[tokio::test]
async fn pictures_come_back_by_url_and_by_value_and_are_paid_once() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let _worker = rig.serve("w1");

    let reply = user.post("/v1/images/generations", json!({
        "model": "tintype/shapes", "prompt": "a red circle", "n": 2, "size": "64x128", "seed": 7, "quality": "hd",
        "style": "vivid", "user": "u-1"
    })).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
    assert_eq!(reply.header("x-tintype-ignored"), "quality, style");
    assert!(!reply.header("x-request-id").is_empty());
    assert!(reply.body["created"].as_u64().unwrap() > 1_700_000_000);
    let data = reply.body["data"].as_array().unwrap();
    assert_eq!((data.len(), &data[0]["seed"], &data[1]["seed"]), (2, &json!(7), &json!(8)));
    let picture = client().get(data[0]["url"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(picture.headers()["content-type"], "image/png");
    let bytes = picture.bytes().await.unwrap();
    assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");

    let job = user.job(reply.header("x-tintype-job")).await;
    assert_eq!((&job["state"], &job["attempt"]), (&json!("Complete"), &json!(1)));
    assert_eq!(job["outputs"][0]["sha256"], sha256_hex(&bytes));
    assert_eq!((&job["request"]["width"], &job["request"]["height"]), (&json!(64), &json!(128)));
    let price = job["priceMillis"].as_i64().unwrap();
    assert_eq!(price, 63, "64 * 128 * 20 * 2 pixel-steps, rounded up");
    assert_eq!(user.credits().await, (10_000 - price, 0, price), "settled before it was answered");

    let image =
        user.get(&format!("{}/images/1", job["id"].as_str().map(|id| format!("/api/v1/jobs/{id}")).unwrap())).await;
    assert_eq!(image.status, StatusCode::FOUND);
    assert!(client().get(image.header("location")).send().await.unwrap().status().is_success());

    let mut by_value = good();
    by_value["response_format"] = json!("b64_json");
    by_value["model"] = json!("gpt-image-1");
    let reply = user.post("/openai/v1/images/generations", by_value).await;
    let bytes = BASE64_STANDARD.decode(reply.body["data"][0]["b64_json"].as_str().unwrap()).unwrap();
    assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");
    assert!(reply.body["data"][0].get("url").is_none());
    assert_eq!(user.credits().await, (10_000 - price - PRICE, 0, price + PRICE));
    rig.audit().await;
}

#[tokio::test]
async fn bad_input_is_refused_by_name_and_costs_nothing() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let with = |name: &str, value: Value| {
        let mut body = good();
        body[name] = value;
        body
    };
    for (body, expected) in [
        (with("model", json!("nobody/knows")), (404, "model_not_found", "model")),
        (with("prompt", json!("")), (400, "invalid_request", "prompt")),
        (with("prompt", json!(null)), (400, "invalid_request", "prompt")),
        (with("prompt", json!("x".repeat(10_000))), (400, "invalid_request", "prompt")),
        (with("prompt", json!("x".repeat(300_000))), (413, "payload_too_large", "")),
        (with("negative_prompt", json!("x".repeat(10_000))), (400, "invalid_request", "negative_prompt")),
        (with("size", json!("7x64")), (400, "invalid_request", "size")),
        (with("size", json!("big")), (400, "invalid_request", "size")),
        (with("size", json!("99999999999x64")), (400, "invalid_request", "size")),
        (with("n", json!(0)), (400, "invalid_request", "n")),
        (with("n", json!(11)), (400, "invalid_request", "n")),
        (with("steps", json!(-4)), (400, "invalid_request", "steps")),
        (with("steps", json!(4_000_000_000_u64)), (400, "invalid_request", "steps")),
        (with("seed", json!(u64::MAX)), (400, "invalid_request", "seed")),
        (with("guidance_scale", json!(1e300)), (400, "invalid_request", "guidance_scale")),
        (with("stepz", json!(4)), (400, "invalid_request", "stepz")),
        (with("stream", json!("yes")), (400, "invalid_request", "stream")),
        (with("partial_images", json!(4)), (400, "invalid_request", "partial_images")),
        (json!(["not", "an", "object"]), (400, "invalid_request", "body")),
    ] {
        let reply = user.post("/v1/images/generations", body).await;
        assert_eq!(reply.error(), expected, "{}", reply.body);
        assert!(!reply.header("x-request-id").is_empty());
    }
    for (body, expected) in [
        (json!({ "model": "tintype/shapes", "prompt": "p", "stepz": 1 }), (400, "invalid_request", "stepz")),
        (json!({ "model": "tintype/shapes" }), (400, "invalid_request", "prompt")),
        (json!({ "model": "tintype/shapes", "prompt": "p", "images": 11 }), (400, "invalid_request", "images")),
        (json!({ "model": "tintype/shapes", "prompt": "p", "width": 65 }), (400, "invalid_request", "width")),
        (json!("text"), (400, "invalid_request", "body")),
    ] {
        let reply = user.post("/api/v1/jobs", body).await;
        assert_eq!(reply.error(), expected, "{}", reply.body);
    }
    let broken = client().post(format!("{}/v1/images/generations", rig.url)).bearer_auth(&user.key).body("{\"prompt\"");
    assert_eq!(broken.send().await.unwrap().status(), StatusCode::BAD_REQUEST);
    let odd = user.send(Method::POST, "/v1/images/generations", &[("idempotency-key", "")], Some(good())).await;
    assert_eq!(odd.error(), (400, "invalid_request", "Idempotency-Key"));
    assert_eq!(user.get("/api/v1/nothing").await.error(), (404, "not_found", ""));
    assert_eq!(user.get("/v1/images/generations").await.error(), (404, "not_found", ""));

    assert_eq!(user.credits().await, (10_000, 0, 0));
    assert_eq!(user.get("/api/v1/jobs").await.body, json!({ "data": [] }));
    rig.audit().await;
}

#[tokio::test]
async fn too_few_credits_is_402_and_nothing_else_happens() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    // 1024 x 1024 in 150 steps is 30 credits; ten were given.
    let body = json!({ "model": "tintype/shapes", "prompt": "p", "size": "1024x1024", "steps": 150 });
    let headers = [("idempotency-key", "k")];
    let reply = user.send(Method::POST, "/v1/images/generations", &headers, Some(body)).await;
    assert_eq!(reply.error(), (402, "insufficient_quota", ""));
    assert_eq!(reply.body["error"]["type"], "insufficient_quota");
    assert_eq!(reply.header("x-should-retry"), "false");
    let message = reply.body["error"]["message"].as_str().unwrap();
    assert!(message.contains("30.000") && message.contains("10.000"), "{message}");
    for table in ["select count(*) from generation", "select count(*) from hold", "select count(*) from idempotency"] {
        assert_eq!(sqlx::query_scalar::<_, i64>(table).fetch_one(&rig.pool).await.unwrap(), 0, "{table}");
    }
    // The refusal has released the key: a smaller request may use it.
    let reply = user
        .send(Method::POST, "/api/v1/jobs", &headers, Some(json!({ "model": "tintype/shapes", "prompt": "p" })))
        .await;
    assert_eq!(reply.status, StatusCode::ACCEPTED);
    assert_eq!(user.credits().await, (10_000 - PRICE, PRICE, 0));
    rig.audit().await;
}

#[tokio::test]
async fn racing_requests_cannot_spend_more_than_there_is() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    // 4 credits each: two fit into ten.
    let body = json!({ "model": "tintype/shapes", "prompt": "p", "width": 512, "height": 512, "images": 4 });
    let tries: Vec<_> = (0..8)
        .map(|_| {
            let (user, body) = (user.clone(), body.clone());
            tokio::spawn(async move { user.post("/api/v1/jobs", body).await.status })
        })
        .collect();
    let mut taken = 0;
    for one in tries {
        match one.await.unwrap() {
            StatusCode::ACCEPTED => taken += 1,
            other => assert_eq!(other, StatusCode::PAYMENT_REQUIRED),
        }
    }
    assert_eq!(taken, 2);
    assert_eq!(user.credits().await, (2_000, 8_000, 0));
    rig.audit().await;
}

#[tokio::test]
async fn one_idempotency_key_has_one_effect() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let path = "/v1/images/generations";
    let ask = |key: &'static str, body: Value| {
        let user = user.clone();
        async move { user.send(Method::POST, path, &[("idempotency-key", key)], Some(body)).await }
    };
    let first = tokio::spawn(ask("k1", good()));
    let worker = rig.worker("w1");
    let work = worker.claim().await;

    // The first is still running.
    let again = ask("k1", good()).await;
    assert_eq!(again.error(), (409, "idempotency_conflict", ""));
    assert!(!again.header("retry-after").is_empty());
    assert_eq!(again.header("x-tintype-job"), work.job.as_str());
    // Another body with the same key.
    let mut other = good();
    other["prompt"] = json!("a blue square");
    assert_eq!(ask("k1", other.clone()).await.error(), (422, "idempotency_key_reuse", ""));

    let outputs = worker.upload(&work).await.unwrap();
    worker.done(&work, outputs).await;
    let first = first.await.unwrap();
    assert_eq!((first.status, first.header("idempotency-replayed")), (StatusCode::OK, ""));

    // The same again, spaced otherwise: the recorded answer.
    let replay = ask("k1", good()).await;
    assert_eq!((replay.status, replay.header("idempotency-replayed")), (StatusCode::OK, "true"));
    assert_eq!(replay.header("x-tintype-job"), first.header("x-tintype-job"));
    assert_eq!(replay.body["created"], first.body["created"]);
    assert_eq!(replay.body["data"][0]["seed"], first.body["data"][0]["seed"]);
    assert_eq!(ask("k1", other).await.error(), (422, "idempotency_key_reuse", ""));
    assert_eq!(user.credits().await, (10_000 - PRICE, 0, PRICE), "paid once");

    // Another account's key of the same name, and another route's, are other keys.
    let stranger = rig.user().await;
    let reply = stranger.send(Method::POST, "/api/v1/jobs", &[("idempotency-key", "k1")], Some(good())).await;
    assert_eq!((reply.status, reply.header("idempotency-replayed")), (StatusCode::ACCEPTED, ""));
    let reply = user.send(Method::POST, "/api/v1/jobs", &[("idempotency-key", "k1")], Some(good())).await;
    assert_eq!((reply.status, reply.header("idempotency-replayed")), (StatusCode::ACCEPTED, ""));
    let replay = user.send(Method::POST, "/api/v1/jobs", &[("idempotency-key", "k1")], Some(good())).await;
    assert_eq!((replay.status, replay.header("idempotency-replayed")), (StatusCode::ACCEPTED, "true"));
    assert_eq!(replay.body["id"], reply.body["id"]);
    rig.audit().await;
}

#[tokio::test]
async fn racing_requests_with_one_key_make_one_job() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let tries: Vec<_> = (0..8)
        .map(|_| {
            let user = user.clone();
            tokio::spawn(async move {
                user.send(Method::POST, "/api/v1/jobs", &[("idempotency-key", "k")], Some(good())).await
            })
        })
        .collect();
    let mut ids = Vec::new();
    let mut fresh = 0;
    for one in tries {
        let reply = one.await.unwrap();
        assert_eq!(reply.status, StatusCode::ACCEPTED, "{}", reply.body);
        fresh += usize::from(reply.header("idempotency-replayed").is_empty());
        ids.push(reply.body["id"].as_str().unwrap().to_owned());
    }
    ids.dedup();
    assert_eq!((ids.len(), fresh), (1, 1));
    assert_eq!(user.credits().await, (10_000 - PRICE, PRICE, 0));
    rig.audit().await;
}

/// OpenAI's clients send no key, but say that they are repeating: that joins the first job instead of buying another.
#[tokio::test]
async fn a_declared_retry_collects_the_first_job() {
    let rig = Rig::with(Options { wait_seconds: 1, ..Options::default() }).await;
    let user = rig.user().await;
    let path = "/v1/images/generations";
    let first = user.post(path, good()).await;
    assert_eq!(first.error(), (504, "timeout", ""));
    let id = first.header("x-tintype-job").to_owned();
    assert!(first.body["error"]["message"].as_str().unwrap().contains(&id));

    rig.worker("w1").work().await;
    let retry = user.send(Method::POST, path, &[("x-stainless-retry-count", "1")], Some(good())).await;
    assert_eq!((retry.status, retry.header("x-tintype-job")), (StatusCode::OK, id.as_str()));
    assert_eq!(user.settled().await, (10_000 - PRICE, PRICE));

    // Its answer has been read: the same words again are a new order, declared retry or not.
    let new = user.send(Method::POST, path, &[("x-stainless-retry-count", "1")], Some(good())).await;
    assert_eq!(new.error(), (504, "timeout", ""));
    assert_ne!(new.header("x-tintype-job"), id);
    rig.audit().await;
}

#[tokio::test]
async fn respond_async_answers_with_the_job() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let reply = user.send(Method::POST, "/v1/images/generations", &[("prefer", "respond-async")], Some(good())).await;
    assert_eq!((reply.status, reply.header("preference-applied")), (StatusCode::ACCEPTED, "respond-async"));
    let id = reply.body["id"].as_str().unwrap();
    assert_eq!(reply.header("location"), format!("/api/v1/jobs/{id}"));
    assert_eq!((&reply.body["state"], &reply.body["priceMillis"]), (&json!("Queued"), &json!(PRICE)));
    rig.worker("w1").work().await;
    user.job_in(id, "Complete").await;
}

#[tokio::test]
async fn a_caller_who_hangs_up_loses_no_job() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let asking = tokio::spawn({
        let user = user.clone();
        async move { user.post("/v1/images/generations", good()).await }
    });
    let work = rig.worker("w1").claim().await;
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    until("the request is gone", || async { (rig.metric("tintype_api_waiting_requests").await < 0.5).then_some(()) })
        .await;
    let worker = rig.worker("w1");
    drop(work);
    // A worker that starts anew gets the job again.
    worker.work().await;
    let jobs = user.get("/api/v1/jobs").await.body;
    user.job_in(jobs["data"][0]["id"].as_str().unwrap(), "Complete").await;
    assert_eq!(user.settled().await, (10_000 - PRICE, PRICE));
    rig.audit().await;
}

#[tokio::test]
async fn keys_open_what_is_theirs_until_they_are_revoked() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    for bad in ["", "tt_00000000_wrong", "sk-123", &user.key.replace("tt_", "tt_x")] {
        assert_eq!(user.with_key(bad).get("/api/v1/me").await.error(), (401, "invalid_api_key", ""), "{bad}");
    }
    // Well-formed and unknown.
    let unknown = tintype_api::keys::ApiKey::generate(&mut rand::rng());
    assert_eq!(user.with_key(unknown.reveal()).get("/v1/models").await.error(), (401, "invalid_api_key", ""));
    let without = client().get(format!("{}/api/v1/me", rig.url)).send().await.unwrap();
    assert_eq!(without.status(), StatusCode::UNAUTHORIZED);

    let made = user.post("/api/v1/keys", json!({ "name": "second" })).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let second = user.with_key(made.body["apiKey"].as_str().unwrap());
    assert_eq!(second.get("/api/v1/me").await.body, user.get("/api/v1/me").await.body);
    let list = user.get("/api/v1/keys").await.body;
    let names: Vec<_> = list["data"].as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["first", "second"]);
    assert!(!list.to_string().contains(made.body["apiKey"].as_str().unwrap()), "a secret is shown once");

    let id = made.body["id"].as_str().unwrap();
    let stranger = rig.user().await;
    assert_eq!(stranger.delete(&format!("/api/v1/keys/{id}")).await.error(), (404, "not_found", ""));
    assert_eq!(user.delete(&format!("/api/v1/keys/{id}")).await.status, StatusCode::NO_CONTENT);
    assert_eq!(second.get("/api/v1/me").await.error(), (401, "invalid_api_key", ""));

    // A user is made by the administrator alone.
    assert_eq!(user.post("/api/v1/users", json!({ "name": "x" })).await.error(), (401, "invalid_api_key", ""));
    assert_eq!(user.post("/api/v1/keys", json!({ "name": " " })).await.error(), (400, "invalid_request", "name"));
    let database: Vec<Vec<u8>> =
        sqlx::query_scalar("select secret_sha256 from api_key").fetch_all(&rig.pool).await.unwrap();
    assert!(database.iter().all(|kept| kept.len() == 32));
}

#[tokio::test]
async fn accounts_do_not_see_each_other() {
    let rig = Rig::start().await;
    let (alice, bob) = (rig.user().await, rig.user().await);
    let id = alice.submit().await;
    for path in
        [format!("/api/v1/jobs/{id}"), format!("/api/v1/jobs/{id}/events"), format!("/api/v1/jobs/{id}/images/0")]
    {
        assert_eq!(bob.get(&path).await.error(), (404, "not_found", ""), "{path}");
    }
    assert_eq!(bob.delete(&format!("/api/v1/jobs/{id}")).await.error(), (404, "not_found", ""));
    assert_eq!(bob.get("/api/v1/jobs").await.body, json!({ "data": [] }));
    assert_eq!(bob.get("/api/v1/jobs/not-an-id").await.error(), (404, "not_found", ""));
    assert_eq!(alice.job(&id).await["cancelled"], json!(false));
}

#[tokio::test]
async fn lists_come_in_pages_newest_first() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.insert(0, user.submit().await);
    }
    let mut seen = Vec::new();
    let mut path = "/api/v1/jobs?limit=2".to_owned();
    loop {
        let page = user.get(&path).await.body;
        let ids = page["data"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned());
        seen.push(ids.collect::<Vec<_>>());
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/v1/jobs?limit=2&before={next}");
    }
    assert_eq!(seen.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    assert_eq!(seen.concat(), made);
    for bad in ["limit=0", "limit=101", "limit=x", "before=x", "page=2"] {
        assert_eq!(user.get(&format!("/api/v1/jobs?{bad}")).await.status, StatusCode::BAD_REQUEST, "{bad}");
    }
}

#[tokio::test]
async fn models_health_and_numbers() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let models = user.get("/v1/models").await.body;
    assert_eq!(models["object"], "list");
    assert_eq!(models["data"][0]["id"], "tintype/shapes");
    assert_eq!(user.get("/api/v1/models").await.body["data"][0]["defaults"]["width"], 64);
    for path in ["/healthz", "/readyz"] {
        assert!(client().get(format!("{}{path}", rig.url)).send().await.unwrap().status().is_success());
    }
    let document = client().get(format!("{}/openapi.json", rig.url)).send().await.unwrap();
    let document: Value = document.json().await.unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    assert!(document["paths"]["/v1/images/generations"]["post"]["requestBody"].is_object());
    let events = &document["paths"]["/api/v1/jobs/{id}/events"]["get"]["responses"]["200"];
    assert!(events["description"].as_str().unwrap().contains("data:image/<format>;base64,<data>"), "{events}");
    let preview = &document["components"]["schemas"]["Preview"]["properties"];
    assert!(["image", "step", "format", "data"].iter().all(|field| preview[*field].is_object()), "{preview}");
    user.get("/api/v1/jobs/123").await;
    let line = r#"tintype_api_http_requests_total{method="GET",route="/api/v1/jobs/{id}",status="404"}"#;
    assert!(rig.metric(line).await >= 1.0, "counted by route template");
}
