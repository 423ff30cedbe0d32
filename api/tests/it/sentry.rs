//! Errors, told to a counterpart that keeps envelopes as they come; Sentry's own parser and Sentry's own relay read them.

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::clients;
use crate::crash::spawn_with;
use crate::rig::{ADMIN_TOKEN, User, prepare};
use crate::services::Sink;
use crate::support::database;

#[tokio::test]
async fn what_is_logged_as_an_error_is_told_to_sentry_with_its_release_and_nothing_of_whom_it_met() {
    let sink = Sink::start(|_| (StatusCode::OK, json!({ "id": "fc6d8c0c43fc4630ad850ee518f1b9d0" }))).await;
    let (pool, database_url) = database().await;
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    let dsn = format!("{}/42", sink.url.replace("http://", "http://0123456789abcdef@"));
    let said = [("TINTYPE_SENTRY_DSN", dsn.as_str()), ("TINTYPE_SENTRY_ENVIRONMENT", "staging")];
    let (mut api, url) = spawn_with(folder.path(), &database_url, 0, &said).await;
    let made = User::new(&url, ADMIN_TOKEN).post("/api/v1/users", json!({ "name": "gondolier" })).await;
    let key = made.body["apiKey"].as_str().unwrap().to_owned();
    let user = User::new(&url, &key);
    assert_eq!(user.get("/api/v1/collections").await.status, StatusCode::OK);
    assert!(sink.heard("/").is_empty(), "nothing has happened");
    sqlx::query("alter table collection rename to hidden").execute(&pool).await.unwrap();
    let broken = user.post("/api/v1/collections", json!({ "name": "a very secret gondola" })).await;
    assert_eq!(broken.error(), (500, "internal", ""));
    let heard = sink.hears("/api/42/envelope/", 1).await;
    let sent = heard[0].headers["x-sentry-auth"].to_str().unwrap();
    assert!(sent.starts_with("Sentry sentry_version=7, ") && sent.ends_with("sentry_key=0123456789abcdef"), "{sent}");

    let file = folder.path().join("envelope");
    std::fs::write(&file, &heard[0].body).unwrap();
    let mut reader = Command::new(clients::python());
    let read = reader.arg(clients::file("sentry_envelope.py")).arg(&file).kill_on_drop(true).output().await.unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let text = String::from_utf8(heard[0].body.to_vec()).unwrap();
    let event: Value = serde_json::from_str(text.lines().nth(2).unwrap()).unwrap();
    assert_eq!(event["logentry"]["formatted"], "a database statement failed");
    assert_eq!(event["environment"], "staging");
    assert_eq!(event["release"], format!("tintype-api@{}", env!("CARGO_PKG_VERSION")));
    let id = broken.body["detail"].as_str().unwrap().split("request ").nth(1).unwrap().split(' ').next().unwrap();
    assert_eq!(event["extra"]["request.id"], id, "by which the log finds it");
    for secret in ["gondol", &key, &key[12..], ADMIN_TOKEN] {
        assert!(!text.contains(secret), "`{secret}` was sent: {text}");
    }
    api.kill().await.unwrap();
}
