//! The stand-in's answers and events beside stripe-mock's, which are made from Stripe's OpenAPI document: every field it
//! answers with is one of Stripe's, of the type Stripe has.

#![expect(clippy::unwrap_used, reason = "a test's helpers stop the test like the test itself does")]

use reqwest::Client;
use serde_json::{Value, json};
use tintype_stripe_twin::mock::StripeMock;
use tintype_stripe_twin::{Options, Twin, router};
use tokio::net::TcpListener;

/// What the document stripe-mock was made from has elsewhere: a subscription's period moved to its items in the API version
/// 2025-03-31, and an invoice payment names a charge or an intent, of which the document's example has the first alone. That an
/// invoice's line names its price is in the document, and not in its example.
const OF_OTHER_VERSIONS: [&str; 5] = [
    "/v1/invoice_payments/inpay_1.payment.payment_intent is not a field of Stripe's",
    "/v1/invoices.data[0].lines.data[0].pricing.price_details is not a field of Stripe's",
    "/v1/invoices/in_1.lines.data[0].pricing.price_details is not a field of Stripe's",
    "/v1/subscriptions/sub_1.current_period_end is not a field of Stripe's",
    "/v1/subscriptions/sub_1.current_period_start is not a field of Stripe's",
];
/// Where a field is allowed to differ: free text by name.
const FREE: [&str; 2] = ["metadata", "object"];

