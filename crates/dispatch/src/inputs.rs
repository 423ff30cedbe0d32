//! Where pictures that users upload go, for an API that has no store of its own: signed URLs to put and read one, and its
//! deletion. Whoever asks shows the readers' token; whose picture it is, is for the API to know.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::time::Duration;
use tintype_store::StoreError;
use tintype_types::ErrorCode;
use tintype_types::inputs::INPUT_KEY_PREFIX;

use crate::answer::Refusal;
use crate::dispatch::Dispatch;

/// How long a URL is good: the API uses it at once, a browser follows it at once.
const URL_TTL: Duration = Duration::from_mins(5);

pub(crate) fn router() -> Router<Dispatch> {
    Router::new().route("/dispatch/v1/inputs/{*name}", get(read).put(put).delete(remove))
}

/// Sends the caller on to the picture.
async fn read(State(dispatch): State<Dispatch>, Path(name): Path<String>) -> Result<Response, Refusal> {
    let url = dispatch.inner.store.sign_get(&key(&name), dispatch.inner.clock.signing_now(), URL_TTL);
    Ok(redirect(StatusCode::FOUND, url.map_err(refused)?))
}

/// Sends the caller on to where the picture is to be put.
async fn put(State(dispatch): State<Dispatch>, Path(name): Path<String>) -> Result<Response, Refusal> {
    let url = dispatch.inner.store.sign_put(&key(&name), dispatch.inner.clock.signing_now(), URL_TTL);
    Ok(redirect(StatusCode::TEMPORARY_REDIRECT, url.map_err(refused)?))
}

/// Deletes the picture; one that is not there is fine.
async fn remove(State(dispatch): State<Dispatch>, Path(name): Path<String>) -> Result<StatusCode, Refusal> {
    dispatch.inner.store.delete_prefix(&key(&name)).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Under the inputs and nowhere else: what jobs made is not reached from here.
fn key(name: &str) -> String {
    format!("{INPUT_KEY_PREFIX}{name}")
}

fn redirect(status: StatusCode, url: String) -> Response {
    (status, [(header::LOCATION, url), (header::CACHE_CONTROL, "no-store".to_owned())]).into_response()
}

fn refused(error: StoreError) -> Refusal {
    if let StoreError::InvalidKey { .. } = error {
        return Refusal::invalid("name", error.to_string());
    }
    tracing::error!(error = &error as &dyn std::error::Error, "the store could not be asked about an input");
    Refusal::new(ErrorCode::Unavailable, "the store could not be asked; repeat the call")
}
