//! Pictures users upload. What they are is read from their bytes, never believed; a file is kept once an account.

pub(crate) mod mask;
mod sniff;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tintype_types::inputs::INPUT_KEY_PREFIX;
use tintype_types::limits::{INPUT_BYTES_MAX, INPUT_PIXELS_MAX};
use tintype_types::{ErrorCode, ResolvedRequest};
use tokio::sync::SemaphorePermit;
use uuid::Uuid;

use crate::clock;
use crate::error::ApiError;
use crate::records::asset::{self, ASSET_BYTES_MAX, ASSETS_MAX, Asset, Deletion, NewAsset};
use crate::state::App;

/// Uploads received at a time: each may hold two pictures of [`INPUT_BYTES_MAX`] and a decoded mask in memory.
pub(crate) const UPLOADS_MAX: usize = 4;

/// Room for one upload, if there is any; taken before the body is read.
pub(crate) fn admit(app: &App) -> Result<SemaphorePermit<'_>, ApiError> {
    app.uploads.try_acquire().map_err(|_| {
        let message = "as many uploads as this server takes at a time are under way; repeat in a moment";
        ApiError::new(ErrorCode::Unavailable, message).retry_after(1)
    })
}

/// Keeps a picture for an account. `param` is what the caller calls it.
pub(crate) async fn keep(app: &App, account: Uuid, content: Bytes, param: &str) -> Result<Asset, ApiError> {
    let (format, (width, height)) = inspect(&content, param)?;
    let id = Uuid::now_v7();
    let new = NewAsset {
        id,
        account,
        key: format!("{INPUT_KEY_PREFIX}{account}/{id}.{}", format.extension()),
        media_type: format.media_type(),
        width,
        height,
        bytes: content.len() as u64,
        sha256: Sha256::digest(&content).into(),
    };
    let mut tx = app.pool.begin().await?;
    let Some(begun) = asset::begin(&mut tx, &new, clock::now()).await? else {
        let message = format!(
            "an account has at most {ASSETS_MAX} uploaded pictures of {} MiB together; delete some with DELETE \
             /api/v1/assets/ID, or wait until they expire",
            ASSET_BYTES_MAX >> 20
        );
        return Err(ApiError::new(ErrorCode::PermissionDenied, message));
    };
    tx.commit().await?;
    app.cluster.put_input(&begun.key, content).await?;
    asset::stored(&app.pool, begun.id, clock::now()).await?.ok_or_else(|| {
        ApiError::new(ErrorCode::Unavailable, "the same picture is just being deleted; upload it again").retry_after(1)
    })
}

/// What the file is, if it is a picture that may be read.
fn inspect(content: &[u8], param: &str) -> Result<(tintype_types::ImageFormat, (u32, u32)), ApiError> {
    if content.len() as u64 > INPUT_BYTES_MAX {
        let message = format!("the picture has more than {} MiB, the most there may be", INPUT_BYTES_MAX >> 20);
        return Err(ApiError::new(ErrorCode::PayloadTooLarge, message).with_param(param));
    }
    let header = sniff::header(content)
        .map_err(|fault| ApiError::invalid(param, format!("this is not a picture that can be read: {fault}")))?;
    let (width, height) = header.1;
    if u64::from(width) * u64::from(height) > INPUT_PIXELS_MAX {
        let message = format!(
            "the picture has {width} x {height} pixels; at most {INPUT_PIXELS_MAX} are read, as in 4096 x 4096: scale it down"
        );
        return Err(ApiError::invalid(param, message));
    }
    Ok(header)
}

/// Deletes an account's asset; its file goes soon after.
pub(crate) async fn delete(app: &App, account: Uuid, id: Uuid) -> Result<(), ApiError> {
    let mut tx = app.pool.begin().await?;
    let deletion = asset::begin_deletion(&mut tx, Some(account), id, clock::now()).await?;
    tx.commit().await?;
    match deletion {
        Deletion::Absent => Err(ApiError::not_found("picture")),
        Deletion::InUse => {
            let message = "a job that has not ended reads this picture; cancel the job, or delete it afterwards";
            Err(ApiError::new(ErrorCode::AssetInUse, message))
        }
        Deletion::Begun => {
            app.bells.assets.notify_one();
            Ok(())
        }
    }
}

/// Every picture a request reads: the field that names it, and its key.
pub(crate) fn named(request: &ResolvedRequest) -> Vec<(String, &str)> {
    let init = request.init.iter().map(|init| ("init.image".to_owned(), init.image.as_str()));
    let mask = request.init.iter().filter_map(|init| Some(("init.mask".to_owned(), init.mask.as_deref()?)));
    let hints = request.controls.iter().enumerate();
    let hints = hints.map(|(n, control)| (format!("controls[{n}].image"), control.image.as_str()));
    init.chain(mask).chain(hints).collect()
}

/// The assets behind the pictures a request reads, locked. One that is somebody else's is answered as one that is not
/// there.
pub(crate) async fn lock(
    conn: &mut sqlx::PgConnection,
    account: Uuid,
    request: &ResolvedRequest,
) -> Result<Vec<Uuid>, ApiError> {
    let named = named(request);
    if named.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<&str> = named.iter().map(|(_, key)| *key).collect();
    let found = asset::lock_named(conn, account, &keys, clock::now()).await?;
    match named.into_iter().find(|(_, key)| !found.iter().any(|(_, there)| there == key)) {
        Some((param, _)) => Err(ApiError::not_found("picture").with_param(param)),
        None => Ok(found.into_iter().map(|(id, _)| id).collect()),
    }
}
