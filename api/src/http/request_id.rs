//! A name for every request: in every answer, in every log line about it.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use uuid::Uuid;

/// The header that carries it.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

tokio::task_local! {
    static CURRENT: Uuid;
}

/// The id of the request this task serves; the nil id outside of one.
pub(crate) fn current() -> Uuid {
    CURRENT.try_with(|id| *id).unwrap_or_default()
}

/// Middleware: draws an id, runs the request under it, answers with it.
pub(crate) async fn assign(request: Request, next: Next) -> Response {
    let id = Uuid::now_v7();
    let mut response = CURRENT.scope(id, next.run(request)).await;
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(HEADER, value);
    }
    response
}
