//! By whom else persons are known.

use sqlx::{PgConnection, PgExecutor};
use tintype_types::Timestamp;
use uuid::Uuid;

use crate::clock::to_ms;

/// How long it is remembered which news came, in milliseconds: a week.
const EVENTS_KEPT_MS: i64 = 7 * 24 * 3_600_000;
/// Old news forgotten when one comes.
const EVENTS_TIDIED: i64 = 100;

/// Somebody a provider knows.
#[derive(Clone, Copy, Debug, sqlx::FromRow)]
pub(crate) struct Identity {
    /// Who they are here.
    pub(crate) person: Uuid,
}

/// Whoever a provider calls so.
pub(crate) async fn find(db: impl PgExecutor<'_>, provider: &str, subject: &str) -> sqlx::Result<Option<Identity>> {
    const SQL: &str = "select person from identity where provider = $1 and subject = $2";
    sqlx::query_as(SQL).bind(provider).bind(subject).fetch_optional(db).await
}

/// Holds everybody else up who looks for the same, until the transaction ends.
pub(crate) async fn lock(conn: &mut PgConnection, provider: &str, subject: &str) -> sqlx::Result<()> {
    const SQL: &str = "select pg_advisory_xact_lock(hashtextextended('identity:' || $1 || ':' || $2, 0))";
    sqlx::query(SQL).bind(provider).bind(subject).execute(conn).await?;
    Ok(())
}

/// Writes down that a person is known so; false when somebody is already.
pub(crate) async fn create(
    conn: &mut PgConnection,
    provider: &str,
    subject: &str,
    person: Uuid,
    at: Timestamp,
) -> sqlx::Result<bool> {
    const SQL: &str = "insert into identity (provider, subject, person, created_ms) values ($1, $2, $3, $4)
        on conflict do nothing";
    let done = sqlx::query(SQL).bind(provider).bind(subject).bind(person).bind(to_ms(at)).execute(conn).await?;
    Ok(done.rows_affected() == 1)
}

/// A person who may act, and the account of their own.
#[derive(Clone, Copy, Debug, sqlx::FromRow)]
pub(crate) struct Live {
    /// Who.
    pub(crate) person: Uuid,
    /// Their account.
    pub(crate) account: Uuid,
    /// Whether they are shut out, here or by the provider.
    pub(crate) shut_out: bool,
}

/// The person a provider vouches for, for a request.
pub(crate) async fn live(db: impl PgExecutor<'_>, provider: &str, subject: &str) -> sqlx::Result<Option<Live>> {
    const SQL: &str =
        "select p.id as person, p.account, i.deleted_ms is not null or p.suspended_ms is not null as shut_out
        from identity i join person p on p.id = i.person where i.provider = $1 and i.subject = $2";
    sqlx::query_as(SQL).bind(provider).bind(subject).fetch_optional(db).await
}

/// Takes news that came; false when they came before.
pub(crate) async fn take_news(conn: &mut PgConnection, id: &str, at: Timestamp) -> sqlx::Result<bool> {
    const TIDY: &str = "delete from clerk_event where id in (select id from clerk_event where at_ms < $1 limit $2)";
    const SQL: &str = "insert into clerk_event (id, at_ms) values ($1, $2) on conflict do nothing";
    sqlx::query(TIDY).bind(to_ms(at) - EVENTS_KEPT_MS).bind(EVENTS_TIDIED).execute(&mut *conn).await?;
    Ok(sqlx::query(SQL).bind(id).bind(to_ms(at)).execute(conn).await?.rows_affected() == 1)
}

/// Whether news of this age are newer than all before of somebody who is not gone; then they count.
pub(crate) async fn is_news(
    conn: &mut PgConnection,
    provider: &str,
    subject: &str,
    told_ms: i64,
) -> sqlx::Result<bool> {
    const SQL: &str = "update identity set told_ms = $3
        where provider = $1 and subject = $2 and told_ms < $3 and deleted_ms is null";
    let done = sqlx::query(SQL).bind(provider).bind(subject).bind(told_ms).execute(conn).await?;
    Ok(done.rows_affected() == 1)
}

/// The provider says that they are gone: whoever it was does not come in by it again.
pub(crate) async fn delete(conn: &mut PgConnection, provider: &str, subject: &str, at: Timestamp) -> sqlx::Result<()> {
    const SQL: &str = "update identity set deleted_ms = coalesce(deleted_ms, $3) where provider = $1 and subject = $2";
    sqlx::query(SQL).bind(provider).bind(subject).bind(to_ms(at)).execute(conn).await?;
    Ok(())
}
