//! Stripe's events as they came, and what became of each.

use sqlx::PgConnection;
use sqlx::types::Json;
use tintype_types::Timestamp;

use crate::clock::to_ms;
use crate::database::Db;

/// An event to be kept.
#[derive(Clone, Debug)]
pub(crate) struct NewEvent<'a> {
    /// Stripe's id.
    pub(crate) id: &'a str,
    /// Its type.
    pub(crate) kind: &'a str,
    /// All of it.
    pub(crate) payload: &'a serde_json::Value,
    /// When Stripe made it, in seconds.
    pub(crate) created_s: i64,
    /// Whether it was fetched because it never came.
    pub(crate) missed: bool,
}

/// Keeps an event; false when it is kept already.
pub(crate) async fn keep(pool: &Db, event: &NewEvent<'_>, now: Timestamp) -> sqlx::Result<bool> {
    const SQL: &str = "insert into stripe_event (id, type, payload, created_s, received_ms, next_ms, missed)
        values ($1, $2, $3, $4, $5, $5, $6) on conflict do nothing";
    let done = sqlx::query(SQL)
        .bind(event.id)
        .bind(event.kind)
        .bind(Json(event.payload))
        .bind(event.created_s)
        .bind(to_ms(now))
        .bind(event.missed)
        .execute(pool)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Events that wait to be applied, oldest first.
pub(crate) async fn waiting(pool: &Db, now: Timestamp, limit: i64) -> sqlx::Result<Vec<String>> {
    const SQL: &str =
        "select id from stripe_event where state = 'received' and next_ms <= $1 order by next_ms limit $2";
    sqlx::query_scalar(SQL).bind(to_ms(now)).bind(limit).fetch_all(pool).await
}

/// Locks an event that waits, unless another replica is at it.
pub(crate) async fn lock(conn: &mut PgConnection, id: &str) -> sqlx::Result<Option<(serde_json::Value, i32)>> {
    const SQL: &str =
        "select payload, attempts from stripe_event where id = $1 and state = 'received' for update skip locked";
    let row: Option<(Json<serde_json::Value>, i32)> = sqlx::query_as(SQL).bind(id).fetch_optional(conn).await?;
    Ok(row.map(|(payload, attempts)| (payload.0, attempts)))
}

/// What became of an event.
pub(crate) async fn mark(conn: &mut PgConnection, id: &str, state: &'static str) -> sqlx::Result<()> {
    let sql = "update stripe_event set state = $2, error = null where id = $1";
    sqlx::query(sql).bind(id).bind(state).execute(conn).await?;
    Ok(())
}

/// An event could not be applied: it is tried again at `next`, or never.
pub(crate) async fn failed(pool: &Db, id: &str, error: &str, next: Option<Timestamp>) -> sqlx::Result<()> {
    const SQL: &str = "update stripe_event set attempts = attempts + 1, error = $2,
            next_ms = coalesce($3, next_ms), state = case when $3::bigint is null then 'dead' else state end
        where id = $1 and state = 'received'";
    sqlx::query(SQL).bind(id).bind(error).bind(next.map(to_ms)).execute(pool).await?;
    Ok(())
}

/// An event as the administrator sees it: never what is in it, which names people.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct Shown {
    /// Stripe's id.
    pub(crate) id: String,
    /// Its type.
    #[sqlx(rename = "type")]
    pub(crate) kind: String,
    /// `received`, `applied`, `ignored` or `dead`.
    pub(crate) state: String,
    /// How often applying it failed.
    pub(crate) attempts: i32,
    /// Why it failed the last time.
    pub(crate) error: Option<String>,
    /// When Stripe made it, in seconds.
    pub(crate) created_s: i64,
    /// When it came.
    pub(crate) received_ms: i64,
}

/// Events that were given up, or those that failed and are tried again; the oldest first, from after a given one.
pub(crate) async fn list(
    pool: &Db,
    state: &str,
    after: Option<&(i64, String)>,
    limit: i64,
) -> sqlx::Result<Vec<Shown>> {
    const SQL: &str = "select id, type, state, attempts, error, created_s, received_ms from stripe_event
        where state = $1 and attempts > 0 and ($2::bigint is null or (received_ms, id) > ($2, $3))
        order by received_ms, id limit $4";
    let (ms, id) = after.map(|(ms, id)| (*ms, id.as_str())).unzip();
    sqlx::query_as(SQL).bind(state).bind(ms).bind(id).bind(limit).fetch_all(pool).await
}

/// Has an event that was given up applied again, as if it had just come; false when there is none.
pub(crate) async fn replay(conn: &mut PgConnection, id: &str, now: Timestamp) -> sqlx::Result<bool> {
    const SQL: &str = "update stripe_event set state = 'received', attempts = 0, next_ms = $2
        where id = $1 and state = 'dead'";
    Ok(sqlx::query(SQL).bind(id).bind(to_ms(now)).execute(conn).await?.rows_affected() == 1)
}

/// How many events were given up, and how many wait.
pub(crate) async fn census(pool: &Db) -> sqlx::Result<(i64, i64)> {
    const SQL: &str = "select (select count(*) from stripe_event where state = 'dead'),
        (select count(*) from stripe_event where state = 'received')";
    sqlx::query_as(SQL).fetch_one(pool).await
}
