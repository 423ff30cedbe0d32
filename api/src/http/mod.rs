//! The REST API. Handlers read, check, and speak to `jobs`, `records`, `cluster`: no SQL here, no Kubernetes.

pub(crate) mod admin;
mod admin_payments;
mod admin_users;
pub(crate) mod request_id;

mod account;
mod assets;
mod audit;
mod auth;
mod batches;
mod body;
mod clerk;
mod cluster;
mod collections;
mod deadline;
mod edits;
mod events;
mod gallery;
mod health;
mod history;
mod hooks;
mod images;
mod invitations;
mod jobs;
mod keys;
mod lanes;
mod layers;
mod ledger;
mod link_page;
mod links;
mod live;
mod models;
mod oauth;
mod openai;
mod openapi;
mod orgs;
mod origin;
mod outlook;
mod partials;
mod payments;
mod peer;
mod picture;
mod privacy;
pub(crate) mod problem;
pub(crate) mod prompts;
mod quotes;
pub(crate) mod replicate;
mod routes;
mod sessions;
mod shared;
mod shared_collections;
mod sign_in;
pub(crate) mod status;
mod stripe_events;
pub(crate) mod studio;
pub(crate) mod studio_settings;
pub(crate) mod trace;
mod usage;
mod users;
pub(crate) mod view;
mod wallet;
mod webhooks;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use prometheus::Registry;
use tintype_types::ErrorCode;

use self::routes::Access;
use crate::error::ApiError;
use crate::scope::scope_of;
use crate::state::App;

/// Largest body of a request to us, in bytes: a prompt and a negative prompt of 4,000 characters, four bytes each,
/// escaped, and room for the rest.
const BODY_BYTES_MAX: usize = 256 << 10;

/// Where the numbers are, unless they have a listener of their own.
const METRICS: &str = "/metrics";

/// Every route of this process.
pub(crate) fn router(app: &App) -> Router {
    let guarded = |route: routes::Route| match route.access {
        Access::Key | Access::Session => {
            let scope = scope_of(route.method, route.path);
            route.handler.route_layer(from_fn_with_state((app.clone(), scope), auth::admit))
        }
        Access::Anybody | Access::Admin => route.handler,
    };
    let here = |route: &routes::Route| !(app.metrics_apart && route.path == METRICS);
    let routes = routes::table().into_iter().filter(here);
    let ours = routes.fold(Router::new(), |router, route| router.route(route.path, guarded(route)));
    let ours = ours
        .fallback(studio::serve)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(app.clone());
    ours.merge(app.cluster.routes()).layer(from_fn_with_state(app.clone(), layers::around))
}

/// The numbers alone, for a listener of their own.
pub(crate) fn metrics_router(registry: Registry) -> Router {
    health::apart(registry)
}

/// What is neither a route nor a page.
fn unknown_route() -> ApiError {
    ApiError::new(ErrorCode::NotFound, "there is no such route; the API is described at /openapi.json")
}

async fn wrong_method() -> ApiError {
    ApiError::new(ErrorCode::NotFound, "this route exists, but not for this method; see /openapi.json")
}
