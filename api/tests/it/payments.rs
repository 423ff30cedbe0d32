//! Buying credits against a stand-in for Stripe that really runs: checkout, subscriptions, refunds, disputes, top-ups; lost
//! answers, doubled and reordered webhooks, and books read again at the end.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tintype_stripe_twin::{Options as TwinOptions, Twin, router};
use tokio::net::TcpListener;

use crate::rig::{ADMIN_TOKEN, Options, Rig, User, until};
use crate::worker::client;

pub(crate) const SECRET: &str = "whsec_test";

/// Starts a stand-in for Stripe in this process; its address.
pub(crate) async fn stripe_twin() -> String {
    drop(client());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let twin = TwinOptions { url: url.clone(), webhook_url: None, webhook_secret: SECRET.to_owned() };
    let app = router(&Twin::new(twin));
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

/// The API beside a stand-in for Stripe.
pub(crate) struct Shop {
    pub(crate) rig: Rig,
    pub(crate) stripe: String,
}

impl Shop {
    pub(crate) async fn open() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let stripe = stripe_twin().await;
        let rig = Rig::with(Options { stripe: Some(stripe.clone()), ..options }).await;
        let shop = Self { rig, stripe };
        let hook = format!("{}/hooks/stripe", shop.rig.url);
        shop.twin("webhook", json!({ "url": hook, "secret": SECRET })).await;
        shop
    }

    /// Does something to the stand-in.
    pub(crate) async fn twin(&self, what: &str, body: Value) -> Value {
        let url = format!("{}/twin/{what}", self.stripe);
        let answer = client().post(url).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{what}: {}", answer.status());
        serde_json::from_str(&answer.text().await.unwrap()).unwrap_or(Value::Null)
    }

    /// Objects of Stripe's, newest first.
    pub(crate) async fn objects(&self, kind: &str) -> Vec<Value> {
        let url = format!("{}/v1/{kind}?limit=100", self.stripe);
        let page: Value = client().get(url).bearer_auth("sk_test_x").send().await.unwrap().json().await.unwrap();
        page["data"].as_array().unwrap().clone()
    }

    /// Presses the button of a page; where it sends the browser.
    pub(crate) async fn press(&self, page: &str) -> String {
        self.press_with(page, "").await
    }

    /// The same with a form: a code.
    pub(crate) async fn press_with(&self, page: &str, form: &str) -> String {
        let shown = client().get(page).send().await.unwrap().text().await.unwrap();
        assert!(shown.contains("<button>Pay</button>"), "{shown}");
        let pressed = client().post(page).body(form.to_owned()).send().await.unwrap();
        assert_eq!(pressed.status(), StatusCode::SEE_OTHER);
        pressed.headers()["location"].to_str().unwrap().to_owned()
    }

    /// Buys a pack and waits for its credits; the payment's id.
    pub(crate) async fn buy(&self, user: &User, pack: &str, credits: i64) -> String {
        let before = user.credits().await.0;
        let made = user.post("/api/v1/wallet/checkout", json!({ "pack": pack, "keepCard": true })).await;
        assert_eq!(made.status, StatusCode::OK, "{}", made.body);
        self.press(made.body["url"].as_str().unwrap()).await;
        available(user, before + credits).await;
        made.body["paymentId"].as_str().unwrap().to_owned()
    }

    /// Nothing waits in the inbox; the books are sound, and Stripe's say the same.
    pub(crate) async fn audit(&self) {
        until("the inbox is empty", || async {
            let waiting = "select count(*) from stripe_event where state = 'received'";
            let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&self.rig.pool).await.unwrap();
            (waiting == 0).then_some(())
        })
        .await;
        let dead: Vec<String> =
            sqlx::query_scalar("select type || ': ' || coalesce(error, '') from stripe_event where state = 'dead'")
                .fetch_all(&self.rig.pool)
                .await
                .unwrap();
        assert_eq!(dead, Vec::<String>::new());
        // Each payment that is paid has its lot, and no other lot is of a payment.
        let odd: Vec<String> = sqlx::query_scalar(
            "select coalesce(p.id::text, l.source_ref) from payment p full join lot l on l.source_ref = 'payment:' || p.id
             where (l.id is null and p.paid) or (p.id is null and l.source_ref like 'payment:%') or p.granted <> (l.id is not null)
                or (l.id is not null and (l.amount <> p.credits or l.account <> p.account))",
        )
        .fetch_all(&self.rig.pool)
        .await
        .unwrap();
        assert_eq!(odd, Vec::<String>::new());
        self.rig.audit().await;
    }
}

