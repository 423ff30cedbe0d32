//! Stripe's objects, with the fields that are read of them and those everybody expects.

use serde_json::{Value, json};

use crate::world::{now, text};

/// The API version of its answers and events.
const VERSION: &str = "2026-09-30.endive";

fn metadata(from: &Value) -> Value {
    if from.is_object() { from.clone() } else { json!({}) }
}

pub(crate) fn event(id: &str, kind: &str, object: &Value) -> Value {
    json!({
        "id": id, "object": "event", "api_version": VERSION, "created": now(), "livemode": false, "pending_webhooks": 1,
        "type": kind, "data": { "object": object }, "request": { "id": null, "idempotency_key": null }
    })
}

pub(crate) fn list(url: &str, data: &[Value], has_more: bool) -> Value {
    json!({ "object": "list", "url": url, "has_more": has_more, "data": data })
}

pub(crate) fn error(kind: &str, code: &str, message: &str) -> Value {
    json!({ "error": { "type": kind, "code": code, "message": message } })
}

pub(crate) fn customer(id: &str, form: &Value) -> Value {
    json!({
        "id": id, "object": "customer", "created": now(), "livemode": false, "email": text(&form["email"]),
        "name": text(&form["name"]), "metadata": metadata(&form["metadata"]), "delinquent": false, "balance": 0
    })
}

/// What is sold on a page.
pub(crate) struct Sold {
    pub(crate) amount: i64,
    pub(crate) currency: String,
}

pub(crate) fn session(id: &str, form: &Value, sold: &Sold, url: &str) -> Value {
    json!({
        "id": id, "object": "checkout.session", "created": now(), "expires_at": now() + 24 * 3_600, "livemode": false,
        "mode": form["mode"], "status": "open", "payment_status": "unpaid", "url": url,
        "client_reference_id": text(&form["client_reference_id"]), "customer": text(&form["customer"]),
        "metadata": metadata(&form["metadata"]), "amount_total": sold.amount, "amount_subtotal": sold.amount,
        "total_details": { "amount_discount": 0, "amount_shipping": 0, "amount_tax": 0 },
        "currency": sold.currency, "payment_intent": null, "subscription": null, "invoice": null,
        "success_url": text(&form["success_url"]), "cancel_url": text(&form["cancel_url"]),
        "payment_method_types": ["card"]
    })
}

pub(crate) fn portal(id: &str, form: &Value, url: &str) -> Value {
    json!({
        "id": id, "object": "billing_portal.session", "created": now(), "livemode": false, "url": url,
        "customer": text(&form["customer"]), "return_url": text(&form["return_url"]), "configuration": "bpc_twin"
    })
}

/// Money that is asked for.
pub(crate) struct Asked<'a> {
    pub(crate) sold: Sold,
    pub(crate) customer: &'a Value,
    pub(crate) metadata: &'a Value,
    /// Whether the card may be used again.
    pub(crate) keep: &'a Value,
    pub(crate) method: String,
}

pub(crate) fn intent(id: &str, asked: &Asked<'_>, charge: &str) -> Value {
    let Asked { sold, customer, metadata: own, keep, method } = asked;
    json!({
        "id": id, "object": "payment_intent", "created": now(), "livemode": false, "status": "succeeded",
        "amount": sold.amount, "amount_received": sold.amount, "currency": sold.currency, "customer": text(customer),
        "metadata": metadata(own), "payment_method": method, "payment_method_types": ["card"],
        "setup_future_usage": text(keep), "latest_charge": charge, "capture_method": "automatic",
        "confirmation_method": "automatic"
    })
}

pub(crate) fn charge(id: &str, intent: &Value) -> Value {
    json!({
        "id": id, "object": "charge", "created": now(), "livemode": false, "status": "succeeded", "paid": true,
        "captured": true, "amount": intent["amount"], "amount_captured": intent["amount"], "amount_refunded": 0,
        "refunded": false, "disputed": false, "currency": intent["currency"], "customer": intent["customer"],
        "payment_intent": intent["id"], "metadata": intent["metadata"], "payment_method": intent["payment_method"],
        "receipt_url": format!("https://pay.stripe.example/receipts/{id}"),
        "billing_details": { "address": null, "email": null, "name": null, "phone": null }
    })
}

pub(crate) fn refund(id: &str, form: &Value, charge: &Value, amount: i64) -> Value {
    json!({
        "id": id, "object": "refund", "created": now(), "status": "succeeded", "amount": amount,
        "currency": charge["currency"], "charge": charge["id"], "payment_intent": charge["payment_intent"],
        "metadata": metadata(&form["metadata"]), "reason": text(&form["reason"])
    })
}

