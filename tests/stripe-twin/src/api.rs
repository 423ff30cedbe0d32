//! Stripe's routes: keys are asked for, idempotency keys are kept, and calls break when a test wants them to.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use serde_json::{Value, json};

use crate::objects::{self, Asked, Sold};
use crate::sales::NotGiven;
use crate::world::{Twin, Used, When, World, number};
use crate::{form, sales};

/// Rows on a page unless the query says otherwise.
const PAGE: usize = 10;
/// The most it may say.
const PAGE_MAX: usize = 100;

/// Status and body.
type Answer = (u16, Value);

pub(crate) fn routes() -> Router<Twin> {
    let mut router = Router::new();
    for path in [
        "/v1/customers",
        "/v1/checkout/sessions",
        "/v1/billing_portal/sessions",
        "/v1/payment_intents",
        "/v1/refunds",
        "/v1/subscriptions/{id}",
    ] {
        router = router.route(path, post(make));
    }
    for (path, kind) in [
        ("/v1/customers/{id}", "customer"),
        ("/v1/checkout/sessions/{id}", "checkout.session"),
        ("/v1/payment_intents/{id}", "payment_intent"),
        ("/v1/invoices/{id}", "invoice"),
        ("/v1/subscriptions/{id}", "subscription"),
        ("/v1/refunds/{id}", "refund"),
    ] {
        let find = move |State(twin): State<Twin>,
                         headers: HeaderMap,
                         Path(id): Path<String>,
                         RawQuery(query): RawQuery| async move {
            let found = || {
                let world = twin.world();
                let mut object = world.find(kind, &id)?.clone();
                if form::parse(query.as_deref().unwrap_or_default())["expand"][0] == "latest_charge" {
                    object["latest_charge"] = world.find("charge", object["latest_charge"].as_str()?)?.clone();
                }
                Some((200, object))
            };
            respond(refused(&headers).or_else(found).unwrap_or_else(missing))
        };
        router = router.route(path, get(find));
    }
    router = router.route("/v1/customers/{id}", delete(forget));
    for (path, kind) in [
        ("/v1/events", "event"),
        ("/v1/charges", "charge"),
        ("/v1/customers", "customer"),
        ("/v1/balance_transactions", "balance_transaction"),
        ("/v1/invoices", "invoice"),
    ] {
        let page = move |State(twin): State<Twin>, headers: HeaderMap, RawQuery(query): RawQuery| async move {
            let mut world = twin.world();
            world.note("GET", path, query.as_deref().unwrap_or_default());
            respond(refused(&headers).unwrap_or_else(|| (200, list(&world, path, kind, query.as_deref()))))
        };
        router = router.route(path, get(page));
    }
    router
}

fn respond((status, body): Answer) -> Response {
    (StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), axum::Json(body)).into_response()
}

fn missing() -> Answer {
    (404, objects::error("invalid_request_error", "resource_missing", "No such object"))
}

fn refused(headers: &HeaderMap) -> Option<Answer> {
    let sent = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let known = sent.strip_prefix("Bearer ").is_some_and(|key| key.starts_with("sk_test_"));
    let error = || objects::error("invalid_request_error", "api_key_invalid", "Invalid API key");
    (!known).then(|| (401, error()))
}

fn list(world: &World, path: &str, kind: &'static str, query: Option<&str>) -> Value {
    let query = form::parse(query.unwrap_or_default());
    let all = if kind == "event" { world.events.iter().rev().cloned().collect() } else { world.newest(kind) };
    let since = number(&query["created"]["gte"]);
    let of = |row: &Value, field: &str| query[field].is_null() || row[field] == query[field];
    let wanted = |row: &Value| number(&row["created"]) >= since && of(row, "payment_intent");
    let mut rows: Vec<Value> = all.into_iter().filter(wanted).collect();
    if let Some(at) = rows.iter().position(|row| row["id"] == query["starting_after"]) {
        rows.drain(..=at);
    }
    let limit = usize::try_from(number(&query["limit"])).ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
    let limit = limit.unwrap_or(PAGE);
    let more = rows.len() > limit;
    rows.truncate(limit);
    objects::list(path, &rows, more)
}

/// Forgets a customer: from then on there is nobody of this id.
async fn forget(State(twin): State<Twin>, uri: Uri, headers: HeaderMap, Path(id): Path<String>) -> Response {
    if let Some(answer) = refused(&headers) {
        return respond(answer);
    }
    let mut world = twin.world();
    if let Some(fault) = world.faults.iter_mut().find(|fault| fault.times > 0 && uri.path().starts_with(&fault.path)) {
        fault.times -= 1;
        return respond((500, objects::error("api_error", "", "the test wants it so")));
    }
    world.note("DELETE", uri.path(), "");
    if !world.remove("customer", &id) {
        return respond(missing());
    }
    respond((200, json!({ "id": id, "object": "customer", "deleted": true })))
}

