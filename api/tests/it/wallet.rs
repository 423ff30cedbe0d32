//! The wallet over HTTP: lots in the order they are spent, a line for each payment and job, what can be bought.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::rig::{ADMIN_TOKEN, PRICE, Rig};

#[tokio::test]
async fn a_wallet_says_what_there_is_where_it_comes_from_and_where_it_went() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let admin = user.with_key(ADMIN_TOKEN);
    let grants = format!("/api/v1/accounts/{}/grants", user.account);
    for (reference, source, days) in [("campaign", "promo", Some(7)), ("sorry", "refund", None)] {
        let grant = json!({ "amountMillis": 1_000, "reference": reference, "source": source, "expiresInDays": days });
        assert_eq!(admin.post(&grants, grant).await.status, StatusCode::OK);
    }
    for bad in [json!(0), json!(3_651)] {
        let refused = json!({ "amountMillis": 1, "reference": "x", "expiresInDays": bad });
        assert_eq!(admin.post(&grants, refused).await.error(), (400, "invalid_request", "expiresInDays"));
    }

    let done = user.submit().await;
    rig.worker("w1").work().await;
    user.settled().await;
    let open = user.submit().await;
    let wallet = user.get("/api/v1/wallet").await.body;
    assert_eq!(wallet["availableMillis"], 12_000 - 2 * PRICE);
    assert_eq!((&wallet["heldMillis"], &wallet["spentMillis"]), (&json!(PRICE), &json!(PRICE)));
    assert_eq!((&wallet["owedMillis"], &wallet["stopped"]), (&json!(0), &json!(false)));
    let lots: Vec<_> = wallet["lots"].as_array().unwrap().iter().map(|lot| lot["source"].as_str().unwrap()).collect();
    assert_eq!(lots, ["promo", "promo", "refund"], "what lapses first, then what was given, then what was paid for");
    let first = &wallet["lots"][0];
    assert_eq!((&first["amountMillis"], &first["remainingMillis"]), (&json!(1_000), &json!(1_000 - 2 * PRICE)));
    let week = first["expiresMs"].as_i64().unwrap() - first["createdMs"].as_i64().unwrap();
    assert_eq!(week, 7 * 24 * 3_600 * 1_000);

    let lines = user.get("/api/v1/wallet/entries").await.body;
    let lines = lines["data"].as_array().unwrap().clone();
    let told = |line: &Value| (line["kind"].clone(), line["changeMillis"].clone(), line["jobId"].clone());
    assert_eq!(told(&lines[0]), (json!("hold"), json!(0), json!(open)));
    assert_eq!(lines[0]["heldMillis"], PRICE);
    assert_eq!(told(&lines[1]), (json!("capture"), json!(-PRICE), json!(done)));
    assert_eq!(lines.len(), 5, "a line a job, a line a gift: {lines:?}");
    let sum: i64 = lines.iter().map(|line| line["changeMillis"].as_i64().unwrap()).sum();
    assert_eq!(sum, 12_000 - PRICE, "the changes are the balance");

    let mut pages = Vec::new();
    let mut path = "/api/v1/wallet/entries?limit=2".to_owned();
    loop {
        let page = user.get(&path).await.body;
        pages.extend(page["data"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/v1/wallet/entries?limit=2&cursor={next}");
    }
    assert_eq!(pages, lines);
    for bad in ["limit=0", "limit=201", "limit=x", "cursor=x", "page=1"] {
        assert_eq!(user.get(&format!("/api/v1/wallet/entries?{bad}")).await.status, StatusCode::BAD_REQUEST);
    }
    assert_eq!(rig.user().await.get("/api/v1/wallet/entries").await.body["data"].as_array().unwrap().len(), 1);
    rig.audit().await;
}

#[tokio::test]
async fn what_lapsed_is_not_in_the_wallet_even_before_it_is_swept() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let admin = user.with_key(ADMIN_TOKEN);
    let grant = json!({ "amountMillis": 1_000, "reference": "x", "expiresInDays": 1 });
    admin.post(&format!("/api/v1/accounts/{}/grants", user.account), grant).await;
    let past = "alter table lot disable trigger user; update lot set expires_ms = 1 where source = 'admin';
        alter table lot enable trigger user";
    sqlx::raw_sql(past).execute(&rig.pool).await.unwrap();
    let wallet = user.get("/api/v1/wallet").await.body;
    assert_eq!((&wallet["availableMillis"], wallet["lots"].as_array().unwrap().len()), (&json!(10_000), 1));
}

#[tokio::test]
async fn fewer_pictures_than_asked_for_cost_less() {
    let rig = Rig::start().await;
    let user = rig.user().await;
    let body = json!({ "model": "tintype/shapes", "prompt": "p", "images": 3 });
    let made = user.post("/api/v1/jobs", body).await;
    let worker = rig.worker("w1");
    let work = worker.claim().await;
    let mut outputs = worker.upload(&work).await.unwrap();
    outputs.pop();
    assert_eq!(worker.done(&work, outputs).await, Some(StatusCode::OK));
    let price = made.body["priceMillis"].as_i64().unwrap();
    assert_eq!(user.settled().await, (10_000 - price * 2 / 3, price * 2 / 3));
    assert!(rig.metric("tintype_api_settled_total{outcome=\"captured-part\"}").await > 0.5);
    rig.audit().await;
}

#[tokio::test]
async fn plans_are_shown_to_everybody() {
    let rig = Rig::start().await;
    let plans = rig.user().await.with_key("nobody").get("/api/v1/plans").await;
    assert_eq!(plans.status, StatusCode::OK);
    let pack = plans.body["packs"].as_array().unwrap().iter().find(|pack| pack["id"] == "credits-100").unwrap();
    assert_eq!((&pack["creditsMillis"], &pack["priceMinor"]), (&json!(100_000), &json!(1_000)));
    assert_eq!(plans.body["currency"], "usd");
}