async fn twin() -> (Client, String) {
    drop(rustls::crypto::ring::default_provider().install_default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let options = Options { url: url.clone(), webhook_url: None, webhook_secret: "whsec_x".to_owned() };
    let app = router(&Twin::new(options));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let no_redirects = reqwest::redirect::Policy::none();
    (Client::builder().redirect(no_redirects).build().unwrap(), url)
}

async fn post(http: &Client, url: &str, path: &str, body: &str) -> Value {
    let sent = http.post(format!("{url}{path}")).bearer_auth("sk_test_x").body(body.to_owned());
    let sent = sent.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap();
    assert!(sent.status().is_success(), "{path}: {}", sent.text().await.unwrap());
    sent.json().await.unwrap()
}

async fn get(http: &Client, url: &str, path: &str) -> Value {
    let sent = http.get(format!("{url}{path}")).bearer_auth("sk_test_x").send().await.unwrap();
    assert!(sent.status().is_success(), "{path}: {}", sent.status());
    sent.json().await.unwrap()
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

/// What of `ours` is not in `theirs`, or of another type. Null says nothing about a type.
fn strange(path: &str, ours: &Value, theirs: &Value) -> Vec<String> {
    match (ours, theirs) {
        (Value::Null, _) | (_, Value::Null) => Vec::new(),
        // An id where the document's example has the object it names, or the other way round.
        (Value::String(_), Value::Object(fields)) if fields.contains_key("id") => Vec::new(),
        (Value::Object(ours), Value::Object(theirs)) => {
            let fields = ours.iter().filter(|(name, _)| !FREE.contains(&name.as_str()));
            let odd = |(name, value): (&String, &Value)| match theirs.get(name) {
                Some(other) => strange(&format!("{path}.{name}"), value, other),
                None => vec![format!("{path}.{name} is not a field of Stripe's")],
            };
            fields.flat_map(odd).collect()
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            let pairs = ours.first().zip(theirs.first());
            pairs.map(|(ours, theirs)| strange(&format!("{path}[0]"), ours, theirs)).unwrap_or_default()
        }
        _ if kind(ours) == kind(theirs) => Vec::new(),
        _ => vec![format!("{path} is a {}, Stripe's a {}", kind(ours), kind(theirs))],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_field_is_one_of_stripes() {
    let mock = tokio::task::spawn_blocking(StripeMock::start).await.unwrap().unwrap();
    let (http, url) = twin().await;
    let mut odd = Vec::new();

    let customer = post(&http, &url, "/v1/customers", "metadata[a]=b").await;
    let customer = customer["id"].as_str().unwrap().to_owned();
    let price = "[price_data][currency]=usd&line_items[0][price_data][unit_amount]=1000&line_items[0][price_data][product_data][name]=x";
    let pages = "success_url=http://x/paid&cancel_url=http://x/cancelled&line_items[0][quantity]=1";
    let pack = format!("mode=payment&customer={customer}&{pages}&line_items[0]{price}");
    let monthly = format!(
        "mode=subscription&customer={customer}&{pages}&line_items[0]{price}&line_items[0][price_data][recurring][interval]=month"
    );
    let portal = format!("customer={customer}&return_url=http://x/wallet");
    let intent = format!(
        "amount=1000&currency=usd&customer={customer}&payment_method=pm_1&confirm=true&off_session=true&metadata[a]=b"
    );
    for (path, body) in [
        ("/v1/customers", "metadata[a]=b"),
        ("/v1/checkout/sessions", pack.as_str()),
        ("/v1/checkout/sessions", &monthly),
        ("/v1/billing_portal/sessions", &portal),
        ("/v1/payment_intents", &intent),
    ] {
        let (ours, theirs) = (post(&http, &url, path, body).await, post(&http, &mock.url, path, body).await);
        odd.extend(strange(path, &ours, &theirs));
        if let Some(page) = ours["url"].as_str().filter(|page| page.contains("/pay/")) {
            assert!(http.post(page).send().await.unwrap().status().is_redirection());
        }
    }
    let paid = get(&http, &url, "/v1/charges?limit=1").await["data"][0]["payment_intent"].clone();
    let refund = format!("payment_intent={}&amount=100", paid.as_str().unwrap());
    let (ours, theirs) =
        (post(&http, &url, "/v1/refunds", &refund).await, post(&http, &mock.url, "/v1/refunds", &refund).await);
    odd.extend(strange("/v1/refunds", &ours, &theirs));
    for path in ["/v1/events", "/v1/charges", "/v1/customers", "/v1/balance_transactions", "/v1/invoices"] {
        let (ours, theirs) = (get(&http, &url, path).await, get(&http, &mock.url, path).await);
        assert!(!ours["data"].as_array().unwrap().is_empty(), "{path}");
        odd.extend(strange(path, &ours, &theirs));
    }
    // What events carry, by the routes that answer with the like.
    let control = |what: &str, body: Value| http.post(format!("{url}/twin/{what}")).json(&body).send();
    assert!(control("dispute", json!({ "id": paid, "status": "needs_response" })).await.unwrap().status().is_success());
    let mut seen = std::collections::BTreeSet::new();
    for event in get(&http, &url, "/v1/events?limit=100").await["data"].as_array().unwrap() {
        let object = &event["data"]["object"];
        let path = match object["object"].as_str().unwrap() {
            "charge" => "/v1/charges/ch_1",
            "payment_intent" => "/v1/payment_intents/pi_1",
            "checkout.session" => "/v1/checkout/sessions/cs_1",
            "subscription" => "/v1/subscriptions/sub_1",
            "invoice" => "/v1/invoices/in_1",
            "invoice_payment" => "/v1/invoice_payments/inpay_1",
            "refund" => "/v1/refunds/re_1",
            "dispute" => "/v1/disputes/du_1",
            other => panic!("an event about a {other}"),
        };
        seen.insert(path);
        odd.extend(strange(path, object, &get(&http, &mock.url, path).await));
    }
    assert_eq!(seen.len(), 8, "{seen:?}");
    odd.sort();
    odd.dedup();
    assert_eq!(odd, OF_OTHER_VERSIONS);
}

#[tokio::test]
async fn keys_are_asked_for_and_an_idempotency_key_answers_the_same_again() {
    let (http, url) = twin().await;
    let without = http.post(format!("{url}/v1/customers")).send().await.unwrap();
    assert_eq!(without.status(), 401);
    let send = async |body: &str| {
        let sent = http.post(format!("{url}/v1/customers")).bearer_auth("sk_test_x").header("idempotency-key", "k");
        let answer = sent.body(body.to_owned()).send().await.unwrap();
        let replayed = answer.headers().contains_key("idempotent-replayed");
        (answer.status().as_u16(), replayed, answer.json::<Value>().await.unwrap()["id"].clone())
    };
    let (first, again) = (send("name=a").await, send("name=a").await);
    assert_eq!((first.0, first.1, again.1), (200, false, true));
    assert_eq!(first.2, again.2);
    assert_eq!(send("name=b").await.0, 400, "the same key for something else");
    let control = |what: &str, body: Value| http.post(format!("{url}/twin/{what}")).json(&body).send();
    for when in ["before", "after"] {
        let broken = json!({ "path": "/v1/customers", "when": when, "times": 1 });
        assert!(control("faults", broken).await.unwrap().status().is_success());
        let made = http.post(format!("{url}/v1/customers")).bearer_auth("sk_test_x").header("idempotency-key", when);
        assert_eq!(made.body("").send().await.unwrap().status(), 500);
        let made = http.post(format!("{url}/v1/customers")).bearer_auth("sk_test_x").header("idempotency-key", when);
        let again = made.body("").send().await.unwrap();
        assert_eq!(
            (again.status().as_u16(), again.headers().contains_key("idempotent-replayed")),
            (200, when == "after")
        );
    }
}
