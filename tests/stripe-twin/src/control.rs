//! What tests do to the stand-in: where webhooks go and how often, which calls break, what happens next.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::world::{Fault, Hook, Twin, When, number};
use crate::{hooks, sales};

/// Copies of an event that can be asked for.
const COPIES_MAX: u32 = 10;

pub(crate) fn routes() -> Router<Twin> {
    Router::new()
        .route("/twin/webhook", post(webhook))
        .route("/twin/faults", post(faults))
        .route("/twin/stalled", get(stalled))
        .route("/twin/renew", post(renew))
        .route("/twin/end", post(end))
        .route("/twin/dispute", post(dispute))
        .route("/twin/decline", post(decline))
        .route("/twin/price", post(price))
        .route("/twin/change", post(change))
        .route("/twin/promotion", post(promotion))
        .route("/twin/deliver", post(deliver))
        .route("/twin/age", post(age))
        .route("/twin/asked", post(asked))
}

type Json<T> = axum::Json<T>;
type Told = Result<Json<Value>, StatusCode>;

/// Where webhooks go.
#[derive(Deserialize)]
struct Webhook {
    url: Option<String>,
    secret: Option<String>,
    /// How often each is sent.
    copies: Option<u32>,
    /// Whether they are kept until `/twin/deliver`.
    hold: Option<bool>,
}

async fn webhook(State(twin): State<Twin>, axum::Json(set): Json<Webhook>) -> StatusCode {
    let mut world = twin.world();
    if let Some(url) = set.url {
        let secret = set.secret.or_else(|| world.hook.as_ref().map(|hook| hook.secret.clone()));
        world.hook = Some(Hook { url, secret: secret.unwrap_or_else(|| "whsec_twin".to_owned()) });
    }
    world.copies = set.copies.unwrap_or(world.copies).min(COPIES_MAX);
    world.holding = set.hold.unwrap_or(world.holding);
    StatusCode::NO_CONTENT
}

/// Calls that break.
#[derive(Deserialize)]
struct Breaking {
    path: String,
    when: When,
    times: u32,
    /// Gets no answer at all, instead of one that says nothing.
    #[serde(default)]
    stall: bool,
}

async fn faults(State(twin): State<Twin>, axum::Json(set): Json<Breaking>) -> StatusCode {
    let Breaking { path, when, times, stall } = set;
    twin.world().faults.push(Fault { path, when, times, stall });
    StatusCode::NO_CONTENT
}

/// How many calls got no answer at all so far.
async fn stalled(State(twin): State<Twin>) -> axum::Json<Value> {
    axum::Json(json!({ "calls": twin.world().stalled }))
}

#[derive(Deserialize)]
struct Named {
    id: String,
    #[serde(default)]
    status: String,
}

async fn renew(State(twin): State<Twin>, axum::Json(named): Json<Named>) -> Told {
    sales::renew(&twin, &mut twin.world(), &named.id).map(axum::Json).ok_or(StatusCode::NOT_FOUND)
}

async fn end(State(twin): State<Twin>, axum::Json(named): Json<Named>) -> Told {
    sales::cancel(&twin, &mut twin.world(), &named.id, &json!(true)).map(axum::Json).ok_or(StatusCode::NOT_FOUND)
}

async fn dispute(State(twin): State<Twin>, axum::Json(named): Json<Named>) -> Told {
    let changed = sales::dispute(&twin, &mut twin.world(), &named.id, &named.status);
    changed.map(axum::Json).ok_or(StatusCode::NOT_FOUND)
}

async fn decline(State(twin): State<Twin>, axum::Json(named): Json<Named>) -> StatusCode {
    twin.world().declined.push(named.id);
    StatusCode::NO_CONTENT
}

/// A price that lasts.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Price {
    id: String,
    unit_amount: i64,
}

/// Makes a monthly price, as whoever sells does at Stripe's desk.
async fn price(State(twin): State<Twin>, axum::Json(made): Json<Price>) -> StatusCode {
    twin.world().prices.insert(made.id, made.unit_amount);
    StatusCode::NO_CONTENT
}

/// A subscription's other price.
#[derive(Deserialize)]
struct Change {
    id: String,
    price: String,
}

/// Somebody changes their plan in the portal, half a month on.
async fn change(State(twin): State<Twin>, axum::Json(wanted): Json<Change>) -> Told {
    let changed = sales::change(&twin, &mut twin.world(), &wanted.id, &wanted.price);
    changed.map(axum::Json).ok_or(StatusCode::NOT_FOUND)
}

/// A code that lowers prices.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Promotion {
    code: String,
    percent_off: i64,
}

/// Makes a code that can be typed on a checkout page, where codes are allowed.
async fn promotion(State(twin): State<Twin>, axum::Json(made): Json<Promotion>) -> StatusCode {
    twin.world().promotions.insert(made.code, made.percent_off.clamp(0, 100));
    StatusCode::NO_CONTENT
}

/// What was asked of Stripe's routes so far, in order.
async fn asked(State(twin): State<Twin>) -> axum::Json<Value> {
    let world = twin.world();
    let told = world.asked.iter().map(|(method, path, text)| json!({ "method": method, "path": path, "text": text }));
    axum::Json(told.collect())
}

/// By how much everything becomes older.
#[derive(Deserialize)]
struct Older {
    seconds: i64,
}

async fn age(State(twin): State<Twin>, axum::Json(older): Json<Older>) -> StatusCode {
    let mut world = twin.world();
    let world = &mut *world;
    for object in world.events.iter_mut().chain(world.objects.values_mut().flat_map(|kept| kept.values_mut())) {
        object["created"] = json!(number(&object["created"]) - older.seconds);
    }
    StatusCode::NO_CONTENT
}

/// How held webhooks are sent.
#[derive(Deserialize)]
struct Deliver {
    /// In which order, by their place in the order they happened; left out, all of them as they happened.
    order: Option<Vec<usize>>,
    /// Forgets them instead.
    #[serde(default)]
    lose: bool,
}

/// Sends held webhooks one after the other, and answers when they are taken.
async fn deliver(State(twin): State<Twin>, axum::Json(how): Json<Deliver>) -> Told {
    let (held, hook) = {
        let mut world = twin.world();
        (std::mem::take(&mut world.held), world.hook.clone())
    };
    let count = held.len();
    if !how.lose {
        let hook = hook.ok_or(StatusCode::CONFLICT)?;
        for at in how.order.unwrap_or_else(|| (0..count).collect()) {
            let event = held.get(at).ok_or(StatusCode::BAD_REQUEST)?;
            if !hooks::deliver(&twin.http, &hook, event).await {
                return Err(StatusCode::BAD_GATEWAY);
            }
        }
    }
    Ok(axum::Json(json!({ "held": count })))
}
