//! Health, readiness and metrics over HTTP, for a kubelet and for Prometheus. Nothing of a job is to be seen here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Whether the worker could take work: its GPU is well, it has a model and the dispatcher has heard it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readiness {
    gpu_trouble: Arc<Mutex<Option<String>>>,
    has_models: Arc<AtomicBool>,
    was_heard: Arc<AtomicBool>,
}

impl Readiness {
    pub(crate) fn models(&self, found: bool) {
        self.has_models.store(found, Ordering::Relaxed);
    }

    pub(crate) fn heard(&self, heard: bool) {
        self.was_heard.store(heard, Ordering::Relaxed);
    }

    /// What keeps the GPU from work.
    pub(crate) fn gpu(&self, trouble: Option<String>) {
        *self.gpu_trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    fn missing(&self) -> Option<String> {
        if let Some(trouble) = &*self.gpu_trouble.lock().unwrap_or_else(PoisonError::into_inner) {
            return Some(format!("{trouble}\n"));
        }
        if !self.has_models.load(Ordering::Relaxed) {
            return Some("no model was found in the models directories\n".to_owned());
        }
        if !self.was_heard.load(Ordering::Relaxed) {
            return Some("the dispatcher has not been reached\n".to_owned());
        }
        None
    }
}

/// Listens; the server ends with the token.
pub(crate) async fn serve(
    address: std::net::SocketAddr,
    metrics: Metrics,
    ready: Readiness,
    stop: CancellationToken,
) -> Result<tokio::task::JoinHandle<()>> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    tracing::info!(address = %listener.local_addr().context("a listener has an address")?, "listening for probes");
    let routes = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .with_state((metrics, ready));
    Ok(tokio::spawn(async move {
        let ended = axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned()).await;
        if let Err(error) = ended {
            tracing::warn!(%error, "the probe listener ended");
        }
    }))
}

async fn readyz(State((_, ready)): State<(Metrics, Readiness)>) -> (StatusCode, String) {
    match ready.missing() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(missing) => (StatusCode::SERVICE_UNAVAILABLE, missing),
    }
}

async fn scrape(State((metrics, _)): State<(Metrics, Readiness)>) -> (StatusCode, String) {
    match metrics.text() {
        Ok(text) => (StatusCode::OK, text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}
