//! The folder store over HTTP: the routes signed URLs lead to. It must not decide who may have a URL.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use futures::StreamExt as _;
use tintype_types::{ErrorCode, Timestamp};
use tokio::io::AsyncReadExt as _;
use tokio::sync::Semaphore;

use crate::error::StoreError;
use crate::folder::Folder;
use crate::key::Key;
use crate::sign::{self, Claimed, Method};
use crate::{Kind, Store};

/// Uploads under way at a time; each holds an open file.
const UPLOADS_MAX: usize = 256;
/// Longest one upload may take: the largest picture over a slow line (64 MiB at 2 Mbit/s).
const UPLOAD_TIME_MAX: Duration = Duration::from_mins(5);
/// How much of a refused upload is read and thrown away, so that its sender gets to read why: a connection closed in the
/// middle of a body often swallows the answer.
const DRAIN_BYTES_MAX: u64 = 4 << 20;
/// How long that may take.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);
/// How much of a file is read at a time.
const CHUNK_BYTES: usize = 64 << 10;

type UrlQuery = Result<Query<Claimed>, QueryRejection>;

#[derive(Clone)]
struct Shared {
    store: Store,
    uploads: Arc<Semaphore>,
}

pub(crate) fn router(store: Store) -> Router {
    let shared = Shared { store, uploads: Arc::new(Semaphore::new(UPLOADS_MAX)) };
    Router::new().route("/store/v1/{*key}", get(get_object).put(put_object)).with_state(shared)
}

/// axum answers `HEAD` by this route too and leaves the body out.
async fn get_object(
    State(shared): State<Shared>,
    Path(key): Path<String>,
    claimed: UrlQuery,
) -> Result<Response, StoreError> {
    let Some(key) = admit(&shared.store, Method::Get, &key, claimed) else { return Ok(invalid_signature()) };
    let folder = match &shared.store.inner.kind {
        Kind::Folder(folder) => folder,
        // What a CDN in front of us fetches, once.
        Kind::S3(bucket) => {
            let content = bucket.read(&key).await?;
            return Ok((object_headers(&key, content.len() as u64), content).into_response());
        }
    };
    let (file, bytes) = folder.file(&key).await?;
    let chunks = futures::stream::unfold(file.take(bytes), |mut file| async move {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        match file.read_buf(&mut chunk).await {
            Ok(0) => None,
            Ok(_) => Some((Ok(Bytes::from(chunk)), file)),
            Err(e) => Some((Err(e), file)),
        }
    });
    Ok((object_headers(&key, bytes), Body::from_stream(chunks)).into_response())
}

async fn put_object(
    State(shared): State<Shared>,
    Path(key): Path<String>,
    claimed: UrlQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Some(key) = admit(&shared.store, Method::Put, &key, claimed) else {
        drain(body).await;
        return invalid_signature();
    };
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    match upload(&shared, &key, announced, body).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => error.into_response(),
    }
}

async fn upload(shared: &Shared, key: &Key, announced: Option<u64>, body: Body) -> Result<(), StoreError> {
    // Nobody was ever given a URL to put something into a bucket by way of us.
    let Kind::Folder(folder) = &shared.store.inner.kind else { return Err(StoreError::NotFound) };
    let Ok(_permit) = shared.uploads.try_acquire() else {
        drain(body).await;
        return Err(StoreError::Busy);
    };
    if announced.is_some_and(|bytes| bytes > folder.bytes_max()) {
        return Err(StoreError::TooLarge { max: folder.bytes_max() });
    }
    match tokio::time::timeout(UPLOAD_TIME_MAX, receive(folder, key, body)).await {
        Ok(received) => received,
        Err(_) => Err(StoreError::SlowUpload { seconds: UPLOAD_TIME_MAX.as_secs() }),
    }
}

