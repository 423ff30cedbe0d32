//! Files in Replicate's words: pictures to start from. They are our assets under another name.

use axum::Json;
use axum::extract::multipart::Multipart;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::StatusCode;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use tintype_types::limits::INPUT_BYTES_MAX;
use tintype_types::{ErrorCode, Timestamp};
use uuid::Uuid;

use super::PREFIX;
use super::models::Results;
use crate::assets;
use crate::clock::rfc3339;
use crate::error::ApiError;
use crate::http::assets::UPLOAD_TIME_MAX;
use crate::http::auth::Caller;
use crate::records::asset::{self, Asset};
use crate::state::App;

/// Largest form: the file and its frame.
pub(crate) const FORM_BYTES_MAX: usize = INPUT_BYTES_MAX as usize + (64 << 10);
/// Most parts of a form.
const PARTS_MAX: usize = 8;
/// Files listed.
const PAGE: i64 = 100;

/// A file.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct File {
    /// Its id: the asset's.
    id: String,
    /// The last part of its key.
    name: String,
    /// As read from its bytes.
    content_type: String,
    /// Length in bytes.
    size: u64,
    /// The same for the same bytes.
    etag: String,
    /// `sha256`, in hex.
    checksums: Value,
    /// Nothing: it is not kept.
    metadata: Value,
    /// When it was first uploaded.
    created_at: String,
    /// When it is deleted.
    expires_at: String,
    /// `get`: what an input names it by.
    urls: Value,
}

impl File {
    fn of(app: &App, asset: Asset) -> Self {
        let Asset { id, key, media_type, bytes, sha256, created, expires, .. } = asset;
        let stamp = |at: Timestamp| rfc3339(at);
        Self {
            name: key.rsplit('/').next().unwrap_or_default().to_owned(),
            content_type: media_type,
            size: bytes,
            etag: hex::encode(&sha256),
            checksums: json!({ "sha256": hex::encode(sha256) }),
            metadata: json!({}),
            created_at: stamp(created),
            expires_at: stamp(expires),
            urls: json!({ "get": url(app, id) }),
            id: id.to_string(),
        }
    }
}

fn url(app: &App, id: Uuid) -> String {
    format!("{}{PREFIX}/files/{id}", app.public_url)
}

/// The form a file is sent in.
#[derive(Debug, JsonSchema)]
#[expect(dead_code, reason = "it stands for the schema alone")]
pub(crate) struct FileForm {
    /// The file.
    #[schemars(extend("contentMediaType" = "image/png"))]
    content: String,
}

/// Keeps a file.
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    request: Request,
) -> Result<(StatusCode, Json<File>), ApiError> {
    let _room = assets::admit(&app)?;
    let content = tokio::time::timeout(UPLOAD_TIME_MAX, content(request, &app)).await;
    let content =
        content.map_err(|_| ApiError::new(ErrorCode::Timeout, "the upload took too long; nothing was kept"))??;
    let kept = assets::keep(&app, caller.account, content, "content").await?;
    Ok((StatusCode::CREATED, Json(File::of(&app, kept))))
}

async fn content(request: Request, app: &App) -> Result<Bytes, ApiError> {
    let wrong = || ApiError::invalid("body", "this takes a form (multipart/form-data) with the file as `content`");
    let mut parts = Multipart::from_request(request, app).await.map_err(|_| wrong())?;
    for _ in 0..PARTS_MAX {
        let Some(part) = parts.next_field().await.map_err(|_| wrong())? else { break };
        let is_file = part.name() == Some("content");
        let bytes = part.bytes().await.map_err(|error| {
            if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
                let message = format!("the picture has more than {} MiB, the most there may be", INPUT_BYTES_MAX >> 20);
                return ApiError::new(ErrorCode::PayloadTooLarge, message);
            }
            wrong()
        })?;
        if is_file {
            return Ok(bytes);
        }
    }
    Err(ApiError::invalid("content", "the form holds no file"))
}

/// The caller's files, newest first.
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Results<File>>, ApiError> {
    let found = asset::list(&app.pool, caller.account, None, PAGE).await?;
    let results = found.into_iter().map(|asset| File::of(&app, asset)).collect();
    Ok(Json(Results { next: None, previous: None, results }))
}

/// A file of the caller's.
pub(crate) async fn read(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<File>, ApiError> {
    let found = asset::find_own(&app.pool, caller.account, parse(&id)?).await?.ok_or_else(missing)?;
    Ok(Json(File::of(&app, found)))
}

/// Deletes a file, unless a job that has not ended reads it.
pub(crate) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    assets::delete(&app, caller.account, parse(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The asset a picture in an input means: a file of ours by its URL, or the bytes of a data URL, which become one. Answers
/// its key and its URL.
pub(crate) async fn resolve(
    app: &App,
    account: Uuid,
    sent: &str,
    param: &'static str,
) -> Result<(String, String), ApiError> {
    if let Some(data) = sent.strip_prefix("data:") {
        let kept = assets::keep(app, account, decode(data, param)?, param).await?;
        return Ok((kept.key, url(app, kept.id)));
    }
    // By what follows the host: a proxy in between may have given us another name.
    let id = sent.split_once(&format!("{PREFIX}/files/")).and_then(|(_, id)| id.parse::<Uuid>().ok());
    let id = id.ok_or_else(|| {
        let message = "pictures are not fetched from elsewhere; upload it with POST /replicate/v1/files first, or send it \
                       as a data URL";
        ApiError::invalid(param, message)
    })?;
    let found = asset::find_own(&app.pool, account, id).await?;
    let found = found.ok_or_else(|| ApiError::not_found("file").with_param(param))?;
    Ok((found.key, url(app, found.id)))
}

fn decode(data: &str, param: &str) -> Result<Bytes, ApiError> {
    use base64::Engine;
    let wrong = || ApiError::invalid(param, "this is not a data URL of base64, `data:image/png;base64,...`");
    let (kind, text) = data.split_once(',').ok_or_else(wrong)?;
    if !kind.ends_with(";base64") {
        return Err(wrong());
    }
    base64::prelude::BASE64_STANDARD.decode(text.trim()).map(Bytes::from).map_err(|_| wrong())
}

fn missing() -> ApiError {
    ApiError::not_found("file")
}

fn parse(id: &str) -> Result<Uuid, ApiError> {
    id.parse().map_err(|_| missing())
}
