//! Endpoints and deliveries in Postgres. Each statement of an owner names the account.

use rand::rng;
use sqlx::PgConnection;
use tintype_types::Timestamp;
use uuid::Uuid;

use super::sign::Secret;
use super::{ENDPOINTS_MAX, Event, LOG_MS, OLD_SECRET_MS};
use crate::clock::to_ms;
use crate::database::Db;
use crate::lanes::{NewErrand, errand};

/// The lane that carries deliveries out.
pub(crate) const LANE: &str = "webhooks";

/// Where an account wants to be told.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct Endpoint {
    pub(crate) id: Uuid,
    pub(crate) url: String,
    pub(crate) description: String,
    pub(crate) events: Vec<String>,
    pub(crate) created_ms: i64,
    pub(crate) disabled_ms: Option<i64>,
    pub(crate) disabled_reason: Option<String>,
    pub(crate) failures: i32,
}

/// The columns of [`Endpoint`].
macro_rules! columns {
    () => {
        "id, url, description, events, created_ms, disabled_ms, disabled_reason, failures"
    };
}

/// An account's endpoints, oldest first: as many as there may be.
pub(crate) async fn list(pool: &Db, account: Uuid) -> sqlx::Result<Vec<Endpoint>> {
    const SQL: &str = concat!("select ", columns!(), " from webhook_endpoint where account = $1 order by id limit $2");
    sqlx::query_as(SQL).bind(account).bind(ENDPOINTS_MAX).fetch_all(pool).await
}

/// An account's endpoint.
pub(crate) async fn find(pool: &Db, account: Uuid, id: Uuid) -> sqlx::Result<Option<Endpoint>> {
    const SQL: &str = concat!("select ", columns!(), " from webhook_endpoint where account = $1 and id = $2");
    sqlx::query_as(SQL).bind(account).bind(id).fetch_optional(pool).await
}

/// What an endpoint is to be.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) url: String,
    pub(crate) description: String,
    pub(crate) events: Vec<Event>,
    /// Whether it is to be told anything; a new one is.
    pub(crate) enabled: bool,
}

impl Wanted {
    fn events(&self) -> Vec<&'static str> {
        self.events.iter().map(|event| event.as_str()).collect()
    }
}

/// Makes an endpoint and its secret; none when the account has as many as it may.
pub(crate) async fn create(
    conn: &mut PgConnection,
    account: Uuid,
    wanted: &Wanted,
    at: Timestamp,
) -> sqlx::Result<Option<(Uuid, Secret)>> {
    const LOCK: &str = "select id from account where id = $1 for no key update";
    const NEW: &str = "insert into webhook_endpoint (id, account, url, description, events, secret, created_ms)
        select $2, $1, $3, $4, $5, $6, $7 where (select count(*) from webhook_endpoint where account = $1) < $8";
    let (id, secret) = (Uuid::now_v7(), Secret::generate(&mut rng()));
    // The account is locked, so that two at once cannot pass the limit.
    sqlx::query(LOCK).bind(account).execute(&mut *conn).await?;
    let made = sqlx::query(NEW)
        .bind(account)
        .bind(id)
        .bind(&wanted.url)
        .bind(&wanted.description)
        .bind(wanted.events())
        .bind(secret.as_bytes())
        .bind(to_ms(at))
        .bind(ENDPOINTS_MAX)
        .execute(conn)
        .await?;
    Ok((made.rows_affected() == 1).then_some((id, secret)))
}

/// Changes an endpoint. Switching it on forgets its failures; switching it off, or on, twice changes nothing.
pub(crate) async fn update(pool: &Db, account: Uuid, id: Uuid, wanted: &Wanted, at: Timestamp) -> sqlx::Result<bool> {
    const SQL: &str = "update webhook_endpoint set url = $3, description = $4, events = $5,
            disabled_ms = case when $6 then null else coalesce(disabled_ms, $7) end,
            disabled_reason = case when $6 then null else coalesce(disabled_reason, 'switched off by its owner') end,
            failures = case when $6 and disabled_ms is not null then 0 else failures end,
            paused_until_ms = case when $6 and disabled_ms is not null then 0 else paused_until_ms end
        where account = $1 and id = $2";
    let done = sqlx::query(SQL)
        .bind(account)
        .bind(id)
        .bind(&wanted.url)
        .bind(&wanted.description)
        .bind(wanted.events())
        .bind(wanted.enabled)
        .bind(to_ms(at));
    Ok(done.execute(pool).await?.rows_affected() == 1)
}

