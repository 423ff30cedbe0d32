//! What happens when somebody pays: each step keeps its objects, then tells.

use serde_json::{Value, json};

use crate::objects::{self, Asked, Line, Sold};
use crate::world::{Twin, World, now, number};

/// A month, as far as tests care.
const MONTH_S: i64 = 30 * 24 * 3_600;

/// What a form sells.
pub(crate) fn sold(world: &World, form: &Value) -> Sold {
    let lines = form["line_items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let unit = |line: &Value| match line["price"].as_str() {
        Some(price) => world.prices.get(price).copied().unwrap_or(0),
        None => number(&line["price_data"]["unit_amount"]),
    };
    let price = |line: &Value| unit(line) * number(&line["quantity"]).max(1);
    let currency = lines.first().and_then(|line| line["price_data"]["currency"].as_str()).unwrap_or("usd");
    Sold { amount: lines.iter().map(price).sum(), currency: currency.to_owned() }
}

/// Takes the money: intent, charge, balance.
pub(crate) fn take(twin: &Twin, world: &mut World, asked: &Asked<'_>) -> Value {
    let (intent_id, charge_id) = (world.id("pi"), world.id("ch"));
    let intent = objects::intent(&intent_id, asked, &charge_id);
    let charge = objects::charge(&charge_id, &intent);
    let id = world.id("txn");
    let balance = objects::balance_transaction(&id, &charge, number(&charge["amount"]));
    world.keep("payment_intent", &intent);
    world.keep("charge", &charge);
    world.keep("balance_transaction", &balance);
    twin.tell(world, "charge.succeeded", &charge);
    twin.tell(world, "payment_intent.succeeded", &intent);
    intent
}

/// A code is typed on a checkout page: what it takes off is rounded to whole units, as Stripe does. False where the page
/// takes no codes, is paid, or nobody knows the code.
pub(crate) fn lower(world: &mut World, session_id: &str, code: &str) -> bool {
    let Some(percent) = world.promotions.get(code).copied() else { return false };
    let allowed = world.find("form", session_id).is_some_and(|form| form["allow_promotion_codes"] == "true");
    let session = world.find_mut("checkout.session", session_id).filter(|session| session["status"] == "open");
    let Some(session) = session.filter(|_| allowed) else { return false };
    let full = number(&session["amount_subtotal"]);
    let off = (full * percent + 50) / 100;
    session["amount_total"] = json!(full - off);
    session["total_details"]["amount_discount"] = json!(off);
    true
}

/// Somebody pressed the button of a checkout page. Pressed twice, it is paid once.
pub(crate) fn complete(twin: &Twin, world: &mut World, session_id: &str) -> Option<Value> {
    let mut session = world.find("checkout.session", session_id)?.clone();
    if session["status"] != "open" {
        return Some(session);
    }
    let form = world.find("form", session_id)?.clone();
    if session["mode"] == "subscription" {
        let (id, sold) = (world.id("sub"), sold(world, &form));
        let price = form["line_items"][0]["price"].as_str().map_or_else(|| world.id("price"), str::to_owned);
        let subscription = objects::subscription(&id, &form, &objects::price(&price, &sold), (now(), now() + MONTH_S));
        world.keep("subscription", &subscription);
        twin.tell(world, "customer.subscription.created", &subscription);
        let amount = number(&session["amount_total"]);
        session["subscription"] = json!(id);
        let billed = bill(twin, world, &subscription, ("subscription_create", amount));
        session["invoice"] = billed["id"].clone();
    } else if number(&session["amount_total"]) > 0 {
        let asked = Asked {
            sold: Sold { amount: number(&session["amount_total"]), ..sold(world, &form) },
            customer: &form["customer"],
            metadata: &form["payment_intent_data"]["metadata"],
            keep: &form["payment_intent_data"]["setup_future_usage"],
            method: world.id("pm"),
        };
        session["payment_intent"] = take(twin, world, &asked)["id"].clone();
    }
    let free = number(&session["amount_total"]) == 0;
    let paid = if free { "no_payment_required" } else { "paid" };
    (session["status"], session["payment_status"]) = (json!("complete"), json!(paid));
    session["url"] = Value::Null;
    world.keep("checkout.session", &session);
    twin.tell(world, "checkout.session.completed", &session);
    Some(session)
}

/// Bills the month a subscription is in.
fn bill(twin: &Twin, world: &mut World, subscription: &Value, (reason, amount): (&str, i64)) -> Value {
    let period = (number(&subscription["current_period_start"]), number(&subscription["current_period_end"]));
    let line = Line { price: &subscription["items"]["data"][0]["price"], amount, period, proration: false };
    invoice(twin, world, subscription, (reason, &[line]))
}

