//! What happens around every request: counting, and keeping a panic from closing the connection without an answer.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;

use crate::error::ApiError;
use crate::state::App;

/// Middleware: counts answers by route template and status.
pub(crate) async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let method = known(request.method());
    let response = next.run(request).await;
    let status = response.status();
    app.metrics.requests.with_label_values(&[method, &route, status.as_str()]).inc();
    app.metrics.request_seconds.with_label_values(&[method, &route]).observe(started.elapsed().as_secs_f64());
    response
}

/// Methods are a closed set only after ours: anything unusual is one label.
pub(crate) fn known(method: &Method) -> &'static str {
    const KNOWN: [&str; 6] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

/// Middleware: a panic in a handler is our fault and is answered as such.
pub(crate) async fn catch_panics(request: Request, next: Next) -> Response {
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            let said = panic.downcast_ref::<String>().cloned();
            let said = said.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let error = anyhow::anyhow!(said.unwrap_or_else(|| "no message".to_owned()));
            ApiError::internal("a handler panicked", error).into_response()
        }
    }
}
