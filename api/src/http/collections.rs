//! `/api/v1/collections`: named groups of the caller's pictures.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tintype_types::ErrorCode;
use uuid::Uuid;

use super::auth::Caller;
use super::body::{self, Json};
use super::keys::Named;
use crate::clock;
use crate::error::ApiError;
use crate::gallery::COLLECTIONS_MAX;
use crate::gallery::collection::{self, Collection};
use crate::state::App;

/// A collection. Its pictures are `GET /api/v1/images?collection=<id>`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CollectionView {
    /// Its id.
    id: String,
    /// For people.
    name: String,
    /// How many pictures it holds.
    images: u64,
    /// A signed URL of its newest picture, where URLs are signed by this server.
    #[serde(skip_serializing_if = "Option::is_none")]
    cover: Option<String>,
    /// When it was made, in milliseconds since 1970.
    created_ms: u64,
    /// The secret of the link it is shared by: its pictures are at `/g/{shared}/` of the studio and at
    /// `/api/v1/shared-collections/{shared}`. Absent: nobody else sees it.
    #[serde(skip_serializing_if = "Option::is_none")]
    shared: Option<String>,
}

impl CollectionView {
    fn of(app: &App, collection: Collection) -> Self {
        let Collection { id, name, images, cover, created, link } = collection;
        let cover = cover.and_then(|key| app.cluster.signed_url(&key));
        let shared = link.map(|token| token.to_string());
        Self { id: id.to_string(), name, images, cover, created_ms: created.0, shared }
    }
}

/// A list of collections.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct CollectionList {
    /// The collections, oldest first.
    data: Vec<CollectionView>,
}

/// The caller's collections.
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<axum::Json<CollectionList>, ApiError> {
    let found = collection::list(&app.pool, caller.account).await?;
    Ok(axum::Json(CollectionList { data: found.into_iter().map(|found| CollectionView::of(&app, found)).collect() }))
}

/// Makes a collection.
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json,
) -> Result<(StatusCode, axum::Json<CollectionView>), ApiError> {
    let name = body::parse::<Named>(body)?.checked()?;
    let (id, now) = (Uuid::now_v7(), clock::now());
    let mut tx = app.pool.begin().await?;
    if !collection::create(&mut tx, caller.account, id, &name, now).await? {
        let message = format!("an account has {COLLECTIONS_MAX} collections at most; delete one first");
        return Err(ApiError::new(ErrorCode::PermissionDenied, message));
    }
    tx.commit().await?;
    let made = Collection { id, name, images: 0, cover: None, created: now, link: None };
    Ok((StatusCode::CREATED, axum::Json(CollectionView::of(&app, made))))
}

/// A collection of the caller's.
pub(crate) async fn read(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<axum::Json<CollectionView>, ApiError> {
    let found = collection::find(&app.pool, caller.account, parse(&id)?).await?.ok_or_else(missing)?;
    Ok(axum::Json(CollectionView::of(&app, found)))
}

/// What is to be different about a collection. What is left out stays.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CollectionPatch {
    /// Another name.
    name: Option<String>,
    /// Whether whoever has its link sees its pictures, without prompts and settings. A link that was taken back stays back: the
    /// next one is another.
    shared: Option<bool>,
}

/// Gives a collection another name, shares it, or takes its link back.
pub(crate) async fn patch(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json,
) -> Result<axum::Json<CollectionView>, ApiError> {
    let CollectionPatch { name, shared } = body::parse(body)?;
    let name = name.map(|name| Named::of(name).checked()).transpose()?;
    if let Some(name) = name
        && !collection::rename(&app.pool, caller.account, parse(&id)?, &name).await?
    {
        return Err(missing());
    }
    if let Some(shared) = shared
        && !collection::share(&app.pool, caller.account, parse(&id)?, shared).await?
    {
        return Err(missing());
    }
    read(State(app), caller, Path(id)).await
}

/// Deletes a collection, and none of its pictures.
pub(crate) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    if collection::delete(&app.pool, caller.account, parse(&id)?).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(missing())
    }
}

fn missing() -> ApiError {
    ApiError::not_found("collection")
}

fn parse(id: &str) -> Result<Uuid, ApiError> {
    id.parse().map_err(|_| missing())
}
