//! A subscription whose plan is changed at Stripe: raised within its month, lowered for the next.

use serde_json::{Value, json};

use crate::payments::{Shop, available};
use crate::rig::{Options, until};
use crate::support::now;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_raised_plan_brings_the_paid_difference_once_and_a_lowered_one_counts_from_the_next_month() {
    let mut book: Value = serde_json::from_str(include_str!("../../price-book.json")).unwrap();
    for plan in book["subscriptions"].as_array_mut().unwrap() {
        plan["stripePrice"] = json!(format!("price_{}", plan["id"].as_str().unwrap()));
    }
    let shop = Shop::with(Options { price_book: Some(book.clone()), ..Options::default() }).await;
    for plan in book["subscriptions"].as_array().unwrap() {
        shop.twin("price", json!({ "id": plan["stripePrice"], "unitAmount": plan["priceMinor"] })).await;
    }
    shop.twin("webhook", json!({ "copies": 3 })).await;
    let user = shop.rig.user().await;
    let made = user.post("/api/v1/wallet/checkout", json!({ "subscription": "pro" })).await;
    shop.press(made.body["url"].as_str().unwrap()).await;
    available(&user, 510_000).await;
    let invoice = shop.objects("invoices").await.remove(0);
    let subscription = invoice["parent"]["subscription_details"]["subscription"].clone();
    let runs = async |plan: &str| {
        until(&format!("{plan} runs"), || async {
            (user.get("/api/v1/wallet").await.body["subscription"]["id"] == plan).then_some(())
        })
        .await;
    };
    runs("pro").await;
    // Stripe's events tell time in seconds: of two changes within one, nobody could say which was the last.
    let next_second = async || {
        let second = || now().0 / 1_000;
        let this = second();
        until("a second is over", || async { (second() > this).then_some(()) }).await;
    };
    next_second().await;

    // Half a month on: half of Team less half of Pro, paid and given.
    shop.twin("change", json!({ "id": subscription, "price": "price_team" })).await;
    let raised = 1_500_000 / 2 - 500_000 / 2;
    available(&user, 510_000 + raised).await;
    runs("team").await;
    assert_eq!(user.get("/api/v1/wallet/payments").await.body["data"][0]["chargedMinor"], 4_950 - 1_950);
    next_second().await;
    // Lowered: what was given stays, and the next month is the new plan's.
    shop.twin("change", json!({ "id": subscription, "price": "price_hobby" })).await;
    runs("hobby").await;
    shop.audit().await;
    assert_eq!(user.credits().await.0, 510_000 + raised);
    shop.twin("renew", json!({ "id": subscription })).await;
    available(&user, 510_000 + raised + 150_000).await;
    shop.audit().await;
    assert_eq!(shop.objects("charges").await.len(), 3);
}
