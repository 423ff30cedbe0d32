//! A batch of jobs in one transaction: the books are locked in one order, then everything is written by one statement.

use std::collections::BTreeMap;

use sqlx::PgConnection;
use sqlx::types::Json;
use tintype_crds::WhenLate;
use uuid::Uuid;

use super::{Deadline, Decided, Known, NewJob, Outcome, decide};
use crate::assets;
use crate::clock::to_ms;
use crate::database::Db;
use crate::error::ApiError;
use crate::ledger::post::Posting;
use crate::ledger::sql::{self as ledger, LedgerSqlError};
use crate::ledger::{Account, Book, Lot};
use crate::records::batch::{self, Batch};
use crate::records::generation::REFUSE;
use crate::records::idempotency::Scope;
use crate::records::{asset, key};

/// Makes the jobs; the outcomes are in the order of the orders.
///
/// # Errors
/// Nothing was made: the database did not do it. One bad row spoils its whole batch, so it is worth trying each alone.
pub async fn create(pool: &Db, orders: &[NewJob]) -> sqlx::Result<Vec<Outcome>> {
    let mut tx = pool.begin().await?;
    let outcomes = write_all(&mut tx, orders).await?;
    tx.commit().await?;
    Ok(outcomes)
}

/// Makes one job that reads uploaded pictures, which it locks.
pub(crate) async fn create_with_inputs(pool: &Db, order: &NewJob) -> Result<Outcome, ApiError> {
    let mut tx = pool.begin().await?;
    let inputs = assets::lock(&mut tx, order.account, &order.request).await?;
    let outcome = write_all(&mut tx, std::slice::from_ref(order)).await?.pop().unwrap_or(Outcome::KeyTaken);
    if outcome == Outcome::Made {
        asset::link(&mut tx, order.id, &inputs).await?;
    }
    tx.commit().await?;
    Ok(outcome)
}

/// Makes all of a batch's jobs, or none: then how the first that cannot be made is refused.
pub(crate) async fn create_all(pool: &Db, batch: &Batch, orders: &[NewJob]) -> Result<Outcome, ApiError> {
    let mut tx = pool.begin().await?;
    let mut inputs = Vec::new();
    for order in orders {
        inputs.push(assets::lock(&mut tx, order.account, &order.request).await?);
    }
    let outcomes = write_all(&mut tx, orders).await?;
    if let Some(refused) = outcomes.into_iter().find(|outcome| *outcome != Outcome::Made) {
        return Ok(refused);
    }
    for (order, inputs) in std::iter::zip(orders, &inputs) {
        asset::link(&mut tx, order.id, inputs).await?;
    }
    let ids: Vec<Uuid> = orders.iter().map(|order| order.id).collect();
    batch::create(&mut tx, batch, &ids).await?;
    tx.commit().await?;
    Ok(Outcome::Made)
}

async fn write_all(conn: &mut PgConnection, orders: &[NewJob]) -> sqlx::Result<Vec<Outcome>> {
    let known = Known {
        accounts: lock(conn, orders).await?,
        taken: taken(conn, orders).await?.into_iter().collect(),
        budgets: budgets(conn, orders).await?,
    };
    let decided = decide(orders, known).map_err(|error| sqlx::Error::Protocol(error.to_string()))?;
    let made: Vec<(&NewJob, &Posting)> = std::iter::zip(orders, &decided)
        .filter_map(|(order, (_, posting)): (&NewJob, &Decided)| Some((order, posting.as_deref()?)))
        .collect();
    if !made.is_empty() {
        write(conn, &made).await?;
        count_budgets(conn, &made).await?;
    }
    Ok(decided.into_iter().map(|(outcome, _)| outcome).collect())
}

/// Locks the books in the order of their accounts, so that two batches never wait for each other in a circle.
async fn lock(conn: &mut PgConnection, orders: &[NewJob]) -> sqlx::Result<BTreeMap<Uuid, Book>> {
    let accounts: std::collections::BTreeSet<Uuid> = orders.iter().map(|order| order.account).collect();
    let accounts: Vec<Uuid> = accounts.into_iter().collect();
    let books = ledger::lock_many(conn, &accounts).await.map_err(|error| match error {
        LedgerSqlError::Database(error) => error,
        damaged @ (LedgerSqlError::Refused(_)
        | LedgerSqlError::NoAccount(_)
        | LedgerSqlError::NoHold(_)
        | LedgerSqlError::Damaged(_)) => sqlx::Error::Protocol(damaged.to_string()),
    })?;
    Ok(books.into_iter().map(|book| (book.account.id, book)).collect())
}

