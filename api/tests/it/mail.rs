//! Letters: through a real mail server and through Resend's API as we know it, tried again, given up; and the links in
//! them, which work once, and for whoever the letter reached.

use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::http::{HeaderMap, StatusCode as Code};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tintype_api::{MailArgs, Signup};
use tokio::process::Command;

use crate::browser::{Browser, PASSWORD, credentials};
use crate::clients::{self, Counterpart};
use crate::rig::{Options, Rig, until};

pub(crate) const ADA: &str = "ada@example.org";
const ENDED: (u16, &str, &str) = (400, "invalid_request", "token");

/// A mail server, and the folder it keeps mail in.
pub(crate) struct Post {
    folder: tempfile::TempDir,
    server: Counterpart,
}

impl Post {
    pub(crate) async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(clients::python());
        let server = clients::start(command.arg(clients::file("smtp_sink.py")).arg(folder.path())).await;
        Self { folder, server }
    }

    pub(crate) fn args(&self) -> MailArgs {
        MailArgs {
            mail_from: Some("Tintype <hello@pictures.example>".to_owned()),
            smtp_url: Some(format!("smtp://127.0.0.1:{}", self.server.port)),
            ..MailArgs::default()
        }
    }

    /// A rig that sends its mail here.
    pub(crate) async fn rig(&self, change: impl FnOnce(&mut Options)) -> Rig {
        let mut options = Options { mail: self.args(), ..Options::default() };
        change(&mut options);
        Rig::with(options).await
    }

    /// Every mail so far, oldest first.
    pub(crate) fn mails(&self) -> Vec<Value> {
        let mut files: Vec<_> =
            std::fs::read_dir(self.folder.path()).unwrap().map(|file| file.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|ending| ending == "json"));
        files.sort();
        files.iter().map(|file| serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()).collect()
    }

    /// Waits for the mail after those that came before.
    pub(crate) async fn next(&self, before: usize) -> Value {
        until("a mail comes", || async { self.mails().get(before).cloned() }).await
    }
}

/// The token of the link in a mail.
pub(crate) fn token(mail: &Value, purpose: &str) -> String {
    let text = mail["text"].as_str().unwrap();
    let start = text.find(&format!("/auth/link#{purpose}=")).unwrap_or_else(|| panic!("no {purpose} link in {text}"));
    let rest = &text[start..];
    rest[rest.find('=').unwrap() + 1..].split_whitespace().next().unwrap().to_owned()
}

pub(crate) async fn ask(rig: &Rig, email: &str) -> StatusCode {
    Browser::new(rig).post("/api/v1/auth/magic-links", json!({ "email": email })).await.status
}

pub(crate) async fn redeem(rig: &Rig, token: &str) -> (Browser, crate::rig::Reply) {
    let mut browser = Browser::new(rig);
    let reply = browser.post("/api/v1/auth/magic-links/redeem", json!({ "token": token })).await;
    (browser, reply)
}

