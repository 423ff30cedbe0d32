//! The pages people are sent to: plain HTML, a button that pays, a link that does not.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use serde_json::Value;

use crate::world::{Twin, number};
use crate::{form, sales};

pub(crate) fn routes() -> Router<Twin> {
    Router::new()
        .route("/pay/{session}", get(page).post(pay))
        .route("/portal/{session}", get(portal))
        .route("/portal/{session}/cancel", post(end))
}

fn gone() -> Response {
    (StatusCode::NOT_FOUND, Html("<p>There is no such page.</p>")).into_response()
}

async fn page(State(twin): State<Twin>, Path(id): Path<String>) -> Response {
    let Some(session) = twin.world().find("checkout.session", &id).cloned() else { return gone() };
    if session["status"] != "open" {
        return Html("<!doctype html><title>Paid</title><p>This is paid.</p>").into_response();
    }
    let amount = number(&session["amount_total"]);
    let price = format!("{}.{:02} {}", amount / 100, amount % 100, escape(&session["currency"]).to_uppercase());
    let name =
        twin.world().find("form", &id).map(|form| escape(&form["line_items"][0]["price_data"]["product_data"]["name"]));
    Html(format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Checkout (stand-in)</title><h1>{}</h1><p>{price}</p>\
         <form method=post><input name=promotion_code placeholder=\"Promotion code\"><button>Pay</button></form><p><a href=\"{}\">Cancel</a></p>",
        name.unwrap_or_default(),
        escape(&session["cancel_url"]),
    ))
    .into_response()
}

/// The button is pressed; the form may hold a `promotion_code`, which a browser sends empty where nothing was typed.
async fn pay(State(twin): State<Twin>, Path(id): Path<String>, body: String) -> Response {
    let code = form::parse(&body)["promotion_code"].as_str().filter(|code| !code.is_empty()).map(str::to_owned);
    let mut world = twin.world();
    if let Some(code) = code
        && !sales::lower(&mut world, &id, &code)
    {
        return (StatusCode::BAD_REQUEST, Html("<p>This code is invalid.</p>")).into_response();
    }
    let paid = sales::complete(&twin, &mut world, &id);
    drop(world);
    let Some(session) = paid else { return gone() };
    let to = session["success_url"].as_str().unwrap_or("/").replace("{CHECKOUT_SESSION_ID}", &id);
    Redirect::to(&to).into_response()
}

async fn portal(State(twin): State<Twin>, Path(id): Path<String>) -> Response {
    let Some(session) = twin.world().find("billing_portal.session", &id).cloned() else { return gone() };
    let running = twin.world().newest("subscription").into_iter();
    let running = running.filter(|one| one["customer"] == session["customer"] && one["status"] == "active");
    let lines: Vec<String> = running.map(|one| format!("<li>{}</li>", escape(&one["id"]))).collect();
    let lines = lines.concat();
    Html(format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Portal (stand-in)</title><h1>Subscriptions</h1><ul>{lines}</ul>\
         <form method=post action=\"/portal/{id}/cancel\"><button>Cancel subscription</button></form>\
         <p><a href=\"{}\">Return</a></p>",
        escape(&session["return_url"]),
    ))
    .into_response()
}

async fn end(State(twin): State<Twin>, Path(id): Path<String>) -> Response {
    let mut world = twin.world();
    let Some(session) = world.find("billing_portal.session", &id).cloned() else { return gone() };
    let running = world.newest("subscription").into_iter();
    let running: Vec<Value> = running.filter(|one| one["customer"] == session["customer"]).collect();
    for one in running {
        sales::cancel(&twin, &mut world, one["id"].as_str().unwrap_or_default(), &Value::Null);
    }
    Redirect::to(session["return_url"].as_str().unwrap_or("/")).into_response()
}

fn escape(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
