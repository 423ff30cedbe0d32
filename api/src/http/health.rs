//! For those who run it: alive, ready, numbers.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Registry, TextEncoder};
use tintype_types::ErrorCode;

use crate::error::ApiError;
use crate::state::App;

/// Longest the database may take to say that it is there.
pub(super) const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// The process serves HTTP.
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// Jobs can be taken: the database answers and the cluster is there.
pub(crate) async fn readyz(State(app): State<App>) -> Result<&'static str, ApiError> {
    let not_ready = |what: &str| ApiError::new(ErrorCode::Unavailable, format!("not ready: {what}")).retry_after(1);
    if app.stop.is_cancelled() {
        return Err(not_ready("shutting down"));
    }
    match tokio::time::timeout(PING_TIMEOUT, sqlx::query("select 1").execute(&app.pool)).await {
        Ok(Ok(_)) => {}
        Ok(Err(_)) | Err(_) => return Err(not_ready("the database does not answer")),
    }
    if app.cluster.is_ready() { Ok("ok\n") } else { Err(not_ready("the scheduler does not lead yet")) }
}

/// Everything counted, in Prometheus' text format.
pub(crate) async fn metrics(State(app): State<App>) -> Response {
    written(&app.metrics.registry)
}

/// The same, for a listener of its own: nothing else is served there.
pub(super) fn apart(registry: Registry) -> Router {
    let numbers = move || {
        let registry = registry.clone();
        async move { written(&registry) }
    };
    Router::new().route("/metrics", get(numbers)).route("/healthz", get(healthz))
}

fn written(registry: &Registry) -> Response {
    match TextEncoder::new().encode_to_string(&registry.gather()) {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => ApiError::internal("the metrics cannot be written out", error).into_response(),
    }
}