/// Those of the orders' idempotency keys that were used.
async fn taken(conn: &mut PgConnection, orders: &[NewJob]) -> sqlx::Result<Vec<Scope>> {
    // Looked up one by one: the plan is kept, and one that was made while there were few keys would read all there are by now.
    const SQL: &str =
        "select t.n from unnest($1::uuid[], $2::text[], $3::text[]) with ordinality as t (account, route, key, n)
        cross join lateral (select from idempotency i where i.account = t.account and i.route = t.route and i.key = t.key
            limit 1) used";
    let scopes: Vec<Scope> = orders.iter().filter_map(NewJob::scope).collect();
    if scopes.is_empty() {
        return Ok(scopes);
    }
    let accounts: Vec<Uuid> = scopes.iter().map(|scope| scope.account).collect();
    let (routes, keys): (Vec<&str>, Vec<&str>) = scopes.iter().map(|scope| (scope.route, scope.key.as_str())).unzip();
    let found: Vec<i64> = sqlx::query_scalar(SQL).bind(accounts).bind(routes).bind(keys).fetch_all(conn).await?;
    Ok(found.into_iter().filter_map(|n| scopes.get(usize::try_from(n - 1).ok()?).cloned()).collect())
}

/// What is left of the budgets of the orders' keys. Few keys have one: then nothing is asked.
async fn budgets(conn: &mut PgConnection, orders: &[NewJob]) -> sqlx::Result<BTreeMap<String, i64>> {
    let keys: Vec<&str> = orders.iter().filter_map(NewJob::budgeted_key).collect();
    if keys.is_empty() { Ok(BTreeMap::new()) } else { key::lock_budgets(conn, &keys).await }
}

async fn count_budgets(conn: &mut PgConnection, made: &[(&NewJob, &Posting)]) -> sqlx::Result<()> {
    let mut used: BTreeMap<&str, i64> = BTreeMap::new();
    for (job, _) in made {
        if let Some(key) = job.budgeted_key() {
            *used.entry(key).or_default() += job.price;
        }
    }
    if used.is_empty() { Ok(()) } else { key::count_used(conn, &used).await }
}

/// Columns come as lists, one for each value of a job, a line, a book or a lot.
const WRITE: &str = "
    with jobs as (
        insert into generation (id, account, api_key, request, body_sha256, price, created_ms, answered_ms, submitted_ms, deadline_ms, when_late, traceparent)
        select id, account, api_key, request, body, price, at, case when key is not null then at end, submitted, deadline, late, trace from
        unnest($1::uuid[], $2::uuid[], $3::text[], $4::jsonb[], $5::bytea[], $6::bigint[], $7::bigint[], $9::text[], $31::bigint[],
            $32::bigint[], $33::text[], $34::text[])
        as t (id, account, api_key, request, body, price, at, key, submitted, deadline, late, trace)
    ), keys as (
        insert into idempotency (account, route, key, body_sha256, generation, created_ms)
        select account, route, key, body, id, at from
        unnest($1::uuid[], $2::uuid[], $5::bytea[], $7::bigint[], $8::text[], $9::text[]) as t (id, account, body, at, route, key)
        where key is not null
    ), txns as (
        insert into ledger_txn (id, account, seq, kind, key, at_ms, prev_hash, hash)
        select id, account, seq, 'hold', key, at, prev, hash from
        unnest($10::uuid[], $2::uuid[], $11::bigint[], $12::text[], $7::bigint[], $13::bytea[], $14::bytea[])
        as t (id, account, seq, key, at, prev, hash)
    ), lines as (
        insert into ledger_entry (txn, line, account, bucket, amount, balance_after, lot)
        select * from unnest($15::uuid[], $16::smallint[], $17::uuid[], $18::text[], $19::bigint[], $20::bigint[], $27::uuid[])
    ), holds as (
        insert into hold (id, account, amount, state, created_ms, expires_ms)
        select id, account, amount, 'held', at, expires from
        unnest($1::uuid[], $2::uuid[], $6::bigint[], $7::bigint[], $21::bigint[]) as t (id, account, amount, at, expires)
    ), lots as (
        update lot set remaining = t.remaining, reserved = t.reserved
        from unnest($28::uuid[], $29::bigint[], $30::bigint[]) as t (id, remaining, reserved) where lot.id = t.id
    )
    update ledger_account set available = t.available, held = t.held, seq = t.seq, head = t.head,
        open_holds = open_holds + t.made
    from unnest($22::uuid[], $23::bigint[], $24::bigint[], $25::bigint[], $26::bytea[], $35::bigint[])
        as t (account, available, held, seq, head, made)
    where ledger_account.account = t.account";

