//! The REST API. Handlers read, check, and speak to `jobs`, `records`, `cluster`: no SQL here, no Kubernetes.

pub(crate) mod admin;
pub(crate) mod request_id;

mod account;
mod auth;
mod body;
mod events;
mod health;
mod images;
mod jobs;
mod keys;
mod layers;
mod models;
mod openai;
mod users;
mod view;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{delete, get, post};
use tintype_types::ErrorCode;

use crate::error::ApiError;
use crate::state::App;

/// Largest body of a request to us, in bytes: a prompt and a negative prompt of 4,000 characters, four bytes each,
/// escaped, and room for the rest.
const BODY_BYTES_MAX: usize = 256 << 10;

/// Every route of this process.
pub(crate) fn router(app: &App) -> Router {
    let ours = Router::new()
        .route("/v1/images/generations", post(images::generate))
        .route("/openai/v1/images/generations", post(images::generate))
        .route("/v1/models", get(models::list))
        .route("/openai/v1/models", get(models::list))
        .route("/api/v1/jobs", post(jobs::create).get(jobs::list))
        .route("/api/v1/jobs/{id}", get(jobs::read).delete(jobs::cancel))
        .route("/api/v1/jobs/{id}/events", get(events::stream))
        .route("/api/v1/jobs/{id}/images/{n}", get(jobs::image))
        .route("/api/v1/models", get(models::cards))
        .route("/api/v1/me", get(account::me))
        .route("/api/v1/keys", post(keys::create).get(keys::list))
        .route("/api/v1/keys/{id}", delete(keys::revoke))
        .route("/api/v1/users", post(users::create))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(app.clone());
    ours.merge(app.cluster.routes())
        .layer(axum::middleware::from_fn_with_state(app.clone(), layers::count))
        .layer(axum::middleware::from_fn(layers::catch_panics))
        .layer(axum::middleware::from_fn(request_id::assign))
}

async fn unknown_route() -> ApiError {
    ApiError::new(ErrorCode::NotFound, "there is no such route; the API is described at /openapi.json")
}

async fn wrong_method() -> ApiError {
    ApiError::new(ErrorCode::NotFound, "this route exists, but not for this method; see /openapi.json")
}
