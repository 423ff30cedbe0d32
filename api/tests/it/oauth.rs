//! Signing in with others: Google as `oauth2-mock-server` plays it, GitHub as its documentation has it; who is let in, who is
//! joined to whom, and that a browser cannot be brought back from a journey it did not make.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Redirect;
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::StatusCode;
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tintype_api::{OauthArgs, Signup};

use crate::browser::Browser;
use crate::clients::{self, Counterpart};
use crate::rig::{Options, Rig};

const ADA: &str = "ada@example.org";

/// A Google, and what it says of people.
struct Google {
    folder: tempfile::TempDir,
    server: Counterpart,
}

impl Google {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut node = clients::node("oidc_mock.mjs");
        let server = clients::start(node.arg(folder.path().join("claims.json"))).await;
        std::fs::write(folder.path().join("secret"), "hush\n").unwrap();
        let google = Self { folder, server };
        google.says(json!({ "sub": "g-ada", "email": ADA, "email_verified": true }));
        google
    }

    /// From now on it says this of everybody.
    fn says(&self, claims: Value) {
        std::fs::write(self.folder.path().join("claims.json"), claims.to_string()).unwrap();
    }

    async fn rig(&self, signup: Signup) -> Rig {
        let mut options = Options::default();
        options.identity.signup = signup;
        options.identity.oauth = OauthArgs {
            google_client_id: Some("our-client".to_owned()),
            google_client_secret_file: Some(self.folder.path().join("secret")),
            google_url: format!("http://127.0.0.1:{}", self.server.port),
            ..OauthArgs::default()
        };
        Rig::with(options).await
    }
}

fn http() -> reqwest::Client {
    let timeout = std::time::Duration::from_secs(30);
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(timeout).build().unwrap()
}

/// What a browser has after a step: where it is sent, and the cookies it was given.
struct Step {
    to: String,
    cookies: Vec<String>,
}

async fn step(url: &str, cookie: Option<&str>) -> Step {
    let mut request = http().get(url);
    if let Some(cookie) = cookie {
        request = request.header(COOKIE, cookie);
    }
    let answer = request.send().await.unwrap();
    let text = |value: &reqwest::header::HeaderValue| value.to_str().unwrap().to_owned();
    let to = answer.headers().get(LOCATION).map(text).unwrap_or_default();
    let cookies = answer.headers().get_all(SET_COOKIE).iter().map(text).collect();
    assert!(answer.status().is_redirection(), "{url}: {} {}", answer.status(), answer.text().await.unwrap());
    Step { to, cookies }
}

fn pair(cookies: &[String], name: &str) -> Option<String> {
    let all = cookies.iter().filter_map(|cookie| cookie.split(';').next());
    all.map(str::to_owned).find(|pair| pair.starts_with(&format!("{name}=")) && !pair.ends_with('='))
}

/// Goes to the provider and comes as far as the way back: its URL, and the cookie of the journey.
async fn away(rig: &Rig, provider: &str) -> (String, String) {
    let start = step(&format!("{}/api/v1/auth/oauth/{provider}/start?next=/gallery", rig.url), None).await;
    let journey = pair(&start.cookies, "tintype_oauth").unwrap();
    let there = step(&start.to, None).await;
    (there.to, journey)
}

/// The whole way; where it ends, and the browser.
async fn sign_in(rig: &Rig, provider: &str) -> (String, Browser) {
    let (back, journey) = away(rig, provider).await;
    let arrived = step(&back, Some(&journey)).await;
    let mut browser = Browser::new(rig);
    browser.cookie = pair(&arrived.cookies, "tintype_session");
    (arrived.to, browser)
}

async fn count(rig: &Rig, table: &'static str) -> i64 {
    sqlx::query_scalar(table).fetch_one(&rig.pool).await.unwrap()
}

const PERSONS: &str = "select count(*) from person";

