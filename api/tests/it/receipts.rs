//! Receipts: one letter for each thing that was paid, with what was really charged, however Stripe tells of it.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::mail::{Post, ask, redeem, token};
use crate::payments::Shop;
use crate::rig::{Options, until};

/// The receipts so far, when no letter waits any more.
async fn receipts(shop: &Shop, post: &Post) -> Vec<Value> {
    shop.audit().await;
    until("no letter waits", || async {
        let waiting: i64 = sqlx::query_scalar("select count(*) from errand where lane = 'mail'")
            .fetch_one(&shop.rig.pool)
            .await
            .unwrap();
        (waiting == 0).then_some(())
    })
    .await;
    post.mails().into_iter().filter(|mail| mail["subject"].as_str().unwrap().starts_with("Receipt")).collect()
}

async fn spendable(who: &mut Browser) -> i64 {
    who.get("/api/v1/wallet").await.body["availableMillis"].as_i64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_receipt_comes_for_each_payment_however_often_and_in_which_order_stripe_tells_of_it() {
    let post = Post::open().await;
    let shop = Shop::with(Options { mail: post.args(), ..Options::default() }).await;
    shop.twin("promotion", json!({ "code": "HALF", "percentOff": 50 })).await;
    assert_eq!(ask(&shop.rig, "ada@example.org").await, StatusCode::ACCEPTED);
    let (mut ada, _) = redeem(&shop.rig, &token(&post.next(0).await, "sign_in")).await;
    let mut wanted = Vec::new();

    // A pack with a code: its three events (charge, intent, session) three times over, in every order.
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let made = ada.post("/api/v1/wallet/checkout", json!({ "pack": "credits-100", "keepCard": true })).await;
        assert_eq!(made.status, StatusCode::OK, "{}", made.body);
        shop.twin("webhook", json!({ "hold": true })).await;
        shop.press_with(made.body["url"].as_str().unwrap(), "promotion_code=HALF").await;
        let thrice: Vec<usize> = order.into_iter().flat_map(|n| [n, n, n]).chain(order).collect();
        shop.twin("deliver", json!({ "order": thrice })).await;
        shop.twin("webhook", json!({ "hold": false })).await;
        wanted.push("Receipt: 100 credits for 5.00 USD");
        let found = receipts(&shop, &post).await;
        let subjects: Vec<_> = found.iter().map(|mail| mail["subject"].as_str().unwrap()).collect();
        assert_eq!(subjects, wanted, "{order:?}");
        let text = found.last().unwrap()["text"].as_str().unwrap();
        let charge = shop.objects("charges").await.remove(0);
        for said in [
            "Paid: 5.00 USD",
            "Date: ",
            made.body["paymentId"].as_str().unwrap(),
            charge["receipt_url"].as_str().unwrap(),
        ] {
            assert!(text.contains(said), "no {said} in {text}");
        }
        assert_eq!(found.last().unwrap()["to"], "ada@example.org");
    }

    // A month of a subscription, told backwards and twice.
    let made = ada.post("/api/v1/wallet/checkout", json!({ "subscription": "pro" })).await;
    shop.twin("webhook", json!({ "hold": true })).await;
    shop.press(made.body["url"].as_str().unwrap()).await;
    // Subscription, charge, intent, invoice, its payment, session.
    shop.twin("deliver", json!({ "order": [5, 4, 3, 3, 2, 1, 0, 4, 3] })).await;
    shop.twin("webhook", json!({ "hold": false })).await;
    let found = receipts(&shop, &post).await;
    assert_eq!(found.len(), 7);
    let last = found.last().unwrap();
    assert_eq!(last["subject"], "Receipt: 500 credits for 39.00 USD");
    let page = shop.objects("invoices").await.remove(0)["hosted_invoice_url"].as_str().unwrap().to_owned();
    assert!(last["text"].as_str().unwrap().contains(&page), "{last}");

    // A top-up, each of whose events comes thrice.
    shop.twin("webhook", json!({ "copies": 3 })).await;
    let before = spendable(&mut ada).await;
    let rule = json!({ "pack": "credits-50", "belowMillis": before + 1, "monthlyMax": 1 });
    let set = ada.send(Method::PUT, "/api/v1/wallet/top-up", Some(rule)).await;
    assert_eq!(set.status, StatusCode::OK, "{}", set.body);
    until("it is topped up", || {
        let mut ada = ada.saying(&[]);
        async move { (spendable(&mut ada).await == before + 50_000).then_some(()) }
    })
    .await;
    let found = receipts(&shop, &post).await;
    assert_eq!(found.len(), 8);
    assert_eq!(found.last().unwrap()["subject"], "Receipt: 50 credits for 5.00 USD");
}

/// Nobody is written to whose address was not shown to be theirs, and a server without mail keeps no letters.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_mail_no_receipt_waits() {
    let shop = Shop::open().await;
    let user = shop.rig.user().await;
    shop.buy(&user, "credits-50", 50_000).await;
    shop.audit().await;
    let waiting: i64 =
        sqlx::query_scalar("select count(*) from errand where lane = 'mail'").fetch_one(&shop.rig.pool).await.unwrap();
    assert_eq!(waiting, 0);
}
