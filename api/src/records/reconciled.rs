//! How far Stripe's books were read, and what we know of a charge of theirs.

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

/// What we know of a charge.
#[derive(Clone, Copy, Debug, sqlx::FromRow)]
pub(crate) struct Known {
    /// Whether a payment of ours was paid by it.
    pub(crate) paid: bool,
    /// How much of it was given back.
    pub(crate) refunded: i64,
}

/// What we know of a charge of a customer's; none when the customer is not ours.
pub(crate) async fn known(pool: &Db, customer: &str, intent: &str) -> sqlx::Result<Option<Known>> {
    const SQL: &str = "select exists (select 1 from payment p where p.intent = $2 and p.paid) as paid,
            coalesce((select refunded_minor from charge c where c.intent = $2), 0) as refunded
        from billing where customer = $1";
    sqlx::query_as(SQL).bind(customer).bind(intent).fetch_optional(pool).await
}
