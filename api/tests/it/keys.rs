//! API keys in memory: known keys cost no look into the database, revoked ones are dead whoever revoked them, and when no
//! news come every key is asked for again. And how fast an account may ask.

use reqwest::StatusCode;
use serde_json::json;

use crate::rig::{Options, PRICE, Rig, until};

async fn checks(rig: &Rig, source: &str) -> u64 {
    rig.metric(&format!("tintype_api_key_checks_total{{source=\"{source}\"}}")).await as u64
}

/// A user whose key is answered from memory.
async fn remembered(rig: &Rig) -> crate::rig::User {
    let user = rig.user().await;
    until("the key is in memory", || async {
        let before = checks(rig, "memory").await;
        assert_eq!(user.get("/api/v1/me").await.status, StatusCode::OK);
        (checks(rig, "memory").await > before).then_some(())
    })
    .await;
    user
}

#[tokio::test]
async fn a_known_key_costs_no_look_into_the_database() {
    let rig = Rig::start().await;
    let user = remembered(&rig).await;
    let before = checks(&rig, "database").await;
    for _ in 0..20 {
        assert_eq!(user.get("/api/v1/me").await.status, StatusCode::OK);
    }
    assert_eq!(checks(&rig, "database").await, before);
    let wrong = user.with_key("tt_00000000_not-a-key");
    assert_eq!(wrong.get("/api/v1/me").await.error(), (401, "invalid_api_key", ""));
}

#[tokio::test]
async fn a_key_revoked_here_is_refused_by_the_very_next_request() {
    let rig = Rig::start().await;
    let user = remembered(&rig).await;
    let made = user.post("/api/v1/keys", json!({ "name": "second" })).await.body;
    let second = user.with_key(made["apiKey"].as_str().unwrap());
    assert_eq!(second.get("/api/v1/me").await.status, StatusCode::OK);
    assert_eq!(second.get("/api/v1/me").await.status, StatusCode::OK);
    let revoked = user.delete(&format!("/api/v1/keys/{}", made["id"].as_str().unwrap())).await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    assert_eq!(second.get("/api/v1/me").await.error(), (401, "invalid_api_key", ""));
}

