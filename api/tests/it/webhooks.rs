//! Webhooks over real HTTP: told once per event, signed, logged, told again when asked, left in peace while they fail,
//! switched off when they fail for good, and never sent into our own network.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::receiver::{Receiver, Told};
use crate::rig::{Options, Reply, Rig, User, until};

/// The endpoint and its secret.
async fn hook(user: &User, body: Value) -> (String, String) {
    let made = user.post("/api/v1/webhooks", body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    let path = format!("/api/v1/webhooks/{}", made.body["id"].as_str().unwrap());
    (path, made.body["secret"].as_str().unwrap().to_owned())
}

/// A job, from its beginning to its settlement.
async fn job(rig: &Rig, user: &User) -> String {
    let id = user.submit().await;
    rig.worker("w1").work().await;
    user.job_in(&id, "Complete").await;
    id
}

fn signed_by(told: &Told, secret: &str) -> bool {
    use hmac::{Hmac, KeyInit, Mac};
    let key = BASE64_STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("{}.{}.", told.header("webhook-id"), told.header("webhook-timestamp")).as_bytes());
    mac.update(&told.body);
    let expected = format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()));
    told.header("webhook-signature").split(' ').any(|signature| signature == expected)
}

async fn log(user: &User, path: &str) -> Vec<Value> {
    user.get(&format!("{path}/deliveries")).await.body["data"].as_array().unwrap().clone()
}

async fn logged(user: &User, path: &str, state: &str) -> Value {
    until(&format!("the log says {state}"), || async {
        log(user, path).await.into_iter().find(|delivery| delivery["state"] == state)
    })
    .await
}

/// Errands and endpoints forget their pauses.
async fn hurry(rig: &Rig) {
    sqlx::query("update webhook_endpoint set paused_until_ms = 0").execute(&rig.pool).await.unwrap();
    sqlx::query("update errand set due_ms = 0 where claimed_ms is null").execute(&rig.pool).await.unwrap();
}

#[tokio::test]
async fn an_endpoint_is_told_once_of_what_it_wants_to_hear_and_can_check_who_says_it() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let (all, ends) = (Receiver::start().await, Receiver::start().await);
    let (_, secret) = hook(&user, json!({ "url": all.url, "description": "everything" })).await;
    let (path, _) = hook(&user, json!({ "url": ends.url, "events": ["job.completed", "job.failed"] })).await;
    let done = job(&rig, &user).await;
    ends.hears(1).await;
    let cancelled = user.submit().await;
    user.delete(&format!("/api/v1/jobs/{cancelled}")).await;
    user.job_in(&cancelled, "Failed").await;
    let told = ends.hears(2).await;
    let facts: Vec<_> =
        told.iter().map(|told| (told.json()["type"].clone(), told.json()["data"]["id"].clone())).collect();
    assert_eq!(facts, [(json!("job.completed"), json!(done)), (json!("job.failed"), json!(cancelled))]);
    assert_eq!(told[0].json()["data"]["outputs"].as_array().map(Vec::len), Some(1));
    assert!(told[0].json()["timestamp"].as_str().unwrap().ends_with('Z'));
    let heard = all.hears(3).await;
    assert!(heard.iter().any(|told| told.json()["type"] == "job.started"));
    assert!(heard.iter().all(|told| signed_by(told, &secret)));
    assert!(!signed_by(&told[0], &secret), "each endpoint has its own secret");
    let entry = logged(&user, &path, "delivered").await;
    assert_eq!((&entry["attempts"], &entry["status"]), (&json!(1), &json!(204)), "{entry}");
    assert_eq!(log(&user, &path).await.len(), 2, "nothing is told twice");
    let shown = user.get(&path).await.body;
    assert!(shown.get("secret").is_none() && shown["enabled"] == true, "{shown}");
}

#[tokio::test]
async fn a_rotated_secret_signs_beside_the_old_one_and_a_replay_keeps_its_id() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let receiver = Receiver::start().await;
    let (path, old) = hook(&user, json!({ "url": receiver.url })).await;
    let rotated = user.post(&format!("{path}/rotate"), Value::Null).await;
    let new = rotated.body["secret"].as_str().unwrap().to_owned();
    assert_ne!(new, old);
    assert_eq!(user.post(&format!("{path}/test"), Value::Null).await.status, StatusCode::ACCEPTED);
    let first = receiver.hears(1).await.remove(0);
    assert_eq!(first.json()["type"], "webhook.test");
    assert!(signed_by(&first, &old) && signed_by(&first, &new));
    sqlx::query("update webhook_endpoint set old_secret_until_ms = 1").execute(&rig.pool).await.unwrap();
    let entry = logged(&user, &path, "delivered").await;
    let replay = format!("{path}/deliveries/{}/replay", entry["id"].as_str().unwrap());
    assert_eq!(user.post(&replay, Value::Null).await.status, StatusCode::ACCEPTED);
    let second = receiver.hears(2).await.remove(1);
    assert_eq!(second.header("webhook-id"), first.header("webhook-id"));
    assert_eq!(entry["messageId"], first.header("webhook-id"));
    assert!(!signed_by(&second, &old) && signed_by(&second, &new), "a day later the old secret signs no more");
}

