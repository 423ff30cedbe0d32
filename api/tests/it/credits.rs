//! Giving credits, reading a book, and reading every book again: what was changed behind the ledger's back is found.

use reqwest::StatusCode;
use serde_json::json;

use crate::rig::{ADMIN_TOKEN, PRICE, Rig};

#[tokio::test]
async fn a_grant_is_given_once_a_reference_and_stands_in_the_book() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let admin = user.with_key(ADMIN_TOKEN);
    let path = format!("/api/v1/accounts/{}/grants", user.account);
    let grant = json!({ "amountMillis": 5_000, "reference": "invoice 7" });
    let first = admin.post(&path, grant.clone()).await;
    assert_eq!((first.status, &first.body["granted"]), (StatusCode::OK, &json!(true)), "{}", first.body);
    let again = admin.post(&path, grant.clone()).await;
    assert_eq!((&again.body["granted"], &again.body["credits"]["availableMillis"]), (&json!(false), &json!(15_000)));
    assert_eq!(user.post(&path, grant.clone()).await.error(), (401, "invalid_api_key", ""), "no user gives credits");
    let nobody = format!("/api/v1/accounts/{}/grants", uuid::Uuid::now_v7());
    assert_eq!(admin.post(&nobody, grant).await.error(), (404, "not_found", ""));
    for amount in [0, -1, i64::MAX] {
        let refused = admin.post(&path, json!({ "amountMillis": amount, "reference": "x" })).await;
        assert_eq!(refused.error(), (400, "invalid_request", "amountMillis"));
    }

    let id = user.submit().await;
    rig.worker("w1").work().await;
    user.settled().await;
    let book = user.get("/api/v1/ledger").await.body;
    let kinds: Vec<_> = book["data"].as_array().unwrap().iter().map(|txn| txn["kind"].clone()).collect();
    assert_eq!(kinds, ["grant", "grant", "hold", "capture"]);
    let capture = &book["data"][3];
    assert_eq!(capture["key"], format!("hold:{id}:end"));
    // The gift without an end is burned after the welcome, which is a promotion.
    let welcome = sqlx::query_scalar::<_, String>("select id::text from lot where source = 'promo' and account = $1");
    let welcome = welcome.bind(user.account).fetch_one(&rig.pool).await.unwrap();
    let spent = json!({ "column": "spent", "amountMillis": PRICE, "balanceMillis": PRICE, "lot": welcome });
    assert_eq!(capture["lines"][1], spent);
    assert_eq!(user.get("/api/v1/ledger?after=3").await.body["data"].as_array().unwrap().len(), 1);
    let of_account = format!("/api/v1/accounts/{}/ledger", user.account);
    assert_eq!(admin.get(&of_account).await.body, book);
    assert_eq!(user.get(&of_account).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_milli_credit_changed_behind_the_ledgers_back_is_found() {
    let rig = Rig::start().await;
    let (user, other) = (rig.user().await, rig.user().await);
    let admin = user.with_key(ADMIN_TOKEN);
    for _ in 0..3 {
        user.submit().await;
        rig.worker("w1").work().await;
        user.settled().await;
    }
    let sound = admin.get("/api/v1/ledger/verification").await.body;
    assert_eq!((&sound["books"], &sound["faults"]), (&json!(2), &json!([])));
    assert_eq!(sound["transactions"], 8, "two sign-up grants, three holds and their ends");

    // The database refuses changes of what was posted; whoever owns it can switch that off.
    let tamper = "alter table ledger_entry disable trigger user;
        update ledger_entry set amount = amount - 1 where bucket = 'spent' and account = (select id from account order by id limit 1)
            and txn = (select txn from ledger_entry where bucket = 'spent' order by txn limit 1);
        alter table ledger_entry enable trigger user";
    sqlx::raw_sql(tamper).execute(&rig.pool).await.unwrap();
    let found = admin.get("/api/v1/ledger/verification").await.body;
    assert_eq!(found["faults"].as_array().unwrap().len(), 1, "{found}");
    assert_eq!(found["faults"][0], json!({ "account": user.account, "fault": "transaction 3 is not what was hashed" }));
    assert_eq!(other.get("/api/v1/ledger/verification").await.status, StatusCode::UNAUTHORIZED);
}
