//! The letter of a week: who wants one, whose week is over, and what was made and spent in it.

use std::time::Duration;

use sqlx::{PgConnection, PgExecutor};
use tintype_types::Timestamp;
use uuid::Uuid;

use crate::clock::to_ms;
use crate::database::Db;

/// Longest a job may be open and still be counted in the week in which it ends. Ids begin with the moment a job was made, and by
/// them the jobs of a week are found.
const OPEN_MAX: Duration = Duration::from_hours(30 * 24);

/// What a week brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Figures {
    /// Pictures made that are still there.
    pub(crate) images: i64,
    /// Spent, in milli-credits.
    pub(crate) spent: i64,
    /// Left, what is set aside for jobs included, in milli-credits.
    pub(crate) left: i64,
}

/// Whether a person wants it; the first comes a week after they say so.
pub(crate) async fn set(db: impl PgExecutor<'_>, person: Uuid, wanted: bool, now: Timestamp) -> sqlx::Result<()> {
    const SQL: &str =
        "update person set digest = $2, digest_ms = case when $2 and not digest then $3 else digest_ms end
        where id = $1";
    sqlx::query(SQL).bind(person).bind(wanted).bind(to_ms(now)).execute(db).await.map(drop)
}

/// Accounts of those whose week began before a moment and is now noted to be over.
pub(crate) async fn due(
    conn: &mut PgConnection,
    before: Timestamp,
    now: Timestamp,
    limit: i64,
) -> sqlx::Result<Vec<Uuid>> {
    const SQL: &str = "update person set digest_ms = $2 where id in (
            select id from person where digest and digest_ms <= $1
                and email_verified_ms is not null and suspended_ms is null
            order by digest_ms limit $3 for update skip locked)
        returning account";
    sqlx::query_scalar(SQL).bind(to_ms(before)).bind(to_ms(now)).bind(limit).fetch_all(conn).await
}

/// What came of an account since a moment.
pub(crate) async fn figures(pool: &Db, account: Uuid, since: Timestamp) -> sqlx::Result<Option<Figures>> {
    const SQL: &str = "select
            (select count(*) from image i where i.account = l.account and i.created_ms >= $2 and i.deleting_ms is null)
                as images,
            (select coalesce(sum(h.captured), 0)::bigint from generation g join hold h using (id)
                where g.account = l.account and g.id >= $3 and h.ended_ms >= $2) as spent,
            l.available + l.held as left
        from ledger_account l where l.account = $1";
    let oldest = since.0.saturating_sub(u64::try_from(OPEN_MAX.as_millis()).unwrap_or(u64::MAX));
    let from = Uuid::from_u128(u128::from(oldest) << 80);
    sqlx::query_as(SQL).bind(account).bind(to_ms(since)).bind(from).fetch_optional(pool).await
}
