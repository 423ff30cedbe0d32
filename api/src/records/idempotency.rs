//! Idempotency keys: one key, one job. The answer follows from the job, so it is not kept twice.

use sqlx::PgConnection;
use tintype_types::Timestamp;
use uuid::Uuid;

use crate::clock::to_ms;
use crate::database::Db;

/// How long a key is remembered, in milliseconds.
pub const KEPT_MS: i64 = 24 * 60 * 60 * 1_000;
/// Keys forgotten in one go.
const FORGET_BATCH: i64 = 1_000;

/// Where a key is valid.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope {
    /// Whose key.
    pub account: Uuid,
    /// For which operation.
    pub route: &'static str,
    /// What the client sent.
    pub key: String,
}

/// What is known of a key.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Seen {
    /// Hash of the body it came with first.
    pub body_sha256: Vec<u8>,
    /// The job it made.
    pub generation: Uuid,
}

/// What the key did before, if it was used.
pub async fn find(conn: &mut PgConnection, scope: &Scope) -> sqlx::Result<Option<Seen>> {
    const SQL: &str = "select body_sha256, generation from idempotency where account = $1 and route = $2 and key = $3";
    sqlx::query_as(SQL).bind(scope.account).bind(scope.route).bind(&scope.key).fetch_optional(conn).await
}

/// Forgets keys older than a day, some at a time; whether there may be more.
pub async fn forget_old(pool: &Db, now: Timestamp) -> sqlx::Result<bool> {
    const SQL: &str = "delete from idempotency where (account, route, key) in
        (select account, route, key from idempotency where created_ms < $1 order by created_ms limit $2)";
    let deleted = sqlx::query(SQL).bind(to_ms(now) - KEPT_MS).bind(FORGET_BATCH).execute(pool).await?;
    Ok(deleted.rows_affected() >= FORGET_BATCH.unsigned_abs())
}
