//! What is done about money and by administrators leaves a row of the audit log: every such operation of the OpenAPI document,
//! those of tomorrow too.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::browser::Browser;
use crate::payments::{Shop, available};
use crate::receiver::Receiver;
use crate::rig::{ADMIN_TOKEN, Options, User, until};

/// What leaves no row, and why.
const WITHOUT: [(&str, &str); 6] = [
    ("POST /api/v1/wallet/checkout", "it opens a page; what is paid there is a payment"),
    ("POST /api/v1/wallet/portal", "it opens a page; what is done there is Stripe's to log"),
    ("PUT /api/v1/wallet/alarm", "a letter to oneself, which moves nothing"),
    ("DELETE /api/v1/wallet/alarm", "a letter to oneself, which moves nothing"),
    ("POST /hooks/stripe", "nobody acts; events are kept whole"),
    ("POST /api/v1/auth/clerk/webhook", "nobody acts; what it changes is logged as the provider's deed"),
];

/// What leaves one, and what it says.
const WITH: [(&str, &str); 15] = [
    ("POST /api/v1/accounts/{id}/grants", "credits.grant"),
    ("POST /api/v1/accounts/{id}/resume", "account.resume"),
    ("POST /api/v1/accounts/{id}/sign-in-links", "person.way_in"),
    ("DELETE /api/v1/admin/errands/{id}", "errand.discard"),
    ("POST /api/v1/admin/errands/{id}/retry", "errand.retry"),
    ("PATCH /api/v1/admin/people/{id}", "person.suspend"),
    ("DELETE /api/v1/admin/people/{id}/sessions", "person.sign_out"),
    ("POST /api/v1/admin/stripe-events/{id}/replay", "stripe_event.replay"),
    ("POST /api/v1/payments/{id}/refund", "payment.refund"),
    ("POST /api/v1/promo-codes", "promo.create"),
    ("POST /api/v1/users", "user.create"),
    ("DELETE /api/v1/wallet/top-up", "top_up.remove"),
    ("POST /api/v1/wallet/promo", "promo.redeem"),
    ("PUT /api/v1/wallet/top-up", "top_up.set"),
    ("POST /api/v1/webhooks/{id}/deliveries/{delivery}/replay", "webhook.replay"),
];

/// The operations that change something about money, or that administrators alone may do.
fn operations(document: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let changes = ["post", "put", "patch", "delete"].contains(&method.as_str());
            let security = operation["security"].to_string();
            let money = ["/wallet", "/payments", "/promo", "/hooks", "/replay"].iter().any(|part| path.contains(part));
            let open = security == "[]" && path.contains("webhook");
            if changes && (money || open || security.contains("adminToken")) {
                found.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
    }
    found
}

/// Actions that were logged since the last look, of these accounts or of none.
async fn logged(pool: &PgPool, since: &mut Uuid) -> Vec<String> {
    let sql = "select id, action from audit_event where id > $1 order by id";
    let rows: Vec<(Uuid, String)> = sqlx::query_as(sql).bind(*since).fetch_all(pool).await.unwrap();
    if let Some((last, _)) = rows.last() {
        *since = *last;
    }
    rows.into_iter().map(|(_, action)| action).collect()
}

/// What the acts are done to.
struct Stage {
    account: Uuid,
    /// Somebody's who signs in.
    adas: String,
    payment: String,
    code: String,
    person: String,
    webhook: String,
    delivery: String,
}