/// One statement writes jobs, idempotency keys, transactions, lines, holds and books. Jobs with a key count as answered:
/// repeats find them by it, and by nothing else.
async fn write(conn: &mut PgConnection, made: &[(&NewJob, &Posting)]) -> sqlx::Result<()> {
    let column = Columns::of(made);
    let written = sqlx::query(WRITE)
        .bind(made.iter().map(|(job, _)| job.id).collect::<Vec<_>>())
        .bind(made.iter().map(|(job, _)| job.account).collect::<Vec<_>>())
        .bind(made.iter().map(|(job, _)| job.api_key.as_ref().map(|key| key.id.as_str())).collect::<Vec<_>>())
        .bind(made.iter().map(|(job, _)| Json(&job.request)).collect::<Vec<_>>())
        .bind(made.iter().map(|(job, _)| &job.body_sha256[..]).collect::<Vec<_>>())
        .bind(made.iter().map(|(job, _)| job.price).collect::<Vec<_>>())
        .bind(made.iter().map(|(job, _)| to_ms(job.at())).collect::<Vec<_>>())
        .bind(made.iter().map(|(job, _)| job.repeat.as_ref().map(|(route, _)| *route)).collect::<Vec<_>>())
        .bind(made.iter().map(|(job, _)| job.repeat.as_ref().map(|(_, key)| key.as_str())).collect::<Vec<_>>())
        .bind(made.iter().map(|(_, posting)| posting.txn.id).collect::<Vec<_>>())
        .bind(made.iter().map(|(_, posting)| posting.txn.seq).collect::<Vec<_>>())
        .bind(made.iter().map(|(_, posting)| posting.txn.key.as_str()).collect::<Vec<_>>())
        .bind(made.iter().map(|(_, posting)| &posting.txn.prev_hash[..]).collect::<Vec<_>>())
        .bind(made.iter().map(|(_, posting)| &posting.txn.hash[..]).collect::<Vec<_>>())
        .bind(column.line_txn)
        .bind(column.line_number)
        .bind(column.line_account)
        .bind(column.line_bucket)
        .bind(column.line_amount)
        .bind(column.line_balance)
        .bind(column.expires)
        .bind(column.books.iter().map(|(book, _)| book.id).collect::<Vec<_>>())
        .bind(column.books.iter().map(|(book, _)| book.available).collect::<Vec<_>>())
        .bind(column.books.iter().map(|(book, _)| book.held).collect::<Vec<_>>())
        .bind(column.books.iter().map(|(book, _)| book.seq).collect::<Vec<_>>())
        .bind(column.books.iter().map(|(book, _)| &book.head[..]).collect::<Vec<_>>())
        .bind(column.line_lot)
        .bind(column.lots.iter().map(|lot| lot.id).collect::<Vec<_>>())
        .bind(column.lots.iter().map(|lot| lot.remaining).collect::<Vec<_>>())
        .bind(column.lots.iter().map(|lot| lot.reserved).collect::<Vec<_>>())
        .bind(made.iter().map(|(job, _)| job.submitted.map(to_ms)).collect::<Vec<_>>())
        .bind(made.iter().map(|(job, _)| job.deadline.map(|due| to_ms(due.at))).collect::<Vec<_>>())
        .bind(made.iter().map(|(job, _)| when_late(job.deadline)).collect::<Vec<_>>())
        .bind(made.iter().map(|(job, _)| job.traceparent.map(String::from)).collect::<Vec<_>>())
        .bind(column.books.iter().map(|(_, made)| *made).collect::<Vec<_>>())
        .execute(conn)
        .await?;
    if written.rows_affected() as usize == column.books.len() {
        return Ok(());
    }
    Err(sqlx::Error::Protocol("a locked book was not there to be written".to_owned()))
}

/// As the rows have it.
fn when_late(deadline: Option<Deadline>) -> &'static str {
    match deadline.map(|due| due.when_late) {
        None | Some(WhenLate::Run) => "Run",
        Some(WhenLate::Refuse) => REFUSE,
    }
}

/// What is not one value a job.
#[derive(Default)]
struct Columns<'a> {
    line_txn: Vec<Uuid>,
    line_number: Vec<i16>,
    line_account: Vec<Uuid>,
    line_bucket: Vec<&'static str>,
    line_amount: Vec<i64>,
    line_balance: Vec<i64>,
    line_lot: Vec<Option<Uuid>>,
    expires: Vec<i64>,
    /// Each account's book after its last posting, and how many holds were made of it.
    books: Vec<(&'a Account, i64)>,
    /// Each lot after the last.
    lots: Vec<&'a Lot>,
}

impl<'a> Columns<'a> {
    fn of(made: &[(&NewJob, &'a Posting)]) -> Self {
        let mut column = Self::default();
        let mut last: BTreeMap<Uuid, (&Account, i64)> = BTreeMap::new();
        let mut lots: BTreeMap<Uuid, &Lot> = BTreeMap::new();
        for (_, posting) in made {
            for (number, line) in (1..).zip(&posting.txn.entries) {
                column.line_txn.push(posting.txn.id);
                column.line_number.push(number);
                column.line_account.push(posting.txn.account);
                column.line_bucket.push(line.bucket.as_str());
                column.line_amount.push(line.amount);
                column.line_balance.push(line.balance_after);
                column.line_lot.push(line.lot);
            }
            column.expires.push(posting.hold.as_ref().map_or(0, |hold| to_ms(hold.expires)));
            let (book, holds) = last.entry(posting.account.id).or_insert((&posting.account, 0));
            (*book, *holds) = (&posting.account, *holds + 1);
            lots.extend(posting.lots.iter().map(|lot| (lot.id, lot)));
        }
        column.books = last.into_values().collect();
        column.lots = lots.into_values().collect();
        column
    }
}
