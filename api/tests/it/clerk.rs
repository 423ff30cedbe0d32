//! Clerk: its session tokens, which `@clerk/backend` judges as we do, its keys as they change, and the news of its users as
//! `svix` signs them, late, twice and in the wrong order.

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tintype_api::{ClerkArgs, Signup};

use crate::browser::Browser;
use crate::clients::{self, Counterpart};
use crate::rig::{Options, Reply, Rig, User};
use crate::worker::client;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ADA: &str = "ada@example.org";
const REFUSED: (u16, &str, &str) = (401, "invalid_session", "");

/// A Clerk, and who trusts it.
struct Clerk {
    twin: Counterpart,
    rig: Rig,
    nobody: User,
    _folder: tempfile::TempDir,
}

impl Clerk {
    async fn open(signup: Signup) -> Self {
        Self::for_parties(signup, &["https://pictures.example"]).await
    }

    async fn for_parties(signup: Signup, parties: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let twin = clients::start(clients::node("clerk_twin.mjs").arg(SECRET)).await;
        let secret = folder.path().join("secret");
        std::fs::write(&secret, SECRET).unwrap();
        let mut options = Options::default();
        options.identity.signup = signup;
        options.identity.clerk = ClerkArgs {
            clerk_issuer: Some(format!("http://127.0.0.1:{}", twin.port)),
            clerk_authorized_parties: parties.iter().map(ToString::to_string).collect(),
            clerk_webhook_secret_file: Some(secret),
            clerk_publishable_key: Some("pk_test_1".to_owned()),
            ..ClerkArgs::default()
        };
        let rig = Rig::with(options).await;
        let nobody = rig.user().await;
        Self { twin, rig, nobody, _folder: folder }
    }