pub(crate) fn dispute(id: &str, charge: &Value, status: &str) -> Value {
    json!({
        "id": id, "object": "dispute", "created": now(), "livemode": false, "status": status, "reason": "fraudulent",
        "amount": charge["amount"], "currency": charge["currency"], "charge": charge["id"],
        "payment_intent": charge["payment_intent"], "metadata": {}, "is_charge_refundable": false
    })
}

/// A monthly price.
pub(crate) fn price(id: &str, sold: &Sold) -> Value {
    json!({
        "id": id, "object": "price", "active": true, "created": now(), "livemode": false, "metadata": {},
        "currency": sold.currency, "unit_amount": sold.amount, "type": "recurring", "billing_scheme": "per_unit"
    })
}

pub(crate) fn subscription(id: &str, form: &Value, price: &Value, (start, end): (i64, i64)) -> Value {
    let item = json!({
        "id": format!("si_{id}"), "object": "subscription_item", "created": start, "metadata": {}, "quantity": 1,
        "subscription": id, "price": price
    });
    json!({
        "id": id, "object": "subscription", "created": start, "start_date": start, "livemode": false, "status": "active",
        "customer": text(&form["customer"]), "metadata": metadata(&form["subscription_data"]["metadata"]),
        "cancel_at_period_end": false, "collection_method": "charge_automatically", "currency": price["currency"],
        "items": { "object": "list", "url": "/v1/subscription_items", "has_more": false, "data": [item] },
        "billing_cycle_anchor": start, "current_period_start": start, "current_period_end": end
    })
}

/// A line of an invoice.
pub(crate) struct Line<'a> {
    pub(crate) price: &'a Value,
    pub(crate) amount: i64,
    pub(crate) period: (i64, i64),
    /// Whether it is of a part of a month, because a plan was changed in it.
    pub(crate) proration: bool,
}

pub(crate) fn invoice(id: &str, subscription: &Value, lines: &[Line<'_>]) -> Value {
    let details = json!({ "metadata": subscription["metadata"], "subscription": subscription["id"] });
    let amount: i64 = lines.iter().map(|line| line.amount).sum();
    let line = |(n, line): (usize, &Line<'_>)| {
        let Line { price, amount, period: (start, end), proration } = line;
        let item = json!({
            "subscription": subscription["id"], "subscription_item": subscription["items"]["data"][0]["id"],
            "invoice_item": null, "proration": proration, "proration_details": null
        });
        json!({
            "id": format!("il_{n}_{id}"), "object": "line_item", "amount": amount, "currency": subscription["currency"],
            "livemode": false, "metadata": {}, "period": { "start": start, "end": end }, "discountable": true,
            "description": null, "quantity": 1,
            "parent": { "type": "subscription_item_details", "invoice_item_details": null, "subscription_item_details": item },
            "pricing": { "type": "price_details", "price_details": { "price": price["id"], "product": "prod_twin" } }
        })
    };
    let lines: Vec<Value> = lines.iter().enumerate().map(line).collect();
    json!({
        "id": id, "object": "invoice", "created": now(), "livemode": false, "status": "paid",
        "customer": subscription["customer"], "currency": subscription["currency"], "amount_due": amount,
        "amount_paid": amount, "amount_remaining": 0, "total": amount, "metadata": {},
        "billing_reason": "subscription_cycle", "hosted_invoice_url": format!("https://invoice.stripe.example/i/{id}"),
        "parent": { "type": "subscription_details", "quote_details": null, "subscription_details": details },
        "lines": { "object": "list", "url": format!("/v1/invoices/{id}/lines"), "has_more": false, "data": lines }
    })
}

pub(crate) fn invoice_payment(id: &str, invoice: &Value, intent: &Value) -> Value {
    json!({
        "id": id, "object": "invoice_payment", "created": now(), "livemode": false, "status": "paid",
        "invoice": invoice["id"], "amount_paid": invoice["amount_paid"], "amount_requested": invoice["amount_due"],
        "currency": invoice["currency"], "is_default": true,
        "payment": { "type": "payment_intent", "payment_intent": intent["id"] }
    })
}

pub(crate) fn balance_transaction(id: &str, of: &Value, amount: i64) -> Value {
    let kind = if amount < 0 { "refund" } else { "charge" };
    json!({
        "id": id, "object": "balance_transaction", "created": now(), "available_on": now(), "amount": amount, "net": amount,
        "fee": 0, "fee_details": [], "currency": of["currency"], "source": of["id"], "type": kind,
        "reporting_category": kind, "status": "available", "description": null
    })
}
