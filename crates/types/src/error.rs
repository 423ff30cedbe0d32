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
    /// The prices that were quoted have been replaced for too long; ask again.
    PriceChanged,
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
            | Self::PaymentRefused
            | Self::PriceChanged => 409,
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

    /// A body with this code and no field named. A message of more than [`MESSAGE_CHARS_MAX`] characters, which repeats
    /// what somebody sent, loses its middle.
    pub fn body(self, message: impl Into<String>) -> ErrorBody {
        let message = without_middle(message.into(), MESSAGE_CHARS_MAX);
        ErrorBody { error: ErrorDetail { message, kind: self.kind().to_owned(), code: self, param: None } }
    }
}

/// Longest message of a refusal, in characters.
pub const MESSAGE_CHARS_MAX: usize = 600;

/// The text, if it has no more than `max` characters (at least 3), else its two ends with an ellipsis between them: what
/// is at fault is said at its start, what would be right at its end.
pub fn without_middle(text: String, max: usize) -> String {
    // No text has more characters than bytes: nearly every one is seen to be short without counting.
    let chars = if text.len() <= max { 0 } else { text.chars().count() };
    if chars <= max {
        return text;
    }
    let kept = max.saturating_sub(1);
    let head = kept.div_ceil(2);
    let at = |n: usize| text.char_indices().nth(n).map_or(text.len(), |(at, _)| at);
    let (start, end) = (at(head), at(chars - (kept - head)));
    format!("{}…{}", &text[..start], &text[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_keeps_both_ends_and_a_short_one_everything() {
        let cut = |text: &str| without_middle(text.to_owned(), 7);
        assert_eq!(cut(""), "");
        assert_eq!(cut("1234567"), "1234567");
        assert_eq!(cut("ääääööö"), "ääääööö", "characters count, not bytes");
        assert_eq!(cut("12345678"), "123…678");
        assert_eq!(cut("🙂🙂🙂🙂🙂🙂🙂🙂🙂z"), "🙂🙂🙂…🙂🙂z");
        let message = format!("unknown variant `{}`, expected `a` or `b`", "x".repeat(100_000));
        let said = ErrorCode::InvalidRequest.body(message).error.message;
        assert_eq!(said.chars().count(), MESSAGE_CHARS_MAX);
        assert!(said.starts_with("unknown variant `xxx") && said.ends_with("`, expected `a` or `b`"), "{said}");
    }
}
