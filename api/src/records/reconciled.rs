//! How far Stripe's books were read, what ours say of a charge of theirs, and where they differ.

use tintype_types::Timestamp;

use crate::clock::{from_ms, to_ms};
use crate::database::Db;
use crate::payments::reconcile::Reading;

/// The last reading.
pub(crate) async fn last(pool: &Db) -> sqlx::Result<Option<Reading>> {
    let row: Option<(i64, i64)> =
        sqlx::query_as("select until_s, at_ms from stripe_reconciled").fetch_optional(pool).await?;
    Ok(row.map(|(until_s, at_ms)| Reading { until_s, at: from_ms(at_ms) }))
}

/// Notes a reading.
pub(crate) async fn set(pool: &Db, until_s: i64, drift_minor: i64, at: Timestamp) -> sqlx::Result<()> {
    const SQL: &str = "insert into stripe_reconciled (until_s, at_ms, drift_minor) values ($1, $2, $3)
        on conflict (one) do update set until_s = $1, at_ms = $2, drift_minor = $3";
    sqlx::query(SQL).bind(until_s).bind(to_ms(at)).bind(drift_minor).execute(pool).await?;
    Ok(())
}

/// Whether a customer of Stripe's is somebody here.
pub(crate) async fn is_ours(pool: &Db, customer: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar("select exists (select 1 from billing where customer = $1)").bind(customer).fetch_one(pool).await
}

/// What by our books was charged through an intent and not given back, in the smallest unit; none where a payment was paid and
/// nobody said how much was charged.
pub(crate) async fn ours(pool: &Db, intent: &str) -> sqlx::Result<Option<i64>> {
    const SQL: &str = "select case when not exists (select 1 from payment where intent = $1 and paid) then 0
            else (select amount_minor - refunded_minor from charge where intent = $1 and amount_minor > 0) end";
    sqlx::query_scalar(SQL).bind(intent).fetch_one(pool).await
}

/// Intents that payments of ours were paid through: those ordered from a second on, up to a moment.
pub(crate) async fn paid(pool: &Db, since_s: i64, until: Timestamp, limit: i64) -> sqlx::Result<Vec<String>> {
    const SQL: &str = "select intent from payment where paid and intent is not null and amount_minor > 0
        and created_ms between $1 * 1000 and $2 order by created_ms limit $3";
    sqlx::query_scalar(SQL).bind(since_s).bind(to_ms(until)).bind(limit).fetch_all(pool).await
}

/// Notes what both books say of an intent; that they say the same, too.
pub(crate) async fn differ(pool: &Db, intent: &str, (stripe, ours): (i64, i64), at: Timestamp) -> sqlx::Result<()> {
    const SAME: &str = "delete from stripe_difference where intent = $1";
    const OTHER: &str =
        "insert into stripe_difference (intent, stripe_minor, ours_minor, since_ms) values ($1, $2, $3, $4)
        on conflict (intent) do update set stripe_minor = $2, ours_minor = $3";
    if stripe == ours {
        return sqlx::query(SAME).bind(intent).execute(pool).await.map(drop);
    }
    sqlx::query(OTHER).bind(intent).bind(stripe).bind(ours).bind(to_ms(at)).execute(pool).await.map(drop)
}

/// Intents of which the books differed at the last look, oldest first.
pub(crate) async fn differing(pool: &Db, limit: i64) -> sqlx::Result<Vec<String>> {
    const SQL: &str = "select intent from stripe_difference order by since_ms limit $1";
    sqlx::query_scalar(SQL).bind(limit).fetch_all(pool).await
}

/// By how much the books differ in all.
pub(crate) async fn difference(pool: &Db) -> sqlx::Result<i64> {
    const SQL: &str = "select coalesce(sum(abs(stripe_minor - ours_minor)), 0)::bigint from stripe_difference";
    sqlx::query_scalar(SQL).fetch_one(pool).await
}
