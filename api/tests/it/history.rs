//! What an administrator sees of the last hours and days: how jobs of all accounts ended, and nothing of whose they were.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::rig::{ADMIN_TOKEN, PRICE, Rig};

/// The sum of a field over all stretches.
fn sum(history: &Value, field: &str) -> i64 {
    history["data"].as_array().unwrap().iter().map(|one| one[field].as_i64().unwrap()).sum()
}

#[tokio::test]
async fn the_administrator_sees_how_jobs_of_all_accounts_ended_by_the_hour_and_the_day() {
    let rig = Rig::start().await;
    let (user, other) = (rig.user().await, rig.user().await);
    let admin = user.with_key(ADMIN_TOKEN);
    for one in [&user, &other] {
        one.submit().await;
        rig.worker("w1").work().await;
        one.settled().await;
    }
    let id = user.submit().await;
    // 202 where it is being cancelled, 200 where it has ended meanwhile.
    assert!(user.delete(&format!("/api/v1/jobs/{id}")).await.status.is_success());
    user.settled().await;

    for (query, stretches, step) in [("", 24, 3_600_000), ("?by=hour", 24, 3_600_000), ("?by=day", 30, 86_400_000)] {
        let history = admin.get(&format!("/api/v1/admin/history{query}")).await.body;
        let told = history["data"].as_array().unwrap();
        assert_eq!((told.len(), &history["stepMs"]), (stretches, &json!(step)), "{query}");
        let sums = ["done", "failed", "cancelled", "images", "spentMillis"].map(|field| sum(&history, field));
        assert_eq!(sums, [2, 0, 1, 2, 2 * PRICE], "{query}: {history}");
        let waited: Vec<_> = told.iter().filter(|one| one["waitedMs"].as_i64().is_some_and(|ms| ms >= 0)).collect();
        assert!(!waited.is_empty() && waited.iter().all(|one| one["done"] != 0), "{history}");
        assert!(!history.to_string().contains(&user.account.to_string()), "{history}");
        assert_eq!(history["grafanaUrl"], Value::Null, "nobody named one");
    }
    // What ended two days ago is in its day, and in no hour of these.
    sqlx::query("alter table generation disable trigger generation_only_goes_forward")
        .execute(&rig.pool)
        .await
        .unwrap();
    let long_ago = "update generation set finished_ms = finished_ms - 172800000 where account = $1";
    sqlx::query(long_ago).bind(other.account).execute(&rig.pool).await.unwrap();
    let hours = admin.get("/api/v1/admin/history").await.body;
    let days = admin.get("/api/v1/admin/history?by=day").await.body;
    assert_eq!((sum(&hours, "done"), sum(&days, "done")), (1, 2));

    assert_eq!(admin.get("/api/v1/admin/history?by=week").await.error(), (400, "invalid_request", "by"));
    assert_eq!(user.get("/api/v1/admin/history").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_history_is_read_by_when_jobs_ended() {
    let rig = Rig::start().await;
    let mut one = rig.pool.acquire().await.unwrap();
    sqlx::query("set enable_seqscan to off").execute(&mut *one).await.unwrap();
    let explain = "explain select count(*) from generation g where g.finished_ms >= 1 and g.finished_ms < 2";
    let plan: Vec<String> = sqlx::query_scalar(explain).fetch_all(&mut *one).await.unwrap();
    assert!(plan.join("\n").contains("generation_by_end"), "{plan:?}");
}
