//! Giving money back: never more than was charged, whatever the list price was; what Stripe refuses is told, counted and
//! kept; and its totals are ours.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::payments::{Shop, available};
use crate::rig::{ADMIN_TOKEN, User, until};
use crate::worker::client;

/// Buys a pack of a hundred credits for $10 with a code; the payment's id.
async fn buy_with(shop: &Shop, user: &User, code: &str) -> String {
    let before = user.credits().await.0;
    let made = user.post("/api/v1/wallet/checkout", json!({ "pack": "credits-100" })).await;
    shop.press_with(made.body["url"].as_str().unwrap(), &format!("promotion_code={code}")).await;
    available(user, before + 100_000).await;
    made.body["paymentId"].as_str().unwrap().to_owned()
}

/// What Stripe has kept of each payment is what our books say was charged and not given back, and the credits follow.
async fn totals_agree(shop: &Shop) {
    until("Stripe's totals are ours", || async {
        let mut differ = Vec::new();
        for charge in shop.objects("charges").await {
            let ours: Option<(i64, i64, i64, i64)> = sqlx::query_as(
                "select c.amount_minor, c.refunded_minor, p.credits, p.taken from charge c join payment p using (intent)
                 where intent = $1",
            )
            .bind(charge["payment_intent"].as_str().unwrap())
            .fetch_optional(&shop.rig.pool)
            .await
            .unwrap();
            let (amount, refunded) = (charge["amount"].as_i64().unwrap(), charge["amount_refunded"].as_i64().unwrap());
            let taken = |credits: i64| credits * refunded / amount;
            if ours.is_none_or(|(a, r, credits, back)| (a, r, back) != (amount, refunded, taken(credits))) {
                differ.push(charge);
            }
        }
        differ.is_empty().then_some(())
    })
    .await;
    shop.audit().await;
}

