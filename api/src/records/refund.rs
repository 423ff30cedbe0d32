//! Money to be given back.

use sqlx::PgConnection;
use tintype_types::Timestamp;
use uuid::Uuid;

use crate::clock::to_ms;
use crate::database::Db;

/// A refund Stripe is to be asked for.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct Asking {
    /// Ours.
    pub(crate) id: Uuid,
    /// Stripe's intent of the payment, once known.
    pub(crate) intent: Option<String>,
    /// How much, in the currency's smallest unit.
    pub(crate) amount_minor: i64,
    /// How often it was asked for.
    pub(crate) attempts: i32,
}

/// A refund to be asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewRefund {
    /// Ours.
    pub(crate) id: Uuid,
    /// Of which payment.
    pub(crate) payment: Uuid,
    /// How much, in the currency's smallest unit.
    pub(crate) amount: i64,
    /// When it is asked for if it has not been by then.
    pub(crate) next: Timestamp,
}

/// Notes a refund to be asked for, in the caller's transaction, which holds the payment's lock.
pub(crate) async fn open(conn: &mut PgConnection, new: &NewRefund, now: Timestamp) -> sqlx::Result<()> {
    const SQL: &str = "insert into refund (id, payment, amount_minor, next_ms, created_ms) values ($1, $2, $3, $4, $5)";
    let NewRefund { id, payment, amount, next } = new;
    sqlx::query(SQL).bind(id).bind(payment).bind(amount).bind(to_ms(*next)).bind(to_ms(now)).execute(conn).await?;
    Ok(())
}

/// A refund as it stands.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct Row {
    /// Ours.
    pub(crate) id: Uuid,
    /// How much, in the currency's smallest unit.
    pub(crate) amount_minor: i64,
    /// `asked`, `done` or `refused`.
    pub(crate) state: String,
    /// Why it was refused.
    pub(crate) message: Option<String>,
    /// When it was asked for.
    pub(crate) created_ms: i64,
}

/// A payment's refunds, the oldest first.
pub(crate) async fn of<'c>(reads: impl sqlx::PgExecutor<'c>, payment: Uuid) -> sqlx::Result<Vec<Row>> {
    const SQL: &str =
        "select id, amount_minor, state, message, created_ms from refund where payment = $1 order by created_ms, id";
    sqlx::query_as(SQL).bind(payment).fetch_all(reads).await
}

/// How much of them is done, and how much is being asked for.
pub(crate) fn sums(rows: &[Row]) -> (i64, i64) {
    let sum = |state: &str| rows.iter().filter(|row| row.state == state).map(|row| row.amount_minor).sum();
    (sum("done"), sum("asked"))
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
