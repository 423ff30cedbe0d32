//! A name for every request: in every answer, in every log line about it.

use axum::http::{HeaderName, HeaderValue};
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

/// Draws an id, has a request answered under it, and puts it into the answer.
pub(super) async fn under(answer: impl Future<Output = Response>) -> Response {
    let id = Uuid::now_v7();
    let mut response = CURRENT.scope(id, answer).await;
    if let Ok(value) = HeaderValue::from_str(id.hyphenated().encode_lower(&mut Uuid::encode_buffer())) {
        response.headers_mut().insert(HEADER, value);
    }
    response
}