#[tokio::test]
async fn what_fails_is_tried_again_and_an_endpoint_that_fails_is_left_in_peace_then_switched_off() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let receiver = Receiver::start().await;
    let (path, _) = hook(&user, json!({ "url": receiver.url, "events": ["job.completed"] })).await;
    receiver.answer(StatusCode::FOUND);
    job(&rig, &user).await;
    receiver.hears(1).await;
    let failures = || async { Some(user.get(&path).await.body).filter(|shown| shown["failures"] == 1) };
    until("the failure is counted", failures).await;
    // A second event while the endpoint is left in peace, as long as this takes: nothing is sent.
    sqlx::query("update webhook_endpoint set paused_until_ms = 9e15").execute(&rig.pool).await.unwrap();
    job(&rig, &user).await;
    until("it was put off", || async {
        let put_off: i64 = sqlx::query_scalar("select count(*) from errand where error like '%left in peace%'")
            .fetch_one(&rig.pool)
            .await
            .unwrap();
        (put_off >= 1).then_some(())
    })
    .await;
    assert_eq!(receiver.told().len(), 1, "a redirect is not followed, and peace is kept");
    receiver.answer(StatusCode::OK);
    hurry(&rig).await;
    receiver.hears(3).await;
    let healed = || async { Some(user.get(&path).await.body).filter(|shown| shown["failures"] == 0) };
    until("success forgets failures", healed).await;
    until("both are delivered", || async {
        let log = log(&user, &path).await;
        (log.iter().filter(|delivery| delivery["state"] == "delivered").count() == 2).then_some(())
    })
    .await;

    receiver.answer(StatusCode::INTERNAL_SERVER_ERROR);
    sqlx::query("update webhook_endpoint set failures = 59").execute(&rig.pool).await.unwrap();
    user.post(&format!("{path}/test"), Value::Null).await;
    let off = until("it is switched off", || async {
        Some(user.get(&path).await.body).filter(|shown| shown["enabled"] == false)
    })
    .await;
    assert_eq!(off["disabledReason"], "60 deliveries failed in a row");
    let told = receiver.told().len();
    job(&rig, &user).await;
    hurry(&rig).await;
    logged(&user, &path, "failed").await;
    assert_eq!(receiver.told().len(), told, "who is switched off is told nothing");
    receiver.answer(StatusCode::OK);
    let on = user.send(Method::PATCH, &path, &[], Some(json!({ "enabled": true }))).await;
    assert_eq!((&on.body["enabled"], &on.body["failures"]), (&json!(true), &json!(0)));
    receiver.answer(StatusCode::GONE);
    user.post(&format!("{path}/test"), Value::Null).await;
    until("410 switches off", || async {
        Some(user.get(&path).await.body).filter(|shown| shown["disabledReason"] == "it answered 410 Gone")
    })
    .await;
}

#[tokio::test]
async fn no_webhook_goes_into_our_own_network() {
    let rig = Rig::with(Options { webhook_private_targets: false, ..Options::default() }).await;
    let user = rig.user().await;
    let receiver = Receiver::start().await;
    for url in [
        receiver.url.as_str(),
        "https://127.0.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::ffff:10.0.0.1]/",
        "https://0x7f000001/",
        "https://user:secret@example.org/",
        "gopher://example.org/",
        "https://example.org:22/",
    ] {
        let refused = user.post("/api/v1/webhooks", json!({ "url": url })).await;
        assert_eq!(refused.error(), (400, "invalid_request", "url"), "{url}");
    }
    // A name that means this machine: what it means is judged where the connection is made.
    let (path, _) = hook(&user, json!({ "url": "https://localhost/hook" })).await;
    user.post(&format!("{path}/test"), Value::Null).await;
    let tried = until("it was tried", || async {
        log(&user, &path).await.into_iter().find(|delivery| delivery["attempts"] == 1)
    })
    .await;
    assert_eq!(tried["error"], "its name means an address that is not public", "{tried}");
    assert!(receiver.told().is_empty());
}

#[tokio::test]
async fn endpoints_are_their_owners_alone_and_bounded() {
    let rig = Rig::start().await;
    let (owner, other) = (rig.user().await, rig.user().await);
    let (path, _) = hook(&owner, json!({ "url": "http://127.0.0.1:9/" })).await;
    owner.post(&format!("{path}/test"), Value::Null).await;
    let delivery = log(&owner, &path).await[0]["id"].as_str().unwrap().to_owned();
    let nobody = format!("/api/v1/webhooks/{}", uuid::Uuid::now_v7());
    for (what, method, body) in [
        (String::new(), Method::GET, None),
        (String::new(), Method::PATCH, Some(json!({ "enabled": false }))),
        (String::new(), Method::DELETE, None),
        ("/rotate".to_owned(), Method::POST, None),
        ("/test".to_owned(), Method::POST, None),
        ("/deliveries".to_owned(), Method::GET, None),
        (format!("/deliveries/{delivery}/replay"), Method::POST, None),
    ] {
        let ask = async |path: &str| other.send(method.clone(), &format!("{path}{what}"), &[], body.clone()).await;
        let (foreign, missing): (Reply, Reply) = (ask(&path).await, ask(&nobody).await);
        assert_eq!((foreign.status.as_u16(), foreign.error()), (404, missing.error()), "{method} {what}");
    }
    for _ in 1..20 {
        hook(&owner, json!({ "url": "http://127.0.0.1:9/" })).await;
    }
    let full = owner.post("/api/v1/webhooks", json!({ "url": "http://127.0.0.1:9/" })).await;
    assert_eq!(full.error(), (403, "permission_denied", ""));
    let unknown =
        owner.post("/api/v1/webhooks", json!({ "url": "http://127.0.0.1:9/", "events": ["job.exploded"] })).await;
    assert_eq!(unknown.error(), (400, "invalid_request", "events[0]"));
}
