//! The API killed with SIGKILL on either side of each call it makes to others: after they were asked and did nothing, and after
//! they did it and before it heard. Started again, it goes on: what is made is made once, and the books are sound.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::process::Child;

use crate::campaign::{books, spawn};
use crate::payments::{SECRET, stripe_twin};
use crate::rig::{ADMIN_TOKEN, User, prepare, until};
use crate::support::database;
use crate::worker::client;

/// The sides of a call.
const SIDES: [&str; 2] = ["before", "after"];

/// The API as a program of its own, and a stand-in for Stripe that outlives it.
struct Town {
    folder: tempfile::TempDir,
    pool: PgPool,
    database_url: String,
    api: Child,
    url: String,
    stripe: String,
}

impl Town {
    async fn found() -> Self {
        let (pool, database_url) = database().await;
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        let stripe = stripe_twin().await;
        let (api, url) = spawn(folder.path(), &database_url, 0, &stripe).await;
        let town = Self { folder, pool, database_url, api, url, stripe };
        town.twin("webhook", json!({ "url": format!("{}/hooks/stripe", town.url), "secret": SECRET })).await;
        town
    }

    async fn twin(&self, what: &str, body: Value) {
        let answer = client().post(format!("{}/twin/{what}", self.stripe)).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{what}: {}", answer.status());
    }

    async fn stripe(&self, path: &str) -> Value {
        let asked = client().get(format!("{}{path}", self.stripe)).bearer_auth("sk_test_x").send().await.unwrap();
        asked.json().await.unwrap()
    }

    async fn user(&self) -> User {
        let made = User::new(&self.url, ADMIN_TOKEN).post("/api/v1/users", json!({ "name": "x" })).await;
        User::new(&self.url, made.body["apiKey"].as_str().unwrap())
    }

    /// Dies, and is started again where it was.
    async fn dies(&mut self) {
        self.api.kill().await.unwrap();
        let port = self.url.rsplit(':').next().unwrap().parse().unwrap();
        (self.api, _) = spawn(self.folder.path(), &self.database_url, port, &self.stripe).await;
    }

    /// Has something asked, and dies while it waits for Stripe's answer to a call.
    async fn dies_in(&mut self, (path, side): (&str, &str), who: &User, (method, at, body): (Method, &str, Value)) {
        let stalled = async |town: &Self| town.stripe("/twin/stalled").await["calls"].as_u64().unwrap();
        let before = stalled(self).await;
        self.twin("faults", json!({ "path": path, "when": side, "times": 1, "stall": true })).await;
        let (who, at) = (who.clone(), at.to_owned());
        // Whether it is answered is not known beforehand: some calls are made in the background.
        let asking = tokio::spawn(async move { drop(who.try_send(method, &at, &[], Some(body)).await) });
        until(&format!("{path} is waited for, {side}"), || async { (stalled(self).await > before).then_some(()) })
            .await;
        self.dies().await;
        asking.await.unwrap();
    }

    /// Charges there are at Stripe.
    async fn charges(&self) -> Vec<Value> {
        self.stripe("/v1/charges?limit=100").await["data"].as_array().unwrap().clone()
    }

