//! Where pictures lie, for an API that has no store of its own: signed URLs to put and read those that users upload, to read
//! those that jobs made, and the deletion of both. Whoever asks shows the readers' token; whose picture it is, is for the
//! API to know.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::time::Duration;
use tintype_store::{OUTPUT_KEY_PREFIX, StoreError};
use tintype_types::ErrorCode;
use tintype_types::inputs::INPUT_KEY_PREFIX;

use crate::answer::Refusal;
use crate::dispatch::Dispatch;

/// How long a URL is good: the API uses it at once, a browser follows it at once.
const URL_TTL: Duration = Duration::from_mins(5);

pub(crate) fn router() -> Router<Dispatch> {
    Router::new()
        .route("/dispatch/v1/inputs/{*name}", get(read_input).put(put_input).delete(remove_input))
        .route("/dispatch/v1/outputs/{*name}", get(read_output).delete(remove_output))
}

/// Sends the caller on to an uploaded picture.
async fn read_input(State(dispatch): State<Dispatch>, Path(name): Path<String>) -> Result<Response, Refusal> {
    read(&dispatch, &format!("{INPUT_KEY_PREFIX}{name}"))
}

/// Sends the caller on to a picture that a job made.
async fn read_output(State(dispatch): State<Dispatch>, Path(name): Path<String>) -> Result<Response, Refusal> {
    read(&dispatch, &format!("{OUTPUT_KEY_PREFIX}{name}"))
}

/// Sends the caller on to where an uploaded picture is to be put.
async fn put_input(State(dispatch): State<Dispatch>, Path(name): Path<String>) -> Result<Response, Refusal> {
    let key = format!("{INPUT_KEY_PREFIX}{name}");
    let url = dispatch.inner.store.sign_put(&key, dispatch.inner.clock.signing_now(), URL_TTL);
    Ok(redirect(StatusCode::TEMPORARY_REDIRECT, url.map_err(refused)?))
}

/// Deletes an uploaded picture; one that is not there is fine.
async fn remove_input(State(dispatch): State<Dispatch>, Path(name): Path<String>) -> Result<StatusCode, Refusal> {
    remove(&dispatch, &format!("{INPUT_KEY_PREFIX}{name}")).await
}

/// Deletes a picture that a job made; one that is not there is fine.
async fn remove_output(State(dispatch): State<Dispatch>, Path(name): Path<String>) -> Result<StatusCode, Refusal> {
    remove(&dispatch, &format!("{OUTPUT_KEY_PREFIX}{name}")).await
}

fn read(dispatch: &Dispatch, key: &str) -> Result<Response, Refusal> {
    let url = dispatch.inner.store.sign_get(key, dispatch.inner.clock.signing_now(), URL_TTL);
    Ok(redirect(StatusCode::FOUND, url.map_err(refused)?))
}

async fn remove(dispatch: &Dispatch, key: &str) -> Result<StatusCode, Refusal> {
    dispatch.inner.store.delete_prefix(key).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

fn redirect(status: StatusCode, url: String) -> Response {
    (status, [(header::LOCATION, url), (header::CACHE_CONTROL, "no-store".to_owned())]).into_response()
}

fn refused(error: StoreError) -> Refusal {
    if let StoreError::InvalidKey { .. } = error {
        return Refusal::invalid("name", error.to_string());
    }
    tracing::error!(error = &error as &dyn std::error::Error, "the store could not be asked about a picture");
    Refusal::new(ErrorCode::Unavailable, "the store could not be asked; repeat the call")
}