#[tokio::test]
async fn whoever_google_knows_comes_in_and_comes_back_as_the_same() {
    let google = Google::open().await;
    let rig = google.rig(Signup::Open).await;
    assert_eq!(Browser::new(&rig).get("/api/v1/auth/providers").await.body["oauth"], json!(["google"]));
    let (to, mut ada) = sign_in(&rig, "google").await;
    assert_eq!(to, "/gallery");
    let me = ada.get("/api/v1/me").await.body;
    assert_eq!((&me["user"]["email"], &me["user"]["emailVerified"]), (&json!(ADA), &json!(true)), "{me}");
    assert_eq!(me["credits"]["availableMillis"], 10_000);
    // The provider's name for them is what counts, whatever their address is by now.
    google.says(json!({ "sub": "g-ada", "email": "new@example.org", "email_verified": false }));
    let (_, mut again) = sign_in(&rig, "google").await;
    assert_eq!(again.get("/api/v1/me").await.body["account"], me["account"]);
    google.says(json!({ "sub": "g-bob", "email": "bob@example.org", "email_verified": true }));
    let (_, mut bob) = sign_in(&rig, "google").await;
    assert_ne!(bob.get("/api/v1/me").await.body["account"], me["account"]);
    rig.audit().await;
}

#[tokio::test]
async fn accounts_are_joined_by_verified_addresses_alone() {
    let google = Google::open().await;
    let rig = google.rig(Signup::Open).await;
    let mut squatter = Browser::signed_up(&rig, ADA).await;
    google.says(json!({ "sub": "g-eve", "email": ADA, "email_verified": false }));
    let (to, eve) = sign_in(&rig, "google").await;
    assert_eq!((to.as_str(), eve.cookie), ("/login?error=unverified", None));
    assert_eq!(squatter.get("/api/v1/me").await.status, StatusCode::OK);
    // The owner of the address comes: it is theirs, and what was set up before them opens nothing.
    google.says(json!({ "sub": "g-ada", "email": "ADA@example.org", "email_verified": true }));
    let (to, mut ada) = sign_in(&rig, "google").await;
    assert_eq!((to.as_str(), count(&rig, PERSONS).await), ("/gallery", 1));
    assert_eq!(ada.get("/api/v1/me").await.body["user"]["hasPassword"], false);
    assert_eq!(squatter.get("/api/v1/me").await.error(), (401, "invalid_session", ""));
}

#[tokio::test]
async fn a_browser_comes_back_only_from_the_journey_it_made() {
    let google = Google::open().await;
    let rig = google.rig(Signup::Open).await;
    let (back, journey) = away(&rig, "google").await;
    let (_, other) = away(&rig, "google").await;
    let expired = "/login?error=expired";
    assert_eq!(step(&back, None).await.to, expired, "no cookie");
    assert_eq!(step(&back, Some(&other)).await.to, expired, "another browser's");
    assert_eq!(step(&back.replace("state=", "state=x"), Some(&journey)).await.to, expired, "another state");
    let callback = back.split('?').next().unwrap();
    let state = back.split("state=").nth(1).unwrap().split('&').next().unwrap();
    let denied = step(&format!("{callback}?error=access_denied&state={state}"), Some(&journey)).await;
    assert_eq!(denied.to, "/login?error=denied");
    assert_eq!(step(&back, Some(&journey)).await.to, "/gallery");
    let again = step(&back, Some(&journey)).await;
    assert_eq!(
        (again.to.as_str(), pair(&again.cookies, "tintype_session")),
        ("/login?error=provider", None),
        "a code works once"
    );
    let unknown = Browser::new(&rig).get("/api/v1/auth/oauth/myspace/start").await;
    assert_eq!(unknown.error(), (404, "not_found", ""));
}

#[tokio::test]
async fn an_id_token_that_is_not_for_us_lets_nobody_in() {
    let google = Google::open().await;
    let rig = google.rig(Signup::Open).await;
    for wrong in [
        json!({ "aud": "another-client" }),
        json!({ "iss": "https://evil.example" }),
        json!({ "exp": 1_000 }),
        json!({ "nonce": "of-another-journey" }),
        json!({ "_strip": ["nonce"] }),
        json!({ "_strip": ["sub"] }),
    ] {
        let mut claims = json!({ "sub": "g-ada", "email": ADA, "email_verified": true });
        claims.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        google.says(claims);
        let (to, browser) = sign_in(&rig, "google").await;
        assert_eq!((to.as_str(), browser.cookie), ("/login?error=provider", None), "{wrong}");
    }
    assert_eq!(count(&rig, PERSONS).await, 0);
}

