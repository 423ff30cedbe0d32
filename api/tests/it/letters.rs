//! Letters people choose to have: that their pictures are ready, and what their week brought.

use reqwest::StatusCode;
use serde_json::json;

use crate::mail::{ADA, Post, ask, redeem, token};
use crate::rig::until;

#[tokio::test]
async fn who_wants_it_hears_once_that_pictures_are_ready() {
    let post = Post::open().await;
    let rig = post.rig(|_| {}).await;
    let _worker = rig.serve("w");
    assert_eq!(ask(&rig, ADA).await, StatusCode::ACCEPTED);
    let (mut ada, _) = redeem(&rig, &token(&post.next(0).await, "sign_in")).await;
    let draw = json!({ "model": "tintype/shapes", "prompt": "a secret of a prompt", "images": 2 });
    assert_eq!(
        ada.post("/v1/images/generations", json!({ "model": "tintype/shapes", "prompt": "x" })).await.status,
        StatusCode::OK
    );
    let chosen = ada.send(reqwest::Method::PATCH, "/api/v1/me", Some(json!({ "notifyReady": true }))).await;
    assert_eq!(chosen.body["user"]["notifyReady"], true, "{}", chosen.body);
    for _ in 0..2 {
        let job = ada.post("/api/v1/jobs", draw.clone()).await;
        assert_eq!(job.status, StatusCode::ACCEPTED, "{}", job.body);
    }
    let waiting = async || -> (i64, i64) {
        sqlx::query_as("select count(*), coalesce(min(due_ms - created_ms), 0)::bigint from errand where lane = 'mail'")
            .fetch_one(&rig.pool)
            .await
            .unwrap()
    };
    until("both jobs are settled", || async {
        let settled: i64 = sqlx::query_scalar("select count(*) from generation where settled_ms is not null")
            .fetch_one(&rig.pool)
            .await
            .unwrap();
        (settled == 3).then_some(())
    })
    .await;
    assert_eq!(waiting().await, (1, 60_000), "one letter for what comes within a minute");
    sqlx::query("update errand set due_ms = 0 where lane = 'mail'").execute(&rig.pool).await.unwrap();
    let mail = post.next(1).await;
    assert_eq!((&mail["to"], &mail["subject"]), (&json!(ADA), &json!("Your images are ready!")));
    let text = mail["text"].as_str().unwrap();
    assert!(text.contains("4 images") && !text.contains("secret"), "{text}");
}

#[tokio::test]
async fn who_wants_it_hears_each_week_what_they_made_and_spent() {
    let post = Post::open().await;
    let rig = post.rig(|_| {}).await;
    let _worker = rig.serve("w");
    assert_eq!(ask(&rig, ADA).await, StatusCode::ACCEPTED);
    let (mut ada, _) = redeem(&rig, &token(&post.next(0).await, "sign_in")).await;
    let chosen = ada.send(reqwest::Method::PATCH, "/api/v1/me", Some(json!({ "digest": true }))).await;
    assert_eq!((&chosen.body["user"]["digest"], &chosen.body["user"]["notifyReady"]), (&json!(true), &json!(false)));
    let due = async || -> i64 {
        let now = crate::support::now().0;
        let SinceMs(since) = sqlx::query_as("select digest_ms from person").fetch_one(&rig.pool).await.unwrap();
        i64::try_from(now).unwrap() - since
    };
    assert!((0..60_000).contains(&due().await), "the first comes in a week");
    let week_over = "update person set digest_ms = digest_ms - 7 * 86400000";
    // A week in which nothing came about: nothing is told, and the next begins.
    sqlx::query(week_over).execute(&rig.pool).await.unwrap();
    until("the next week begins", || async { (due().await < 60_000).then_some(()) }).await;
    let draw = json!({ "model": "tintype/shapes", "prompt": "a secret of a prompt", "n": 2 });
    assert_eq!(ada.post("/v1/images/generations", draw).await.status, StatusCode::OK);
    until("it is settled", || async {
        let settled = "select count(*) from generation where settled_ms is not null";
        (sqlx::query_scalar::<_, i64>(settled).fetch_one(&rig.pool).await.unwrap() == 1).then_some(())
    })
    .await;
    sqlx::query(week_over).execute(&rig.pool).await.unwrap();
    let mail = post.next(1).await;
    assert_eq!((&mail["to"], &mail["subject"]), (&json!(ADA), &json!("Your week: 2 images")));
    let text = mail["text"].as_str().unwrap();
    assert!(text.contains("2 images and spent 0.032 credits; 9.968 are left") && !text.contains("secret"), "{text}");
    assert!(due().await < 60_000, "one a week");
    ada.send(reqwest::Method::PATCH, "/api/v1/me", Some(json!({ "digest": false }))).await;
    sqlx::query(week_over).execute(&rig.pool).await.unwrap();
    rig.pass("digests").await;
    assert!(due().await > 60_000, "nobody looks at whoever wants none");
}

/// A moment of a row.
#[derive(sqlx::FromRow)]
struct SinceMs(i64);
