//! Webhooks that come in: believed or refused, written down, answered. The work is done later, from what was written.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde_json::Value;
use tintype_types::ErrorCode;

use crate::clock;
use crate::error::ApiError;
use crate::payments::Payments;
use crate::payments::signature;
use crate::records::stripe_event::{self, NewEvent};
use crate::state::App;

/// Takes an event of Stripe's. Told twice, it is kept once.
pub(crate) async fn stripe(State(app): State<App>, headers: HeaderMap, body: Bytes) -> Result<StatusCode, ApiError> {
    let payments = app.payments.as_ref().ok_or_else(off)?;
    let header = headers.get("stripe-signature").and_then(|value| value.to_str().ok()).unwrap_or_default();
    signature::verify(&payments.webhook_secret, header, &body, clock::now()).map_err(|refused| {
        app.metrics.stripe.events.with_label_values(&["refused"]).inc();
        ApiError::new(ErrorCode::InvalidSignature, refused.to_string())
    })?;
    // Signed, and still read with care: what is not an event would only be met again later.
    let event: Value = serde_json::from_slice(&body).map_err(|_| ApiError::invalid("body", "the event is not JSON"))?;
    let new = read(&event, payments)?;
    if stripe_event::keep(&app.pool, &new, clock::now()).await? {
        app.bells.payments.notify_one();
    }
    Ok(StatusCode::OK)
}

fn read<'a>(event: &'a Value, payments: &Payments) -> Result<NewEvent<'a>, ApiError> {
    let field = |name: &'static str| {
        event[name]
            .as_str()
            .filter(|text| (1..=255).contains(&text.len()))
            .ok_or_else(|| ApiError::invalid(name, format!("an event has a `{name}` of at most 255 bytes")))
    };
    let (id, kind) = (field("id")?, field("type")?);
    if event["livemode"].as_bool().unwrap_or(false) != payments.live {
        let message = "this event is of the other mode (test or live) than this server's key";
        return Err(ApiError::invalid("livemode", message));
    }
    let created_s = event["created"].as_i64().unwrap_or(0);
    Ok(NewEvent { id, kind, payload: event, created_s, missed: false })
}

/// There is nothing to buy here.
pub(crate) fn off() -> ApiError {
    let message =
        "nothing is sold on this server: it has no key of a payment provider (docs/PRICES.md says how to set one)";
    ApiError::new(ErrorCode::NotFound, message)
}
