//! What the studio leans on: one stream for everything of an account, files by a URL that stays good, days of the gallery,
//! and pages where there is no route.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::lifecycle::Events;
use crate::rig::{PRICE, Rig, until};
use crate::worker::client;

#[tokio::test]
async fn one_stream_tells_of_all_jobs_new_ones_too_and_of_the_credits() {
    let rig = Rig::start().await;
    let (user, other) = (rig.user().await, rig.user().await);
    let first = user.submit().await;
    let mut events = Events::open_at(&rig, &user, "/api/v1/events").await;
    let credits = events.next().await.unwrap();
    assert_eq!(credits["credits"]["availableMillis"], 10_000 - PRICE);
    let told = events.first(|event| event.get("job").cloned()).await;
    assert_eq!(told["job"], json!(first));

    other.submit().await;
    let second = user.submit().await;
    let _worker = rig.serve("w1");
    let (mut complete, mut spent) = (Vec::new(), 0);
    while complete.len() < 2 || spent < 2 * PRICE {
        let event = events.next().await.unwrap();
        if let Some(millis) = event["credits"]["spentMillis"].as_i64() {
            spent = millis;
        }
        if event["job"]["state"] == "Complete" {
            complete.push(event["job"]["job"].as_str().unwrap().to_owned());
        }
    }
    complete.sort();
    assert_eq!(complete, [first, second], "one's own jobs, and nobody else's");
}

#[tokio::test]
async fn the_stream_says_why_a_job_waits_and_when_it_should_end_and_nothing_of_workers() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let (first, second) = (user.submit().await, user.submit().await);
    let mut events = Events::open_at(&rig, &user, "/api/v1/events").await;
    let of = |event: &Value, job: &str| event.get("outlook").filter(|told| told["job"] == job).cloned();
    let told = events.first(|event| of(event, &second)).await;
    assert_eq!(told["reason"], json!({ "kind": "noMatchingWorker" }), "there is no worker");
    // One that takes a job and says no more of it.
    let worker = rig.worker("secret-node");
    worker.claim().await;
    let told = events.first(|event| of(event, &first).filter(|told| told["reason"]["kind"] == "running")).await;
    assert_eq!(told["reason"], json!({ "kind": "running" }));
    assert!(told["times"]["endsMs"].as_u64() >= told["times"]["startsMs"].as_u64(), "{told}");
    let told =
        events.first(|event| of(event, &second).filter(|told| told["reason"]["kind"] != "noMatchingWorker")).await;
    assert_eq!((&told["reason"], &told["times"]["ahead"]), (&json!({ "kind": "waitingForWorker" }), &json!(0)));
    assert!(!told.to_string().contains("secret-node"), "{told}");
}

#[tokio::test]
async fn a_file_comes_by_a_url_that_stays_good_to_its_owner_alone() {
    let rig = Rig::start().await;
    let (user, other) = (rig.user().await, rig.user().await);
    let _worker = rig.serve("w1");
    let id = user.submit().await;
    user.job_in(&id, "Complete").await;
    let image = until("the picture is listed", || async {
        user.get("/api/v1/images").await.body["data"][0]["id"].as_str().map(str::to_owned)
    })
    .await;
    for path in [format!("/api/v1/jobs/{id}/images/0"), format!("/api/v1/images/{image}/file")] {
        let url = format!("{}{path}?inline=true", rig.url);
        let file = client().get(&url).bearer_auth(&user.key).send().await.unwrap();
        assert_eq!((file.status(), &file.headers()["content-type"]), (StatusCode::OK, &"image/png".parse().unwrap()));
        assert_eq!(file.headers()["cache-control"], "private, max-age=31536000, immutable");
        assert_eq!(&file.bytes().await.unwrap()[..8], b"\x89PNG\r\n\x1a\n");
        assert_eq!(other.get(&format!("{path}?inline=true")).await.status, StatusCode::NOT_FOUND);
        assert_eq!(user.get(&format!("{path}?inline=maybe")).await.error(), (400, "invalid_request", "query"));
        assert_eq!(user.get(&path).await.status, StatusCode::FOUND);
    }
}

#[tokio::test]
async fn days_count_what_the_list_has() {
    let rig = Rig::start().await;
    let (user, other) = (rig.user().await, rig.user().await);
    let _worker = rig.serve("w1");
    for who in [&user, &user, &other] {
        let id = who.submit().await;
        who.job_in(&id, "Complete").await;
    }
    let made = user.get("/api/v1/images").await.body["data"][0]["createdMs"].as_u64().unwrap();
    let older = "update image set created_ms = created_ms - 86400000 where created_ms = $1";
    sqlx::query(older).bind(made as i64).execute(&rig.pool).await.unwrap();
    let day = made - made % 86_400_000;
    let expected = json!([{ "fromMs": day, "images": 1 }, { "fromMs": day - 86_400_000, "images": 1 }]);
    assert_eq!(user.get("/api/v1/images/days").await.body["data"], expected);
    assert_eq!(user.get("/api/v1/images/days?q=circle").await.body["data"], expected);
    assert_eq!(user.get("/api/v1/images/days?starred=true").await.body["data"], json!([]));
}

#[tokio::test]
async fn the_front_page_is_there_for_everybody_and_unknown_routes_are_refused() {
    let rig = Rig::start().await;
    let page = client().get(&rig.url).header("accept", "text/html").send().await.unwrap();
    assert_eq!(page.status(), StatusCode::OK);
    assert!(page.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    assert!(page.text().await.unwrap().contains("Tintype"));
    let unknown = client().get(format!("{}/api/v1/nothing", rig.url)).send().await.unwrap();
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
    assert!(unknown.text().await.unwrap().contains("/openapi.json"));
}