/// Waits until so much can be spent.
pub(crate) async fn available(user: &User, wanted: i64) {
    until(&format!("{wanted} can be spent"), || async { (user.credits().await.0 == wanted).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pack_is_bought_once_however_often_stripe_says_so_and_refunded() {
    let shop = Shop::open().await;
    shop.twin("webhook", json!({ "copies": 3 })).await;
    let user = shop.rig.user().await;
    let made = user.post("/api/v1/wallet/checkout", json!({ "pack": "credits-100" })).await;
    let page = made.body["url"].as_str().unwrap().to_owned();
    let back = shop.press(&page).await;
    assert!(back.starts_with(&format!("{}/credits/?paid", shop.rig.url)), "{back}");
    available(&user, 110_000).await;
    // Pressed again, and a second checkout that is left alone: nothing more is paid.
    assert!(client().get(&page).send().await.unwrap().text().await.unwrap().contains("This is paid."));
    user.post("/api/v1/wallet/checkout", json!({ "pack": "credits-100" })).await;
    shop.audit().await;
    let lines = user.get("/api/v1/wallet/entries").await.body;
    let first = &lines["data"][0];
    assert_eq!((&first["source"], &first["changeMillis"]), (&json!("purchase"), &json!(100_000)));
    assert_eq!(first["paymentId"], made.body["paymentId"]);
    let payments = user.get("/api/v1/wallet/payments").await.body;
    assert_eq!(payments["data"].as_array().unwrap().len(), 1, "only what is paid: {payments}");
    assert_eq!(shop.objects("charges").await.len(), 1);

    // A part goes back, with its part of the credits; then the rest.
    let admin = user.with_key(ADMIN_TOKEN);
    let path = format!("/api/v1/payments/{}/refund", made.body["paymentId"].as_str().unwrap());
    let asked = admin.post(&path, json!({ "amountMinor": 250 })).await;
    assert_eq!(asked.status, StatusCode::ACCEPTED, "{}", asked.body);
    available(&user, 85_000).await;
    for bad in [json!({ "amountMinor": 751 }), json!({ "amountMinor": 0 })] {
        assert_eq!(admin.post(&path, bad).await.error(), (400, "invalid_request", "amountMinor"));
    }
    until("the refund is done", || async {
        (admin.post(&path, json!({})).await.status == StatusCode::ACCEPTED).then_some(())
    })
    .await;
    available(&user, 10_000).await;
    assert_eq!(user.post(&path, json!({})).await.status, StatusCode::UNAUTHORIZED);
    shop.audit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_brings_credits_each_month_which_lapse_and_is_ended_in_the_portal() {
    let shop = Shop::open().await;
    let user = shop.rig.user().await;
    let made = user.post("/api/v1/wallet/checkout", json!({ "subscription": "pro" })).await;
    shop.press(made.body["url"].as_str().unwrap()).await;
    available(&user, 510_000).await;
    until("the subscription shows", || async {
        let wallet = user.get("/api/v1/wallet").await.body;
        (wallet["subscription"] == json!({ "id": "pro", "status": "active", "ends": false })).then_some(())
    })
    .await;
    let again = user.post("/api/v1/wallet/checkout", json!({ "subscription": "hobby" })).await;
    assert_eq!(again.error(), (400, "invalid_request", "subscription"));
    let invoice = shop.objects("invoices").await.remove(0);
    let subscription = invoice["parent"]["subscription_details"]["subscription"].clone();
    shop.twin("renew", json!({ "id": subscription })).await;
    available(&user, 1_010_000).await;
    let lots = user.get("/api/v1/wallet").await.body["lots"].clone();
    let expiries: Vec<i64> = lots.as_array().unwrap().iter().filter_map(|lot| lot["expiresMs"].as_i64()).collect();
    assert_eq!(expiries.len(), 2, "{lots}");
    assert_eq!(expiries[1] - expiries[0], 30 * 24 * 3_600 * 1_000, "a month apart, the earlier first");

    let portal = user.send(Method::POST, "/api/v1/wallet/portal", &[], None).await;
    let url = portal.body["url"].as_str().unwrap();
    assert_eq!(client().post(format!("{url}/cancel")).send().await.unwrap().status(), StatusCode::SEE_OTHER);
    until("the subscription ends with its month", || async {
        (user.get("/api/v1/wallet").await.body["subscription"]["ends"] == true).then_some(())
    })
    .await;
    shop.twin("end", json!({ "id": subscription })).await;
    until("it is gone", || async { user.get("/api/v1/wallet").await.body.get("subscription").is_none().then_some(()) })
        .await;
    shop.audit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disputed_payment_stops_the_account_until_it_is_won() {
    let shop = Shop::open().await;
    let user = shop.rig.user().await;
    shop.buy(&user, "credits-100", 100_000).await;
    let intent = shop.objects("charges").await.remove(0)["payment_intent"].clone();
    shop.twin("dispute", json!({ "id": intent, "status": "needs_response" })).await;
    let stopped = async |wanted: bool| {
        until("the wallet says so", || async {
            (user.get("/api/v1/wallet").await.body["stopped"] == json!(wanted)).then_some(())
        })
        .await;
    };
    stopped(true).await;
    let refused = user.post("/api/v1/jobs", json!({ "model": "tintype/shapes", "prompt": "p" })).await;
    assert_eq!(refused.error().0, 402);
    assert!(refused.body["error"]["message"].as_str().unwrap().contains("disputed"), "{}", refused.body);
    shop.twin("dispute", json!({ "id": intent, "status": "won" })).await;
    stopped(false).await;
    assert_eq!(user.credits().await.0, 110_000);
    user.submit().await;

    // Another that is lost: its credits go, and the account goes on when the administrator says so.
    shop.buy(&user, "credits-50", 50_000).await;
    let intent = shop.objects("charges").await.remove(0)["payment_intent"].clone();
    for status in ["needs_response", "lost"] {
        shop.twin("dispute", json!({ "id": intent, "status": status })).await;
    }
    stopped(true).await;
    until("the pack is gone", || async { (user.credits().await.0 < 110_000).then_some(()) }).await;
    let admin = user.with_key(ADMIN_TOKEN);
    let resumed = admin.send(Method::POST, &format!("/api/v1/accounts/{}/resume", user.account), &[], None).await;
    assert_eq!(resumed.status, StatusCode::OK, "{}", resumed.body);
    stopped(false).await;
    shop.audit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credits_are_topped_up_once_when_low_and_never_again_after_a_refusal() {
    let shop = Shop::open().await;
    let user = shop.rig.user().await;
    let rule = json!({ "pack": "credits-50", "belowMillis": 120_000, "monthlyMax": 2 });
    let none = user.send(Method::PUT, "/api/v1/wallet/top-up", &[], Some(rule.clone())).await;
    assert_eq!(none.error(), (400, "invalid_request", "pack"), "no card is kept yet");
    shop.buy(&user, "credits-100", 100_000).await;
    until("the card is kept", || async {
        let set = user.send(Method::PUT, "/api/v1/wallet/top-up", &[], Some(rule.clone())).await;
        (set.status == StatusCode::OK).then_some(())
    })
    .await;
    // Its answer is lost twice: it is taken once all the same.
    available(&user, 160_000).await;
    assert_eq!(shop.objects("charges").await.len(), 2);

    // Low again, and the answers to the first tries are lost after the card was charged.
    shop.twin("faults", json!({ "path": "/v1/payment_intents", "when": "after", "times": 2 })).await;
    let rule = json!({ "pack": "credits-50", "belowMillis": 170_000, "monthlyMax": 2 });
    user.send(Method::PUT, "/api/v1/wallet/top-up", &[], Some(rule)).await;
    available(&user, 210_000).await;
    assert_eq!(shop.objects("charges").await.len(), 3, "charged once, though asked thrice");
    // Two a month were allowed.
    let rule = json!({ "pack": "credits-50", "belowMillis": 900_000, "monthlyMax": 2 });
    user.send(Method::PUT, "/api/v1/wallet/top-up", &[], Some(rule)).await;
    shop.audit().await;
    assert_eq!(shop.objects("charges").await.len(), 3);

    let customer = shop.objects("charges").await.remove(0)["customer"].clone();
    shop.twin("decline", json!({ "id": customer })).await;
    let rule = json!({ "pack": "credits-50", "belowMillis": 900_000, "monthlyMax": 9 });
    user.send(Method::PUT, "/api/v1/wallet/top-up", &[], Some(rule)).await;
    let paused = until("the rule is off", || async {
        let wallet = user.get("/api/v1/wallet").await.body;
        wallet["topUp"]["paused"].as_str().map(str::to_owned)
    })
    .await;
    assert!(paused.contains("insufficient_funds"), "{paused}");
    assert_eq!(user.delete("/api/v1/wallet/top-up").await.status, StatusCode::NO_CONTENT);
    assert!(user.get("/api/v1/wallet").await.body.get("topUp").is_none());
    shop.audit().await;
}

/// Both sides of each call break: what is made is made once, and who asked is told to repeat.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_break_before_or_after_they_are_done_do_nothing_twice() {
    let shop = Shop::open().await;
    let user = shop.rig.user().await;
    for (path, when) in [
        ("/v1/customers", "before"),
        ("/v1/customers", "after"),
        ("/v1/checkout", "before"),
        ("/v1/checkout", "after"),
        ("/v1/refunds", "before"),
        ("/v1/refunds", "after"),
    ] {
        shop.twin("faults", json!({ "path": path, "when": when, "times": 1 })).await;
    }
    let payment = shop.buy(&user, "credits-100", 100_000).await;
    let customers: i64 = sqlx::query_scalar("select count(*) from billing").fetch_one(&shop.rig.pool).await.unwrap();
    assert_eq!((customers, shop.objects("charges").await.len()), (1, 1));
    let admin = user.with_key(ADMIN_TOKEN);
    admin.post(&format!("/api/v1/payments/{payment}/refund"), json!({ "amountMinor": 500 })).await;
    available(&user, 60_000).await;
    assert_eq!(shop.objects("charges").await[0]["amount_refunded"], 500, "given back once, though asked thrice");

    // Stripe is gone for longer than anybody waits: the user is told, and nothing is charged.
    shop.twin("faults", json!({ "path": "/v1/checkout", "when": "before", "times": 3 })).await;
    let told = user.post("/api/v1/wallet/checkout", json!({ "pack": "credits-50" })).await;
    assert_eq!((told.status, told.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "5"));
    assert!(
        shop.rig.metric("tintype_api_stripe_calls_total{operation=\"open a checkout\",outcome=\"unavailable\"}").await
            > 4.5
    );
    shop.audit().await;
}

/// A sample of the orders the pure test walks, in the database: backwards, doubled, and dealt out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_in_any_order_and_number_leave_the_same_books() {
    let shop = Shop::open().await;
    let mut outcomes = Vec::new();
    for order in ["forwards", "backwards", "doubled", "dealt"] {
        let user = shop.rig.user().await;
        let made = user.post("/api/v1/wallet/checkout", json!({ "pack": "credits-100" })).await;
        shop.twin("webhook", json!({ "hold": true })).await;
        shop.press(made.body["url"].as_str().unwrap()).await;
        let charge = shop.objects("charges").await.remove(0);
        let form = [("payment_intent", charge["payment_intent"].as_str().unwrap()), ("amount", "300")];
        let body: Vec<String> = form.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let refund = client().post(format!("{}/v1/refunds", shop.stripe)).bearer_auth("sk_test_x").body(body.join("&"));
        assert!(refund.send().await.unwrap().status().is_success());
        for status in ["needs_response", "won"] {
            shop.twin("dispute", json!({ "id": charge["payment_intent"], "status": status })).await;
        }
        // charge, intent, session, refund, refunded, dispute, closed.
        let order: Vec<usize> = match order {
            "forwards" => (0..7).collect(),
            "backwards" => (0..7).rev().collect(),
            "doubled" => (0..7).rev().flat_map(|n| [n, n, n]).collect(),
            _ => vec![4, 6, 0, 2, 5, 4, 1, 3, 6, 2, 5, 0],
        };
        shop.twin("deliver", json!({ "order": order })).await;
        shop.twin("webhook", json!({ "hold": false })).await;
        shop.audit().await;
        let wallet = user.get("/api/v1/wallet").await.body;
        let payments = user.get("/api/v1/wallet/payments").await.body["data"][0].clone();
        outcomes.push((user.credits().await, wallet["stopped"].clone(), payments["takenBackMillis"].clone()));
    }
    outcomes.dedup();
    assert_eq!(outcomes, [((80_000, 0, 0), json!(false), json!(30_000))]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_never_came_are_found_in_stripes_books_and_drift_is_told() {
    let shop = Shop::open().await;
    let user = shop.rig.user().await;
    shop.buy(&user, "credits-50", 50_000).await;
    shop.audit().await;
    shop.twin("webhook", json!({ "hold": true })).await;
    let made = user.post("/api/v1/wallet/checkout", json!({ "pack": "credits-100" })).await;
    shop.press(made.body["url"].as_str().unwrap()).await;
    shop.twin("deliver", json!({ "lose": true })).await;
    // Money Stripe has given back and never says so: the event is there in its list, for us to find.
    let due = "update stripe_reconciled set at_ms = 0, until_s = until_s - 120";
    let found = async |credits: i64| {
        until("the books were read", || async {
            sqlx::query(due).execute(&shop.rig.pool).await.unwrap();
            (user.credits().await.0 == credits).then_some(())
        })
        .await;
    };
    // What is younger than a minute may still come by itself: here it is made old.
    shop.twin("age", json!({ "seconds": 600 })).await;
    found(160_000).await;
    assert!(shop.rig.metric("tintype_api_stripe_events_missed_total").await > 1.5);
    let drift = |pool: sqlx::PgPool| async move {
        sqlx::query_scalar::<_, i64>("select drift_minor from stripe_reconciled").fetch_one(&pool).await.unwrap()
    };
    assert_eq!(drift(shop.rig.pool.clone()).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn books_that_differ_are_told_of_until_they_say_the_same() {
    let shop = Shop::open().await;
    let user = shop.rig.user().await;
    shop.buy(&user, "credits-50", 50_000).await;
    shop.buy(&user, "credits-100", 100_000).await;
    shop.audit().await;
    let pool = &shop.rig.pool;
    let change = async |sql: &'static str| {
        sqlx::query(sql).execute(pool).await.unwrap();
    };
    // Reads the books once more, from so many seconds later on; by how much they differ.
    let read = async |later: i64| {
        sqlx::query("update stripe_reconciled set at_ms = 0, until_s = until_s + $1")
            .bind(later)
            .execute(pool)
            .await
            .unwrap();
        until("the books were read", || async {
            const READ: &str = "select drift_minor from stripe_reconciled where at_ms <> 0";
            sqlx::query_scalar::<_, i64>(READ).fetch_optional(pool).await.unwrap()
        })
        .await
    };
    let days = |count: i64| count * 24 * 60 * 60;
    until("the books were read", || async {
        sqlx::query("select 1 from stripe_reconciled").fetch_optional(pool).await.unwrap()
    })
    .await;
    assert_eq!(read(0).await, 0);
    change("update payment set intent = null where offer = 'credits-50'").await;
    assert_eq!(read(0).await, 500, "money came, and no payment of ours is paid by it");
    assert!((shop.rig.metric("tintype_api_stripe_drift_minor").await - 500.0).abs() < 0.5);
    assert_eq!(read(days(9)).await, 500, "days later it is still so");
    change("update payment set intent = (select intent from stripe_difference) where offer = 'credits-50'").await;
    assert_eq!(read(days(9)).await, 0, "mended, it is seen to be, however long ago it was");
    change("update charge set refunded_minor = 300 where amount_minor = 1000").await;
    assert_eq!(read(0).await, 300, "we gave back what Stripe did not");
    change("update charge set refunded_minor = 0").await;
    change("update charge set amount_minor = 900 where amount_minor = 1000").await;
    assert_eq!(read(0).await, 100, "another sum was charged");
    change("update charge set amount_minor = 1000 where amount_minor = 900").await;
    // Somebody wrote themselves a payment: Stripe knows nothing of it.
    change(
        "insert into payment (id, account, kind, offer, price_version, credits, amount_minor, currency, paid, intent, granted, created_ms)
         select gen_random_uuid(), account, kind, offer, price_version, credits, amount_minor, currency, true, 'pi_forged', true, created_ms
         from payment where offer = 'credits-50'",
    )
    .await;
    change("insert into charge (intent, amount_minor) values ('pi_forged', 500)").await;
    assert_eq!(read(0).await, 500, "what we were paid is nowhere at Stripe");
}
