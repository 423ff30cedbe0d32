//! What comes in from Stripe is believed only with its signature, and what goes out is what Stripe's own stand-in and package
//! expect. Codes that bring credits, which need no Stripe.

use reqwest::{Method, StatusCode};
use serde_json::json;
use tintype_stripe_twin::mock::StripeMock;
use tintype_stripe_twin::sign;

use crate::payments::{SECRET, Shop, available};
use crate::rig::{ADMIN_TOKEN, Rig, until};
use crate::support::now;
use crate::worker::client;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_stale_foreign_and_broken_webhooks_change_nothing() {
    let shop = Shop::open().await;
    let seconds = now().0 / 1_000;
    let send = async |body: &str, signature: &str| {
        let url = format!("{}/hooks/stripe", shop.rig.url);
        let sent = client().post(url).header("stripe-signature", signature).body(body.to_owned());
        sent.send().await.unwrap().status().as_u16()
    };
    let good =
        json!({ "id": "evt_1", "type": "charge.succeeded", "created": 1, "livemode": false, "data": { "object": {} } });
    let good = good.to_string();
    assert_eq!(send(&good, "").await, 403);
    assert_eq!(send(&good, &sign("whsec_other", &good, seconds)).await, 403);
    assert_eq!(send(&good, &sign(SECRET, &good, seconds - 301)).await, 403);
    assert_eq!(send(&good.replace("evt_1", "evt_2"), &sign(SECRET, &good, seconds)).await, 403);
    for bad in ["", "[]", "{}", "not json", &good.replace("false", "true"), &good.replace("evt_1", &"e".repeat(256))] {
        assert_eq!(send(bad, &sign(SECRET, bad, seconds)).await, 400, "{bad}");
    }
    let kept: i64 = sqlx::query_scalar("select count(*) from stripe_event").fetch_one(&shop.rig.pool).await.unwrap();
    assert_eq!(kept, 0);
    for _ in 0..3 {
        assert_eq!(send(&good, &sign(SECRET, &good, seconds)).await, 200);
    }
    // One that says what it cannot mean is kept for somebody to look at, and holds nothing up.
    let broken = good.replace("charge.succeeded", "charge.refunded").replace("evt_1", "evt_3");
    let broken = broken.replace("\"object\":{}", "\"object\":{\"payment_intent\":\"pi_1\"}");
    assert_eq!(send(&broken, &sign(SECRET, &broken, seconds)).await, 200);
    until("it was tried", || async {
        let sql = "select error from stripe_event where id = 'evt_3' and attempts > 0 and state = 'received'";
        let error: Option<String> = sqlx::query_scalar(sql).fetch_optional(&shop.rig.pool).await.unwrap();
        error.filter(|error| error.contains("amount"))
    })
    .await;
    let states: Vec<String> = sqlx::query_scalar("select state from stripe_event where id = 'evt_1'")
        .fetch_all(&shop.rig.pool)
        .await
        .unwrap();
    assert_eq!(states, ["ignored"]);
}

/// Everything that is asked of the stand-in, asked of stripe-mock: it refuses what Stripe's OpenAPI document does not
/// know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_of_stripe_is_what_its_openapi_document_says() {
    let mock = tokio::task::spawn_blocking(StripeMock::start).await.unwrap().unwrap();
    let shop = Shop::open().await;
    let user = shop.rig.user().await;
    let payment = shop.buy(&user, "credits-100", 100_000).await;
    let rule = json!({ "pack": "credits-50", "belowMillis": 120_000, "monthlyMax": 1 });
    until("the card is kept", || async {
        let set = user.send(Method::PUT, "/api/v1/wallet/top-up", &[], Some(rule.clone())).await;
        (set.status == StatusCode::OK).then_some(())
    })
    .await;
    available(&user, 160_000).await;
    user.post("/api/v1/wallet/checkout", json!({ "subscription": "team" })).await;
    user.send(Method::POST, "/api/v1/wallet/portal", &[], None).await;
    let refund = format!("/api/v1/payments/{payment}/refund");
    user.with_key(ADMIN_TOKEN).post(&refund, json!({ "amountMinor": 100 })).await;
    available(&user, 150_000).await;

    let asked = shop.twin("asked", json!({})).await;
    let mut paths = std::collections::BTreeSet::new();
    for call in asked.as_array().unwrap() {
        let part = |name: &str| call[name].as_str().unwrap().to_owned();
        let (method, path, text) = (part("method"), part("path"), part("text"));
        let request = if method == "GET" {
            client().get(format!("{}{path}?{text}", mock.url))
        } else {
            let form = client().post(format!("{}{path}", mock.url)).body(text.clone());
            form.header("content-type", "application/x-www-form-urlencoded")
        };
        let answer = request.bearer_auth("sk_test_x").send().await.unwrap();
        let status = answer.status();
        assert!(status.is_success(), "{method} {path} {text}: {}", answer.text().await.unwrap());
        paths.insert((method, path));
    }
    let paths: Vec<_> = paths.iter().map(|(_, path)| path.as_str()).collect();
    let all = [
        "/v1/charges",
        "/v1/events",
        "/v1/billing_portal/sessions",
        "/v1/checkout/sessions",
        "/v1/customers",
        "/v1/payment_intents",
        "/v1/refunds",
    ];
    assert_eq!(paths, all);
}

