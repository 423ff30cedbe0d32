//! API keys, as hashes.

use std::collections::BTreeMap;

use sqlx::{PgConnection, PgPool};
use tintype_types::Timestamp;
use uuid::Uuid;

use crate::clock::to_ms;
use crate::keyring::Holder;
use crate::keys::ApiKey;

/// Keys an account may have that are not revoked.
pub const KEYS_PER_ACCOUNT_MAX: i64 = 100;

/// A key as it may be shown.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct KeyRow {
    /// The part of the key that names it.
    pub id: String,
    /// For people.
    pub name: String,
    /// When it was made.
    pub created_ms: i64,
    /// When it was last used, to the minute.
    pub last_used_ms: Option<i64>,
    /// When it was revoked.
    pub revoked_ms: Option<i64>,
}

/// Keeps a new key.
pub async fn create(
    conn: &mut PgConnection,
    key: &ApiKey,
    account: Uuid,
    name: &str,
    at: Timestamp,
) -> sqlx::Result<()> {
    sqlx::query("insert into api_key (id, account, name, secret_sha256, created_ms) values ($1, $2, $3, $4, $5)")
        .bind(key.id())
        .bind(account)
        .bind(name)
        .bind(&key.sha256()[..])
        .bind(to_ms(at))
        .execute(conn)
        .await?;
    Ok(())
}

/// Whose key this is; none when it is unknown or revoked.
pub async fn authenticate(pool: &PgPool, key: &ApiKey) -> sqlx::Result<Option<Holder>> {
    const SQL: &str = "select account, secret_sha256 from api_key where id = $1 and revoked_ms is null";
    let row: Option<(Uuid, Vec<u8>)> = sqlx::query_as(SQL).bind(key.id()).fetch_optional(pool).await?;
    Ok(row.filter(|(_, kept)| key.matches(kept)).map(|(account, _)| Holder { account }))
}

/// Writes down when keys were last used.
pub async fn touch(pool: &PgPool, used: &BTreeMap<String, Timestamp>) -> sqlx::Result<()> {
    const SQL: &str = "update api_key set last_used_ms = greatest(last_used_ms, used.at_ms)
        from unnest($1::text[], $2::bigint[]) as used (id, at_ms) where api_key.id = used.id";
    let (ids, times): (Vec<&str>, Vec<i64>) = used.iter().map(|(id, at)| (id.as_str(), to_ms(*at))).unzip();
    sqlx::query(SQL).bind(ids).bind(times).execute(pool).await?;
    Ok(())
}

/// Keys of an account that are not revoked, counted under the account's lock so that two at once cannot pass the limit.
pub async fn count_locked(conn: &mut PgConnection, account: Uuid) -> sqlx::Result<i64> {
    sqlx::query("select 1 from account where id = $1 for update").bind(account).execute(&mut *conn).await?;
    sqlx::query_scalar("select count(*) from api_key where account = $1 and revoked_ms is null")
        .bind(account)
        .fetch_one(conn)
        .await
}

/// Every key of an account, oldest first.
pub async fn list(pool: &PgPool, account: Uuid) -> sqlx::Result<Vec<KeyRow>> {
    const SQL: &str = "select id, name, created_ms, last_used_ms, revoked_ms from api_key \
         where account = $1 order by created_ms, id limit 1000";
    sqlx::query_as(SQL).bind(account).fetch_all(pool).await
}

/// Revokes a key of the account; false when it has none of that name. Revoking twice is fine.
pub async fn revoke(pool: &PgPool, account: Uuid, id: &str, at: Timestamp) -> sqlx::Result<bool> {
    let done = sqlx::query("update api_key set revoked_ms = coalesce(revoked_ms, $3) where id = $1 and account = $2")
        .bind(id)
        .bind(account)
        .bind(to_ms(at))
        .execute(pool)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Revokes every key of the account.
pub(crate) async fn revoke_all(conn: &mut PgConnection, account: Uuid, at: Timestamp) -> sqlx::Result<()> {
    const SQL: &str = "update api_key set revoked_ms = $2 where account = $1 and revoked_ms is null";
    sqlx::query(SQL).bind(account).bind(to_ms(at)).execute(conn).await?;
    Ok(())
}
