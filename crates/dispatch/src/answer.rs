//! How a refusal looks on the wire: the shared error body with its status.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tintype_types::ErrorCode;

/// Why a call was not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    code: ErrorCode,
    message: String,
    param: Option<String>,
}

impl Refusal {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), param: None }
    }

    /// A field of the body is at fault.
    pub(crate) fn invalid(param: &str, message: impl Into<String>) -> Self {
        Self { param: Some(param.to_owned()), ..Self::new(ErrorCode::InvalidRequest, message) }
    }

    pub(crate) fn stale() -> Self {
        Self::new(
            ErrorCode::StaleAttempt,
            "this attempt is not the job's current one any more; throw its work away and claim again",
        )
    }

    pub(crate) fn not_leading() -> Self {
        Self::new(ErrorCode::Unavailable, "this replica does not lead (yet); repeat the call in a second")
    }

    pub(crate) fn unwritten() -> Self {
        Self::new(ErrorCode::Unavailable, "the end of the attempt could not be recorded yet; repeat the call")
    }

    pub(crate) fn busy() -> Self {
        Self::new(ErrorCode::Unavailable, "too much is waiting to be dispatched; repeat the call in a second")
    }

    pub(crate) fn code(&self) -> ErrorCode {
        self.code
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { code, message, param } = self;
        let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut body = code.body(message);
        body.error.param = param;
        let mut response = (status, Json(body)).into_response();
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
