//! What is asked of Stripe until it has answered: refunds, and top-ups of accounts that run low.
//!
//! The wish is written down first, then Stripe is asked with a key that follows from it, then the answer is written. Whoever
//! dies in between has asked for nothing, or asks again with the same key. Credits move when the event comes, not here.

use std::time::Duration;

use uuid::Uuid;

use super::Payments;
use super::plans::PriceBook;
use super::stripe::StripeFault;
use crate::clock;
use crate::database::Db;
use crate::metrics::Metrics;
use crate::records::refund::{Answer, Asking};
use crate::records::top_up::NewTopUp;
use crate::records::{payment, refund, top_up};

/// Rounds of asking: the last is well before Stripe forgets an idempotency key, after 24 hours.
const TRIES_MAX: i32 = 12;
/// Wait before the second round; doubles, up to a longest.
const BACKOFF: Duration = Duration::from_secs(2);
/// The longest wait.
const BACKOFF_MAX: Duration = Duration::from_hours(1);
/// In what time a rule's top-ups are counted.
const MONTH: Duration = Duration::from_hours(30 * 24);

/// Why a refund counts as refused that was never answered for.
const NO_ANSWER: &str = "no answer";

fn backoff(attempts: i32) -> Duration {
    (BACKOFF * 2_u32.pow(attempts.clamp(0, TRIES_MAX).unsigned_abs())).min(BACKOFF_MAX)
}

/// How asking for a refund went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Stripe gives it back.
    Done,
    /// Stripe does not, and says why.
    Refused(String),
    /// Nobody knows yet; it is asked again.
    Waits,
}

/// Asks for refunds that are not answered for.
pub(crate) async fn refunds(pool: &Db, payments: &Payments, metrics: &Metrics, limit: i64) -> sqlx::Result<()> {
    for asking in refund::to_ask(pool, clock::now(), limit).await? {
        refund(pool, payments, metrics, &asking).await?;
    }
    Ok(())
}

/// Asks for one refund and writes the answer down.
pub(crate) async fn refund(pool: &Db, payments: &Payments, metrics: &Metrics, asking: &Asking) -> sqlx::Result<Asked> {
    let Asking { id, intent, amount_minor, attempts } = asking;
    let Some(intent) = intent else { return Ok(Asked::Waits) };
    let (asked, outcome) = match payments.stripe.refund(*id, intent, *amount_minor).await {
        Ok(made) => {
            refund::answered(pool, *id, Answer::Done(&made.id)).await?;
            (Asked::Done, "done")
        }
        Err(StripeFault::Refused { code, .. }) => {
            tracing::warn!(refund.id = %id, code, "Stripe refuses a refund; its payment keeps the reason");
            refund::answered(pool, *id, Answer::Refused(&code)).await?;
            (Asked::Refused(code), "refused")
        }
        Err(StripeFault::Unknown { .. }) if attempts + 1 >= TRIES_MAX => {
            tracing::error!(refund.id = %id, "Stripe never answered for a refund; look for it there");
            refund::answered(pool, *id, Answer::Refused(NO_ANSWER)).await?;
            (Asked::Refused(NO_ANSWER.to_owned()), "given_up")
        }
        Err(StripeFault::Unknown { .. }) => {
            refund::answered(pool, *id, Answer::Again(clock::now().plus(backoff(*attempts)))).await?;
            (Asked::Waits, "unanswered")
        }
    };
    metrics.stripe.refunds.with_label_values(&[outcome]).inc();
    Ok(asked)
}

/// Buys credits for accounts that run low and have said so.
pub(crate) async fn top_ups(pool: &Db, payments: &Payments, book: &PriceBook, limit: i64) -> sqlx::Result<()> {
    let now = clock::now();
    let month_ago = tintype_types::Timestamp(now.0.saturating_sub(MONTH.as_millis() as u64));
    for (account, offer) in top_up::low(pool, month_ago, limit).await? {
        let Some(pack) = book.pack(&offer) else {
            // Unknown prices are refused, not guessed.
            let mut tx = pool.begin().await?;
            top_up::pause(&mut tx, account, "this pack is not sold any more").await?;
            tx.commit().await?;
            continue;
        };
        let new = NewTopUp {
            id: Uuid::now_v7(),
            account,
            offer: &pack.id,
            version: book.version,
            credits: pack.credits_millis,
            amount: pack.price_minor,
            currency: &book.currency,
        };
        top_up::open(pool, &new, now).await?;
    }
    for (id, attempts) in top_up::to_ask(pool, clock::now(), limit).await? {
        charge(pool, payments, id, attempts).await?;
    }
    Ok(())
}

async fn charge(pool: &Db, payments: &Payments, id: Uuid, attempts: i32) -> sqlx::Result<()> {
    let Some(payment) = payment::find(pool, id).await? else { return Ok(()) };
    let Some((customer, Some(method))) = payment::customer(pool, payment.account).await? else {
        return top_up::fail(pool, id, "there is no card to charge; buy a pack and let the card be kept").await;
    };
    match payments.stripe.charge(&payment, &customer, &method).await {
        Ok(made) if matches!(made.status.as_deref(), Some("succeeded" | "processing")) => {
            top_up::asked(pool, id, clock::now()).await
        }
        // The bank wants its customer there, who is not.
        Ok(_) => top_up::fail(pool, id, "the bank wants to be asked by you; buy a pack by hand").await,
        Err(StripeFault::Refused { code, .. }) => {
            top_up::fail(pool, id, &format!("the card was not charged ({code}); buy a pack with another")).await
        }
        Err(StripeFault::Unknown { .. }) if attempts + 1 >= TRIES_MAX => {
            tracing::error!(payment.id = %id, "Stripe never answered for a top-up; look for it there");
            top_up::fail(pool, id, "the payment provider did not answer").await
        }
        Err(StripeFault::Unknown { .. }) => top_up::ask_again(pool, id, clock::now().plus(backoff(attempts))).await,
    }
}
