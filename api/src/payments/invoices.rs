//! Which credits a paid invoice of a subscription brings. Pure.
//!
//! The rule: a month's credits come from invoices that begin a subscription (`subscription_create`) or go on with it
//! (`subscription_cycle`), and are those of the plan of the invoice's own line. Where a plan is changed within a month,
//! paid proration brings the difference, once: of the dearer plan's month as much as was paid of its price, less as much
//! of the cheaper one's month as was credited of its, each rounded down. It comes with whichever invoice has the
//! proration on it: its own (`subscription_update`), or the next month's. A plan that is lowered brings nothing and takes
//! nothing; the next month is the new plan's. Other invoices (by hand, by threshold) bring nothing.
//!
//! A plan is known by its price at Stripe: the one it was sold by, which is what was offered then, or another of the price
//! book's, which is what is offered now. A price that nobody knows is an error, never a guess.

use serde_json::Value;

use super::facts::{
    ACCOUNT, CREDITS, Fact, Missing, Month, OFFER, PRICE, PRICE_MINOR, ROLLOVER, Span, VERSION, id, text,
};
use super::plans::PriceBook;
use super::refunding::share;
use crate::ledger::AMOUNT_MAX;

/// A month, where only the rest of one can be seen.
const MONTH_S: i64 = 30 * 24 * 3_600;
/// The longest credits roll over, in months.
const ROLLOVER_MAX: i64 = 24;

/// What a month of a subscription is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plan {
    offer: String,
    version: i32,
    credits: i64,
    rollover: i64,
    /// What a whole month costs, before discounts; none for a plan sold before this was written down and gone since.
    price_minor: Option<i64>,
}