async fn shown(admin: &User, payment: &str) -> Value {
    let shown = admin.get(&format!("/api/v1/payments/{payment}")).await;
    assert_eq!(shown.status, StatusCode::OK, "{}", shown.body);
    shown.body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_with_half_off_is_given_back_whole_and_in_parts_and_never_more() {
    let shop = Shop::open().await;
    shop.twin("promotion", json!({ "code": "HALF", "percentOff": 50 })).await;
    let user = shop.rig.user().await;
    let admin = user.with_key(ADMIN_TOKEN);
    let whole = buy_with(&shop, &user, "HALF").await;
    let before = shown(&admin, &whole).await;
    assert_eq!((&before["amountMinor"], &before["chargedMinor"]), (&json!(1_000), &json!(500)), "{before}");
    let path = format!("/api/v1/payments/{whole}/refund");
    let back = admin.post(&path, json!({})).await;
    assert_eq!((back.status, &back.body["amountMinor"]), (StatusCode::ACCEPTED, &json!(500)), "{}", back.body);
    assert_eq!(back.body["state"], "done");
    available(&user, 10_000).await;
    let after = shown(&admin, &whole).await;
    assert_eq!((&after["leftMinor"], &after["refundedMinor"]), (&json!(0), &json!(500)), "{after}");
    for much in [json!({}), json!({ "amountMinor": 1 })] {
        assert_eq!(admin.post(&path, much).await.error(), (400, "invalid_request", "amountMinor"));
    }

    // In parts: by money, then by credits (a third of them, rounded down to a cent), then all that is left.
    let parts = buy_with(&shop, &user, "HALF").await;
    let path = format!("/api/v1/payments/{parts}/refund");
    for bad in [json!({ "amountMinor": 501 }), json!({ "amountMinor": 0 }), json!({ "creditsMillis": 100_001 })] {
        assert_eq!(admin.post(&path, bad.clone()).await.status, StatusCode::BAD_REQUEST, "{bad}");
    }
    let both = admin.post(&path, json!({ "amountMinor": 1, "creditsMillis": 1 })).await;
    assert_eq!(both.error(), (400, "invalid_request", "creditsMillis"));
    for (part, money, credits) in [
        (json!({ "amountMinor": 125 }), 125, 85_000),
        (json!({ "creditsMillis": 33_333 }), 166, 51_800),
        (json!({}), 209, 10_000),
    ] {
        let back = admin.post(&path, part).await;
        assert_eq!((back.status, &back.body["amountMinor"]), (StatusCode::ACCEPTED, &json!(money)), "{}", back.body);
        available(&user, credits).await;
    }
    let list = user.get("/api/v1/wallet/payments").await.body;
    assert_eq!(list["data"][0]["refundedMinor"], 500, "{list}");
    assert_eq!(shown(&admin, &parts).await["refunds"].as_array().unwrap().len(), 3);
    totals_agree(&shop).await;
    let done = "tintype_api_refunds_total{outcome=\"done\"}";
    assert!((shop.rig.metric(done).await - 4.0).abs() < 0.5);

    // Nothing was charged, so nothing goes back.
    shop.twin("promotion", json!({ "code": "FREE", "percentOff": 100 })).await;
    let free = buy_with(&shop, &user, "FREE").await;
    assert_eq!(shown(&admin, &free).await["chargedMinor"], 0);
    let none = admin.post(&format!("/api/v1/payments/{free}/refund"), json!({})).await;
    assert_eq!(none.error(), (400, "invalid_request", "amountMinor"));
    assert_eq!(user.get(&format!("/api/v1/payments/{free}")).await.status, StatusCode::UNAUTHORIZED);
}

/// Money went back at Stripe's own desk, and the news of it is still on its way: Stripe refuses, and everybody sees why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refund_that_stripe_refuses_is_told_counted_and_kept() {
    let shop = Shop::open().await;
    let user = shop.rig.user().await;
    let admin = user.with_key(ADMIN_TOKEN);
    let payment = shop.buy(&user, "credits-100", 100_000).await;
    shop.audit().await;
    let intent = shop.objects("charges").await.remove(0)["payment_intent"].as_str().unwrap().to_owned();
    shop.twin("webhook", json!({ "hold": true })).await;
    let path = format!("/api/v1/payments/{payment}/refund");
    let by_hand = async |amount: i64| {
        let form = format!("payment_intent={intent}&amount={amount}");
        let sent = client().post(format!("{}/v1/refunds", shop.stripe)).bearer_auth("sk_test_x").body(form);
        let answer = sent.send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    assert_eq!(by_hand(600).await.0, 200);
    let (status, error) = by_hand(401).await;
    assert_eq!((status, &error["error"]["param"]), (400, &json!("amount")), "{error}");
    assert!(
        error["error"]["message"].as_str().unwrap().contains("($4.01) is greater than unrefunded amount"),
        "{error}"
    );

    let refused = admin.post(&path, json!({ "amountMinor": 500 })).await;
    assert_eq!(refused.error(), (409, "payment_refused", ""));
    assert_eq!(refused.header("content-type"), "application/problem+json");
    assert!(refused.body["detail"].as_str().unwrap().contains("amount refused"), "{}", refused.body);
    assert_eq!(by_hand(400).await.0, 200);
    let refused = admin.post(&path, json!({ "amountMinor": 100 })).await;
    assert!(refused.body["detail"].as_str().unwrap().contains("charge_already_refunded"), "{}", refused.body);
    let kept = shown(&admin, &payment).await;
    let row = |one: &Value| format!("{}: {}", one["state"].as_str().unwrap(), one["reason"].as_str().unwrap());
    let rows: Vec<_> = kept["refunds"].as_array().unwrap().iter().map(row).collect();
    assert_eq!(rows, ["refused: amount refused", "refused: charge_already_refunded"]);
    assert!((shop.rig.metric("tintype_api_refunds_total{outcome=\"refused\"}").await - 2.0).abs() < 0.5);
    assert_eq!(user.credits().await.0, 110_000, "no money of ours went, so no credits did");

    // The news comes: now it is known here that nothing is left.
    shop.twin("deliver", json!({})).await;
    available(&user, 10_000).await;
    assert_eq!(admin.post(&path, json!({ "amountMinor": 100 })).await.error(), (400, "invalid_request", "amountMinor"));
    totals_agree(&shop).await;
}

/// A payment from before the charged amount was written down: Stripe is asked for it, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_old_payment_was_charged_is_asked_of_stripe() {
    let shop = Shop::open().await;
    shop.twin("promotion", json!({ "code": "HALF", "percentOff": 50 })).await;
    let user = shop.rig.user().await;
    let admin = user.with_key(ADMIN_TOKEN);
    let payment = buy_with(&shop, &user, "HALF").await;
    shop.audit().await;
    sqlx::query("update charge set amount_minor = 0").execute(&shop.rig.pool).await.unwrap();
    assert!(shown(&admin, &payment).await.get("chargedMinor").is_none());
    let back = admin.post(&format!("/api/v1/payments/{payment}/refund"), json!({})).await;
    assert_eq!((back.status, &back.body["amountMinor"]), (StatusCode::ACCEPTED, &json!(500)), "{}", back.body);
    available(&user, 10_000).await;
    assert_eq!(shown(&admin, &payment).await["chargedMinor"], 500);
    totals_agree(&shop).await;
}
