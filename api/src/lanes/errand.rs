//! Errands in Postgres: sent, claimed, done, put back, buried.

use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;
use tintype_types::Timestamp;
use uuid::Uuid;

use crate::clock::to_ms;
use crate::database::Db;

/// Longest error kept, in characters.
const ERROR_CHARS_MAX: usize = 500;

/// Something to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Errand {
    /// Its id.
    pub id: Uuid,
    /// See [`NewErrand::key`].
    pub key: Option<String>,
    /// What the lane needs.
    pub payload: Value,
    /// Which try this is, from 1.
    pub attempt: i32,
}

/// Something to be done.
#[derive(Clone, Debug)]
pub struct NewErrand {
    /// While one of this key is waiting, another is not sent.
    pub key: Option<String>,
    /// What the lane needs.
    pub payload: Value,
    /// Not before this.
    pub due: Timestamp,
}

/// Sends errands down a lane, in the caller's transaction; how many, without those whose key is waiting already. Ring the
/// bell when the transaction has committed: without it they are met at the next look.
pub async fn send(conn: &mut PgConnection, lane: &str, errands: &[NewErrand], at: Timestamp) -> sqlx::Result<u64> {
    const SQL: &str = "insert into errand (id, lane, key, payload, due_ms, created_ms)
        select id, $1, key, payload, due_ms, $6
        from unnest($2::uuid[], $3::text[], $4::jsonb[], $5::bigint[]) as sent(id, key, payload, due_ms)
        on conflict (lane, key) where dead_ms is null and key is not null do nothing";
    let ids: Vec<Uuid> = errands.iter().map(|_| Uuid::now_v7()).collect();
    let keys: Vec<Option<&str>> = errands.iter().map(|errand| errand.key.as_deref()).collect();
    let payloads: Vec<Json<&Value>> = errands.iter().map(|errand| Json(&errand.payload)).collect();
    let dues: Vec<i64> = errands.iter().map(|errand| to_ms(errand.due)).collect();
    let sent = sqlx::query(SQL).bind(lane).bind(ids).bind(keys).bind(payloads).bind(dues).bind(to_ms(at));
    Ok(sent.execute(conn).await?.rows_affected())
}

/// Takes errands whose time has come, oldest first; they are the caller's until `until`.
pub(super) async fn claim(
    pool: &Db,
    lane: &str,
    room: usize,
    now: Timestamp,
    until: Timestamp,
) -> sqlx::Result<Vec<Errand>> {
    const SQL: &str = "update errand set attempt = attempt + 1, claimed_ms = $3, due_ms = $4
        where id in (select id from errand where lane = $1 and dead_ms is null and due_ms <= $3
            order by due_ms, id limit $2 for update skip locked)
        returning id, key, payload, attempt";
    let rows: Vec<(Uuid, Option<String>, Json<Value>, i32)> = sqlx::query_as(SQL)
        .bind(lane)
        .bind(i64::try_from(room).unwrap_or(i64::MAX))
        .bind(to_ms(now))
        .bind(to_ms(until))
        .fetch_all(pool)
        .await?;
    Ok(rows.into_iter().map(|(id, key, Json(payload), attempt)| Errand { id, key, payload, attempt }).collect())
}

/// When the next errand of a lane is due.
pub(super) async fn next_due(pool: &Db, lane: &str) -> sqlx::Result<Option<i64>> {
    const SQL: &str = "select min(due_ms) from errand where lane = $1 and dead_ms is null";
    sqlx::query_scalar(SQL).bind(lane).fetch_one(pool).await
}

/// It is done: the row goes. False when it was somebody else's by now.
pub(super) async fn done(pool: &Db, errand: &Errand) -> sqlx::Result<bool> {
    const SQL: &str = "delete from errand where id = $1 and attempt = $2 and claimed_ms is not null";
    changed(sqlx::query(SQL).bind(errand.id).bind(errand.attempt).execute(pool).await)
}

/// It is done and comes again.
pub(super) async fn done_until(pool: &Db, errand: &Errand, due: Timestamp) -> sqlx::Result<bool> {
    const SQL: &str = "update errand set attempt = 0, claimed_ms = null, error = null, due_ms = $3
        where id = $1 and attempt = $2 and claimed_ms is not null";
    changed(sqlx::query(SQL).bind(errand.id).bind(errand.attempt).bind(to_ms(due)).execute(pool).await)
}

