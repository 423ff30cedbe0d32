//! Events of Stripe's that cannot be applied: given up after ten tries, listed without what is in them, counted, and applied
//! when their cause is mended.

use serde_json::{Value, json};
use tintype_stripe_twin::sign;

use crate::payments::{SECRET, Shop, available};
use crate::rig::{ADMIN_TOKEN, Options, until};
use crate::support::now;
use crate::worker::client;

async fn hear(shop: &Shop, event: &Value) {
    let (body, seconds) = (event.to_string(), now().0 / 1_000);
    let sent = client().post(format!("{}/hooks/stripe", shop.rig.url));
    let sent = sent.header("stripe-signature", sign(SECRET, &body, seconds)).body(body).send().await.unwrap();
    assert!(sent.status().is_success(), "{}", sent.status());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_died_is_listed_counted_and_replayed_once_its_cause_is_mended() {
    let book: Value = serde_json::from_str(include_str!("../../price-book.json")).unwrap();
    let mut shop = Shop::with(Options { price_book: Some(book.clone()), ..Options::default() }).await;
    let user = shop.rig.user().await;
    let admin = user.with_key(ADMIN_TOKEN);
    // A month by a price the book does not have yet.
    let metadata = json!({
        "tintype_account": user.account.to_string(), "tintype_offer": "pro", "tintype_version": "1",
        "tintype_credits_millis": "500000", "tintype_price": "price_pro"
    });
    let line = json!({
        "amount": 9_900, "period": { "start": 0, "end": 4_000_000_000_i64 },
        "pricing": { "price_details": { "price": "price_team" } }
    });
    let invoice = json!({
        "id": "in_1", "amount_paid": 9_900, "currency": "usd", "billing_reason": "subscription_cycle",
        "customer_email": "somebody@example.org", "lines": { "data": [line] },
        "parent": { "subscription_details": { "subscription": "sub_1", "metadata": metadata } }
    });
    let event = |id: &str| json!({ "id": id, "type": "invoice.paid", "created": 7, "data": { "object": invoice } });
    for id in ["evt_a", "evt_b"] {
        hear(&shop, &event(id)).await;
    }
    let list = async |query: &str| admin.get(&format!("/api/v1/admin/stripe-events{query}")).await;
    let tried = until("each was tried", || async {
        let tried = list("?dead=false").await.body["data"].as_array().unwrap().clone();
        (tried.len() == 2).then_some(tried)
    })
    .await;
    assert_eq!(tried[0]["state"], "received");
    // Nine tries have been, and it is time for the tenth.
    until("they are given up", || async {
        let hurry = "update stripe_event set attempts = greatest(attempts, 9), next_ms = 0 where state = 'received'";
        sqlx::query(hurry).execute(&shop.rig.pool).await.unwrap();
        (list("").await.body["data"].as_array().unwrap().len() == 2).then_some(())
    })
    .await;
    let first = list("?limit=1").await.body;
    let shown = &first["data"][0];
    assert_eq!(
        (&shown["id"], &shown["type"], &shown["attempts"]),
        (&json!("evt_a"), &json!("invoice.paid"), &json!(10))
    );
    assert_eq!(shown["error"], "the event has no price that the price book has (stripePrice)");
    assert!(!first.to_string().contains("example.org"), "{first}");
    let second = list(&format!("?limit=1&cursor={}", first["next"].as_str().unwrap())).await.body;
    assert_eq!((&second["data"][0]["id"], second.get("next")), (&json!("evt_b"), None));
    until("they are counted", || async {
        (shop.rig.metric("tintype_api_stripe_events_dead").await > 1.5).then_some(())
    })
    .await;
    assert_eq!(user.credits().await.0, 10_000);
    for path in ["/api/v1/admin/stripe-events", "/api/v1/admin/stripe-events/evt_a/replay"] {
        let refused = if path.ends_with("replay") { user.post(path, Value::Null).await } else { user.get(path).await };
        assert_eq!(refused.status, 401, "{path} is for the administrator");
    }

    // The price is named, and the event is applied as if it had just come; the other says the same and changes nothing.
    let mut mended = book;
    mended["subscriptions"][2]["stripePrice"] = json!("price_team");
    shop.rig.sell(mended);
    shop.rig.restart().await;
    let (user, admin) = (user.at(&shop.rig.url), admin.at(&shop.rig.url));
    for id in ["evt_a", "evt_b"] {
        let path = format!("/api/v1/admin/stripe-events/{id}/replay");
        assert_eq!(admin.post(&path, Value::Null).await.status, 204);
        assert_eq!(admin.post(&path, Value::Null).await.error(), (404, "not_found", ""));
        available(&user, 1_510_000).await;
    }
    shop.audit().await;
    until("none is counted", || async {
        (shop.rig.metric("tintype_api_stripe_events_dead").await < 0.5).then_some(())
    })
    .await;
}