/// The vendor's own package signs for us and believes our stand-in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stripe_package_signs_what_we_believe_and_believes_what_the_stand_in_signs() {
    let cache = std::env::var_os("TINTYPE_CACHE").map_or_else(
        || std::path::PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/tintype"),
        std::path::PathBuf::from,
    );
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients/stripe_signer.py");
    let pythons =
        std::fs::read_dir(cache.join("clients")).unwrap().map(|entry| entry.unwrap().path().join("bin/python"));
    let works = |python: &std::path::PathBuf| {
        std::process::Command::new(python)
            .args(["-c", "import stripe"])
            .output()
            .is_ok_and(|done| done.status.success())
    };
    let python = pythons.into_iter().find(works).expect("scripts/setup.sh has installed the clients");
    let run = |args: &[&str]| {
        let done = std::process::Command::new(&python).arg(&script).args(args).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    let shop = Shop::open().await;
    let seconds = now().0 / 1_000;
    let said = run(&[SECRET, &seconds.to_string(), "sign"]);
    let (header, body) = said.trim_end().split_once('\n').unwrap();
    let send = async |body: &str| {
        let url = format!("{}/hooks/stripe", shop.rig.url);
        let sent = client().post(url).header("stripe-signature", header).body(body.to_owned());
        sent.send().await.unwrap().status().as_u16()
    };
    assert_eq!((send(body).await, send(&format!("{body} ")).await), (200, 403));
    let signed = sign(SECRET, body, seconds);
    assert_eq!(run(&[SECRET, &seconds.to_string(), "verify", &signed, body]).trim(), "believed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_bring_credits_once_an_account_and_cannot_be_guessed() {
    let rig = Rig::start().await;
    let (user, other, third) = (rig.user().await, rig.user().await, rig.user().await);
    let admin = user.with_key(ADMIN_TOKEN);
    let made = admin
        .post(
            "/api/v1/promo-codes",
            json!({ "creditsMillis": 5_000, "usesMax": 2, "expiresInDays": 7, "creditsExpireInDays": 30 }),
        )
        .await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    let code = made.body["code"].as_str().unwrap().to_owned();
    let spoken = format!("{}-{}", code[..6].to_lowercase(), &code[6..]);
    let used = user.post("/api/v1/wallet/promo", json!({ "code": spoken })).await;
    assert_eq!(used.body["availableMillis"], 15_000, "{}", used.body);
    assert_eq!(
        user.post("/api/v1/wallet/promo", json!({ "code": code })).await.error(),
        (400, "invalid_request", "code")
    );
    assert_eq!(other.post("/api/v1/wallet/promo", json!({ "code": code })).await.status, StatusCode::OK);
    assert_eq!(
        third.post("/api/v1/wallet/promo", json!({ "code": code })).await.status,
        StatusCode::BAD_REQUEST,
        "used up"
    );
    for _ in 0..4 {
        assert_eq!(
            third.post("/api/v1/wallet/promo", json!({ "code": "GUESS" })).await.status,
            StatusCode::BAD_REQUEST
        );
    }
    assert_eq!(third.post("/api/v1/wallet/promo", json!({ "code": code })).await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(user.post("/api/v1/promo-codes", json!({})).await.status, StatusCode::UNAUTHORIZED);
    // Nothing is sold here, which is said.
    let off = user.post("/api/v1/wallet/checkout", json!({ "pack": "credits-100" })).await;
    assert_eq!(off.error(), (404, "not_found", ""));
    rig.audit().await;
}
