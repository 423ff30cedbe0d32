//! One of the clients: orders, cancels, gives, buys and refunds at random, and repeats each request until it is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::RngExt as _;
use rand::rngs::StdRng;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::Heard;
use super::progress::Progress;
use crate::rig::ADMIN_TOKEN;
use crate::worker::steady_client;

/// Characters of a refusal that are told while it is waited for another answer.
const TOLD_CHARS: usize = 200;

/// One of them.
pub(super) struct Customer {
    http: Client,
    url: String,
    stripe: String,
    users: Arc<Vec<(Uuid, String)>>,
    rng: StdRng,
    /// The last job it ordered, and with which key.
    last: Option<(String, String)>,
    heard: Heard,
    progress: Progress,
}

/// What a request has beside method and path.
#[derive(Clone, Copy, Default)]
struct Sent<'a> {
    key: &'a str,
    order: Option<&'a str>,
    body: Option<&'a Value>,
}

impl Customer {
    pub(super) fn new(
        (url, stripe): (&str, &str),
        users: &Arc<Vec<(Uuid, String)>>,
        rng: StdRng,
        progress: &Progress,
    ) -> Self {
        let (url, stripe, users) = (url.to_owned(), stripe.to_owned(), Arc::clone(users));
        let (heard, progress) = (Heard::default(), progress.clone());
        Self { http: steady_client(), url, stripe, users, rng, last: None, heard, progress }
    }

    /// Goes on while there is something left to do.
    pub(super) async fn live(mut self, name: String, left: Arc<AtomicU64>) -> Heard {
        let mut n = 0_u64;
        while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
            n += 1;
            self.act(format!("{name}-{n}")).await;
            self.progress.done();
        }
        self.heard
    }

    async fn act(&mut self, name: String) {
        let (account, key) = self.users[self.rng.random_range(0..self.users.len())].clone();
        match self.rng.random_range(0..100) {
            0..70 => self.order(name, key).await,
            70..80 => {
                if let Some((id, key)) = self.last.take() {
                    let path = format!("/api/v1/jobs/{id}");
                    self.insist(Method::DELETE, &path, Sent { key: &key, ..Sent::default() }).await;
                }
            }
            80..88 => {
                let amount = self.rng.random_range(1..500);
                let body = json!({ "amountMillis": amount, "reference": name, "source": "promo" });
                let path = format!("/api/v1/accounts/{account}/grants");
                self.insist(Method::POST, &path, Sent { body: Some(&body), ..admin() }).await.unwrap();
                *self.heard.gifts.entry(account).or_default() += amount;
            }
            88..92 => self.buy(&key).await,
            92..94 => {
                if let Some(payment) = self.heard.payments.iter().next().cloned() {
                    let body = json!({ "amountMinor": self.rng.random_range(1..50) });
                    let path = format!("/api/v1/payments/{payment}/refund");
                    self.insist(Method::POST, &path, Sent { body: Some(&body), ..admin() }).await;
                }
            }
            _ => drop(self.insist(Method::GET, "/api/v1/wallet", Sent { key: &key, ..Sent::default() }).await.unwrap()),
        }
    }

    async fn order(&mut self, order: String, key: String) {
        let body = json!({ "model": "tintype/shapes", "prompt": "p", "images": self.rng.random_range(1..4) });
        let sent = Sent { key: &key, order: Some(&order), body: Some(&body) };
        let Some(made) = self.insist(Method::POST, "/api/v1/jobs", sent).await else { return };
        let id = made["id"].as_str().unwrap().to_owned();
        // Asked again with the same key, at random: the same job.
        if self.rng.random_ratio(1, 10) {
            let again = self.insist(Method::POST, "/api/v1/jobs", sent).await;
            assert_eq!(again.unwrap()["id"], id.as_str());
        }
        self.heard.jobs.entry(order).or_default().insert(id.clone());
        self.last = Some((id, key));
    }

    /// Buys a pack to its end: Stripe has the money, and its events are on their way.
    async fn buy(&mut self, key: &str) {
        let body = json!({ "pack": "credits-50" });
        let sent = Sent { key, body: Some(&body), ..Sent::default() };
        let Some(made) = self.insist(Method::POST, "/api/v1/wallet/checkout", sent).await else { return };
        let page = made["url"].as_str().unwrap().to_owned();
        assert!(page.starts_with(&self.stripe));
        let pressed = self.http.post(page).send().await.unwrap();
        assert_eq!(pressed.status(), StatusCode::SEE_OTHER);
        self.heard.payments.insert(made["paymentId"].as_str().unwrap().to_owned());
    }

    /// Asks until there is an answer: what it says, or nothing if it refuses.
    async fn insist(&self, method: Method, path: &str, sent: Sent<'_>) -> Option<Value> {
        let waiting = self.progress.waiting(format!("an answer to {method} {path} {}", sent.order.unwrap_or_default()));
        loop {
            match self.ask(method.clone(), path, sent).await {
                Ok(heard) => return heard,
                Err(why) => waiting.pause(&why).await,
            }
        }
    }

    /// One try: what it says, or none if it refuses; else why that is not known yet.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        Sent { key, order, body }: Sent<'_>,
    ) -> Result<Option<Value>, String> {
        let mut request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth(key);
        if let Some(order) = order {
            request = request.header("idempotency-key", order);
        }
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let answer = request.send().await.map_err(|error| format!("{error:?}"))?;
        let status = answer.status();
        if status.is_success() {
            let text = answer.text().await.map_err(|error| format!("{error:?}"))?;
            return Ok(Some(serde_json::from_str(&text).unwrap_or(Value::Null)));
        }
        // "Not now": too many at once, or the same key in another request that has not ended.
        let later = status == StatusCode::TOO_MANY_REQUESTS || answer.headers().contains_key("retry-after");
        if status.is_server_error() || later {
            let text = answer.text().await.unwrap_or_default();
            return Err(format!("{status}: {}", text.chars().take(TOLD_CHARS).collect::<String>()));
        }
        let expected =
            [StatusCode::PAYMENT_REQUIRED, StatusCode::BAD_REQUEST, StatusCode::CONFLICT, StatusCode::NOT_FOUND];
        assert!(expected.contains(&status), "{path}: {status}");
        Ok(None)
    }
}

fn admin() -> Sent<'static> {
    Sent { key: ADMIN_TOKEN, ..Sent::default() }
}
