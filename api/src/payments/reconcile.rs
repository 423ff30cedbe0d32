//! Reading Stripe's books once a day: events that never came are fetched and applied, then its charges are compared with
//! ours, each way. What differs stays a number that must be zero until both say the same.

use std::collections::{BTreeMap, BTreeSet};
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
/// How long a page on which something is paid for is good: what is paid by then was ordered at most so long before.
const PAGE_GOOD_S: i64 = 24 * 3_600;
/// Most of our own payments, and most differences, that are asked for one by one in a reading.
const OURS_MAX: i64 = 1_000;
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
    let drift_minor = compare(pool, payments, since, at).await?;
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

/// Compares both books as far back as a page to pay on is good, each with the other, and what differed before. What differs now is
/// kept until it differs no more; its sum.
async fn compare(pool: &Db, payments: &Payments, since: i64, at: Timestamp) -> Result<i64, NotRead> {
    let since = since - PAGE_GOOD_S;
    let (mut kept, mut after, mut whole) = (BTreeMap::new(), None::<String>, false);
    for _ in 0..PAGES_MAX {
        let (charges, more) = payments.stripe.charges(since, after.as_deref()).await?;
        after = charges.last().map(|charge| charge.id.clone());
        add_up(&mut kept, charges);
        whole = !more || after.is_none();
        if whole {
            break;
        }
    }
    for (intent, (customer, minor)) in &kept {
        judge(pool, (customer, intent), *minor, at).await?;
    }
    // What we were paid and Stripe does not list was paid by nobody. Of books that were not read to their end nothing is said.
    let ours = if whole { reconciled::paid(pool, since, at, OURS_MAX).await? } else { Vec::new() };
    let open = reconciled::differing(pool, OURS_MAX).await?;
    let rest: BTreeSet<String> = ours.into_iter().chain(open).filter(|intent| !kept.contains_key(intent)).collect();
    for intent in &rest {
        look_again(pool, payments, intent, at).await?;
    }
    Ok(reconciled::difference(pool).await?)
}

/// By intent: who paid, and what was charged and not given back.
fn add_up(kept: &mut BTreeMap<String, (String, i64)>, charges: Vec<ChargeSeen>) {
    for ChargeSeen { id: _, customer, payment_intent, amount, amount_refunded, paid } in charges {
        let (Some(customer), Some(intent), true) = (customer, payment_intent, paid) else { continue };
        let (_, minor) = kept.entry(intent).or_insert((customer, 0));
        *minor = minor.saturating_add(amount.saturating_sub(amount_refunded));
    }
}

/// Asks Stripe for the charges of one intent.
async fn look_again(pool: &Db, payments: &Payments, intent: &str, at: Timestamp) -> Result<(), NotRead> {
    let mut kept = BTreeMap::new();
    add_up(&mut kept, payments.stripe.charges_of(intent).await?);
    match kept.remove(intent) {
        Some((customer, minor)) => judge(pool, (&customer, intent), minor, at).await,
        None => {
            Ok(reconciled::differ(pool, intent, (0, reconciled::ours(pool, intent).await?.unwrap_or(0)), at).await?)
        }
    }
}

/// Notes whether we say the same of an intent. Charges of people we do not know are not ours.
async fn judge(pool: &Db, (customer, intent): (&str, &str), stripe: i64, at: Timestamp) -> Result<(), NotRead> {
    let known = reconciled::is_ours(pool, customer).await?;
    // A charge nobody told us the sum of is taken at Stripe's word; so is one of somebody who was erased since it differed.
    let ours = if known { reconciled::ours(pool, intent).await?.unwrap_or(stripe) } else { stripe };
    Ok(reconciled::differ(pool, intent, (stripe, ours), at).await?)
}

/// The last reading.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// Until which moment events were fetched, in seconds.
    pub(crate) until_s: i64,
    /// When.
    pub(crate) at: Timestamp,
}
