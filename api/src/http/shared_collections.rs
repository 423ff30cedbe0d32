//! `/api/v1/shared-collections`: collections their owners show to whoever has the link. Their pictures alone, in pages, each by a key
//! that says nothing of its job; neither whose they are nor how they were made.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tintype_types::ImageFormat;
use uuid::Uuid;

use super::shared::{DISCREET, missing, send};
use crate::error::ApiError;
use crate::gallery::image::Image;
use crate::gallery::{collection, image};
use crate::state::App;

/// Pictures a page.
const PAGE: i64 = 60;

/// A shared collection, a page of it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SharedCollectionView {
    /// What its owner calls it.
    name: String,
    /// How many pictures it holds, all pages together.
    images: u64,
    /// The pictures, newest first.
    data: Vec<SharedCollectionImage>,
    /// Pass as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A picture of a shared collection.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SharedCollectionImage {
    /// Its key here.
    key: String,
    /// Where its file is for as long as the collection is shared.
    file: String,
    /// Width in pixels.
    width: u32,
    /// Height in pixels.
    height: u32,
    /// How it is written.
    format: ImageFormat,
}

/// Which page.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageQuery {
    cursor: Option<Uuid>,
}

/// Name and JSON type of each field of [`PageQuery`], for the table of routes.
pub(crate) const PAGE_QUERY: &[(&str, &str)] = &[("cursor", "string")];

/// A shared collection.
pub(crate) async fn read(
    State(app): State<App>,
    Path(token): Path<String>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(PageQuery { cursor }) = query.map_err(|_| {
        ApiError::invalid("query", "the list takes `cursor` (the `next` of the page before) and no more")
    })?;
    let (collection, name, images) = find(&app, &token).await?;
    // One more than a page tells whether there is another.
    let mut found = image::shown(&app.pool, collection, cursor, PAGE + 1).await?;
    let more = found.len() as i64 > PAGE;
    found.truncate(PAGE as usize);
    let next = if more { found.last().map(|(key, _)| key.to_string()) } else { None };
    let data = found.into_iter().map(|(key, image)| view(&token, key, &image)).collect();
    Ok((DISCREET, axum::Json(SharedCollectionView { name, images, data, next })).into_response())
}

fn view(token: &str, key: Uuid, image: &Image) -> SharedCollectionImage {
    SharedCollectionImage {
        key: key.to_string(),
        file: format!("/api/v1/shared-collections/{token}/{key}/file"),
        width: image.width,
        height: image.height,
        format: image.request.format,
    }
}

/// A file of it.
pub(crate) async fn file(
    State(app): State<App>,
    Path((token, key)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let (collection, ..) = find(&app, &token).await?;
    let key = key.parse().map_err(|_| missing())?;
    let image = image::find_shown(&app.pool, collection, key).await?.ok_or_else(missing)?;
    send(&app, &image).await
}

/// Id, name and size of what the link leads to.
async fn find(app: &App, token: &str) -> Result<(Uuid, String, u64), ApiError> {
    let gone = || ApiError::not_found("collection");
    let token = token.parse().map_err(|_| gone())?;
    collection::shown(&app.pool, token).await?.ok_or_else(gone)
}
