//! Rules by which credits are bought when they run low, and the payments these make.

use sqlx::PgConnection;
use tintype_types::Timestamp;
use uuid::Uuid;

use crate::clock::to_ms;
use crate::database::Db;

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Rule {
    /// The pack that is bought.
    pub(crate) offer: String,
    /// When fewer milli-credits than this can be spent.
    pub(crate) below: i64,
    /// At most so often in thirty days.
    pub(crate) monthly_max: i32,
    /// Why it is off for now.
    pub(crate) paused: Option<String>,
}

/// An account's rule.
pub(crate) async fn find(pool: &Db, account: Uuid) -> sqlx::Result<Option<Rule>> {
    const SQL: &str = "select offer, below, monthly_max, paused from top_up_rule where account = $1";
    sqlx::query_as(SQL).bind(account).fetch_optional(pool).await
}

/// Makes or changes an account's rule, in the caller's transaction; it is on again.
pub(crate) async fn set(
    conn: &mut PgConnection,
    account: Uuid,
    offer: &str,
    (below, monthly_max): (i64, i32),
    now: Timestamp,
) -> sqlx::Result<()> {
    const SQL: &str =
        "insert into top_up_rule (account, offer, below, monthly_max, changed_ms) values ($1, $2, $3, $4, $5)
        on conflict (account) do update set offer = $2, below = $3, monthly_max = $4, changed_ms = $5, paused = null";
    sqlx::query(SQL).bind(account).bind(offer).bind(below).bind(monthly_max).bind(to_ms(now)).execute(conn).await?;
    Ok(())
}

/// Takes an account's rule away, in the caller's transaction; false when there was none.
pub(crate) async fn remove(conn: &mut PgConnection, account: Uuid) -> sqlx::Result<bool> {
    let done = sqlx::query("delete from top_up_rule where account = $1").bind(account).execute(conn).await?;
    Ok(done.rows_affected() == 1)
}

/// Turns an account's rule off until its owner turns it on again.
pub(crate) async fn pause(conn: &mut PgConnection, account: Uuid, why: &str) -> sqlx::Result<()> {
    let sql = "update top_up_rule set paused = coalesce(paused, $2) where account = $1";
    sqlx::query(sql).bind(account).bind(why).execute(conn).await?;
    Ok(())
}

/// Accounts that run low, may buy, and are not buying: account and pack.
pub(crate) async fn low(pool: &Db, month_ago: Timestamp, limit: i64) -> sqlx::Result<Vec<(Uuid, String)>> {
    const SQL: &str = "select r.account, r.offer from top_up_rule r
        join ledger_account l on l.account = r.account and l.available < r.below and not l.stopped
        join billing b on b.account = r.account and b.method is not null
        where r.paused is null
            and not exists (select 1 from payment p where p.account = r.account and p.kind = 'top_up' and not p.paid and not p.failed)
            and (select count(*) from payment p where p.account = r.account and p.kind = 'top_up' and p.created_ms > $1) < r.monthly_max
        order by r.account limit $2";
    sqlx::query_as(SQL).bind(to_ms(month_ago)).bind(limit).fetch_all(pool).await
}

/// Notes a top-up to be asked for; false when one is open, or this one is there.
pub(crate) async fn open(pool: &Db, new: &NewTopUp<'_>, now: Timestamp) -> sqlx::Result<bool> {
    const SQL: &str = "insert into payment (id, account, kind, offer, price_version, credits, amount_minor, currency,
            created_ms, next_ms) values ($1, $2, 'top_up', $3, $4, $5, $6, $7, $8, $8) on conflict do nothing";
    let NewTopUp { id, account, offer, version, credits, amount, currency } = new;
    let done = sqlx::query(SQL)
        .bind(id)
        .bind(account)
        .bind(offer)
        .bind(version)
        .bind(credits)
        .bind(amount)
        .bind(currency)
        .bind(to_ms(now))
        .execute(pool)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// A top-up to be asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewTopUp<'a> {
    pub(crate) id: Uuid,
    pub(crate) account: Uuid,
    pub(crate) offer: &'a str,
    pub(crate) version: i32,
    pub(crate) credits: i64,
    pub(crate) amount: i64,
    pub(crate) currency: &'a str,
}

/// Top-ups that Stripe has not answered for, with how often it was asked.
pub(crate) async fn to_ask(pool: &Db, now: Timestamp, limit: i64) -> sqlx::Result<Vec<(Uuid, i32)>> {
    const SQL: &str = "select id, attempts from payment
        where kind = 'top_up' and asked_ms is null and not failed and next_ms <= $1 order by next_ms limit $2";
    sqlx::query_as(SQL).bind(to_ms(now)).bind(limit).fetch_all(pool).await
}

/// Stripe has answered.
pub(crate) async fn asked(pool: &Db, payment: Uuid, now: Timestamp) -> sqlx::Result<()> {
    let sql = "update payment set asked_ms = $2 where id = $1 and asked_ms is null";
    sqlx::query(sql).bind(payment).bind(to_ms(now)).execute(pool).await?;
    Ok(())
}

/// Stripe is to be asked again.
pub(crate) async fn ask_again(pool: &Db, payment: Uuid, next: Timestamp) -> sqlx::Result<()> {
    let sql = "update payment set attempts = attempts + 1, next_ms = $2 where id = $1";
    sqlx::query(sql).bind(payment).bind(to_ms(next)).execute(pool).await?;
    Ok(())
}

/// The top-up was not taken: it is over, and so is the rule for now.
pub(crate) async fn fail(pool: &Db, payment: Uuid, why: &str) -> sqlx::Result<()> {
    let mut tx = pool.begin().await?;
    let sql = "update payment set failed = true where id = $1 and not paid returning account";
    let account: Option<Uuid> = sqlx::query_scalar(sql).bind(payment).fetch_optional(&mut *tx).await?;
    if let Some(account) = account {
        pause(&mut tx, account, why).await?;
    }
    tx.commit().await
}
