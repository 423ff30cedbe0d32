//! `/healthz`, `/readyz` and `/metrics`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Encoder as _, Registry, TextEncoder};
use tintype_dispatch::Dispatch;
use tokio::sync::watch;

use crate::index::Index;
use crate::lease::Leadership;
use crate::metrics::Metrics;

/// What the pages read.
#[derive(Clone)]
pub struct Admin {
    /// The counters.
    pub registry: Registry,
    /// Those of this program.
    pub metrics: Metrics,
    /// What is counted when somebody asks.
    pub index: Arc<Index>,
    /// Who decides, once this replica leads.
    pub dispatch: Dispatch,
    /// Whether every kind has been seen whole.
    pub synced: watch::Receiver<bool>,
    /// Who leads.
    pub leadership: watch::Receiver<Leadership>,
}

/// The pages.
pub fn router(admin: Admin) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(admin)
}

/// Ready is: the caches are whole and a leader is known, be it this replica or another one. One that has the lease and
/// still reads the jobs is not: workers would be sent away.
async fn ready(State(admin): State<Admin>) -> Response {
    if !*admin.synced.borrow() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the watches have not seen everything yet\n").into_response();
    }
    match &*admin.leadership.borrow() {
        Leadership::Leading { .. } if admin.dispatch.is_leading() => "leading\n".into_response(),
        Leadership::Leading { .. } => (StatusCode::SERVICE_UNAVAILABLE, "the term has just begun\n").into_response(),
        Leadership::Standby { .. } => "standby\n".into_response(),
        Leadership::Unknown => (StatusCode::SERVICE_UNAVAILABLE, "no leader is known\n").into_response(),
        Leadership::Lost => (StatusCode::SERVICE_UNAVAILABLE, "the term is over; this replica ends\n").into_response(),
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    admin.metrics.show_jobs(&admin.index.count_states());
    let mut text = Vec::new();
    match TextEncoder::new().encode(&admin.registry.gather(), &mut text) {
        Ok(()) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(error = %error, "the metrics could not be printed");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
