//! API keys, as hashes.

use std::collections::BTreeMap;

use sqlx::PgConnection;
use tintype_types::Timestamp;
use uuid::Uuid;

use crate::clock::{from_ms, to_ms};
use crate::database::Db;
use crate::keyring::Holder;
use crate::keys::ApiKey;
use crate::scope::{Scope, Scopes};

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
    /// What it may do; none: everything.
    pub scopes: Option<Vec<String>>,
    /// From when on it is worthless.
    pub expires_ms: Option<i64>,
    /// What it may spend in all, in milli-credits.
    pub budget: Option<i64>,
    /// What it has spent of that, what is held included.
    pub used: i64,
}

/// A key to be kept.
#[derive(Debug)]
pub struct KeptKey<'a> {
    /// The key.
    pub key: &'a ApiKey,
    /// For people.
    pub name: &'a str,
    /// See [`KeyRow::scopes`].
    pub scopes: Option<Scopes>,
    /// See [`KeyRow::expires_ms`].
    pub expires_ms: Option<i64>,
    /// See [`KeyRow::budget`].
    pub budget: Option<i64>,
}

impl<'a> KeptKey<'a> {
    /// A key without a limit.
    pub fn unlimited(key: &'a ApiKey, name: &'a str) -> Self {
        Self { key, name, scopes: None, expires_ms: None, budget: None }
    }
}

/// Keeps a new key.
pub async fn create(conn: &mut PgConnection, account: Uuid, new: &KeptKey<'_>, at: Timestamp) -> sqlx::Result<()> {
    const SQL: &str = "insert into api_key (id, account, name, secret_sha256, created_ms, scopes, expires_ms, budget)
        values ($1, $2, $3, $4, $5, $6, $7, $8)";
    let KeptKey { key, name, scopes, expires_ms, budget } = new;
    let scopes = scopes.map(|scopes| scopes.list().into_iter().map(Scope::as_str).collect::<Vec<_>>());
    let query = sqlx::query(SQL).bind(key.id()).bind(account).bind(name).bind(&key.sha256()[..]).bind(to_ms(at));
    query.bind(scopes).bind(expires_ms).bind(budget).execute(conn).await?;
    Ok(())
}

/// Whose key this is; none when it is unknown or revoked.
pub async fn authenticate(pool: &Db, key: &ApiKey) -> sqlx::Result<Option<Holder>> {
    const SQL: &str = "select k.account, k.secret_sha256, k.scopes, k.expires_ms, k.budget is not null as budgeted
        from api_key k join account a on a.id = k.account
        where k.id = $1 and k.revoked_ms is null and a.suspended_ms is null";
    let row: Option<HolderRow> = sqlx::query_as(SQL).bind(key.id()).fetch_optional(pool).await?;
    Ok(row.filter(|row| key.matches(&row.secret_sha256)).map(|row| Holder {
        account: row.account,
        scopes: row.scopes.map_or(Scopes::WHOLE, |names| Scopes::named(names.iter().map(String::as_str))),
        expires: row.expires_ms.map(from_ms),
        budgeted: row.budgeted,
    }))
}

#[derive(sqlx::FromRow)]
struct HolderRow {
    account: Uuid,
    secret_sha256: Vec<u8>,
    scopes: Option<Vec<String>>,
    expires_ms: Option<i64>,
    budgeted: bool,
}

/// Writes down when keys were last used.
pub async fn touch(pool: &Db, used: &BTreeMap<String, Timestamp>) -> sqlx::Result<()> {
    // Locked in the order of their ids, as whoever counts against budgets does.
    const SQL: &str = "with held as (select id from api_key where id = any($1) order by id for update)
        update api_key set last_used_ms = greatest(last_used_ms, seen.at_ms)
        from unnest($1::text[], $2::bigint[]) as seen (id, at_ms) join held using (id) where api_key.id = seen.id";
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
pub async fn list(pool: &Db, account: Uuid) -> sqlx::Result<Vec<KeyRow>> {
    const SQL: &str = "select id, name, created_ms, last_used_ms, revoked_ms, scopes, expires_ms, budget, used from api_key \
         where account = $1 order by created_ms, id limit 1000";
    sqlx::query_as(SQL).bind(account).fetch_all(pool).await
}

/// Revokes a key of the account; false when it has none of that name. Revoking twice is fine.
pub async fn revoke(conn: &mut PgConnection, account: Uuid, id: &str, at: Timestamp) -> sqlx::Result<bool> {
    let done = sqlx::query("update api_key set revoked_ms = coalesce(revoked_ms, $3) where id = $1 and account = $2")
        .bind(id)
        .bind(account)
        .bind(to_ms(at))
        .execute(conn)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Revokes every key of the account.
pub(crate) async fn revoke_all(conn: &mut PgConnection, account: Uuid, at: Timestamp) -> sqlx::Result<()> {
    const SQL: &str = "update api_key set revoked_ms = $2 where account = $1 and revoked_ms is null";
    sqlx::query(SQL).bind(account).bind(to_ms(at)).execute(conn).await?;
    Ok(())
}

/// What is left of the budgets of these keys, those that have one; locked in the order of their ids.
pub(crate) async fn lock_budgets(conn: &mut PgConnection, ids: &[&str]) -> sqlx::Result<BTreeMap<String, i64>> {
    const SQL: &str = "select id, budget - used from api_key where id = any($1) and budget is not null
        order by id for update";
    let rows: Vec<(String, i64)> = sqlx::query_as(SQL).bind(ids).fetch_all(conn).await?;
    Ok(rows.into_iter().collect())
}

/// Counts what jobs asked for with these keys may cost.
pub(crate) async fn count_used(conn: &mut PgConnection, used: &BTreeMap<&str, i64>) -> sqlx::Result<()> {
    const SQL: &str = "update api_key set used = used + spent.amount
        from unnest($1::text[], $2::bigint[]) as spent (id, amount) where api_key.id = spent.id and budget is not null";
    let (ids, amounts): (Vec<&str>, Vec<i64>) = used.iter().map(|(id, amount)| (*id, *amount)).unzip();
    sqlx::query(SQL).bind(ids).bind(amounts).execute(conn).await?;
    Ok(())
}

/// Gives back to a job's key what the job did not cost in the end.
pub(crate) async fn give_back(conn: &mut PgConnection, job: Uuid, amount: i64) -> sqlx::Result<()> {
    const SQL: &str = "update api_key k set used = greatest(0, used - $2) from generation g
        where g.id = $1 and k.id = g.api_key and k.budget is not null";
    sqlx::query(SQL).bind(job).bind(amount).execute(conn).await?;
    Ok(())
}

/// Gives a key of the account another budget, or none; false when it has no such key.
pub async fn set_budget(conn: &mut PgConnection, account: Uuid, id: &str, budget: Option<i64>) -> sqlx::Result<bool> {
    // The book's lock: nobody counts against the old budget meanwhile. A new budget begins with nothing used.
    const SQL: &str = "update api_key set used = case when budget is null then 0 else used end, budget = $3
        where id = $1 and account = $2 and revoked_ms is null";
    sqlx::query("select 1 from ledger_account where account = $1 for update").bind(account).execute(&mut *conn).await?;
    let done = sqlx::query(SQL).bind(id).bind(account).bind(budget).execute(conn).await?;
    Ok(done.rows_affected() == 1)
}
