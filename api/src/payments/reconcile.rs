//! Reading Stripe's books once a day: events that never came are fetched and applied, then its charges are compared with
//! ours. What differs is a number that must be zero.

use std::time::Duration;

use tintype_types::Timestamp;

use super::Payments;
use super::inbox::{self, Desk};
use super::stripe::{ChargeSeen, StripeFault};
use crate::clock;
use crate::database::Db;
use crate::records::reconciled;
use crate::records::stripe_event::{self, NewEvent};

/// How often.
const EVERY: Duration = Duration::from_hours(24);
/// How far before the last reading the next begins: what was on its way then.
const OVERLAP_S: i64 = 3_600;
/// What is younger may still be on its way by itself.
const SETTLED_S: i64 = 60;
/// Pages read at a time: beyond it something is very wrong, and the next day goes on.
const PAGES_MAX: usize = 1_000;
/// Events applied at a time.
const BATCH: i64 = 100;

/// Why Stripe's books were not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotRead {
    #[error(transparent)]
    Stripe(#[from] StripeFault),
    #[error("the database did not answer")]
    Database(#[from] sqlx::Error),
}

/// Reads Stripe's books if a day has passed since the last time.
pub(crate) async fn daily(pool: &Db, payments: &Payments, desk: &Desk<'_>) -> Result<(), NotRead> {
    let last = reconciled::last(pool).await?;
    let due = last.is_none_or(|last| clock::now().since(last.at) >= EVERY);
    if due { now(pool, payments, desk).await.map(drop) } else { Ok(()) }
}

/// What a reading found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Events that never came.
    pub(crate) missed: i64,
    /// Money that Stripe has and we do not, or the other way round, in the smallest unit.
    pub(crate) drift_minor: i64,
}

/// Reads Stripe's books.
pub(crate) async fn now(pool: &Db, payments: &Payments, desk: &Desk<'_>) -> Result<Found, NotRead> {
    let metrics = desk.metrics;
    let at = clock::now();
    let seconds = i64::try_from(at.0 / 1_000).unwrap_or(i64::MAX);
    let until = seconds - SETTLED_S;
    // What was before the first reading is not ours.
    let since = reconciled::last(pool).await?.map_or(until, |last| last.until_s - OVERLAP_S);
    let missed = fetch_missed(pool, payments, since, until).await?;
    metrics.stripe.missed.inc_by(missed.unsigned_abs());
    loop {
        let (looked_at, failed) = inbox::pass(pool, desk, BATCH).await?;
        if looked_at < BATCH as usize || failed > 0 {
            break;
        }
    }
    let drift_minor = compare(pool, payments, since).await?;
    metrics.stripe.drift.set(drift_minor);
    if drift_minor != 0 {
        tracing::error!(drift_minor, "Stripe's charges and ours differ; the ledger of payments needs a look");
    }
    reconciled::set(pool, until, drift_minor, at).await?;
    Ok(Found { missed, drift_minor })
}

async fn fetch_missed(pool: &Db, payments: &Payments, since: i64, until: i64) -> Result<i64, NotRead> {
    let (mut missed, mut after) = (0, None::<String>);
    for _ in 0..PAGES_MAX {
        let (events, more) = payments.stripe.events(since, after.as_deref()).await?;
        for event in &events {
            let (Some(id), Some(kind)) = (event["id"].as_str(), event["type"].as_str()) else { continue };
            let created_s = event["created"].as_i64().unwrap_or(0);
            let ours = event["livemode"].as_bool().unwrap_or(false) == payments.live;
            if ours && created_s <= until {
                let new = NewEvent { id, kind, payload: event, created_s, missed: true };
                missed += i64::from(stripe_event::keep(pool, &new, clock::now()).await?);
            }
        }
        after = events.last().and_then(|event| event["id"].as_str()).map(str::to_owned);
        if !more || after.is_none() {
            break;
        }
    }
    Ok(missed)
}

async fn compare(pool: &Db, payments: &Payments, since: i64) -> Result<i64, NotRead> {
    let (mut drift, mut after) = (0_i64, None::<String>);
    for _ in 0..PAGES_MAX {
        let (charges, more) = payments.stripe.charges(since, after.as_deref()).await?;
        for charge in &charges {
            drift = drift.saturating_add(differs(pool, charge).await?);
        }
        after = charges.last().map(|charge| charge.id.clone());
        if !more || after.is_none() {
            break;
        }
    }
    Ok(drift)
}

/// By how much a charge differs from what we know of it. Charges of people we do not know are not ours.
async fn differs(pool: &Db, charge: &ChargeSeen) -> Result<i64, NotRead> {
    let ChargeSeen { id: _, customer, payment_intent, amount, amount_refunded, paid } = charge;
    let (Some(customer), Some(intent), true) = (customer, payment_intent, paid) else { return Ok(0) };
    let Some(known) = reconciled::known(pool, customer, intent).await? else { return Ok(0) };
    let unheard = if known.paid { 0 } else { *amount };
    Ok(unheard.saturating_add((amount_refunded - known.refunded).abs()))
}

/// The last reading.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// Until which moment events were fetched, in seconds.
    pub(crate) until_s: i64,
    /// When.
    pub(crate) at: Timestamp,
}