/// Gives an endpoint a new secret; the old one signs too for a day.
pub(crate) async fn rotate(pool: &Db, account: Uuid, id: Uuid, at: Timestamp) -> sqlx::Result<Option<Secret>> {
    const SQL: &str = "update webhook_endpoint set old_secret = secret, old_secret_until_ms = $4, secret = $3
        where account = $1 and id = $2";
    let secret = Secret::generate(&mut rng());
    let until = to_ms(at) + OLD_SECRET_MS;
    let done = sqlx::query(SQL).bind(account).bind(id).bind(secret.as_bytes()).bind(until).execute(pool).await?;
    Ok((done.rows_affected() == 1).then_some(secret))
}

/// Deletes an endpoint with its log.
pub(crate) async fn delete(pool: &Db, account: Uuid, id: Uuid) -> sqlx::Result<bool> {
    const SQL: &str = "delete from webhook_endpoint where account = $1 and id = $2";
    Ok(sqlx::query(SQL).bind(account).bind(id).execute(pool).await?.rows_affected() == 1)
}

/// What webhooks of an account's single requests are signed with; made when there is none yet.
pub(crate) async fn account_secret(pool: &Db, account: Uuid) -> sqlx::Result<Secret> {
    // The update changes nothing and answers with the row that was there.
    const SQL: &str = "insert into webhook_secret (account, secret) values ($1, $2)
        on conflict (account) do update set secret = webhook_secret.secret returning secret";
    let new = Secret::generate(&mut rng());
    let bytes = sqlx::query_scalar(SQL).bind(account).bind(new.as_bytes()).fetch_one(pool).await?;
    Ok(Secret::from_bytes(bytes))
}

/// One thing told to one endpoint.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct Delivery {
    pub(crate) id: Uuid,
    pub(crate) generation: Option<Uuid>,
    pub(crate) event: String,
    pub(crate) state: String,
    pub(crate) attempts: i32,
    pub(crate) status: Option<i32>,
    pub(crate) error: Option<String>,
    pub(crate) took_ms: Option<i64>,
    pub(crate) tried_ms: Option<i64>,
    pub(crate) created_ms: i64,
}

/// What was told to an endpoint of the account, newest first, from before a given delivery.
pub(crate) async fn deliveries(
    pool: &Db,
    account: Uuid,
    endpoint: Uuid,
    before: Option<Uuid>,
    limit: i64,
) -> sqlx::Result<Vec<Delivery>> {
    const SQL: &str = "select id, generation, event, state, attempts, status, error, took_ms, tried_ms, created_ms
        from webhook_delivery where account = $1 and endpoint = $2 and ($3::uuid is null
            or (created_ms, id) < (select created_ms, id from webhook_delivery where id = $3 and account = $1))
        order by created_ms desc, id desc limit $4";
    sqlx::query_as(SQL).bind(account).bind(endpoint).bind(before).bind(limit).fetch_all(pool).await
}

/// Has a delivery carried out, in the caller's transaction.
async fn send(conn: &mut PgConnection, delivery: Uuid, at: Timestamp) -> sqlx::Result<()> {
    let errand =
        NewErrand { key: Some(delivery.to_string()), payload: serde_json::json!({ "delivery": delivery }), due: at };
    errand::send(conn, LANE, &[errand], at).await.map(drop)
}

/// Tells an endpoint of the account something to try it; none when it is not there.
pub(crate) async fn test(pool: &Db, account: Uuid, endpoint: Uuid, at: Timestamp) -> sqlx::Result<Option<Uuid>> {
    const SQL: &str = "insert into webhook_delivery (id, account, endpoint, event, created_ms)
        select $3, account, id, $4, $5 from webhook_endpoint where account = $1 and id = $2";
    let mut tx = pool.begin().await?;
    let id = Uuid::now_v7();
    let made = sqlx::query(SQL).bind(account).bind(endpoint).bind(id).bind(Event::Test.as_str()).bind(to_ms(at));
    if made.execute(&mut *tx).await?.rows_affected() == 0 {
        return Ok(None);
    }
    send(&mut tx, id, at).await?;
    tx.commit().await?;
    Ok(Some(id))
}

/// Tells an endpoint of the account the same thing again, under the same id, in the caller's transaction; false when there is
/// no such delivery.
pub(crate) async fn replay(
    conn: &mut PgConnection,
    account: Uuid,
    endpoint: Uuid,
    id: Uuid,
    at: Timestamp,
) -> sqlx::Result<bool> {
    const SQL: &str = "update webhook_delivery set state = 'waiting' where account = $1 and endpoint = $2 and id = $3";
    let done = sqlx::query(SQL).bind(account).bind(endpoint).bind(id).execute(&mut *conn).await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    send(conn, id, at).await?;
    Ok(true)
}