async fn drain(body: Body) {
    let mut left = DRAIN_BYTES_MAX;
    let mut chunks = body.into_data_stream();
    let draining = async {
        while let Some(Ok(chunk)) = chunks.next().await {
            left = left.saturating_sub(chunk.len() as u64);
            if left == 0 {
                return;
            }
        }
    };
    // Running out of time is as good an end as any: the answer is sent either way.
    let _ = tokio::time::timeout(DRAIN_TIME_MAX, draining).await;
}

async fn receive(folder: &Folder, key: &Key, body: Body) -> Result<(), StoreError> {
    let mut upload = folder.begin().await?;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        upload.write(&chunk.map_err(|_| StoreError::BrokenUpload)?).await?;
    }
    upload.commit(key).await
}

/// The key, if the URL was signed by us for this method and has not run out. A key that could not have been signed is
/// answered like a wrong signature, so that nothing can be learnt by probing.
fn admit(store: &Store, method: Method, key: &str, claimed: UrlQuery) -> Option<Key> {
    let (key, Query(claimed)) = (Key::parse(key).ok()?, claimed.ok()?);
    sign::holds(&store.inner.secret, method, &key, &claimed, now()).then_some(key)
}

fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::default().plus(since_epoch)
}

/// They come from strangers' hands, so a browser must not guess what they are nor run anything in them.
fn object_headers(key: &Key, bytes: u64) -> HeaderMap {
    HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static(key.content_type())),
        (header::CONTENT_LENGTH, HeaderValue::from(bytes)),
        (header::CACHE_CONTROL, HeaderValue::from_static(key.cache_control())),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox")),
    ])
}

fn invalid_signature() -> Response {
    refuse(
        ErrorCode::InvalidSignature,
        "this URL is not signed by this store for this method, or it has run out; ask for a new one",
    )
}

fn refuse(code: ErrorCode, message: &str) -> Response {
    let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(code.body(message))).into_response()
}

impl IntoResponse for StoreError {
    fn into_response(self) -> Response {
        let text = self.to_string();
        match self {
            Self::InvalidKey { .. } | Self::BrokenUpload => refuse(ErrorCode::InvalidRequest, &text),
            Self::NotFound => refuse(ErrorCode::NotFound, &text),
            // No code of its own: an attempt that meets this is stale, somebody else has stored its picture.
            Self::Conflict => refuse(ErrorCode::StaleAttempt, &text),
            Self::TooLarge { .. } => refuse(ErrorCode::PayloadTooLarge, &text),
            Self::SlowUpload { .. } => refuse(ErrorCode::Timeout, &text),
            Self::Busy => ([(header::RETRY_AFTER, "1")], refuse(ErrorCode::Unavailable, &text)).into_response(),
            Self::Io { .. }
            | Self::Bucket { .. }
            | Self::PublicUrl(_)
            | Self::WeakSecret { .. }
            | Self::Settings(_) => {
                tracing::error!(error = &self as &dyn std::error::Error, "the store failed");
                refuse(ErrorCode::Internal, "the store failed; the log of the store says more, try again")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;
    use crate::Secret;

    #[tokio::test]
    async fn a_body_over_the_limit_is_cut_off_whether_announced_or_not() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path().to_owned(), 10).unwrap();
        let secret = Secret::from_bytes(vec![3; 32]).unwrap();
        let store = Store::with_folder(folder, secret, "http://store.test").unwrap();
        let url = store.sign_put("a", now(), Duration::from_mins(1)).unwrap();
        let path = url.strip_prefix("http://store.test").unwrap();
        for (announced, pieces, status) in [(true, 1, 413), (false, 3, 413), (false, 2, 200)] {
            let body = Body::from_stream(futures::stream::iter((0..pieces).map(|_| Ok::<_, StoreError>("12345"))));
            let mut request = Request::put(path);
            if announced {
                request = request.header(header::CONTENT_LENGTH, "11");
            }
            let answer = store.router().oneshot(request.body(body).unwrap()).await.unwrap();
            assert_eq!(answer.status(), status);
        }
        assert_eq!(store.read("a").await.unwrap(), "1234512345");
    }
}