/// Everything that makes something goes through here.
async fn make(State(twin): State<Twin>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    if let Some(answer) = refused(&headers) {
        return respond(answer);
    }
    let path = uri.path();
    let fault =
        twin.world().faults.iter_mut().find(|fault| fault.times > 0 && path.starts_with(&fault.path)).map(|fault| {
            fault.times -= 1;
            (fault.when, fault.stall)
        });
    if fault == Some((When::Before, true)) {
        return stall(&twin).await;
    }
    let answer = answer_to(&twin, path, &headers, &body, fault.map(|(when, _)| when));
    if fault == Some((When::After, true)) { stall(&twin).await } else { answer }
}

/// No answer comes: whoever waits for one gives up, or is killed.
async fn stall(twin: &Twin) -> Response {
    twin.world().stalled += 1;
    std::future::pending().await
}

fn answer_to(twin: &Twin, path: &str, headers: &HeaderMap, body: &Bytes, fault: Option<When>) -> Response {
    let mut world = twin.world();
    let broken = || respond((500, objects::error("api_error", "", "the test wants it so")));
    if fault == Some(When::Before) {
        return broken();
    }
    let text = String::from_utf8_lossy(body);
    world.note("POST", path, &text);
    let key = headers.get("idempotency-key").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let request = format!("{path}\n{text}");
    if let Some(used) = key.as_ref().and_then(|key| world.keys.get(key)) {
        if used.request != request {
            let message = "Keys for idempotent requests can only be used with the same parameters";
            return respond((400, objects::error("idempotency_error", "idempotency_key_in_use", message)));
        }
        let mut response = respond((used.status, used.answer.clone()));
        response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
        return if fault.is_some() { broken() } else { response };
    }
    let (status, answer) = carry_out(twin, &mut world, path, &form::parse(&text));
    if let Some(key) = key {
        world.keys.insert(key, Used { request, status, answer: answer.clone() });
    }
    drop(world);
    if fault == Some(When::After) { broken() } else { respond((status, answer)) }
}

fn carry_out(twin: &Twin, world: &mut World, path: &str, form: &Value) -> Answer {
    match path {
        "/v1/customers" => {
            let id = world.id("cus");
            let made = objects::customer(&id, form);
            world.keep("customer", &made);
            (200, made)
        }
        "/v1/checkout/sessions" => checkout(twin, world, form),
        "/v1/billing_portal/sessions" => {
            if world.find("customer", form["customer"].as_str().unwrap_or_default()).is_none() {
                return missing();
            }
            let id = world.id("bps");
            let made = objects::portal(&id, form, &format!("{}/portal/{id}", twin.url));
            world.keep("billing_portal.session", &made);
            (200, made)
        }
        "/v1/payment_intents" => charge(twin, world, form),
        "/v1/refunds" => match sales::refund(twin, world, form) {
            Ok(made) => (200, made),
            Err(NotGiven::Unknown) => missing(),
            Err(NotGiven::Already(message)) => {
                (400, objects::error("invalid_request_error", "charge_already_refunded", &message))
            }
            // Stripe names the field here, and no code.
            Err(NotGiven::TooLarge(message)) => {
                (400, json!({ "error": { "type": "invalid_request_error", "param": "amount", "message": message } }))
            }
        },
        other => {
            let id = other.rsplit('/').next().unwrap_or_default();
            let ends = form["cancel_at_period_end"] == "true";
            let changed = if ends { sales::cancel(twin, world, id, &Value::Null) } else { None };
            changed.map_or_else(missing, |changed| (200, changed))
        }
    }
}

fn checkout(twin: &Twin, world: &mut World, form: &Value) -> Answer {
    let bad = |message: &str| (400, objects::error("invalid_request_error", "parameter_invalid", message));
    if !matches!(form["mode"].as_str(), Some("payment" | "subscription")) {
        return bad("mode is payment or subscription here");
    }
    let customer = form["customer"].as_str().unwrap_or_default();
    if world.find("customer", customer).is_none() {
        return missing();
    }
    let sold = sales::sold(world, form);
    if sold.amount < 50 {
        return bad("The total must be at least 50");
    }
    let id = world.id("cs_test");
    let made = objects::session(&id, form, &sold, &format!("{}/pay/{id}", twin.url));
    let mut kept = form.clone();
    kept["id"] = json!(id);
    world.keep("form", &kept);
    world.keep("checkout.session", &made);
    (200, made)
}

fn charge(twin: &Twin, world: &mut World, form: &Value) -> Answer {
    let customer = form["customer"].as_str().unwrap_or_default().to_owned();
    if world.declined.contains(&customer) {
        let mut error = objects::error("card_error", "card_declined", "Your card was declined.");
        error["error"]["decline_code"] = json!("insufficient_funds");
        return (402, error);
    }
    let asked = Asked {
        sold: Sold { amount: number(&form["amount"]), currency: form["currency"].as_str().unwrap_or("usd").to_owned() },
        customer: &form["customer"],
        metadata: &form["metadata"],
        keep: &form["setup_future_usage"],
        method: form["payment_method"].as_str().unwrap_or("pm_twin").to_owned(),
    };
    (200, sales::take(twin, world, &asked))
}