    /// Buys a pack of a hundred credits; its payment's id.
    async fn buys(&self, user: &User) -> String {
        let before = user.credits().await.0;
        let made = user.post("/api/v1/wallet/checkout", json!({ "pack": "credits-100", "keepCard": true })).await;
        assert_eq!(made.status, StatusCode::OK, "{}", made.body);
        let pressed = client().post(made.body["url"].as_str().unwrap()).send().await.unwrap();
        assert!(pressed.status().is_redirection());
        until("the credits are there", || async { (user.credits().await.0 == before + 100_000).then_some(()) }).await;
        made.body["paymentId"].as_str().unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_on_either_side_of_a_call_to_stripe_it_makes_everything_once() {
    let mut town = Town::found().await;
    let checkout = json!({ "pack": "credits-100", "keepCard": true });
    for side in SIDES {
        let user = town.user().await;
        let charged = town.charges().await.len();
        for path in ["/v1/customers", "/v1/checkout/sessions"] {
            town.dies_in((path, side), &user, (Method::POST, "/api/v1/wallet/checkout", checkout.clone())).await;
        }
        let payment = town.buys(&user).await;
        assert_eq!(town.charges().await.len(), charged + 1, "{side}");

        let admin = user.with_key(ADMIN_TOKEN);
        let (refund, half) = (format!("/api/v1/payments/{payment}/refund"), json!({ "amountMinor": 500 }));
        town.dies_in(("/v1/refunds", side), &admin, (Method::POST, &refund, half)).await;
        // Nobody asks again: it was written down that it was asked for.
        until("half is given back", || async {
            // How long the one who asked first is waited for is not waited for here.
            sqlx::query("update refund set next_ms = 0 where state = 'asked'").execute(&town.pool).await.ok()?;
            (user.credits().await.0 == 60_000).then_some(())
        })
        .await;
        assert_eq!(town.charges().await[0]["amount_refunded"], 500, "{side}");

        let rule = json!({ "pack": "credits-50", "belowMillis": 70_000, "monthlyMax": 5 });
        town.dies_in(("/v1/payment_intents", side), &user, (Method::PUT, "/api/v1/wallet/top-up", rule)).await;
        until("more is bought", || async { (user.credits().await.0 == 110_000).then_some(()) }).await;
        assert_eq!(town.charges().await.len(), charged + 2, "{side}: the card is charged once");
    }
    let customers = town.stripe("/v1/customers?limit=100").await["data"].as_array().unwrap().len();
    assert_eq!(customers, SIDES.len(), "one for each who bought");
    until("every event is applied", || async {
        let waiting = "select count(*) from stripe_event where state = 'received'";
        (sqlx::query_scalar::<_, i64>(waiting).fetch_one(&town.pool).await.unwrap() == 0).then_some(())
    })
    .await;
    assert_eq!(books::faults(&town.pool).await, Vec::<String>::new());
}

/// Somebody who is told things and never answers the first.
#[derive(Clone, Default)]
struct Silent(Arc<Mutex<Vec<String>>>);

async fn hear(State(Silent(told)): State<Silent>, headers: HeaderMap) -> StatusCode {
    let first = {
        let mut told = told.lock().unwrap();
        told.push(headers["webhook-id"].to_str().unwrap().to_owned());
        told.len() == 1
    };
    if first {
        std::future::pending::<()>().await;
    }
    StatusCode::NO_CONTENT
}

/// Whether the receiver had taken it in nobody knows: it is told again, under the id it was told by.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_it_tells_somebody_it_tells_them_again_by_the_same_id() {
    let mut town = Town::found().await;
    let user = town.user().await;
    let silent = Silent::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let app = Router::new().fallback(hear).with_state(silent.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let made = user.post("/api/v1/webhooks", json!({ "url": url })).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    user.post(&format!("/api/v1/webhooks/{}/test", made.body["id"].as_str().unwrap()), Value::Null).await;
    let told = async |count: usize| {
        let heard = async || Some(silent.0.lock().unwrap().clone()).filter(|told| told.len() >= count);
        until(&format!("it is told {count} times"), heard).await
    };
    told(1).await;
    town.dies().await;
    let told = until("it is told again", async || {
        // Nor the pause before the next try is waited for, nor the time after which who took it up counts as gone.
        sqlx::query("update errand set due_ms = 0, claimed_ms = claimed_ms - 3600000 where lane = 'webhooks'")
            .execute(&town.pool)
            .await
            .ok()?;
        Some(silent.0.lock().unwrap().clone()).filter(|told| told.len() >= 2)
    })
    .await;
    assert_eq!(told[0], told[1]);
}
