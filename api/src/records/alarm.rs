//! What somebody wants to be told of about their credits, and whether it has come to that.

use sqlx::PgConnection;
use tintype_types::Timestamp;
use uuid::Uuid;

use crate::clock::{month_start, to_ms};
use crate::database::Db;

/// Longest a job may be open and still be counted in the month in which it ends. Ids begin with the moment a job was made, and
/// by them the jobs of a month are found.
const OPEN_MAX_MS: u64 = 30 * 86_400_000;

/// When to tell; at least one of them is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Alarm {
    /// So many milli-credits were spent in a month of the calendar, UTC.
    pub(crate) spent: Option<i64>,
    /// Fewer milli-credits than this are left.
    pub(crate) below: Option<i64>,
}

/// An account's alarm.
pub(crate) async fn find(pool: &Db, account: Uuid) -> sqlx::Result<Option<Alarm>> {
    const SQL: &str = "select spent, below from budget_alarm where account = $1";
    sqlx::query_as(SQL).bind(account).fetch_optional(pool).await
}

/// Makes or changes an account's alarm; what was told before may be told again.
pub(crate) async fn set(pool: &Db, account: Uuid, alarm: Alarm, now: Timestamp) -> sqlx::Result<()> {
    const SQL: &str = "insert into budget_alarm (account, spent, below, changed_ms) values ($1, $2, $3, $4)
        on conflict (account) do update set spent = $2, below = $3, changed_ms = $4, told_month_ms = null,
            told_below = false";
    let Alarm { spent, below } = alarm;
    sqlx::query(SQL).bind(account).bind(spent).bind(below).bind(to_ms(now)).execute(pool).await?;
    Ok(())
}

/// Takes an account's alarm away.
pub(crate) async fn remove(pool: &Db, account: Uuid) -> sqlx::Result<()> {
    sqlx::query("delete from budget_alarm where account = $1").bind(account).execute(pool).await?;
    Ok(())
}

/// What an account has spent in the month that `now` is in, in milli-credits.
pub(crate) async fn spent_this_month(conn: &mut PgConnection, account: Uuid, now: Timestamp) -> sqlx::Result<i64> {
    const SQL: &str = "select coalesce(sum(h.captured), 0)::bigint from generation g join hold h using (id)
        where g.account = $1 and g.id >= $2 and h.ended_ms >= $3";
    let since = month_start(now);
    let from = Uuid::from_u128(u128::from(since.0.saturating_sub(OPEN_MAX_MS)) << 80);
    sqlx::query_scalar(SQL).bind(account).bind(from).bind(to_ms(since)).fetch_one(conn).await
}

/// Accounts that may have spent this month what they want to be told of, and were not told. Locked.
pub(crate) async fn maybe_spent(conn: &mut PgConnection, now: Timestamp, limit: i64) -> sqlx::Result<Vec<(Uuid, i64)>> {
    const SQL: &str = "select a.account, a.spent from budget_alarm a join ledger_account l using (account)
        where a.spent is not null and a.told_month_ms is distinct from $1
            and a.counted_month + l.spent - a.counted >= a.spent
        order by a.account limit $2 for update of a skip locked";
    sqlx::query_as(SQL).bind(to_ms(month_start(now))).bind(limit).fetch_all(conn).await
}

/// Keeps what a month was added up to, and that its owner was told of it.
pub(crate) async fn counted(
    conn: &mut PgConnection,
    account: Uuid,
    month: i64,
    told: Option<Timestamp>,
) -> sqlx::Result<()> {
    const SQL: &str = "update budget_alarm a set counted = l.spent, counted_month = $2,
            told_month_ms = coalesce($3, a.told_month_ms)
        from ledger_account l where l.account = a.account and a.account = $1";
    sqlx::query(SQL).bind(account).bind(month).bind(told.map(to_ms)).execute(conn).await?;
    Ok(())
}

/// Notes which accounts have come to have less than they want to be told of: those, with that and what they have.
pub(crate) async fn fallen(conn: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<(Uuid, i64, i64)>> {
    const UP: &str = "update budget_alarm a set told_below = false from ledger_account l
        where l.account = a.account and a.told_below and l.available + l.held >= a.below";
    const DOWN: &str = "update budget_alarm a set told_below = true from ledger_account l
        where l.account = a.account and a.account in (
            select b.account from budget_alarm b join ledger_account k using (account)
            where not b.told_below and k.available + k.held < b.below order by b.account limit $1 for update of b skip locked)
        returning a.account, a.below, l.available + l.held";
    sqlx::query(UP).execute(&mut *conn).await?;
    sqlx::query_as(DOWN).bind(limit).fetch_all(conn).await
}