/// Does an act; its status.
async fn act(operation: &str, stage: &Stage, user: &User, admin: &User, pool: &PgPool) -> u16 {
    let (method, path) = operation.split_once(' ').unwrap();
    let id = if path.ends_with("/sign-in-links") {
        stage.adas.clone()
    } else if path.contains("/accounts/") {
        stage.account.to_string()
    } else if path.contains("/payments/") {
        stage.payment.clone()
    } else if path.contains("/people/") {
        stage.person.clone()
    } else if path.contains("/webhooks/") {
        stage.webhook.clone()
    } else if path.contains("/stripe-events/") {
        let sql = "insert into stripe_event (id, type, payload, created_s, received_ms, next_ms, state)
            values ('evt_dead', 'plan.created', '{\"type\": \"plan.created\", \"data\": {\"object\": {}}}', 0, 0, 0, 'dead')";
        sqlx::query(sql).execute(pool).await.unwrap();
        "evt_dead".to_owned()
    } else if path.contains("/errands/") {
        let sql = "insert into errand (id, lane, payload, due_ms, created_ms, dead_ms, error)
            values ($1, 'nobodys', '{}', 9000000000000, 0, 1, 'x')";
        let id = Uuid::now_v7();
        sqlx::query(sql).bind(id).execute(pool).await.unwrap();
        id.to_string()
    } else {
        String::new()
    };
    let body = match operation {
        "POST /api/v1/accounts/{id}/grants" => Some(json!({ "amountMillis": 5, "reference": "thanks" })),
        "POST /api/v1/accounts/{id}/sign-in-links" => Some(json!({ "admin": false })),
        "PATCH /api/v1/admin/people/{id}" => Some(json!({ "suspended": true })),
        "POST /api/v1/payments/{id}/refund" => Some(json!({ "amountMinor": 100 })),
        "POST /api/v1/promo-codes" => Some(json!({ "creditsMillis": 5, "usesMax": 1, "expiresInDays": 1 })),
        "POST /api/v1/users" => Some(json!({ "name": "another" })),
        "POST /api/v1/wallet/promo" => Some(json!({ "code": stage.code })),
        "PUT /api/v1/wallet/top-up" => Some(json!({ "pack": "credits-50", "belowMillis": 1, "monthlyMax": 1 })),
        _ => None,
    };
    let path = path.replace("{id}", &id).replace("{delivery}", &stage.delivery);
    let own = path.starts_with("/api/v1/wallet") || path.starts_with("/api/v1/webhooks");
    let who = if own { user } else { admin };
    who.send(method.parse::<Method>().unwrap(), &path, &[], body).await.status.as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_operation_about_money_and_of_administrators_leaves_a_row_or_says_why_not() {
    let shop = Shop::with(Options::default()).await;
    let user = shop.rig.user().await;
    let admin = user.with_key(ADMIN_TOKEN);
    let document = user.get("/openapi.json").await.body;
    let known: BTreeSet<String> =
        WITH.iter().map(|(name, _)| *name).chain(WITHOUT.iter().map(|(name, _)| *name)).map(str::to_owned).collect();
    assert_eq!(operations(&document), known, "an operation is new or gone: say what row it leaves, or why none");

    let payment = shop.buy(&user, "credits-100", 100_000).await;
    let mut ada = Browser::signed_up(&shop.rig, "ada@example.org").await;
    let me = ada.get("/api/v1/me").await.body;
    let (person, adas) =
        (me["user"]["id"].as_str().unwrap().to_owned(), me["account"]["id"].as_str().unwrap().to_owned());
    let code = admin.post("/api/v1/promo-codes", json!({ "creditsMillis": 5, "usesMax": 1, "expiresInDays": 1 })).await;
    let receiver = Receiver::start().await;
    let made = user.post("/api/v1/webhooks", json!({ "url": receiver.url })).await;
    let webhook = made.body["id"].as_str().unwrap().to_owned();
    user.post(&format!("/api/v1/webhooks/{webhook}/test"), Value::Null).await;
    let delivery = until("something was delivered", || async {
        let log = user.get(&format!("/api/v1/webhooks/{webhook}/deliveries")).await.body;
        log["data"][0]["id"].as_str().map(str::to_owned)
    })
    .await;
    let code = code.body["code"].as_str().unwrap().to_owned();
    let stage = Stage { account: user.account, adas, payment, code, person, webhook, delivery };
    let pool = &shop.rig.pool;
    let mut since = Uuid::nil();
    logged(pool, &mut since).await;
    // A rule is made before it is taken away, and its owner is shut out last.
    let mut order = WITH;
    order.sort_by_key(|(name, _)| (name.contains("people"), name.starts_with("PATCH"), name.starts_with("DELETE")));
    for (operation, action) in order {
        let status = act(operation, &stage, &user, &admin, pool).await;
        assert!((200..300).contains(&status), "{operation}: {status}");
        assert_eq!(logged(pool, &mut since).await, [action], "{operation}");
    }
    // Who did it stands there, and whose it was.
    let refund: (String, Option<Uuid>, Option<String>) =
        sqlx::query_as("select actor_kind, account, target from audit_event where action = 'payment.refund'")
            .fetch_one(pool)
            .await
            .unwrap();
    assert_eq!(refund, ("admin".to_owned(), Some(user.account), Some(stage.payment.clone())));
    // What is refused leaves none.
    let refused =
        admin.post(&format!("/api/v1/payments/{}/refund", stage.payment), json!({ "amountMinor": 9_999 })).await;
    assert_eq!(refused.status, 400);
    assert_eq!(admin.post("/api/v1/admin/stripe-events/evt_none/replay", Value::Null).await.status, 404);
    assert_eq!(logged(pool, &mut since).await, Vec::<String>::new());
    available(&user, 100_010).await;
    shop.audit().await;
}
