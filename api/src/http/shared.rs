//! `/api/v1/shared`: pictures their owners show to whoever has the link. Says what the owner lets it say, and nothing of whose
//! it is; the file goes through this program, without what is written in it, so that a link that is taken back leads nowhere.

use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use tintype_types::{ErrorCode, GenerationRequest, ImageFormat};
use tokio::sync::Semaphore;

use crate::error::ApiError;
use crate::gallery::bare;
use crate::gallery::image::{self, Image};
use crate::records::generation;
use crate::state::App;

/// Shared files sent at a time: anybody may ask, and each is twice in memory.
const FILES_MAX: usize = 16;
static FILES: Semaphore = Semaphore::const_new(FILES_MAX);

/// A link can be taken back, so nobody keeps what it led to; and it is told to the people it was given to, not to search engines.
pub(super) const DISCREET: [(HeaderName, HeaderValue); 2] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (HeaderName::from_static("x-robots-tag"), HeaderValue::from_static("noindex")),
];

/// A shared picture.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SharedView {
    /// The link's token.
    token: String,
    /// Where its file is for as long as it is shared.
    file: String,
    /// Width in pixels.
    width: u32,
    /// Height in pixels.
    height: u32,
    /// How it is written.
    format: ImageFormat,
    /// The request that makes this very picture again, but for the owner's own pictures it began from; absent where the owner
    /// shows the picture alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    settings: Option<GenerationRequest>,
}

/// A shared picture.
pub(crate) async fn read(State(app): State<App>, Path(token): Path<String>) -> Result<Response, ApiError> {
    let image = find(&app, &token).await?;
    let shown = image.link.is_some_and(|link| link.settings);
    // Keys of uploaded pictures say whose they are.
    let settings = shown.then(|| GenerationRequest { init: None, controls: Vec::new(), ..image.settings() });
    let view = SharedView {
        file: format!("/api/v1/shared/{token}/file"),
        token,
        width: image.width,
        height: image.height,
        format: image.request.format,
        settings,
    };
    Ok((DISCREET, axum::Json(view)).into_response())
}

/// Its file.
pub(crate) async fn file(State(app): State<App>, Path(token): Path<String>) -> Result<Response, ApiError> {
    let image = find(&app, &token).await?;
    send(&app, &image).await
}

/// Sends a picture's file to somebody it is not of: without what is written in it.
pub(super) async fn send(app: &App, image: &Image) -> Result<Response, ApiError> {
    let Ok(_room) = FILES.try_acquire() else {
        let message = "as many shared pictures as this server sends at a time are under way; repeat in a moment";
        return Err(ApiError::new(ErrorCode::Unavailable, message).retry_after(1));
    };
    let job = generation::find(&app.pool, image.generation).await?.ok_or_else(missing)?;
    let stored = app.cluster.picture(&job, image.n as usize).await?;
    let format = image.request.format;
    let bare = bare::of(format, &stored).ok_or_else(|| {
        ApiError::new(ErrorCode::Unavailable, "the file of this picture cannot be read; its owner may make it again")
    })?;
    Ok((DISCREET, [(header::CONTENT_TYPE, format.media_type())], bare).into_response())
}

async fn find(app: &App, token: &str) -> Result<Image, ApiError> {
    let token = token.parse().map_err(|_| missing())?;
    image::shared(&app.pool, token).await?.ok_or_else(missing)
}

pub(super) fn missing() -> ApiError {
    ApiError::not_found("picture")
}