/// Takes what the lines of an invoice come to, and tells of it.
fn invoice(twin: &Twin, world: &mut World, subscription: &Value, (reason, lines): (&str, &[Line<'_>])) -> Value {
    let amount = lines.iter().map(|line| line.amount).sum();
    let asked = Asked {
        sold: Sold { amount, currency: subscription["currency"].as_str().unwrap_or("usd").to_owned() },
        customer: &subscription["customer"],
        metadata: &json!({}),
        keep: &Value::Null,
        method: "pm_twin".to_owned(),
    };
    let intent = take(twin, world, &asked);
    let id = world.id("in");
    let mut invoice = objects::invoice(&id, subscription, lines);
    invoice["billing_reason"] = json!(reason);
    world.keep("invoice", &invoice);
    twin.tell(world, "invoice.paid", &invoice);
    let id = world.id("inpay");
    let link = objects::invoice_payment(&id, &invoice, &intent);
    world.keep("invoice_payment", &link);
    twin.tell(world, "invoice_payment.paid", &link);
    invoice
}

/// A subscription's next month begins.
pub(crate) fn renew(twin: &Twin, world: &mut World, id: &str) -> Option<Value> {
    let subscription = world.find_mut("subscription", id)?;
    let start = number(&subscription["current_period_end"]);
    (subscription["current_period_start"], subscription["current_period_end"]) = (json!(start), json!(start + MONTH_S));
    let subscription = subscription.clone();
    twin.tell(world, "customer.subscription.updated", &subscription);
    let amount = number(&subscription["items"]["data"][0]["price"]["unit_amount"]);
    Some(bill(twin, world, &subscription, ("subscription_cycle", amount)))
}

/// A subscription has another price from now on, half a month after its month began. A dearer one is paid for at once, as far
/// as the month goes; a cheaper one counts from the next month on.
pub(crate) fn change(twin: &Twin, world: &mut World, id: &str, price: &str) -> Option<Value> {
    let to = *world.prices.get(price)?;
    let mut subscription = world.find("subscription", id)?.clone();
    let old = subscription["items"]["data"][0]["price"].clone();
    let sold = Sold { amount: to, currency: subscription["currency"].as_str().unwrap_or("usd").to_owned() };
    let new = objects::price(price, &sold);
    subscription["items"]["data"][0]["price"] = new.clone();
    world.keep("subscription", &subscription);
    twin.tell(world, "customer.subscription.updated", &subscription);
    let from = number(&old["unit_amount"]);
    if to > from {
        let end = number(&subscription["current_period_end"]);
        let part = |price, amount| Line { price, amount, period: (end - MONTH_S / 2, end), proration: true };
        invoice(twin, world, &subscription, ("subscription_update", &[part(&old, -from / 2), part(&new, to / 2)]));
    }
    Some(subscription)
}

/// Ends a subscription with its month, or at once.
pub(crate) fn cancel(twin: &Twin, world: &mut World, id: &str, at_once: &Value) -> Option<Value> {
    let subscription = world.find_mut("subscription", id)?;
    let kind = if at_once == true {
        subscription["status"] = json!("canceled");
        "customer.subscription.deleted"
    } else {
        subscription["cancel_at_period_end"] = json!(true);
        "customer.subscription.updated"
    };
    let subscription = subscription.clone();
    twin.tell(world, kind, &subscription);
    Some(subscription)
}

/// Why money is not given back, in Stripe's words.
pub(crate) enum NotGiven {
    /// There is no such payment.
    Unknown,
    /// All of it was given back.
    Already(String),
    /// Less is left of it than this.
    TooLarge(String),
}

/// Gives money back, never more than is left of it.
pub(crate) fn refund(twin: &Twin, world: &mut World, form: &Value) -> Result<Value, NotGiven> {
    let charges = world.newest("charge");
    let charge = charges.into_iter().find(|charge| charge["payment_intent"] == form["payment_intent"]);
    let mut charge = charge.ok_or(NotGiven::Unknown)?;
    let left = number(&charge["amount"]) - number(&charge["amount_refunded"]);
    let amount = if form["amount"].is_null() { left } else { number(&form["amount"]) };
    if left == 0 {
        return Err(NotGiven::Already(format!("Charge {} has already been refunded.", charge["id"])));
    }
    if !(1..=left).contains(&amount) {
        let money = |minor: i64| format!("${}.{:02}", minor / 100, minor % 100);
        let words = "is greater than unrefunded amount on charge";
        return Err(NotGiven::TooLarge(format!("Refund amount ({}) {words} ({})", money(amount), money(left))));
    }
    let (id, balance_id) = (world.id("re"), world.id("txn"));
    let refund = objects::refund(&id, form, &charge, amount);
    charge["amount_refunded"] = json!(number(&charge["amount_refunded"]) + amount);
    charge["refunded"] = json!(charge["amount_refunded"] == charge["amount"]);
    world.keep("refund", &refund);
    world.keep("charge", &charge);
    world.keep("balance_transaction", &objects::balance_transaction(&balance_id, &charge, -amount));
    twin.tell(world, "refund.created", &refund);
    twin.tell(world, "charge.refunded", &charge);
    Ok(refund)
}

/// A bank disputes a payment, or has decided.
pub(crate) fn dispute(twin: &Twin, world: &mut World, intent: &str, status: &str) -> Option<Value> {
    let known = world.newest("dispute").into_iter().find(|dispute| dispute["payment_intent"] == intent);
    let (dispute, kind) = if let Some(mut dispute) = known {
        dispute["status"] = json!(status);
        (dispute, if matches!(status, "won" | "lost") { "charge.dispute.closed" } else { "charge.dispute.updated" })
    } else {
        let charge = world.newest("charge").into_iter().find(|charge| charge["payment_intent"] == intent)?;
        let id = world.id("du");
        (objects::dispute(&id, &charge, status), "charge.dispute.created")
    };
    world.keep("dispute", &dispute);
    twin.tell(world, kind, &dispute);
    Some(dispute)
}