/// A line of an invoice that is about our subscription.
#[derive(Clone, Debug)]
struct Line {
    price: Option<String>,
    amount: i64,
    start: i64,
    end: i64,
    kind: LineKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineKind {
    /// A month of the subscription.
    Own,
    /// A part of a month, because a plan was changed in it: credited where it is less than nothing.
    Proration,
    /// Something else somebody put on the invoice.
    Other,
}

/// Facts of a paid invoice.
///
/// # Errors
/// What is missing in it.
pub(super) fn paid(object: &Value, book: &PriceBook) -> Result<Vec<Fact>, Missing> {
    let details = object.pointer("/parent/subscription_details").or_else(|| object.get("subscription_details"));
    let Some(details) = details.filter(|details| !details.is_null()) else { return Ok(Vec::new()) };
    let metadata = &details["metadata"];
    // Somebody else's subscription at the same Stripe account.
    let Some(account) = metadata[ACCOUNT].as_str().and_then(|text| text.parse().ok()) else { return Ok(Vec::new()) };
    let whole = match object["billing_reason"].as_str().ok_or(Missing("billing_reason"))? {
        "subscription_create" | "subscription_cycle" => true,
        "subscription_update" => false,
        _ => return Ok(Vec::new()),
    };
    let subscription = id(details, "subscription").or_else(|| id(object, "subscription"));
    let lines = object.pointer("/lines/data").and_then(Value::as_array).ok_or(Missing("lines"))?;
    let lines: Vec<Line> = lines.iter().filter_map(line).collect();
    let wanted = if whole { LineKind::Own } else { LineKind::Proration };
    let of_it = lines.iter().filter(|line| line.kind == wanted && (whole || line.amount > 0));
    let Some(own) = of_it.max_by_key(|line| (line.end, line.start, line.amount)) else {
        // Only what was lowered: it is credited, and takes nothing.
        return if whole { Err(Missing("period")) } else { Ok(Vec::new()) };
    };
    let plan = plan(own, metadata, book)?;
    let changed = difference(&lines, metadata, book)?;
    let credits = if whole { plan.credits.saturating_add(changed) } else { changed };
    if credits == 0 && !whole {
        return Ok(Vec::new());
    }
    let length = if whole { (own.end - own.start).max(0) } else { MONTH_S };
    Ok(vec![Fact::MonthPaid(Month {
        account,
        offer: plan.offer,
        version: plan.version,
        credits: Some(credits).filter(|credits| (1..=AMOUNT_MAX).contains(credits)).ok_or(Missing(CREDITS))?,
        subscription: subscription.ok_or(Missing("subscription"))?,
        invoice: id(object, "id").ok_or(Missing("id"))?,
        intent: id(object, "payment_intent"),
        amount: object["amount_paid"].as_i64().ok_or(Missing("amount_paid"))?,
        currency: text(object, "/currency").ok_or(Missing("currency"))?,
        span: if whole { Span::Whole } else { Span::Rest },
        start: super::facts::seconds(own.start),
        expires: super::facts::seconds(own.end.saturating_add(length.saturating_mul(plan.rollover))),
        page: text(object, "/hosted_invoice_url"),
    })])
}

fn line(line: &Value) -> Option<Line> {
    let price = line.pointer("/pricing/price_details").and_then(|details| id(details, "price"));
    let older = || id(line, "price").or_else(|| id(line, "plan"));
    let parent = |field: &str| line.pointer(&format!("/parent/{field}/proration")) == Some(&Value::Bool(true));
    let proration = line["proration"] == true || parent("subscription_item_details") || parent("invoice_item_details");
    let item = line["type"] == "invoiceitem"
        || line.pointer("/parent/type").is_some_and(|kind| kind == "invoice_item_details");
    Some(Line {
        price: price.or_else(older),
        amount: line["amount"].as_i64().unwrap_or(0),
        start: line.pointer("/period/start")?.as_i64()?,
        end: line.pointer("/period/end")?.as_i64()?,
        kind: match (proration, item) {
            (true, _) => LineKind::Proration,
            (false, true) => LineKind::Other,
            (false, false) => LineKind::Own,
        },
    })
}

/// The plan of a line: as it was sold while it has the price it was sold by, else what the price book has for its price.
fn plan(line: &Line, metadata: &Value, book: &PriceBook) -> Result<Plan, Missing> {
    let sold_by = metadata[PRICE].as_str();
    let Some(price) = line.price.as_deref().filter(|price| Some(*price) != sold_by) else {
        return sold(metadata, book);
    };
    match book.by_stripe_price(price) {
        Some(plan) => Ok(Plan {
            offer: plan.id.clone(),
            version: book.version,
            credits: plan.credits_millis,
            rollover: i64::from(plan.rollover_months),
            price_minor: Some(plan.price_minor),
        }),
        // Sold by a price that was made at its checkout, whose id nobody was told.
        None if sold_by.is_none() => sold(metadata, book),
        None => Err(Missing("price that the price book has (stripePrice)")),
    }
}

/// The plan as it was sold: it is written on the subscription.
fn sold(metadata: &Value, book: &PriceBook) -> Result<Plan, Missing> {
    let number = |name: &str| metadata[name].as_str().and_then(|text| text.parse::<i64>().ok());
    let offer = metadata[OFFER].as_str().ok_or(Missing(OFFER))?;
    let credits = number(CREDITS).filter(|credits| (1..=AMOUNT_MAX).contains(credits)).ok_or(Missing(CREDITS))?;
    Ok(Plan {
        version: number(VERSION).and_then(|version| version.try_into().ok()).unwrap_or(0),
        credits,
        rollover: number(ROLLOVER).unwrap_or(0).clamp(0, ROLLOVER_MAX),
        price_minor: number(PRICE_MINOR).or_else(|| book.subscription(offer).map(|plan| plan.price_minor)),
        offer: offer.to_owned(),
    })
}

/// The credits that paid proration brings, in all.
fn difference(lines: &[Line], metadata: &Value, book: &PriceBook) -> Result<i64, Missing> {
    let mut net = 0_i64;
    for line in lines.iter().filter(|line| line.kind == LineKind::Proration && line.amount != 0) {
        let plan = plan(line, metadata, book)?;
        let price = plan.price_minor.filter(|price| *price > 0).ok_or(Missing("price of its plan"))?;
        let part = share(plan.credits, line.amount.saturating_abs(), price);
        net = net.saturating_add(if line.amount > 0 { part } else { -part });
    }
    Ok(net.max(0))
}
