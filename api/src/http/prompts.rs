//! `POST /api/v1/prompts/enhance`: a prompt, written out by a language model; and `GET /api/v1/flags`: which features the
//! caller's account has.

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tintype_types::ErrorCode;
use tintype_types::limits::PROMPT_CHARS_MAX;

use super::auth::Caller;
use super::body;
use crate::clock;
use crate::error::ApiError;
use crate::services::posthog::Flags;
use crate::state::App;

/// What costs nothing yet costs us something: so many of an account a minute.
pub(crate) const PER_MINUTE: u32 = 10;

/// A prompt to be written out.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Draft {
    /// What is wanted, in a few words.
    prompt: String,
}

/// A prompt, written out.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Enhanced {
    /// The longer prompt.
    prompt: String,
    /// What it cost, in milli-credits.
    price_millis: i64,
}

/// Has a prompt written out. Nothing is made of it, and nothing charged.
pub(crate) async fn enhance(
    State(app): State<App>,
    caller: Caller,
    body::Json(body): body::Json,
) -> Result<Json<Enhanced>, ApiError> {
    let Draft { prompt } = body::parse(body)?;
    let (prompt, chars) = (prompt.trim(), prompt.chars().count());
    if prompt.is_empty() || chars > PROMPT_CHARS_MAX as usize {
        return Err(ApiError::invalid("prompt", format!("a prompt has 1 to {PROMPT_CHARS_MAX} characters")));
    }
    let enhancer = app.services.enhancer.as_ref().ok_or_else(|| {
        let message = "this server has no language model that writes prompts out; whoever runs it can name one with \
                       TINTYPE_ENHANCE_URL";
        ApiError::new(ErrorCode::NotFound, message)
    })?;
    if let Some(seconds) = app.enhancing.take(caller.account, clock::now()).retry_seconds {
        let message = format!("{PER_MINUTE} prompts a minute are written out for one account; the next in {seconds} s");
        return Err(ApiError::new(ErrorCode::RateLimited, message).retry_after(seconds));
    }
    Ok(Json(Enhanced { prompt: enhancer.enhance(prompt).await?, price_millis: 0 }))
}

/// Which features the caller's account has.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct FlagList {
    /// By name: `true`, `false`, or the variant they have. Empty where nobody decides it, or cannot now.
    #[schemars(with = "std::collections::BTreeMap<String, Value>")]
    flags: Flags,
}

/// Which features the caller's account has.
pub(crate) async fn flags(State(app): State<App>, caller: Caller) -> Json<FlagList> {
    let flags = match &app.services.posthog {
        Some(posthog) => posthog.flags(caller.account).await,
        None => Flags::new(),
    };
    Json(FlagList { flags })
}