    async fn ask(&self, path: &str, body: Value) -> Value {
        let url = format!("http://127.0.0.1:{}{path}", self.twin.port);
        let text = client().post(url).body(body.to_string()).send().await.unwrap().text().await.unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Somebody with a token that says this beside the usual, and whether Clerk's own library takes it.
    async fn with(&self, claims: Value) -> (User, bool) {
        let made = self.ask("/token", claims).await;
        (self.nobody.with_key(made["token"].as_str().unwrap()), made["accepted"].as_bool().unwrap())
    }

    async fn user(&self, subject: &str) -> User {
        let (user, accepted) = self.with(json!({ "sub": subject })).await;
        assert!(accepted);
        user
    }

    /// Sends news, signed as they should be, but for a change.
    async fn tell(&self, id: &str, event: Value, change: impl FnOnce(&mut HeaderMap, &mut String)) -> Reply {
        let signed = self.ask("/webhook", json!({ "id": id, "event": event })).await;
        let mut headers = HeaderMap::new();
        for (name, value) in signed["headers"].as_object().unwrap() {
            let name: reqwest::header::HeaderName = name.parse().unwrap();
            headers.insert(name, value.as_str().unwrap().parse().unwrap());
        }
        let mut body = signed["body"].as_str().unwrap().to_owned();
        change(&mut headers, &mut body);
        let url = format!("{}/api/v1/auth/clerk/webhook", self.rig.url);
        Reply::of(client().post(url).headers(headers).body(body).send().await.unwrap()).await
    }

    async fn told(&self, id: &str, event: Value) {
        assert_eq!(self.tell(id, event, |_, _| {}).await.status, StatusCode::NO_CONTENT);
    }
}

fn news(kind: &str, subject: &str, email: &str, at: u64) -> Value {
    let address = json!({ "id": "idn_1", "email_address": email, "verification": { "status": "verified" } });
    json!({ "type": kind, "data": { "id": subject, "primary_email_address_id": "idn_1", "updated_at": at, "email_addresses": [address] } })
}

#[tokio::test]
async fn a_token_of_clerks_lets_in_who_was_never_here_and_needs_no_webhook() {
    let clerk = Clerk::open(Signup::Open).await;
    let providers = Browser::new(&clerk.rig).get("/api/v1/auth/providers").await.body;
    assert_eq!(providers["clerk"], json!({ "publishableKey": "pk_test_1" }));
    let ada = clerk.user("user_ada").await;
    // Several first requests at once are one first request.
    let replies = futures::future::join_all((0..8).map(|_| ada.get("/api/v1/me"))).await;
    for reply in &replies {
        assert_eq!((reply.status, &reply.body), (StatusCode::OK, &replies[0].body));
    }
    let me = &replies[0].body;
    assert_eq!((&me["credits"]["availableMillis"], &me["user"]["email"]), (&json!(10_000), &Value::Null));
    let job = ada.post("/api/v1/jobs", json!({ "model": "tintype/shapes", "prompt": "a red circle" })).await;
    assert_eq!(job.status, StatusCode::ACCEPTED, "no cookie, so no page needs to be named: {}", job.body);
    let again = clerk.user("user_ada").await;
    assert_eq!(again.get("/api/v1/me").await.body["account"], me["account"]);
    assert_ne!(clerk.user("user_bob").await.get("/api/v1/me").await.body["account"], me["account"]);
    let (eve, _) = clerk.with(json!({ "sub": "user_eve", "email": "eve@example.org", "email_verified": true })).await;
    assert_eq!(eve.get("/api/v1/me").await.body["user"]["email"], "eve@example.org");
    clerk.rig.audit().await;
}

/// Changes a token for a session; what was answered.
async fn change(clerk: &Clerk, token: &Value, origin: Option<&str>) -> reqwest::Response {
    let url = format!("{}/api/v1/auth/clerk/sessions", clerk.rig.url);
    let mut request = client().post(url).json(&json!({ "token": token }));
    if let Some(origin) = origin {
        request = request.header("origin", origin);
    }
    request.send().await.unwrap()
}

#[tokio::test]
async fn a_token_is_changed_for_a_session_of_a_browsers() {
    let clerk = Clerk::open(Signup::Open).await;
    for claims in [
        json!({ "azp": "https://evil.example" }),
        json!({ "iss": "https://evil.example" }),
        json!({ "_stranger": true }),
        json!({ "sts": "pending" }),
    ] {
        let token = clerk.ask("/token", claims.clone()).await["token"].clone();
        assert_eq!(change(&clerk, &token, None).await.status(), StatusCode::UNAUTHORIZED, "{claims}");
    }
    let token = clerk.ask("/token", json!({ "sub": "user_ada" })).await["token"].clone();
    assert_eq!(change(&clerk, &json!("nonsense"), None).await.status(), StatusCode::UNAUTHORIZED);
    let elsewhere = change(&clerk, &token, Some("https://evil.example")).await;
    assert_eq!(elsewhere.status(), StatusCode::FORBIDDEN, "another site signs nobody in here");
    let begun = change(&clerk, &token, None).await;
    assert_eq!(begun.status(), StatusCode::OK);
    let sent = begun.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(sent.contains("HttpOnly") && sent.contains("SameSite=Lax"), "{sent}");
    let cookie = sent.split(';').next().unwrap();
    let mine = client().get(format!("{}/api/v1/me", clerk.rig.url)).header("cookie", cookie).send().await.unwrap();
    let account = mine.json::<Value>().await.unwrap()["account"].clone();
    assert_eq!(clerk.user("user_ada").await.get("/api/v1/me").await.body["account"], account, "one person, both ways");
    clerk.rig.audit().await;
}

#[tokio::test]
async fn where_no_parties_are_set_a_session_begins_with_a_token_made_for_the_page_that_sends_it() {
    let clerk = Clerk::for_parties(Signup::Open, &[]).await;
    for (azp, status) in [("https://evil.example", StatusCode::UNAUTHORIZED), (&*clerk.rig.url, StatusCode::OK)] {
        let token = clerk.ask("/token", json!({ "sub": "user_ada", "azp": azp })).await["token"].clone();
        assert_eq!(change(&clerk, &token, Some(&clerk.rig.url)).await.status(), status, "{azp}");
    }
}

#[tokio::test]
async fn tokens_are_judged_as_clerks_own_library_judges_them() {
    let clerk = Clerk::open(Signup::Open).await;
    let now = crate::support::now().0 / 1_000;
    for claims in [
        json!({ "exp": now - 100 }),
        json!({ "nbf": now + 100 }),
        json!({ "azp": "https://evil.example" }),
        json!({ "azp": null }),
        json!({ "_stranger": true }),
        json!({ "sub": null }),
    ] {
        let (user, accepted) = clerk.with(claims.clone()).await;
        assert_eq!((user.get("/api/v1/me").await.error(), accepted), (REFUSED, false), "{claims}");
    }
    for claims in [json!({}), json!({ "nbf": null, "iat": now })] {
        let (user, accepted) = clerk.with(claims.clone()).await;
        assert_eq!((user.get("/api/v1/me").await.status, accepted), (StatusCode::OK, true), "{claims}");
    }
    // Beyond what their library asks: whose issuer it is, that it is a session, and one that is complete.
    for claims in [json!({ "iss": "https://evil.example" }), json!({ "sid": null }), json!({ "sts": "pending" })] {
        let (user, _) = clerk.with(claims.clone()).await;
        assert_eq!(user.get("/api/v1/me").await.error(), REFUSED, "{claims}");
    }
    let persons: i64 = sqlx::query_scalar("select count(*) from person").fetch_one(&clerk.rig.pool).await.unwrap();
    assert_eq!(persons, 1, "who is refused leaves nothing");
}

#[tokio::test]
async fn keys_are_fetched_when_they_change_and_not_for_every_stranger() {
    let clerk = Clerk::open(Signup::Open).await;
    let asked = async || clerk.ask("/asked", json!({})).await["asked"].as_i64().unwrap();
    assert_eq!(clerk.user("user_ada").await.get("/api/v1/me").await.status, StatusCode::OK);
    assert_eq!(asked().await, 1);
    for _ in 0..5 {
        let (stranger, _) = clerk.with(json!({ "_stranger": true })).await;
        assert_eq!(stranger.get("/api/v1/me").await.error(), REFUSED);
        assert_eq!(clerk.user("user_ada").await.get("/api/v1/me").await.status, StatusCode::OK);
    }
    assert_eq!(asked().await, 1, "once a minute at most");
}

#[tokio::test]
async fn news_come_late_twice_and_in_the_wrong_order() {
    let clerk = Clerk::open(Signup::Open).await;
    clerk.told("msg_0", news("user.created", "user_ada", "early@example.org", 1)).await;
    let ada = clerk.user("user_ada").await;
    let email = async || ada.get("/api/v1/me").await.body["user"]["email"].clone();
    assert_eq!(email().await, Value::Null, "news of somebody who was never here are of no use");
    clerk.told("msg_2", news("user.updated", "user_ada", "new@example.org", 20)).await;
    assert_eq!(email().await, "new@example.org");
    clerk.told("msg_1", news("user.updated", "user_ada", "old@example.org", 10)).await;
    assert_eq!(email().await, "new@example.org", "older news change nothing");
    clerk.told("msg_2", news("user.updated", "user_ada", "twice@example.org", 30)).await;
    assert_eq!(email().await, "new@example.org", "each once");
    let _bob = Browser::signed_up(&clerk.rig, "bob@example.org").await;
    clerk.told("msg_3", news("user.updated", "user_ada", "bob@example.org", 40)).await;
    assert_eq!(email().await, "new@example.org", "another's address stays theirs");
    clerk.told("msg_4", json!({ "type": "user.deleted", "data": { "id": "user_ada", "deleted": true } })).await;
    assert_eq!(ada.get("/api/v1/me").await.error(), (403, "permission_denied", ""));
    clerk.told("msg_5", news("user.updated", "user_ada", "back@example.org", 50)).await;
    assert_eq!(clerk.user("user_ada").await.get("/api/v1/me").await.error(), (403, "permission_denied", ""));
    clerk.told("msg_6", json!({ "type": "session.created", "data": { "id": "sess_1" } })).await;
}

#[tokio::test]
async fn forged_and_replayed_news_are_refused_before_they_are_read() {
    let clerk = Clerk::open(Signup::Open).await;
    let refused = (403, "invalid_signature", "");
    let event = || news("user.updated", "user_ada", ADA, 1);
    let forged = clerk.tell("msg_1", event(), |_, body| body.push(' ')).await;
    assert_eq!(forged.error(), refused);
    let renamed =
        clerk.tell("msg_1", event(), |headers, _| drop(headers.insert("svix-id", "msg_9".parse().unwrap()))).await;
    assert_eq!(renamed.error(), refused);
    for name in ["svix-id", "svix-timestamp", "svix-signature"] {
        assert_eq!(
            clerk.tell("msg_1", event(), |headers, _| drop(headers.remove(name))).await.error(),
            refused,
            "{name}"
        );
    }
    let old = clerk.ask("/webhook", json!({ "id": "msg_1", "event": event(), "age": 301 })).await;
    let replayed = clerk
        .tell("msg_1", event(), |headers, body| {
            for (name, value) in old["headers"].as_object().unwrap() {
                let name: reqwest::header::HeaderName = name.parse().unwrap();
                headers.insert(name, value.as_str().unwrap().parse().unwrap());
            }
            *body = old["body"].as_str().unwrap().to_owned();
        })
        .await;
    assert_eq!(replayed.error(), refused);
    assert_eq!(
        clerk.tell("msg_1", json!([1]), |_, _| {}).await.error(),
        (400, "invalid_request", "body"),
        "signed nonsense"
    );
    let taken: i64 = sqlx::query_scalar("select count(*) from clerk_event").fetch_one(&clerk.rig.pool).await.unwrap();
    assert_eq!(taken, 0);
}

#[tokio::test]
async fn where_signing_up_is_closed_a_good_token_is_not_enough() {
    let clerk = Clerk::open(Signup::Closed).await;
    assert_eq!(clerk.user("user_ada").await.get("/api/v1/me").await.error(), (403, "permission_denied", ""));
    let rig = Rig::start().await;
    let webhook = Browser::new(&rig).post("/api/v1/auth/clerk/webhook", json!({})).await;
    assert_eq!(webhook.error(), (404, "not_found", ""), "without Clerk there is no such door");
}