/// It waits for another try; `tried` is how many it has had.
pub(super) async fn put_back(
    pool: &Db,
    errand: &Errand,
    tried: i32,
    due: Timestamp,
    error: &str,
) -> sqlx::Result<bool> {
    const SQL: &str = "update errand set attempt = $3, claimed_ms = null, due_ms = $4, error = $5
        where id = $1 and attempt = $2 and claimed_ms is not null";
    let put = sqlx::query(SQL).bind(errand.id).bind(errand.attempt).bind(tried).bind(to_ms(due)).bind(short(error));
    changed(put.execute(pool).await)
}

/// It will not be tried again unless somebody says so.
pub(super) async fn bury(pool: &Db, errand: &Errand, at: Timestamp, error: &str) -> sqlx::Result<bool> {
    const SQL: &str = "update errand set claimed_ms = null, dead_ms = $3, error = $4
        where id = $1 and attempt = $2 and claimed_ms is not null";
    changed(
        sqlx::query(SQL).bind(errand.id).bind(errand.attempt).bind(to_ms(at)).bind(short(error)).execute(pool).await,
    )
}

/// How a lane stands.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Standing {
    /// The lane.
    pub lane: String,
    /// Errands that wait for a try.
    pub waiting: i64,
    /// Errands somebody has now.
    pub running: i64,
    /// Errands that were given up.
    pub dead: i64,
    /// When the one that waits longest was due.
    pub oldest_due_ms: Option<i64>,
}

/// How every lane stands that has errands.
pub async fn standings(pool: &Db) -> sqlx::Result<Vec<Standing>> {
    const SQL: &str = "select lane, count(*) filter (where dead_ms is null and claimed_ms is null) as waiting,
            count(*) filter (where dead_ms is null and claimed_ms is not null) as running,
            count(*) filter (where dead_ms is not null) as dead,
            min(due_ms) filter (where dead_ms is null and claimed_ms is null) as oldest_due_ms
        from errand group by lane order by lane";
    sqlx::query_as(SQL).fetch_all(pool).await
}

/// An errand as the administrator sees it: never its payload.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Shown {
    /// Its id.
    pub id: Uuid,
    /// Its lane.
    pub lane: String,
    /// How often it was tried.
    pub attempt: i32,
    /// When it is due, or counts as dropped.
    pub due_ms: i64,
    /// Since when somebody has it.
    pub claimed_ms: Option<i64>,
    /// When it was given up.
    pub dead_ms: Option<i64>,
    /// Why its last try failed.
    pub error: Option<String>,
    /// When it was sent.
    pub created_ms: i64,
}

/// Errands, newest first, from before a given one: the dead or the living, of one lane or of all.
pub async fn list(
    pool: &Db,
    lane: Option<&str>,
    dead: bool,
    before: Option<Uuid>,
    limit: i64,
) -> sqlx::Result<Vec<Shown>> {
    const SQL: &str = "select id, lane, attempt, due_ms, claimed_ms, dead_ms, error, created_ms from errand
        where (dead_ms is not null) = $2 and ($1::text is null or lane = $1) and ($3::uuid is null or id < $3)
        order by id desc limit $4";
    sqlx::query_as(SQL).bind(lane).bind(dead).bind(before).bind(limit).fetch_all(pool).await
}

/// Has a dead errand tried again, as if it were new, in the caller's transaction; false when there is none, or its key is
/// waiting already.
pub async fn revive(conn: &mut PgConnection, id: Uuid, at: Timestamp) -> sqlx::Result<bool> {
    const SQL: &str = "update errand e set dead_ms = null, attempt = 0, due_ms = $2
        where id = $1 and dead_ms is not null and not exists
            (select 1 from errand other where other.lane = e.lane and other.key = e.key and other.dead_ms is null)";
    changed(sqlx::query(SQL).bind(id).bind(to_ms(at)).execute(conn).await)
}

/// Throws a dead errand away, in the caller's transaction; false when there is none.
pub async fn discard(conn: &mut PgConnection, id: Uuid) -> sqlx::Result<bool> {
    changed(sqlx::query("delete from errand where id = $1 and dead_ms is not null").bind(id).execute(conn).await)
}

fn changed(done: sqlx::Result<sqlx::postgres::PgQueryResult>) -> sqlx::Result<bool> {
    Ok(done?.rows_affected() == 1)
}

fn short(error: &str) -> String {
    error.chars().filter(|c| *c != '\0').take(ERROR_CHARS_MAX).collect()
}
