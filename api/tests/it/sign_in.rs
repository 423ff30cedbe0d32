//! Signing up, in and out with e-mail and password: what a session may do, from whose pages, how it ends; and that nobody
//! learns who has an account, or tries passwords faster than one may.

use reqwest::StatusCode;
use serde_json::json;

use crate::browser::{Browser, PASSWORD, credentials};
use crate::rig::{Options, Rig};

const ADA: &str = "ada@example.org";
/// What a wrong password and an unknown e-mail both get.
const REFUSED: (u16, &str, &str) = (401, "invalid_credentials", "");

#[tokio::test]
async fn whoever_signs_up_has_ten_credits_and_makes_pictures_in_the_browser() {
    let rig = Rig::start().await;
    let _worker = rig.serve("w");
    let mut ada = Browser::new(&rig);
    let made = ada.post("/api/v1/auth/signup", credentials(" Ada@Example.org", PASSWORD)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    let cookie = made.header("set-cookie");
    assert!(
        cookie.contains("; HttpOnly") && cookie.contains("; SameSite=Lax") && !cookie.contains("Secure"),
        "{cookie}"
    );
    assert_eq!(made.body["credits"]["availableMillis"], 10_000);
    assert_eq!(
        (&made.body["user"]["email"], &made.body["user"]["emailVerified"]),
        (&json!("Ada@Example.org"), &json!(false))
    );
    assert_eq!(ada.get("/api/v1/me").await.body, made.body);
    assert!(!made.body.to_string().contains("argon2"), "hashes stay here");

    let body = json!({ "model": "tintype/shapes", "prompt": "a red circle" });
    let pictures = ada.post("/v1/images/generations", body.clone()).await;
    assert_eq!(pictures.status, StatusCode::OK, "{}", pictures.body);
    let job = ada.post("/api/v1/jobs", body).await;
    assert_eq!(job.status, StatusCode::ACCEPTED, "{}", job.body);
    let key = ada.post("/api/v1/keys", json!({ "name": "mine" })).await;
    let by_key = rig.user().await.with_key(key.body["apiKey"].as_str().unwrap());
    assert_eq!(by_key.get("/api/v1/me").await.body["account"], made.body["account"]);
    assert_eq!(by_key.get("/api/v1/me").await.body["user"], json!(null));
    assert_eq!(by_key.get("/api/v1/sessions").await.error(), (403, "permission_denied", ""), "a key is no person");
    rig.audit().await;
}

#[tokio::test]
async fn a_session_is_for_our_own_pages_alone() {
    let rig = Rig::start().await;
    let ada = Browser::signed_up(&rig, ADA).await;
    let body = || json!({ "name": "stolen" });
    let host = rig.url.strip_prefix("http://").unwrap();
    for says in [
        &[("sec-fetch-site", "cross-site")][..],
        &[("sec-fetch-site", "same-site"), ("origin", &rig.url)],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("sec-fetch-site", "none")],
        &[],
    ] {
        let mut page = ada.saying(says);
        assert_eq!(page.post("/api/v1/keys", body()).await.error(), (403, "permission_denied", ""), "{says:?}");
        assert_eq!(page.delete("/api/v1/sessions/x").await.error(), (403, "permission_denied", ""), "{says:?}");
        assert_eq!(page.get("/api/v1/me").await.status, StatusCode::OK, "reading is harmless: {says:?}");
    }
    let mut ours = ada.saying(&[("origin", &rig.url)]);
    assert_eq!(ours.post("/api/v1/keys", body()).await.status, StatusCode::CREATED, "{host}");
    assert_eq!(ours.get("/api/v1/keys").await.body["data"].as_array().unwrap().len(), 1);
    // Another site cannot sign its visitors in to an account of its own either.
    let mut evil = ada.saying(&[("sec-fetch-site", "cross-site")]);
    for path in ["/api/v1/auth/login", "/api/v1/auth/signup"] {
        assert_eq!(
            evil.post(path, credentials("x@example.org", PASSWORD)).await.error(),
            (403, "permission_denied", "")
        );
    }
    assert_eq!(evil.post("/api/v1/auth/logout", json!({})).await.error(), (403, "permission_denied", ""));
    assert_eq!(ours.get("/api/v1/me").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_email_look_alike() {
    let rig = Rig::start().await;
    let _ada = Browser::signed_up(&rig, ADA).await;
    let mut browser = Browser::new(&rig);
    let wrong = browser.sign_in(ADA, "not the password").await;
    let unknown = browser.sign_in("bob@example.org", "not the password").await;
    assert_eq!((wrong.error(), unknown.error()), (REFUSED, REFUSED));
    assert_eq!(wrong.body["error"], unknown.body["error"]);
    assert!(browser.cookie.is_none());
    assert_eq!(browser.sign_in("ADA@example.org", PASSWORD).await.status, StatusCode::OK, "however it is typed");
    assert_eq!(browser.get("/api/v1/me").await.body["user"]["email"], ADA);
    let again = browser.post("/api/v1/auth/signup", credentials("Ada@EXAMPLE.org", "another password")).await;
    assert_eq!(again.error(), (409, "email_taken", "email"));
    let accounts: i64 = sqlx::query_scalar("select count(*) from account").fetch_one(&rig.pool).await.unwrap();
    assert_eq!(accounts, 1, "nothing is left of what was refused");
    for (body, param) in [
        (credentials("no address", PASSWORD), "email"),
        (credentials("x@example.org", "short"), "password"),
        (credentials("x@example.org", &"x".repeat(257)), "password"),
        (json!({ "email": "x@example.org" }), "password"),
        (json!({ "email": "x@example.org", "password": PASSWORD, "admin": true }), "admin"),
    ] {
        assert_eq!(browser.post("/api/v1/auth/signup", body).await.error(), (400, "invalid_request", param));
    }
}

#[tokio::test]
async fn sessions_are_listed_and_ended_one_by_one() {
    let rig = Rig::start().await;
    let mut laptop = Browser::signed_up(&rig, ADA).await;
    let mut phone = Browser::new(&rig).saying(&[("sec-fetch-site", "same-origin"), ("user-agent", "a phone")]);
    assert_eq!(phone.sign_in(ADA, PASSWORD).await.status, StatusCode::OK);
    let mut stranger = Browser::signed_up(&rig, "eve@example.org").await;
    let list = laptop.get("/api/v1/sessions").await.body;
    let sessions = list["data"].as_array().unwrap();
    assert_eq!(sessions.len(), 2, "{list}");
    let of_phone = sessions.iter().find(|session| session["userAgent"] == "a phone").unwrap();
    assert_eq!((&of_phone["current"], &of_phone["address"]), (&json!(false), &json!("127.0.0.1")));
    assert_eq!(sessions.iter().filter(|session| session["current"] == true).count(), 1);
    let path = format!("/api/v1/sessions/{}", of_phone["id"].as_str().unwrap());
    let missing = stranger.delete("/api/v1/sessions/00000000-0000-7000-8000-000000000000").await;
    assert_eq!(stranger.delete(&path).await.body, missing.body, "somebody else's is like none");
    assert_eq!(missing.error(), (404, "not_found", ""));
    assert_eq!(laptop.delete(&path).await.status, StatusCode::NO_CONTENT);
    let gone = phone.get("/api/v1/me").await;
    assert_eq!((gone.error(), phone.cookie.as_deref()), ((401, "invalid_session", ""), None), "and forgets its cookie");
    assert_eq!(laptop.get("/api/v1/me").await.status, StatusCode::OK);
    let cookie = laptop.cookie.clone();
    assert_eq!(laptop.post("/api/v1/auth/logout", json!({})).await.status, StatusCode::NO_CONTENT);
    assert_eq!(laptop.cookie, None);
    laptop.cookie = cookie;
    assert_eq!(
        laptop.get("/api/v1/me").await.error(),
        (401, "invalid_session", ""),
        "the cookie alone is worth nothing"
    );
    laptop.cookie = Some("tintype_session=nonsense".to_owned());
    assert_eq!(laptop.get("/api/v1/me").await.error(), (401, "invalid_session", ""));
}

#[tokio::test]
async fn sessions_end_by_themselves() {
    let rig = Rig::start().await;
    let mut ada = Browser::signed_up(&rig, ADA).await;
    let set = async |what: &'static str| {
        sqlx::query(what).execute(&rig.pool).await.unwrap();
    };
    let day = 24 * 3_600_000_i64;
    // Thirteen days of silence are forgiven, and the clock starts anew.
    sqlx::query("update session set seen_ms = seen_ms - 13 * $1").bind(day).execute(&rig.pool).await.unwrap();
    assert_eq!(ada.get("/api/v1/me").await.status, StatusCode::OK);
    let silent: i64 =
        sqlx::query_scalar("select max(created_ms - seen_ms) from session").fetch_one(&rig.pool).await.unwrap();
    assert!(silent <= 0, "a used session is seen: {silent}");
    sqlx::query("update session set seen_ms = seen_ms - 15 * $1").bind(day).execute(&rig.pool).await.unwrap();
    assert_eq!(ada.clone().get("/api/v1/me").await.error(), (401, "invalid_session", ""));
    set("update session set seen_ms = created_ms").await;
    assert_eq!(ada.get("/api/v1/me").await.status, StatusCode::OK);
    let lasts: i64 =
        sqlx::query_scalar("select expires_ms - created_ms from session").fetch_one(&rig.pool).await.unwrap();
    assert_eq!(lasts, 90 * day);
    set("update session set expires_ms = created_ms").await;
    assert_eq!(ada.clone().get("/api/v1/me").await.error(), (401, "invalid_session", ""));
    set("update session set expires_ms = created_ms + 1000000").await;
    set("update person set suspended_ms = 1").await;
    assert_eq!(ada.clone().get("/api/v1/me").await.error(), (401, "invalid_session", ""));
    assert_eq!(ada.sign_in(ADA, PASSWORD).await.error(), (403, "permission_denied", ""));
    assert_eq!(
        ada.sign_in(ADA, "not the password").await.error(),
        REFUSED,
        "who is shut out is told to its owner only"
    );
}

#[tokio::test]
async fn a_person_has_some_sessions_and_no_more() {
    let rig = Rig::start().await;
    let mut first = Browser::signed_up(&rig, ADA).await;
    sqlx::query(
        "insert into session select gen_random_uuid(), person, sha256(n::text::bytea), created_ms, seen_ms + n, expires_ms, '', ''
         from session, generate_series(1, 60) n",
    )
    .execute(&rig.pool)
    .await
    .unwrap();
    let mut last = Browser::new(&rig);
    assert_eq!(last.sign_in(ADA, PASSWORD).await.status, StatusCode::OK);
    let kept: i64 = sqlx::query_scalar("select count(*) from session").fetch_one(&rig.pool).await.unwrap();
    assert_eq!(kept, 50);
    assert_eq!(first.get("/api/v1/me").await.error(), (401, "invalid_session", ""), "the one unused for longest went");
    assert_eq!(last.get("/api/v1/me").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_new_password_signs_every_other_browser_out() {
    let rig = Rig::start().await;
    let mut laptop = Browser::signed_up(&rig, ADA).await;
    let mut phone = Browser::new(&rig);
    assert_eq!(phone.sign_in(ADA, PASSWORD).await.status, StatusCode::OK);
    let change = |current: &str, new: &str| json!({ "currentPassword": current, "newPassword": new });
    let path = "/api/v1/auth/password";
    assert_eq!(
        laptop.post(path, change("wrong", "another password")).await.error(),
        (401, "invalid_credentials", "currentPassword")
    );
    assert_eq!(laptop.post(path, change(PASSWORD, "short")).await.error(), (400, "invalid_request", "newPassword"));
    let before = laptop.cookie.clone();
    assert_eq!(laptop.post(path, change(PASSWORD, "another password")).await.status, StatusCode::NO_CONTENT);
    assert_ne!(laptop.cookie, before, "a stolen cookie is worth nothing afterwards");
    assert_eq!(laptop.get("/api/v1/me").await.status, StatusCode::OK);
    assert_eq!(phone.get("/api/v1/me").await.error(), (401, "invalid_session", ""));
    assert_eq!(phone.sign_in(ADA, PASSWORD).await.error(), REFUSED);
    assert_eq!(phone.sign_in(ADA, "another password").await.status, StatusCode::OK);
}

#[tokio::test]
async fn passwords_are_tried_slowly_whoever_tries_them() {
    let rig = Rig::start().await;
    let _ada = Browser::signed_up(&rig, ADA).await;
    let mut browser = Browser::new(&rig);
    for email in [ADA, "nobody@example.org"] {
        for n in 0..10 {
            assert_eq!(browser.sign_in(email, "not the password").await.error(), REFUSED, "{email}: {n}");
        }
        let slow = browser.sign_in(email, PASSWORD).await;
        assert_eq!(slow.error(), (429, "rate_limited", ""), "{email}");
        assert!((1..=30).contains(&slow.header("retry-after").parse::<u64>().unwrap()));
    }
    assert!(rig.metric("tintype_api_sign_ins_total{outcome=\"throttled\",way=\"password\"}").await >= 2.0);
}

#[tokio::test]
async fn one_address_tries_slowly_and_its_proxy_says_which_it_is() {
    let mut options = Options::default();
    options.identity.sign_ins_per_minute = 3;
    options.identity.client_address_header = Some("x-client".parse().unwrap());
    let rig = Rig::with(options).await;
    let from = |address: &str| Browser::new(&rig).saying(&[("x-client", address)]);
    let mut mallory = from("6.6.6.6, 1.2.3.4");
    for n in 0..3 {
        assert_eq!(mallory.sign_in(&format!("{n}@example.org"), "a guess").await.error(), REFUSED);
    }
    assert_eq!(mallory.sign_in("3@example.org", "a guess").await.error(), (429, "rate_limited", ""));
    assert_eq!(from("7.7.7.7, 1.2.3.4").sign_in("4@example.org", "a guess").await.error(), (429, "rate_limited", ""));
    assert_eq!(from("5.5.5.5").sign_in("5@example.org", "a guess").await.error(), REFUSED);
}

#[tokio::test]
async fn signing_up_can_be_closed() {
    let mut options = Options::default();
    options.identity.signup = tintype_api::Signup::Closed;
    let rig = Rig::with(options).await;
    let mut browser = Browser::new(&rig);
    assert_eq!(
        browser.get("/api/v1/auth/providers").await.body,
        json!({ "password": true, "signup": false, "verified": false, "magicLink": false, "oauth": [] })
    );
    let refused = browser.post("/api/v1/auth/signup", credentials(ADA, PASSWORD)).await;
    assert_eq!(refused.error(), (403, "permission_denied", ""));
}
