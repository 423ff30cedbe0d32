//! Uploaded pictures: send, look at, list, delete. The body is the file itself; what it is, is read from its bytes.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::LengthLimitError;
use schemars::JsonSchema;
use serde::Serialize;
use tintype_types::ErrorCode;
use tintype_types::limits::INPUT_BYTES_MAX;
use uuid::Uuid;

use super::auth::Caller;
use super::jobs::PageQuery;
use super::picture::PictureQuery;
use crate::assets;
use crate::error::ApiError;
use crate::records::asset::{self, Asset};
use crate::state::App;

/// Longest an upload may take: 16 MiB over one megabit a second.
pub(crate) const UPLOAD_TIME_MAX: Duration = Duration::from_mins(3);

/// An uploaded picture.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AssetView {
    /// Its id.
    id: String,
    /// What requests name it by, as in `init.image`.
    key: String,
    /// `image/png`, `image/jpeg` or `image/webp`, as read from its bytes.
    media_type: String,
    /// Width in pixels.
    width: u32,
    /// Height in pixels.
    height: u32,
    /// Length of the file.
    bytes: u64,
    /// SHA-256 of the file.
    sha256: String,
    /// Where to get it, with the same key: answers with a redirect to a signed URL.
    url: String,
    /// When it was first uploaded, in milliseconds since 1970.
    created_ms: u64,
    /// When it is deleted, unless it is uploaded again or a job that has not ended reads it.
    expires_ms: u64,
}

impl From<Asset> for AssetView {
    fn from(asset: Asset) -> Self {
        let Asset { id, key, media_type, width, height, bytes, sha256, created, expires } = asset;
        Self {
            url: format!("/api/v1/assets/{id}/file"),
            id: id.to_string(),
            key,
            media_type,
            width,
            height,
            bytes,
            sha256: hex::encode(sha256),
            created_ms: created.0,
            expires_ms: expires.0,
        }
    }
}

/// A page of assets, newest first.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct AssetPage {
    /// The assets.
    data: Vec<AssetView>,
    /// Pass as `before` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// The bytes of a picture file, as they are.
#[derive(Debug, JsonSchema)]
#[expect(dead_code, reason = "it stands for the schema alone")]
#[schemars(transparent, extend("contentEncoding" = "binary"))]
pub(crate) struct PictureFile(String);

/// Keeps a picture. The same file sent twice is one asset.
pub(crate) async fn create(State(app): State<App>, caller: Caller, request: Request) -> Result<Response, ApiError> {
    let _room = assets::admit(&app)?;
    let content = whole(request.into_body()).await?;
    let kept = assets::keep(&app, caller.account, content, "body").await?;
    Ok((StatusCode::CREATED, axum::Json(AssetView::from(kept))).into_response())
}

/// The body, within limits of size and time.
async fn whole(body: Body) -> Result<Bytes, ApiError> {
    let read = tokio::time::timeout(UPLOAD_TIME_MAX, to_bytes(body, INPUT_BYTES_MAX as usize)).await;
    let read = read.map_err(|_| ApiError::new(ErrorCode::Timeout, "the upload took too long; nothing was kept"))?;
    read.map_err(|error| {
        let too_large = std::error::Error::source(&error).is_some_and(<dyn std::error::Error>::is::<LengthLimitError>);
        if too_large {
            let message = format!("the picture has more than {} MiB, the most there may be", INPUT_BYTES_MAX >> 20);
            ApiError::new(ErrorCode::PayloadTooLarge, message)
        } else {
            ApiError::invalid("body", "the upload broke off before its end; nothing was kept")
        }
    })
}

/// The caller's assets, newest first.
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<axum::Json<AssetPage>, ApiError> {
    let (limit, before) = PageQuery::checked(query)?;
    let mut found = asset::list(&app.pool, caller.account, before, limit + 1).await?;
    let more = found.len() as i64 > limit;
    found.truncate(limit as usize);
    let next = if more { found.last().map(|asset| asset.id.to_string()) } else { None };
    Ok(axum::Json(AssetPage { data: found.into_iter().map(AssetView::from).collect(), next }))
}

/// An asset of the caller's.
pub(crate) async fn read(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<axum::Json<AssetView>, ApiError> {
    Ok(axum::Json(own(&app, &caller, &id).await?.into()))
}

/// Sends the caller on to the file, or gives it. It is not kept by browsers: uploads are deleted some day.
pub(crate) async fn file(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    query: Result<Query<PictureQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let inline = PictureQuery::inline(query)?;
    let Asset { key, media_type, .. } = own(&app, &caller, &id).await?;
    if inline {
        let headers = [(header::CONTENT_TYPE, media_type.as_str()), (header::CACHE_CONTROL, "private, no-cache")];
        return Ok((headers, app.cluster.object(&key).await?).into_response());
    }
    let url = app.cluster.object_url(&key).await?;
    Ok((StatusCode::FOUND, [(header::LOCATION, url), (header::CACHE_CONTROL, "no-store".to_owned())]).into_response())
}

/// Deletes an asset, unless a job that has not ended reads it.
pub(crate) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    assets::delete(&app, caller.account, parse(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn own(app: &App, caller: &Caller, id: &str) -> Result<Asset, ApiError> {
    let found = asset::find_own(&app.pool, caller.account, parse(id)?).await?;
    found.ok_or_else(|| ApiError::not_found("picture"))
}

fn parse(id: &str) -> Result<Uuid, ApiError> {
    id.parse().map_err(|_| ApiError::not_found("picture"))
}
