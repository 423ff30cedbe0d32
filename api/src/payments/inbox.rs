//! Applies Stripe's events to the books: one at a time, each in one transaction with what follows from it.

use std::time::Duration;

use serde_json::Value;
use sqlx::PgConnection;
use tintype_types::Timestamp;
use uuid::Uuid;

use super::facts::{self, Fact, Missing};
use super::plans::PriceBook;
use super::settling::{Kind, State};
use crate::clock;
use crate::database::Db;
use crate::lanes::Bell;
use crate::ledger::post::Stamp;
use crate::ledger::sql::{self as ledger, LedgerSqlError, Stopped};
use crate::mail::{self, Letter};
use crate::metrics::Metrics;
use crate::records::{payment, stripe_event, top_up};
use crate::services::shared::Shared;

/// Tries of an event that cannot be applied; then somebody must look.
const TRIES_MAX: i32 = 10;
/// Wait before the second try; doubles.
const BACKOFF: Duration = Duration::from_secs(2);

/// What applying takes.
#[derive(Clone, Copy)]
pub(crate) struct Desk<'a> {
    /// Who hears that an account's balance changes.
    pub(crate) shared: &'a Shared,
    /// Where it is counted.
    pub(crate) metrics: &'a Metrics,
    /// What plans there are.
    pub(crate) book: &'a PriceBook,
    /// Whether this server sends receipts.
    pub(crate) mail: bool,
    /// Rung when one waits.
    pub(crate) bell: &'a Bell,
}