#[tokio::test]
async fn where_signing_up_is_closed_nobody_new_comes_in() {
    let google = Google::open().await;
    let rig = google.rig(Signup::Closed).await;
    let (to, browser) = sign_in(&rig, "google").await;
    assert_eq!((to.as_str(), browser.cookie), ("/login?error=closed", None));
    assert_eq!(count(&rig, PERSONS).await, 0);
}

/// What GitHub's documentation says of its web flow, `GET /user` and `GET /user/emails`.
#[derive(Clone, Default)]
struct Github {
    challenges: Arc<Mutex<Vec<String>>>,
    emails: Arc<Mutex<Value>>,
}

#[derive(Deserialize)]
struct Authorize {
    redirect_uri: String,
    state: String,
    code_challenge: String,
}

impl Github {
    async fn open(&self) -> String {
        let authorize = |State(github): State<Self>, Query(asked): Query<Authorize>| async move {
            github.challenges.lock().unwrap().push(asked.code_challenge);
            Redirect::to(&format!("{}?code=c1&state={}", asked.redirect_uri, asked.state))
        };
        let exchange = |State(github): State<Self>, body: String| async move {
            let sent: BTreeMap<_, _> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
            let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(sent["code_verifier"].as_bytes()));
            let good = sent["code"] == "c1"
                && sent["client_secret"] == "hush"
                && github.challenges.lock().unwrap().contains(&challenge);
            axum::Json(if good {
                json!({ "access_token": "gho_1", "token_type": "bearer" })
            } else {
                json!({ "error": "bad_verification_code" })
            })
        };
        let user = |headers: HeaderMap| async move {
            assert_eq!(headers["authorization"], "Bearer gho_1");
            assert!(headers["user-agent"].to_str().unwrap().starts_with("tintype/"), "GitHub wants one");
            axum::Json(json!({ "id": 583_231, "login": "octocat", "email": null }))
        };
        let emails = |State(github): State<Self>| async move { axum::Json(github.emails.lock().unwrap().clone()) };
        let router = axum::Router::new()
            .route("/login/oauth/authorize", get(authorize))
            .route("/login/oauth/access_token", post(exchange))
            .route("/user", get(user))
            .route("/user/emails", get(emails))
            .with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }
}

#[tokio::test]
async fn github_says_who_somebody_is_by_its_api() {
    let github = Github::default();
    let url = github.open().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "hush\n").unwrap();
    let mut options = Options::default();
    options.identity.oauth = OauthArgs {
        github_client_id: Some("our-client".to_owned()),
        github_client_secret_file: Some(folder.path().join("secret")),
        github_url: url.clone(),
        github_api_url: url,
        ..OauthArgs::default()
    };
    let rig = Rig::with(options).await;
    let address = |email: &str, primary: bool, verified: bool| json!({ "email": email, "primary": primary, "verified": verified });
    *github.emails.lock().unwrap() = json!([address("other@example.org", false, true), address(ADA, true, false)]);
    let (to, browser) = sign_in(&rig, "github").await;
    assert_eq!((to.as_str(), browser.cookie), ("/login?error=unverified", None), "the first address is not verified");
    *github.emails.lock().unwrap() = json!([address("other@example.org", false, true), address(ADA, true, true)]);
    let (to, mut browser) = sign_in(&rig, "github").await;
    assert_eq!(to, "/gallery");
    assert_eq!(browser.get("/api/v1/me").await.body["user"]["email"], ADA);
    let subject: String = sqlx::query_scalar("select subject from identity").fetch_one(&rig.pool).await.unwrap();
    assert_eq!(subject, "583231", "their number, not their name, which somebody else may have tomorrow");
}
