//! What happens around every request: it gets a name, is counted, its refusal is given its shape, and a panic does not close the
//! connection without an answer.
//!
//! One middleware and not four: each that axum is given copies all that lies within it for every request, and so do those
//! within, so that four of them allocated more than the handlers did.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;

use super::{body, problem, request_id};
use crate::error::ApiError;
use crate::state::App;

/// Middleware: around every route and page.
pub(crate) async fn around(State(app): State<App>, request: Request, next: Next) -> Response {
    let answer = async {
        let started = Instant::now();
        let route = request.extensions().get::<MatchedPath>().cloned();
        let method = known(request.method());
        let dialect = problem::Dialect::of(request.uri().path());
        let response = match body::address_without_nul(request.uri()) {
            Ok(()) => or_panic(next.run(request)).await,
            Err(refused) => refused.into_response(),
        };
        let response = problem::shape(dialect, response);
        let route = route.as_ref().map_or("none", MatchedPath::as_str);
        count(&app, (method, route), response.status(), started);
        response
    };
    request_id::under(answer).await
}

/// Counts an answer by route template and status.
fn count(app: &App, (method, route): (&str, &str), status: StatusCode, started: Instant) {
    // A counter that is there at 0 shows its first increase, which is the one somebody has to know of.
    app.metrics.requests.with_label_values(&[method, route, "500"]);
    app.metrics.requests.with_label_values(&[method, route, status.as_str()]).inc();
    app.metrics.request_seconds.with_label_values(&[method, route]).observe(started.elapsed().as_secs_f64());
}

/// Methods are a closed set only after ours: anything unusual is one label.
pub(crate) fn known(method: &Method) -> &'static str {
    const KNOWN: [&str; 6] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

/// The answer; a panic in a handler is our fault and is answered as such.
async fn or_panic(answer: impl Future<Output = Response>) -> Response {
    match AssertUnwindSafe(answer).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            let said = panic.downcast_ref::<String>().cloned();
            let said = said.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let error = anyhow::anyhow!(said.unwrap_or_else(|| "no message".to_owned()));
            ApiError::internal("a handler panicked", error).into_response()
        }
    }
}
