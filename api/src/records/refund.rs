//! Money to be given back.

use tintype_types::Timestamp;
use uuid::Uuid;

use crate::clock::to_ms;
use crate::database::Db;

/// A refund Stripe is to be asked for.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct Asking {
    /// Ours.
    pub(crate) id: Uuid,
    /// Stripe's intent of the payment.
    pub(crate) intent: String,
    /// How much, in the currency's smallest unit.
    pub(crate) amount_minor: i64,
    /// How often it was asked for.
    pub(crate) attempts: i32,
}

/// Notes a refund to be asked for; false while another of the payment is.
pub(crate) async fn open(pool: &Db, id: Uuid, payment: Uuid, amount: i64, now: Timestamp) -> sqlx::Result<bool> {
    const SQL: &str = "insert into refund (id, payment, amount_minor, next_ms, created_ms) values ($1, $2, $3, $4, $4)
        on conflict do nothing";
    let done = sqlx::query(SQL).bind(id).bind(payment).bind(amount).bind(to_ms(now)).execute(pool).await?;
    Ok(done.rows_affected() == 1)
}

/// What was given back of a payment, or is being.
pub(crate) async fn total(pool: &Db, payment: Uuid) -> sqlx::Result<i64> {
    const SQL: &str = "select coalesce(sum(amount_minor), 0)::bigint from refund
        where payment = $1 and state in ('asked', 'done')";
    sqlx::query_scalar(SQL).bind(payment).fetch_one(pool).await
}

/// Refunds Stripe has not answered for.
pub(crate) async fn to_ask(pool: &Db, now: Timestamp, limit: i64) -> sqlx::Result<Vec<Asking>> {
    const SQL: &str =
        "select r.id, p.intent, r.amount_minor, r.attempts from refund r join payment p on p.id = r.payment
        where r.state = 'asked' and r.next_ms <= $1 and p.intent is not null order by r.next_ms limit $2";
    sqlx::query_as(SQL).bind(to_ms(now)).bind(limit).fetch_all(pool).await
}

/// How asking ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer<'a> {
    /// Stripe gives it back, under this id.
    Done(&'a str),
    /// Stripe does not.
    Refused(&'a str),
    /// Nobody knows; to be asked again.
    Again(Timestamp),
}

/// Writes what Stripe answered.
pub(crate) async fn answered(pool: &Db, id: Uuid, answer: Answer<'_>) -> sqlx::Result<()> {
    match answer {
        Answer::Done(stripe_id) => {
            let sql = "update refund set state = 'done', stripe_id = $2 where id = $1 and state = 'asked'";
            sqlx::query(sql).bind(id).bind(stripe_id).execute(pool).await?;
        }
        Answer::Refused(why) => {
            let sql = "update refund set state = 'refused', message = $2 where id = $1 and state = 'asked'";
            sqlx::query(sql).bind(id).bind(why).execute(pool).await?;
        }
        Answer::Again(next) => {
            let sql = "update refund set attempts = attempts + 1, next_ms = $2 where id = $1 and state = 'asked'";
            sqlx::query(sql).bind(id).bind(to_ms(next)).execute(pool).await?;
        }
    }
    Ok(())
}
