//! The error body every HTTP route of ours answers with: OpenAI's shape, so that its clients can read it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `{"error": {...}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorDetail,
}

/// What went wrong, for a person and for a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorDetail {
    /// What happened, why, what to do next.
    pub message: String,
    /// OpenAI's coarse class, such as `invalid_request_error`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The stable code programs match on.
    pub code: ErrorCode,
    /// The field at fault, if one is.
    pub param: Option<String>,
}

/// The stable codes. Adding one is a compatible change; renaming one is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// A field is missing, unknown or out of bounds.
    InvalidRequest,
    /// No such model.
    ModelNotFound,
    /// The key is missing, unknown or revoked.
    InvalidApiKey,
    /// E-mail and password do not belong together, or to nobody here.
    InvalidCredentials,
    /// The browser is not signed in any more.
    InvalidSession,
    /// The key may not do this.
    PermissionDenied,
    /// No such thing, or not yours.
    NotFound,
    /// Too few credits.
    InsufficientQuota,
    /// The idempotency key was used with another body.
    IdempotencyKeyReuse,
    /// The first request with this idempotency key is still running.
    IdempotencyConflict,
    /// Somebody has an account with this e-mail.
    EmailTaken,
    /// A job that has not ended reads it.
    AssetInUse,
    /// The payment provider refused; no money was moved.
    PaymentRefused,
    /// The attempt is not current any more.
    StaleAttempt,
    /// Too much waiting already; try later.
    QueueFull,
    /// Too many requests; try later.
    RateLimited,
    /// The body is too large.
    PayloadTooLarge,
    /// The signed URL is wrong or has run out.
    InvalidSignature,
    /// The job failed.
    GenerationFailed,
    /// The work took longer than the caller may wait; the job goes on.
    Timeout,
    /// A part this needs is not there now; try later.
    Unavailable,
    /// Our fault. The request id finds it in the log.
    Internal,
}

impl ErrorCode {
    /// The HTTP status that goes with the code.
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidRequest => 400,
            Self::InvalidApiKey | Self::InvalidCredentials | Self::InvalidSession => 401,
            Self::InsufficientQuota => 402,
            Self::PermissionDenied | Self::InvalidSignature => 403,
            Self::ModelNotFound | Self::NotFound => 404,
            Self::IdempotencyConflict
            | Self::StaleAttempt
            | Self::AssetInUse
            | Self::EmailTaken
            | Self::PaymentRefused => 409,
            Self::PayloadTooLarge => 413,
            Self::IdempotencyKeyReuse => 422,
            Self::QueueFull | Self::RateLimited => 429,
            Self::GenerationFailed | Self::Internal => 500,
            Self::Unavailable => 503,
            Self::Timeout => 504,
        }
    }

    /// OpenAI's coarse class for it.
    pub fn kind(self) -> &'static str {
        match self.status() {
            401 => "authentication_error",
            402 => "insufficient_quota",
            403 => "permission_error",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            _ => "server_error",
        }
    }

    /// A body with this code and no field named.
    pub fn body(self, message: impl Into<String>) -> ErrorBody {
        ErrorBody {
            error: ErrorDetail { message: message.into(), kind: self.kind().to_owned(), code: self, param: None },
        }
    }
}
