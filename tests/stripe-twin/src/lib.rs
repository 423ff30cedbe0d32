//! A stand-in for Stripe that remembers what it was told: customers, checkout pages that pay when pressed, subscriptions,
//! invoices, refunds, disputes, idempotency keys, signed webhooks. For tests and for trying things out; no money moves.
//!
//! It answers in Stripe's shapes (`tests/shapes.rs` compares them with stripe-mock's) and knows nothing of Tintype. Routes
//! under `/v1` are Stripe's, `/pay` and `/portal` are the pages people are sent to, `/twin` is for tests: lose answers, hold
//! webhooks back, renew a subscription, dispute a payment.

mod api;
mod control;
mod form;
mod hooks;
pub mod mock;
mod objects;
mod pages;
mod sales;
mod world;

pub use hooks::sign;
pub use world::{Options, Twin};

use axum::Router;

/// Everything it serves.
pub fn router(twin: &Twin) -> Router {
    Router::new().merge(api::routes()).merge(pages::routes()).merge(control::routes()).with_state(twin.clone())
}