/// What it takes to carry a delivery out.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct Task {
    pub(crate) account: Uuid,
    pub(crate) endpoint: Option<Uuid>,
    pub(crate) generation: Option<Uuid>,
    pub(crate) event: String,
    pub(crate) created_ms: i64,
    pub(crate) url: Option<String>,
    pub(crate) secret: Option<Vec<u8>>,
    pub(crate) old_secret: Option<Vec<u8>>,
    pub(crate) old_secret_until_ms: Option<i64>,
    pub(crate) disabled: bool,
    pub(crate) paused_until_ms: i64,
}

/// Reads it; none when the delivery is gone, or was carried out already.
pub(super) async fn task(pool: &Db, id: Uuid) -> sqlx::Result<Option<Task>> {
    const SQL: &str =
        "select d.account, d.endpoint, d.generation, d.event, d.created_ms, coalesce(e.url, p.webhook) as url,
            e.secret, e.old_secret, e.old_secret_until_ms, e.disabled_ms is not null as disabled,
            coalesce(e.paused_until_ms, 0) as paused_until_ms
        from webhook_delivery d
        left join webhook_endpoint e on e.id = d.endpoint
        left join prediction p on d.endpoint is null and p.generation = d.generation
        where d.id = $1 and d.state = 'waiting'";
    sqlx::query_as(SQL).bind(id).fetch_optional(pool).await
}

/// How a try went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tried {
    /// The answer's status, if there was an answer.
    pub(super) status: Option<u16>,
    /// Why it does not count as delivered.
    pub(super) error: Option<String>,
    /// How long it took.
    pub(super) took_ms: i64,
}

/// Writes down a try. `last`: there will be no other.
pub(super) async fn tried(pool: &Db, id: Uuid, tried: &Tried, last: bool, at: Timestamp) -> sqlx::Result<()> {
    const SQL: &str = "update webhook_delivery set attempts = attempts + 1, status = $2, error = $3, took_ms = $4,
            tried_ms = $5, state = case when $3 is null then 'delivered' when $6 then 'failed' else state end
        where id = $1";
    sqlx::query(SQL)
        .bind(id)
        .bind(tried.status.map(i32::from))
        .bind(&tried.error)
        .bind(tried.took_ms)
        .bind(to_ms(at))
        .bind(last)
        .execute(pool)
        .await?;
    Ok(())
}

/// The endpoint heard: its failures are forgotten.
pub(super) async fn heard(pool: &Db, endpoint: Uuid) -> sqlx::Result<()> {
    const SQL: &str = "update webhook_endpoint set failures = 0, paused_until_ms = 0 where id = $1 and failures > 0";
    sqlx::query(SQL).bind(endpoint).execute(pool).await?;
    Ok(())
}

/// The endpoint did not hear. Answers how often in a row.
pub(super) async fn missed(pool: &Db, endpoint: Uuid) -> sqlx::Result<i32> {
    const SQL: &str = "update webhook_endpoint set failures = failures + 1 where id = $1 returning failures";
    Ok(sqlx::query_scalar(SQL).bind(endpoint).fetch_optional(pool).await?.unwrap_or_default())
}

/// Leaves the endpoint in peace until a moment.
pub(super) async fn pause(pool: &Db, endpoint: Uuid, until: Timestamp) -> sqlx::Result<()> {
    const SQL: &str = "update webhook_endpoint set paused_until_ms = $2 where id = $1";
    sqlx::query(SQL).bind(endpoint).bind(to_ms(until)).execute(pool).await?;
    Ok(())
}

/// Switches the endpoint off.
pub(super) async fn disable(pool: &Db, endpoint: Uuid, reason: &str, at: Timestamp) -> sqlx::Result<()> {
    const SQL: &str = "update webhook_endpoint set disabled_ms = coalesce(disabled_ms, $3), disabled_reason = $2
        where id = $1";
    sqlx::query(SQL).bind(endpoint).bind(reason).bind(to_ms(at)).execute(pool).await?;
    Ok(())
}

/// Forgets old deliveries, and what predictions never became jobs, some at a time; how many.
pub(super) async fn sweep(pool: &Db, at: Timestamp) -> sqlx::Result<u64> {
    const LOG: &str = "delete from webhook_delivery where id in
        (select id from webhook_delivery where created_ms < $1 order by created_ms limit 1000)";
    const STRAY: &str = "delete from prediction where generation in (select p.generation from prediction p
        where p.created_ms < $1 and not exists (select 1 from generation g where g.id = p.generation) limit 1000)";
    let before = to_ms(at) - LOG_MS;
    let log = sqlx::query(LOG).bind(before).execute(pool).await?.rows_affected();
    let stray = sqlx::query(STRAY).bind(before).execute(pool).await?.rows_affected();
    Ok(log + stray)
}
