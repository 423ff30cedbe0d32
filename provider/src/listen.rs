//! Health, readiness, metrics and webhooks over HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::adapter::Adapter;
use crate::hooks;

/// Listens; the server ends with the token.
pub(crate) fn serve(
    listener: TcpListener,
    adapter: Arc<Adapter>,
    stop: CancellationToken,
) -> Result<tokio::task::JoinHandle<()>> {
    let address: SocketAddr = listener.local_addr().context("a listener has an address")?;
    tracing::info!(%address, "listening");
    let routes = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .route(hooks::PATH, post(hooks::receive))
        .with_state(adapter);
    Ok(tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned()).await {
            tracing::warn!(%error, "the listener ended");
        }
    }))
}

async fn readyz(State(adapter): State<Arc<Adapter>>) -> (StatusCode, &'static str) {
    if adapter.heard.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the dispatcher has not been reached\n")
    }
}

async fn scrape(State(adapter): State<Arc<Adapter>>) -> (StatusCode, String) {
    match adapter.metrics.text() {
        Ok(text) => (StatusCode::OK, text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}
