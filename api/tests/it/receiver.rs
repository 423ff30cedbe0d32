//! A receiver of webhooks on the loopback: keeps what it is told and answers what the test wants.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::rig::until;

/// Something told.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Told {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

#[derive(Clone)]
struct Shared {
    told: Arc<Mutex<Vec<Told>>>,
    answer: Arc<Mutex<StatusCode>>,
}

/// A running receiver; it ends with the test.
pub(crate) struct Receiver {
    pub(crate) url: String,
    shared: Shared,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let shared = Shared { told: Arc::default(), answer: Arc::new(Mutex::new(StatusCode::NO_CONTENT)) };
        let router = Router::new().fallback(hear).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, shared }
    }

    pub(crate) fn answer(&self, status: StatusCode) {
        *self.shared.answer.lock().unwrap() = status;
    }

    pub(crate) fn told(&self) -> Vec<Told> {
        self.shared.told.lock().unwrap().clone()
    }

    /// Waits until so many things were told.
    pub(crate) async fn hears(&self, count: usize) -> Vec<Told> {
        until(&format!("{count} things are told"), || async { Some(self.told()).filter(|told| told.len() >= count) })
            .await
    }
}

async fn hear(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    shared.told.lock().unwrap().push(Told { headers, body });
    let status = *shared.answer.lock().unwrap();
    (status, [("location", "/elsewhere")]).into_response()
}
