//! API keys in memory: known keys cost no look into the database, revoked ones are dead whoever revoked them, and when no
//! news come every key is asked for again. And how fast an account may ask.

use reqwest::StatusCode;
use serde_json::json;

use crate::rig::{Options, Rig, until};

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
