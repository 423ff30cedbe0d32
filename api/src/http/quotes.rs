//! `POST /api/v1/quotes`: what a request would cost and how long it would take, before it is made.

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;
use tintype_types::GenerationRequest;

use super::auth::Caller;
use super::{account, body};
use crate::clock;
use crate::error::ApiError;
use crate::jobs;
use crate::outlook::{Seen, Spread};
use crate::state::App;

/// What stands for the prompt of one who has not written it yet: a price does not depend on it.
const DRAFT_PROMPT: &str = "draft";

/// Half of the jobs take at most `p50Ms`, nine of ten at most `p90Ms`: how it went of late.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SpreadView {
    /// Milliseconds half of them take at most.
    p50_ms: u64,
    /// Milliseconds nine of ten take at most.
    p90_ms: u64,
}

impl From<Spread> for SpreadView {
    fn from(Spread { p50, p90 }: Spread) -> Self {
        Self { p50_ms: p50, p90_ms: p90 }
    }
}

/// A quote.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Quote {
    /// The model that would draw.
    model: String,
    /// How many pictures.
    images: u32,
    /// Their width in pixels.
    width: u32,
    /// Their height in pixels.
    height: u32,
    /// What it would cost, in milli-credits: the price a job made now has.
    price_millis: i64,
    /// What you can spend now.
    available_millis: i64,
    /// Whether that is enough.
    affordable: bool,
    /// Jobs of anybody that have not ended.
    ahead: i64,
    /// How long it would wait; absent while too little is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    starts_in: Option<SpreadView>,
    /// How long it would then take; absent while too little is known of this model.
    #[serde(skip_serializing_if = "Option::is_none")]
    takes: Option<SpreadView>,
    /// By which prices. A job that names them is charged as quoted here.
    tariff: String,
}

/// Says what a request would cost. The prompt may be missing: it costs nothing.
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    body::Json(mut body): body::Json,
) -> Result<Json<Quote>, ApiError> {
    if let Some(fields) = body.as_object_mut()
        && fields.get("prompt").is_none_or(|prompt| prompt.as_str().is_some_and(|text| text.trim().is_empty()))
    {
        fields.insert("prompt".to_owned(), DRAFT_PROMPT.into());
    }
    let request: GenerationRequest = body::parse(body)?;
    let resolved = jobs::judge(&app, &request, 0)?;
    let price_millis = jobs::price(&app.tariff, &resolved)?;
    let available_millis = account::credits(&app, caller.account).await?.available_millis;
    let seen = Seen::read(&app.pool).await?;
    let (width, height) = resolved.final_size();
    Ok(Json(Quote {
        images: resolved.images,
        width,
        height,
        price_millis,
        available_millis,
        affordable: available_millis >= price_millis,
        ahead: seen.open,
        starts_in: seen.starts_in(clock::now()).map(SpreadView::from),
        takes: seen.takes(&resolved.model, price_millis).map(SpreadView::from),
        model: resolved.model,
        tariff: app.tariff_name.clone(),
    }))
}