#[tokio::test]
async fn a_link_signs_a_newcomer_up_and_works_once() {
    let post = Post::open().await;
    let rig = post.rig(|_| {}).await;
    assert_eq!(Browser::new(&rig).get("/api/v1/auth/providers").await.body["magicLink"], true);
    assert_eq!(ask(&rig, "Ada@example.org").await, StatusCode::ACCEPTED);
    let mail = post.next(0).await;
    assert_eq!((&mail["to"], &mail["subject"]), (&json!("Ada@example.org"), &json!("Sign in to Tintype")));
    assert_eq!(mail["from"], "Tintype <hello@pictures.example>");
    let token = token(&mail, "sign_in");
    let kept: String = sqlx::query_scalar("select coalesce(string_agg(link::text, ' '), '') || (select coalesce(string_agg(errand::text, ' '), '') from errand) from link")
        .fetch_one(&rig.pool)
        .await
        .unwrap();
    assert!(kept.contains("Ada@example.org") && !kept.contains(&token), "no token is at rest");
    // Programs that open every link in a mail see a page, and nothing is redeemed by that.
    let page = crate::worker::client().get(format!("{}/auth/link", rig.url)).send().await.unwrap();
    assert!(
        page.headers()["content-security-policy"]
            .to_str()
            .unwrap()
            .starts_with("default-src 'none'; script-src 'sha256-")
    );
    assert!(page.text().await.unwrap().contains("<form"));

    let (mut browser, reply) = redeem(&rig, &token).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
    assert_eq!(
        (&reply.body["user"]["emailVerified"], &reply.body["user"]["hasPassword"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(reply.body["credits"]["availableMillis"], 10_000);
    assert_eq!(browser.get("/api/v1/me").await.body, reply.body);
    assert_eq!(redeem(&rig, &token).await.1.error(), ENDED, "once");
    // Whoever has no password may choose one right after signing in, and not much later.
    let choose = json!({ "newPassword": PASSWORD });
    sqlx::query("update session set created_ms = created_ms - 1000000").execute(&rig.pool).await.unwrap();
    assert_eq!(browser.post("/api/v1/auth/password", choose.clone()).await.error(), (403, "permission_denied", ""));
    sqlx::query("update session set created_ms = created_ms + 1000000").execute(&rig.pool).await.unwrap();
    assert_eq!(browser.post("/api/v1/auth/password", choose.clone()).await.status, StatusCode::NO_CONTENT);
    assert_eq!(
        browser.post("/api/v1/auth/password", choose).await.error(),
        (401, "invalid_credentials", "currentPassword")
    );
    assert_eq!(Browser::new(&rig).sign_in(ADA, PASSWORD).await.status, StatusCode::OK);
    rig.audit().await;
}

#[tokio::test]
async fn asking_says_nothing_about_who_is_here() {
    let post = Post::open().await;
    let rig = post.rig(|options| options.identity.signup = Signup::Closed).await;
    let mut admin = Browser::new(&rig);
    let errands = async || -> i64 {
        sqlx::query_scalar("select count(*) from errand where lane = 'mail'").fetch_one(&rig.pool).await.unwrap()
    };
    let asked = admin.post("/api/v1/auth/magic-links", json!({ "email": "nobody@example.org" })).await;
    assert_eq!(asked.status, StatusCode::ACCEPTED);
    let asked = admin.post("/api/v1/auth/password-resets", json!({ "email": "nobody@example.org" })).await;
    assert_eq!(asked.status, StatusCode::ACCEPTED);
    until("the letters to nobody are done with", || async { (errands().await == 0).then_some(()) }).await;
    assert_eq!(post.mails().len(), 0);
    let links: i64 = sqlx::query_scalar("select count(*) from link").fetch_one(&rig.pool).await.unwrap();
    assert_eq!(links, 0, "who cannot come in gets no link");
    assert_eq!(ask(&rig, "nobody@example.org").await, StatusCode::ACCEPTED);
    assert_eq!(ask(&rig, "nobody@example.org").await, StatusCode::TOO_MANY_REQUESTS, "and no flood");
}

#[tokio::test]
async fn a_link_runs_out_and_is_for_one_purpose() {
    let post = Post::open().await;
    let rig = post.rig(|_| {}).await;
    assert_eq!(ask(&rig, ADA).await, StatusCode::ACCEPTED);
    let token = token(&post.next(0).await, "sign_in");
    let reset = json!({ "token": token, "newPassword": PASSWORD });
    assert_eq!(Browser::new(&rig).post("/api/v1/auth/password-resets/redeem", reset).await.error(), ENDED);
    let lifetime: i64 =
        sqlx::query_scalar("select expires_ms - created_ms from link").fetch_one(&rig.pool).await.unwrap();
    assert_eq!(lifetime, 15 * 60_000);
    sqlx::query("update link set expires_ms = created_ms").execute(&rig.pool).await.unwrap();
    assert_eq!(redeem(&rig, &token).await.1.error(), ENDED);
    for nonsense in ["", "x", &"A".repeat(43)] {
        assert_eq!(redeem(&rig, nonsense).await.1.error(), ENDED);
    }
    let mut evil = Browser::new(&rig).saying(&[("sec-fetch-site", "cross-site")]);
    let body = json!({ "token": token });
    assert_eq!(evil.post("/api/v1/auth/magic-links/redeem", body).await.error(), (403, "permission_denied", ""));
}

/// Somebody signs up with an address that is not theirs and waits. When its owner comes by the mail, nothing of theirs opens
/// the account any more.
#[tokio::test]
async fn whoever_waits_in_an_account_with_anothers_address_loses_it() {
    let post = Post::open().await;
    let rig = post.rig(|_| {}).await;
    let mut squatter = Browser::signed_up(&rig, ADA).await;
    let key =
        squatter.post("/api/v1/keys", json!({ "name": "later" })).await.body["apiKey"].as_str().unwrap().to_owned();
    assert_eq!(ask(&rig, ADA).await, StatusCode::ACCEPTED);
    let (mut owner, reply) = redeem(&rig, &token(&post.next(0).await, "sign_in")).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
    assert_eq!(squatter.get("/api/v1/me").await.error(), (401, "invalid_session", ""));
    assert_eq!(squatter.sign_in(ADA, PASSWORD).await.error(), (401, "invalid_credentials", ""));
    let by_key = rig.user().await.with_key(&key);
    until("the key is dead", || async {
        (by_key.get("/api/v1/me").await.status == StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
    // From now on the account is its owner's: another link takes nothing away.
    let key = owner.post("/api/v1/keys", json!({ "name": "mine" })).await.body["apiKey"].as_str().unwrap().to_owned();
    assert_eq!(ask(&rig, ADA).await, StatusCode::ACCEPTED);
    let (_, reply) = redeem(&rig, &token(&post.next(1).await, "sign_in")).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(owner.get("/api/v1/me").await.status, StatusCode::OK);
    assert_eq!(by_key.with_key(&key).get("/api/v1/me").await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_address_is_verified_where_its_owner_is_signed_in() {
    let post = Post::open().await;
    let rig = post.rig(|_| {}).await;
    let mut ada = Browser::signed_up(&rig, ADA).await;
    let mut eve = Browser::signed_up(&rig, "eve@example.org").await;
    assert_eq!(ada.post("/api/v1/auth/verification", json!({})).await.status, StatusCode::ACCEPTED);
    let body = json!({ "token": token(&post.next(0).await, "verify") });
    let path = "/api/v1/auth/verification/redeem";
    assert_eq!(eve.post(path, body.clone()).await.error(), ENDED, "not in another's browser");
    assert_eq!(Browser::new(&rig).post(path, body.clone()).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(ada.post(path, body.clone()).await.status, StatusCode::NO_CONTENT, "and that used nothing up");
    assert_eq!(ada.get("/api/v1/me").await.body["user"]["emailVerified"], true);
    assert_eq!(ada.post(path, body).await.error(), ENDED);
}

#[tokio::test]
async fn a_forgotten_password_is_replaced_and_every_browser_signed_out() {
    let post = Post::open().await;
    let rig = post.rig(|_| {}).await;
    let mut ada = Browser::signed_up(&rig, ADA).await;
    let mut other = Browser::new(&rig);
    let asked = other.post("/api/v1/auth/password-resets", json!({ "email": ADA })).await;
    assert_eq!(asked.status, StatusCode::ACCEPTED);
    let mail = post.next(0).await;
    assert_eq!(mail["subject"], "A new password for Tintype");
    let token = token(&mail, "reset");
    let path = "/api/v1/auth/password-resets/redeem";
    let short = json!({ "token": token, "newPassword": "short" });
    assert_eq!(
        other.post(path, short).await.error(),
        (400, "invalid_request", "newPassword"),
        "and the link still works"
    );
    let body = json!({ "token": token, "newPassword": "another password" });
    assert_eq!(other.post(path, body.clone()).await.status, StatusCode::OK);
    assert_eq!(other.get("/api/v1/me").await.body["user"]["email"], ADA);
    assert_eq!(ada.get("/api/v1/me").await.error(), (401, "invalid_session", ""));
    assert_eq!(ada.sign_in(ADA, "another password").await.status, StatusCode::OK);
    assert_eq!(other.post(path, body).await.error(), ENDED);
}

#[tokio::test]
async fn where_addresses_are_verified_first_signing_up_says_nothing_either() {
    let post = Post::open().await;
    let rig = post.rig(|options| options.identity.signup = Signup::Verified).await;
    let mut browser = Browser::new(&rig);
    for before in 0..2 {
        let made = browser.post("/api/v1/auth/signup", credentials(ADA, PASSWORD)).await;
        assert_eq!((made.status, &made.body, browser.cookie.as_deref()), (StatusCode::ACCEPTED, &json!(""), None));
        let (_, reply) = redeem(&rig, &token(&post.next(before).await, "sign_in")).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
        let accounts: i64 = sqlx::query_scalar("select count(*) from account").fetch_one(&rig.pool).await.unwrap();
        assert_eq!(accounts, 1, "the second letter signs in");
    }
    assert_eq!(
        browser.sign_in(ADA, PASSWORD).await.status,
        StatusCode::UNAUTHORIZED,
        "a stranger's password is not kept"
    );
}

#[tokio::test]
async fn mail_is_tried_again_and_given_up_where_nothing_helps() {
    let post = Post::open().await;
    let rig = post.rig(|_| {}).await;
    assert_eq!(ask(&rig, "later@example.org").await, StatusCode::ACCEPTED);
    for tries in 1..=2 {
        until("the mail was put off", || async {
            let put_off: Option<(i32, Option<String>)> = sqlx::query_as(
                "select attempt, error from errand where lane = 'mail' and claimed_ms is null and attempt = $1",
            )
            .bind(tries)
            .fetch_optional(&rig.pool)
            .await
            .unwrap();
            put_off.map(|(_, error)| assert_eq!(error.as_deref(), Some("the SMTP server did not take it now: 451")))
        })
        .await;
        sqlx::query("update errand set due_ms = 0 where lane = 'mail'").execute(&rig.pool).await.unwrap();
    }
    let mail = post.next(0).await;
    assert_eq!(
        redeem(&rig, &token(&mail, "sign_in")).await.1.status,
        StatusCode::OK,
        "the link that came is the one that works"
    );
    assert_eq!(ask(&rig, "never@example.org").await, StatusCode::ACCEPTED);
    let error = until("the mail was given up", || async {
        sqlx::query_scalar("select error from errand where lane = 'mail' and dead_ms is not null")
            .fetch_optional(&rig.pool)
            .await
            .unwrap()
    });
    let error: String = error.await;
    assert_eq!(error, "the SMTP server refused it: 550");
    assert_eq!(post.mails().len(), 1);
}

#[tokio::test]
async fn without_a_sender_what_needs_mail_says_so() {
    let rig = Rig::start().await;
    let refused = Browser::new(&rig).post("/api/v1/auth/magic-links", json!({ "email": ADA })).await;
    assert_eq!(refused.error(), (403, "permission_denied", ""));
    assert_eq!(Browser::new(&rig).get("/api/v1/auth/providers").await.body["magicLink"], false);
}

/// Resend's `POST /emails`, as its documentation has it: answers with the statuses it is given, then 200.
async fn resend(statuses: &'static [u16]) -> (String, Arc<Mutex<Vec<(HeaderMap, Value)>>>) {
    let seen: Arc<Mutex<Vec<(HeaderMap, Value)>>> = Arc::default();
    let calls = Arc::clone(&seen);
    let take = move |headers: HeaderMap, axum::Json(body): axum::Json<Value>| {
        let calls = Arc::clone(&calls);
        async move {
            let mut calls = calls.lock().unwrap();
            calls.push((headers, body));
            let status = statuses.get(calls.len() - 1).copied().unwrap_or(200);
            (Code::from_u16(status).unwrap(), axum::Json(json!({ "id": "49a3999c-0ce1-4ea6-ab68-afcd6dc2e794" })))
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().route("/emails", axum::routing::post(take));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, seen)
}

fn resend_args(folder: &Path, url: &str) -> MailArgs {
    let key = folder.join("resend-key");
    std::fs::write(&key, "re_secret\n").unwrap();
    MailArgs {
        mail_from: Some("Tintype <hello@pictures.example>".to_owned()),
        resend_key_file: Some(key),
        resend_url: url.to_owned(),
        ..MailArgs::default()
    }
}

#[tokio::test]
async fn resend_carries_mail_too_and_each_letter_once() {
    let (url, seen) = resend(&[500]).await;
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::with(Options { mail: resend_args(folder.path(), &url), ..Options::default() }).await;
    assert_eq!(ask(&rig, ADA).await, StatusCode::ACCEPTED);
    let error: String = until("the mail was put off", || async {
        sqlx::query_scalar("select error from errand where lane = 'mail' and claimed_ms is null and error is not null")
            .fetch_optional(&rig.pool)
            .await
            .unwrap()
    })
    .await;
    assert_eq!(error, "Resend answered 500 Internal Server Error");
    sqlx::query("update errand set due_ms = 0 where lane = 'mail'").execute(&rig.pool).await.unwrap();
    until("the mail was sent", || async { (seen.lock().unwrap().len() == 2).then_some(()) }).await;
    let calls = seen.lock().unwrap().clone();
    let [(first, _), (second, body)] = &calls[..] else { panic!("{calls:?}") };
    assert_eq!(second["authorization"], "Bearer re_secret");
    assert_eq!(first["idempotency-key"], second["idempotency-key"], "Resend sends it once");
    assert_eq!((&body["to"], &body["subject"]), (&json!([ADA]), &json!("Sign in to Tintype")));
    assert_eq!(body["from"], "Tintype <hello@pictures.example>");
    assert_eq!(redeem(&rig, &token(body, "sign_in")).await.1.status, StatusCode::OK);
}

/// The subjects of the letters about credits so far.
fn about_credits(post: &Post) -> Vec<String> {
    let subjects = post.mails().into_iter().map(|mail| mail["subject"].as_str().unwrap().to_owned());
    let mut found: Vec<_> = subjects.filter(|subject| subject.contains("credits")).collect();
    found.sort();
    found
}

#[tokio::test]
async fn who_wants_it_hears_once_a_crossing_that_credits_were_spent_or_run_low() {
    let post = Post::open().await;
    let rig = post.rig(|_| {}).await;
    let _worker = rig.serve("w");
    assert_eq!(ask(&rig, ADA).await, StatusCode::ACCEPTED);
    let (mut ada, me) = redeem(&rig, &token(&post.next(0).await, "sign_in")).await;
    let draw = json!({ "model": "tintype/shapes", "prompt": "a secret of a prompt" });
    let quote = ada.post("/api/v1/quotes", draw.clone()).await;
    let price = quote.body["priceMillis"].as_i64().unwrap();
    let (spent, below) = (2 * price, 10_000 - price);
    let wanted = json!({ "spentMillis": spent, "belowMillis": below });
    let set = ada.send(reqwest::Method::PUT, "/api/v1/wallet/alarm", Some(wanted)).await;
    let alarm = json!({ "spentMillis": spent, "belowMillis": below, "monthMillis": 0, "letters": true });
    assert_eq!(set.body["alarm"], alarm, "{}", set.body);

    let mut draws = 0;
    let mut draw_one = async |ada: &mut Browser| {
        let made = ada.post("/v1/images/generations", json!({ "model": "tintype/shapes", "prompt": "x" })).await;
        assert_eq!(made.status, StatusCode::OK, "{}", made.body);
        draws += 1;
        let spent = draws * price;
        until("it is settled", || async {
            let now: i64 = sqlx::query_scalar("select spent from ledger_account where spent > 0")
                .fetch_optional(&rig.pool)
                .await
                .unwrap()?;
            (now == spent).then_some(())
        })
        .await;
    };
    // To the edge and not over it; then over both at once; then further, which is no crossing.
    draw_one(&mut ada).await;
    draw_one(&mut ada).await;
    let say = |millis: i64| match millis % 1_000 {
        0 => format!("{}", millis / 1_000),
        _ => format!("{}.{:03}", millis / 1_000, millis % 1_000),
    };
    let (low, much) =
        (format!("Fewer than {} credits are left", say(below)), format!("{} credits spent this month", say(spent)));
    let heard = |count: usize| {
        let post = &post;
        until("the letters come", move || async move {
            let found = about_credits(post);
            (found.len() >= count).then_some(found)
        })
    };
    let found = heard(2).await;
    assert!(found.len() == 2 && found.contains(&low) && found.contains(&much), "{found:?}");
    let text = post.mails().iter().map(|mail| mail["text"].as_str().unwrap().to_owned()).collect::<String>();
    assert!(text.contains(&format!("you have {}", say(10_000 - 2 * price))) && !text.contains("secret"), "{text}");
    draw_one(&mut ada).await;

    // Credits come, and go again: another crossing. What was spent is the same month's, and was told.
    let account = me.body["account"]["id"].as_str().or(me.body["id"].as_str()).unwrap().to_owned();
    let admin = crate::rig::User::new(&rig.url, crate::rig::ADMIN_TOKEN);
    let grant = json!({ "reference": "more", "amountMillis": 2 * price });
    let granted = admin.post(&format!("/api/v1/accounts/{account}/grants"), grant).await;
    assert_eq!(granted.status, StatusCode::OK, "{}", granted.body);
    until("the alarm is set again", || async {
        let told: bool = sqlx::query_scalar("select told_below from budget_alarm").fetch_one(&rig.pool).await.unwrap();
        (!told).then_some(())
    })
    .await;
    draw_one(&mut ada).await;
    let found = heard(3).await;
    assert_eq!(found.iter().filter(|subject| **subject == low).count(), 2, "{found:?}");
    // Another month begins: what is spent in it is counted anew.
    sqlx::query("update budget_alarm set told_month_ms = told_month_ms - 86400000").execute(&rig.pool).await.unwrap();
    let found = heard(4).await;
    assert_eq!(found.iter().filter(|subject| **subject == much).count(), 2, "{found:?}");
    let shown = ada.get("/api/v1/wallet").await;
    assert_eq!(shown.body["alarm"]["monthMillis"], 4 * price, "{}", shown.body);
    assert_eq!(ada.send(reqwest::Method::DELETE, "/api/v1/wallet/alarm", None).await.status, StatusCode::NO_CONTENT);
    assert_eq!(ada.get("/api/v1/wallet").await.body["alarm"], json!(null));
    rig.audit().await;
}