#[tokio::test]
async fn a_key_revoked_by_another_program_is_dead_here() {
    let rig = Rig::start().await;
    let user = remembered(&rig).await;
    sqlx::query("update api_key set revoked_ms = 1 where account = $1")
        .bind(user.account)
        .execute(&rig.pool)
        .await
        .unwrap();
    until("the key is refused", || async {
        (user.get("/api/v1/me").await.status == StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
    assert_eq!(user.get("/api/v1/me").await.status, StatusCode::UNAUTHORIZED, "and stays so");
}

/// The listening connection is cut, and the key is revoked before it is back: the news are lost for good.
#[tokio::test]
async fn news_lost_with_the_connection_make_no_revoked_key_good() {
    let rig = Rig::start().await;
    let user = remembered(&rig).await;
    sqlx::query(
        "with cut as (select count(pg_terminate_backend(pid)) from pg_stat_activity
            where datname = current_database() and query ilike 'listen%tintype_keys%')
         update api_key set revoked_ms = 1 from cut where account = $1",
    )
    .bind(user.account)
    .execute(&rig.pool)
    .await
    .unwrap();
    until("the key is refused", || async {
        (user.get("/api/v1/me").await.status == StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
    let other = remembered(&rig).await;
    assert_eq!(other.get("/api/v1/me").await.status, StatusCode::OK, "the channel is open again");
}

#[tokio::test]
async fn the_last_use_of_a_key_is_written_down_in_the_end() {
    let mut rig = Rig::start().await;
    let user = remembered(&rig).await;
    rig.restart().await;
    let keys = user.at(&rig.url).get("/api/v1/keys").await.body;
    assert!(keys["data"][0]["lastUsedMs"].as_u64().unwrap() > 1_700_000_000_000, "{keys}");
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_back() {
    let rig = Rig::with(Options { requests_per_minute: 60, ..Options::default() }).await;
    let (user, other) = (rig.user().await, rig.user().await);
    let first = user.get("/api/v1/me").await;
    assert_eq!((first.header("ratelimit-limit"), first.header("ratelimit-remaining")), ("10", "9"));
    let refused = until("a request is one too many", || async {
        let reply = user.get("/api/v1/me").await;
        (reply.status == StatusCode::TOO_MANY_REQUESTS).then_some(reply)
    })
    .await;
    assert_eq!(refused.error(), (429, "rate_limited", ""));
    assert_eq!((refused.header("retry-after"), refused.header("ratelimit-remaining")), ("1", "0"));
    assert_eq!(other.get("/api/v1/me").await.status, StatusCode::OK, "others are not touched");
    let second = user.with_key("tt_00000000_not-a-key").get("/api/v1/me").await;
    assert_eq!(second.status, StatusCode::UNAUTHORIZED, "a wrong key is not told that it is early");
}

#[tokio::test]
async fn a_key_does_what_its_scopes_say_and_makes_no_key_that_does_more() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let job = json!({ "model": "tintype/shapes", "prompt": "a red circle" });
    let refused = (403, "permission_denied", "");
    for (scopes, get, post, manage) in [
        (json!(["read"]), true, false, false),
        (json!(["generate"]), false, true, false),
        (json!(["manage"]), false, false, true),
        (json!(["read", "generate"]), true, true, false),
    ] {
        let made = user.post("/api/v1/keys", json!({ "name": "some", "scopes": scopes })).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
        let some = user.with_key(made.body["apiKey"].as_str().unwrap());
        assert_eq!(some.get("/api/v1/me").await.error() != refused, get, "{scopes}");
        assert_eq!(some.post("/api/v1/jobs", job.clone()).await.error() != refused, post, "{scopes}");
        assert_eq!(some.delete("/api/v1/keys/00000000").await.error() != refused, manage, "{scopes}");
        assert_eq!(some.post("/api/v1/keys", json!({ "name": "more" })).await.error(), refused, "{scopes}");
    }
    for (body, param) in [
        (json!({ "name": "x", "scopes": [] }), "scopes"),
        (json!({ "name": "x", "scopes": ["fly"] }), "scopes[0]"),
        (json!({ "name": "x", "expiresMs": 1 }), "expiresMs"),
        (json!({ "name": "x", "budgetMillis": -1 }), "budgetMillis"),
    ] {
        assert_eq!(user.post("/api/v1/keys", body).await.error(), (400, "invalid_request", param));
    }
    let list = user.get("/api/v1/keys").await.body;
    assert_eq!(list["data"][1]["scopes"], json!(["read"]));
    assert_eq!(list["data"][0]["scopes"], json!(["read", "generate", "billing", "manage"]));
}

#[tokio::test]
async fn a_key_runs_out_even_from_memory() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let now = crate::support::now().0;
    let soon = user.post("/api/v1/keys", json!({ "name": "soon", "expiresMs": now + 3_000 })).await;
    assert_eq!(soon.status, StatusCode::CREATED, "{}", soon.body);
    let soon = user.with_key(soon.body["apiKey"].as_str().unwrap());
    let known = checks(&rig, "memory").await;
    until("the key is known by heart", || async {
        assert_eq!(soon.get("/api/v1/me").await.status, StatusCode::OK);
        (checks(&rig, "memory").await > known).then_some(())
    })
    .await;
    until("the key has run out", || async {
        (soon.get("/api/v1/me").await.error() == (401, "invalid_api_key", "")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_budget_is_kept_to_the_millicredit_and_gets_back_what_jobs_did_not_cost() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let made = user.post("/api/v1/keys", json!({ "name": "intern", "budgetMillis": 3 * PRICE })).await.body;
    let (id, intern) = (made["id"].as_str().unwrap(), user.with_key(made["apiKey"].as_str().unwrap()));
    let path = format!("/api/v1/keys/{id}");
    let job = json!({ "model": "tintype/shapes", "prompt": "a red circle" });
    let used = async || {
        let list = user.get("/api/v1/keys").await.body;
        list["data"].as_array().unwrap().iter().find(|key| key["id"] == id).unwrap()["usedMillis"].as_i64()
    };
    // Eight at once, and three get in.
    let tries = futures::future::join_all((0..8).map(|_| intern.post("/api/v1/jobs", job.clone()))).await;
    let made: Vec<_> = tries.iter().filter(|reply| reply.status == StatusCode::ACCEPTED).collect();
    assert_eq!((made.len(), used().await), (3, Some(3 * PRICE)));
    let refused: Vec<_> = tries.iter().filter(|reply| reply.error() == (402, "insufficient_quota", "")).collect();
    assert_eq!(refused.len(), 5);
    // A job that is cancelled before it ran costs nothing, so there is room for another.
    let first = made[0].body["id"].as_str().unwrap();
    // 202 while its end is on its way, 200 once it is written: both have the job cancelled.
    assert!(intern.delete(&format!("/api/v1/jobs/{first}")).await.status.is_success());
    until("its price is given back", || async { (used().await == Some(2 * PRICE)).then_some(()) }).await;
    assert_eq!(intern.post("/api/v1/jobs", job.clone()).await.status, StatusCode::ACCEPTED);
    assert_eq!(intern.post("/api/v1/jobs", job.clone()).await.error(), (402, "insufficient_quota", ""));
    assert_eq!(user.post("/api/v1/jobs", job.clone()).await.status, StatusCode::ACCEPTED, "the account has enough");
    // More of it, and then no end of it.
    let patch = async |who: &crate::rig::User, body| who.send(reqwest::Method::PATCH, &path, &[], Some(body)).await;
    assert_eq!(patch(&intern, json!({ "budgetMillis": null })).await.error(), (403, "permission_denied", ""));
    let stranger = rig.user().await;
    assert_eq!(patch(&stranger, json!({ "budgetMillis": null })).await.error(), (404, "not_found", ""));
    assert_eq!(patch(&user, json!({ "budgetMillis": 4 * PRICE })).await.status, StatusCode::NO_CONTENT);
    assert_eq!(intern.post("/api/v1/jobs", job.clone()).await.status, StatusCode::ACCEPTED);
    assert_eq!(intern.post("/api/v1/jobs", job.clone()).await.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(patch(&user, json!({ "budgetMillis": null })).await.status, StatusCode::NO_CONTENT);
    assert_eq!(intern.post("/api/v1/jobs", job).await.status, StatusCode::ACCEPTED);
    rig.audit().await;
}