/// Why an event was not applied.
#[derive(Debug, thiserror::Error)]
enum NotApplied {
    #[error(transparent)]
    Missing(#[from] Missing),
    #[error("the ledger did not take it")]
    Ledger(#[from] LedgerSqlError),
    #[error("the database did not take it")]
    Database(#[from] sqlx::Error),
}

/// Applies what waits; answers how many were looked at and how many failed.
pub(crate) async fn pass(pool: &Db, desk: &Desk<'_>, limit: i64) -> sqlx::Result<(usize, usize)> {
    let metrics = desk.metrics;
    let waiting = stripe_event::waiting(pool, clock::now(), limit).await?;
    let mut failed = 0;
    for id in &waiting {
        match one(pool, desk, id).await {
            Ok(Some(outcome)) => {
                metrics.stripe.events.with_label_values(&[outcome]).inc();
                // A receipt may wait.
                desk.bell.ring();
            }
            // Another replica was at it.
            Ok(None) => {}
            Err((attempts, error)) => {
                failed += 1;
                let last = attempts + 1 >= TRIES_MAX;
                let wait = BACKOFF * 2_u32.pow(attempts.clamp(0, TRIES_MAX).unsigned_abs());
                let next = (!last).then(|| clock::now().plus(wait));
                let text = format!("{:#}", anyhow::Error::from(error));
                stripe_event::failed(pool, id, &text, next).await?;
                let outcome = if last { "dead" } else { "failed" };
                metrics.stripe.events.with_label_values(&[outcome]).inc();
                if last {
                    tracing::error!(event.id = %id, error = text, "a Stripe event cannot be applied; mend the cause, then replay it (GET /api/v1/admin/stripe-events)");
                } else {
                    tracing::warn!(event.id = %id, error = text, "a Stripe event could not be applied yet");
                }
            }
        }
    }
    let (dead, left) = stripe_event::census(pool).await?;
    metrics.stripe.dead.set(dead);
    metrics.stripe.waiting.set(left);
    Ok((waiting.len(), failed))
}

async fn one(pool: &Db, desk: &Desk<'_>, id: &str) -> Result<Option<&'static str>, (i32, NotApplied)> {
    let early = |error: sqlx::Error| (0, error.into());
    let mut tx = pool.begin().await.map_err(early)?;
    let Some((event, attempts)) = stripe_event::lock(&mut tx, id).await.map_err(early)? else { return Ok(None) };
    let late = |error: NotApplied| (attempts, error);
    let outcome = apply(&mut tx, desk, &event, clock::now()).await.map_err(late)?;
    stripe_event::mark(&mut tx, id, outcome).await.map_err(|error| late(error.into()))?;
    tx.commit().await.map_err(|error| late(error.into()))?;
    Ok(Some(outcome))
}

async fn apply(
    conn: &mut PgConnection,
    desk: &Desk<'_>,
    event: &Value,
    now: Timestamp,
) -> Result<&'static str, NotApplied> {
    let facts = facts::read(event, desk.book)?;
    if facts.is_empty() {
        return Ok("ignored");
    }
    payment::alone(conn).await?;
    for fact in &facts {
        match fact {
            Fact::Subscription(standing) => payment::set_subscription(conn, standing).await?,
            Fact::Customer { account, customer, method } => {
                payment::set_customer(conn, *account, customer, method.as_deref()).await?;
            }
            Fact::Paid { .. }
            | Fact::Failed { .. }
            | Fact::MonthPaid(_)
            | Fact::Linked { .. }
            | Fact::Refunded { .. }
            | Fact::Disputed { .. } => take_in(conn, desk, fact, now).await?,
        }
    }
    Ok("applied")
}

/// The names by which a fact speaks of payments and charges.
fn names(fact: &Fact) -> (Vec<Uuid>, Vec<String>, Vec<String>) {
    match fact {
        Fact::Paid { payment, intent, amount: _ } => (vec![*payment], intent.iter().cloned().collect(), Vec::new()),
        Fact::Failed { payment } => (vec![*payment], Vec::new(), Vec::new()),
        Fact::MonthPaid(month) => {
            (vec![month.payment()], month.intent.iter().cloned().collect(), vec![month.invoice.clone()])
        }
        Fact::Linked { invoice, intent } => (Vec::new(), vec![intent.clone()], vec![invoice.clone()]),
        Fact::Refunded { intent, .. } | Fact::Disputed { intent, .. } => (Vec::new(), vec![intent.clone()], Vec::new()),
        Fact::Subscription(_) | Fact::Customer { .. } => (Vec::new(), Vec::new(), Vec::new()),
    }
}

async fn take_in(conn: &mut PgConnection, desk: &Desk<'_>, fact: &Fact, now: Timestamp) -> Result<(), NotApplied> {
    let (ids, intents, invoices) = names(fact);
    let mut state = payment::load(conn, &ids, &intents, &invoices).await?;
    state.merge(fact);
    payment::store(conn, &state, now).await?;
    let concerned: Vec<Uuid> = state.payments.keys().copied().collect();
    let accounts: Vec<Uuid> = state.payments.values().map(|payment| payment.account).collect();
    desk.shared.changes(&accounts).await;
    for id in concerned {
        if settle(conn, &mut state, id, now).await? && desk.mail {
            receipt(conn, &state, id, (fact, now)).await?;
        }
    }
    Ok(())
}

/// Sends the receipt of a payment whose credits were given in this transaction: so there is one, however often and in which
/// order it is heard that it is paid.
async fn receipt(
    conn: &mut PgConnection,
    state: &State,
    id: Uuid,
    (fact, now): (&Fact, Timestamp),
) -> Result<(), NotApplied> {
    let Some(payment) = state.payments.get(&id) else { return Ok(()) };
    let charge = payment.intent.as_ref().and_then(|intent| state.charges.get(intent));
    let page = match fact {
        Fact::MonthPaid(month) => month.page.clone(),
        Fact::Paid { .. }
        | Fact::Failed { .. }
        | Fact::Linked { .. }
        | Fact::Refunded { .. }
        | Fact::Disputed { .. }
        | Fact::Subscription(_)
        | Fact::Customer { .. } => None,
    };
    let letter = Letter::Receipt {
        account: payment.account,
        reference: id.to_string(),
        credits_millis: payment.credits,
        amount_minor: payment.charged(charge).unwrap_or(payment.amount),
        currency: payment.currency.clone(),
        paid_ms: Some(now.0),
        intent: payment.intent.clone(),
        page,
    };
    Ok(mail::send(conn, &letter, now).await?)
}

/// Does what is due about a payment, and writes that it is done; whether its credits were given now.
async fn settle(conn: &mut PgConnection, state: &mut State, id: Uuid, now: Timestamp) -> Result<bool, NotApplied> {
    let Some(before) = state.payments.get(&id).cloned() else { return Ok(false) };
    let due = state.due(&before);
    let mut payment = before.clone();
    let stamp = || Stamp { txn: Uuid::now_v7(), at: now };
    if due.grant {
        ledger::grant(conn, payment.account, &payment.grant(), stamp()).await?;
        payment.granted = true;
    }
    if payment.granted && due.back > payment.taken {
        let lot = ledger::lot_of(conn, &payment.reference()).await?;
        if let Some(lot) = lot {
            // What has lapsed is gone already.
            let back = due.back.min(payment.credits - lot.lapsed).max(payment.taken);
            if back > payment.taken {
                ledger::take_back(conn, payment.account, payment.take_back(lot.id, back), stamp()).await?;
                payment.taken = back;
            }
        }
    }
    if payment != before {
        payment::put(conn, &payment, now).await?;
    }
    if payment.failed && !payment.paid && payment.kind == Kind::TopUp {
        top_up::pause(conn, payment.account, "the last top-up was not taken").await?;
    }
    let stopped = if payment::is_disputed(conn, payment.account).await? { Stopped::Yes } else { Stopped::No };
    ledger::set_stopped(conn, payment.account, stopped).await?;
    state.payments.insert(id, payment);
    Ok(due.grant)
}
