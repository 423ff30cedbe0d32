//! Refusals and faults as HTTP answers: the shared error body, its status, and nothing of our insides.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tintype_types::{ErrorBody, ErrorCode, RequestError, without_middle};

use crate::cluster::ClusterError;
use crate::http::problem::Refusal;
use crate::http::request_id;
use crate::ledger::sql::LedgerSqlError;

/// Longest name of a field that a refusal repeats, in characters.
const PARAM_CHARS_MAX: usize = 128;
/// Tells OpenAI's clients whether repeating could help.
pub(crate) const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Why a request is not answered with what was asked for.
#[derive(Debug)]
pub(crate) struct ApiError {
    code: ErrorCode,
    message: String,
    param: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl ApiError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), param: None, headers: Vec::new() }
    }

    /// A field is at fault.
    pub(crate) fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message).with_param(param)
    }

    /// Our fault: logged here with its causes, told as an id.
    pub(crate) fn internal(what: &str, error: impl Into<anyhow::Error>) -> Self {
        let error = error.into();
        let id = request_id::current();
        tracing::error!(request.id = %id, error = format!("{error:#}"), "{what}");
        Self::new(ErrorCode::Internal, format!("something broke on our side; request {id} finds it in our log"))
    }

    /// No such thing, or somebody else's.
    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(ErrorCode::NotFound, format!("there is no such {what}, or it is not yours"))
    }

    /// Names the field at fault; of a name longer than any of ours, which somebody made up, only the ends.
    pub(crate) fn with_param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(without_middle(param.into(), PARAM_CHARS_MAX));
        self
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        self.with_header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Names the field as another dialect does.
    pub(crate) fn rename_param(mut self, rename: impl Fn(&str) -> &str) -> Self {
        self.param = self.param.map(|param| rename(&param).to_owned());
        self
    }

    /// Names the field as another dialect does, which makes names.
    pub(crate) fn rename_param_to(mut self, rename: impl Fn(&str) -> String) -> Self {
        self.param = self.param.map(|param| rename(&param));
        self
    }

    /// What its body says.
    pub(crate) fn into_body(self) -> ErrorBody {
        let mut body = self.code.body(self.message);
        body.error.param = self.param;
        body
    }

    /// The same for somebody else.
    pub(crate) fn again(&self) -> Self {
        let Self { code, message, param, headers } = self;
        Self { code: *code, message: message.clone(), param: param.clone(), headers: headers.clone() }
    }

    /// What programs match on.
    pub(crate) fn code(&self) -> ErrorCode {
        self.code
    }

    #[cfg(test)]
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    #[cfg(test)]
    pub(crate) fn param(&self) -> Option<&str> {
        self.param.as_deref()
    }

    /// For errors that a repeat cannot mend.
    pub(crate) fn final_answer(self) -> Self {
        self.with_header(SHOULD_RETRY, HeaderValue::from_static("false"))
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        if matches!(error, sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_)) {
            tracing::warn!(request.id = %request_id::current(), %error, "the database is out of reach");
            return Self::new(ErrorCode::Unavailable, "the database cannot be reached now; repeat in a moment")
                .retry_after(1);
        }
        Self::internal("a database statement failed", error)
    }
}

impl From<LedgerSqlError> for ApiError {
    fn from(error: LedgerSqlError) -> Self {
        match error {
            LedgerSqlError::Database(error) => error.into(),
            refused @ (LedgerSqlError::Refused(_)
            | LedgerSqlError::NoAccount(_)
            | LedgerSqlError::NoHold(_)
            | LedgerSqlError::Damaged(_)) => Self::internal("the ledger refused what it never should", refused),
        }
    }
}

impl From<ClusterError> for ApiError {
    fn from(error: ClusterError) -> Self {
        match error {
            ClusterError::Unavailable(_) => {
                tracing::warn!(request.id = %request_id::current(), %error, "the cluster could not be asked");
                Self::new(ErrorCode::Unavailable, "a part this needs is not there now; repeat in a moment")
                    .retry_after(1)
            }
            ClusterError::Refused(_) => Self::internal("the cluster refused what it never should", error),
        }
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        Self::invalid(error.param, error.message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self { code, message, param, headers } = self;
        let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut body = code.body(message);
        body.error.param = param;
        let mut response = (status, Json(&body)).into_response();
        response.extensions_mut().insert(Refusal(body));
        for (name, value) in headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}
