//! What letters about pictures need to know.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::database::Db;

/// Pictures drawn for an account since a moment that it has not deleted.
pub(crate) async fn images_since(pool: &Db, account: Uuid, since_ms: i64) -> sqlx::Result<i64> {
    const SQL: &str = "select count(*) from image where account = $1 and created_ms >= $2 and deleting_ms is null";
    sqlx::query_scalar(SQL).bind(account).bind(since_ms).fetch_one(pool).await
}

/// Whether whoever has this account wants a letter when pictures are ready.
pub(crate) async fn wants_ready(conn: &mut PgConnection, account: Uuid) -> sqlx::Result<bool> {
    const SQL: &str = "select exists (select 1 from person where account = $1 and notify_ready
        and email_verified_ms is not null and suspended_ms is null)";
    sqlx::query_scalar(SQL).bind(account).fetch_one(conn).await
}
