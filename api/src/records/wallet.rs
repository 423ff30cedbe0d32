//! What an account's owner sees of its book: lots, and a line for each payment and each job. Reading only.

use tintype_types::Timestamp;
use uuid::Uuid;

use crate::clock::{from_ms, to_ms};
use crate::database::Db;

/// A lot as its owner sees it.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct LotRow {
    /// Its id.
    pub id: Uuid,
    /// Where it comes from.
    pub source: String,
    /// How many were given, in milli-credits.
    pub amount: i64,
    /// What can be spent.
    pub remaining: i64,
    /// What is set aside.
    pub reserved: i64,
    /// When it was given.
    pub created_ms: i64,
    /// When what remains lapses.
    pub expires_ms: Option<i64>,
}

/// The open lots of an account that have not lapsed, in the order they are burned.
pub async fn lots(pool: &Db, account: Uuid, now: Timestamp) -> sqlx::Result<Vec<LotRow>> {
    const SQL: &str = "select id, source, amount, remaining, reserved, created_ms, expires_ms from lot
        where account = $1 and open and (reserved > 0 or expires_ms is null or expires_ms > $2)
        order by expires_ms nulls last, array_position(array['promo', 'admin', 'refund', 'subscription', 'purchase'], source), id";
    sqlx::query_as(SQL).bind(account).bind(to_ms(now)).fetch_all(pool).await
}

/// A line: a payment, a gift, a job, what lapsed or was taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its place in the book; later ones are greater.
    pub seq: i64,
    /// The transaction's kind.
    pub kind: String,
    /// The transaction's key.
    pub key: String,
    /// When.
    pub at: Timestamp,
    /// What the account has more (or less) by it, held credits included.
    pub change: i64,
    /// What is set aside, for a job that has not ended.
    pub held: i64,
    /// Where the credits come from, for a gift or a payment.
    pub source: Option<String>,
}

/// Lines of a book, newest first, from before a given one. A job is one line: its hold while that is open, then its end.
pub async fn lines(pool: &Db, account: Uuid, before: Option<i64>, limit: i64) -> sqlx::Result<Vec<Line>> {
    const SQL: &str = "
        with shown as (
            (select id, seq, kind, key, at_ms from ledger_txn
                where account = $1 and kind <> 'hold' and seq < $2 order by seq desc limit $3)
            union all
            (select t.id, t.seq, t.kind, t.key, t.at_ms
                from hold h join ledger_txn t on t.key = 'hold:' || h.id || ':start'
                where h.account = $1 and h.state = 'held' and t.seq < $2 order by t.seq desc limit $3)
            order by seq desc limit $3
        )
        select s.seq, s.kind, s.key, s.at_ms,
            (-coalesce(sum(e.amount) filter (where e.bucket in ('granted', 'spent')), 0))::bigint as change,
            (case when s.kind = 'hold' then coalesce(sum(e.amount) filter (where e.bucket = 'held'), 0) else 0 end)::bigint as held,
            l.source
        from shown s join ledger_entry e on e.txn = s.id left join lot l on l.id = s.id and s.kind = 'grant'
        group by s.id, s.seq, s.kind, s.key, s.at_ms, l.source order by s.seq desc";
    let rows: Vec<LineRow> =
        sqlx::query_as(SQL).bind(account).bind(before.unwrap_or(i64::MAX)).bind(limit).fetch_all(pool).await?;
    Ok(rows.into_iter().map(Line::from).collect())
}

#[derive(sqlx::FromRow)]
struct LineRow {
    seq: i64,
    kind: String,
    key: String,
    at_ms: i64,
    change: i64,
    held: i64,
    source: Option<String>,
}

impl From<LineRow> for Line {
    fn from(row: LineRow) -> Self {
        let LineRow { seq, kind, key, at_ms, change, held, source } = row;
        Self { seq, kind, key, at: from_ms(at_ms), change, held, source }
    }
}
