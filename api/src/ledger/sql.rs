//! The ledger's only IO: reads a book under its lock, lets [`post`] decide, writes the posting in one statement.
//!
//! Everything runs in the caller's transaction, so that credits move together with what they are for. Locks are taken
//! in one order: the account, then the hold.

use std::collections::BTreeMap;

use sqlx::PgConnection;
use tintype_types::Timestamp;
use uuid::Uuid;

use super::WELCOME_GRANT;
use super::account::{Account, Book, Bucket, GENESIS, Hash};
use super::entry::{Entry, Txn, TxnKind};
use super::hold::{Hold, HoldState, Part};
use super::lot::{Grant, Lot, Source};
use super::post::{self, End, Ended, LedgerError, Posting, Stamp, TakeBack};
use super::verify::{Fault, Replay};

use crate::database::Db;

/// Transactions read at a time when a book is verified.
const VERIFY_PAGE: i64 = 1_000;

/// The columns of [`AccountRow`].
macro_rules! columns {
    () => {
        "account, granted, available, held, spent, owed, lost, seq, head, stopped, open_holds"
    };
}

/// Why the ledger did not do it.
#[derive(Debug, thiserror::Error)]
pub enum LedgerSqlError {
    /// The rules say no.
    #[error(transparent)]
    Refused(#[from] LedgerError),
    /// There is no such book.
    #[error("account {0} has no ledger")]
    NoAccount(Uuid),
    /// There is no such hold.
    #[error("there is no hold {0}")]
    NoHold(Uuid),
    /// The row holds what we never write.
    #[error("the ledger row of {0} is damaged")]
    Damaged(Uuid),
    /// The database did not do it.
    #[error("the ledger could not be reached")]
    Database(#[from] sqlx::Error),
}

/// Opens an empty book; opening one twice is fine.
pub async fn open_account(conn: &mut PgConnection, account: Uuid) -> Result<(), LedgerSqlError> {
    sqlx::query("insert into ledger_account (account, head) values ($1, $2) on conflict do nothing")
        .bind(account)
        .bind(&GENESIS[..])
        .execute(conn)
        .await?;
    Ok(())
}

/// What is on a book now, without a lock.
pub async fn balance(conn: &mut PgConnection, account: Uuid) -> Result<Account, LedgerSqlError> {
    const SQL: &str = concat!("select ", columns!(), " from ledger_account where account = $1");
    let row = sqlx::query_as::<_, AccountRow>(SQL).bind(account).fetch_optional(conn).await?;
    row.ok_or(LedgerSqlError::NoAccount(account))?.into_account()
}

/// Opens the book of a new user and gives the welcome credits, once an account: the one call a sign-up makes.
///
/// # Errors
/// The database did not do it. There must be an `account` row of that id.
pub async fn welcome(conn: &mut PgConnection, account: Uuid, stamp: Stamp) -> Result<bool, LedgerSqlError> {
    open_account(conn, account).await?;
    let reference = format!("signup:{account}");
    let welcome = Grant { source: Source::Promo, reference, amount: WELCOME_GRANT, expires: None };
    grant(conn, account, &welcome, stamp).await
}

/// Gives credits; false when that reference has been given for: then nothing happens.
pub async fn grant(conn: &mut PgConnection, account: Uuid, what: &Grant, stamp: Stamp) -> Result<bool, LedgerSqlError> {
    let book = lock_book(conn, account).await?;
    if used(conn, &what.key()).await? {
        return Ok(false);
    }
    write(conn, &post::grant(&book, what, stamp)?, Some(what)).await?;
    Ok(true)
}

/// Takes credits back; false when that key has been used: then nothing happens.
pub async fn take_back(
    conn: &mut PgConnection,
    account: Uuid,
    what: TakeBack,
    stamp: Stamp,
) -> Result<bool, LedgerSqlError> {
    let book = lock_book(conn, account).await?;
    if used(conn, &what.key).await? {
        return Ok(false);
    }
    write(conn, &post::take_back(&book, what, stamp)?, None).await?;
    Ok(true)
}

async fn used(conn: &mut PgConnection, key: &str) -> sqlx::Result<bool> {
    const SQL: &str = "select exists (select 1 from ledger_txn where key = $1)";
    sqlx::query_scalar(SQL).bind(key).fetch_one(conn).await
}

/// Takes out what remains of a lot whose time has come; false when nothing does.
pub async fn lapse(conn: &mut PgConnection, account: Uuid, lot: Uuid, stamp: Stamp) -> Result<bool, LedgerSqlError> {
    let book = lock_book(conn, account).await?;
    if !book.lots.iter().any(|open| open.id == lot) {
        return Ok(false);
    }
    let Some(posting) = post::lapse(&book, lot, stamp)? else { return Ok(false) };
    write(conn, &posting, None).await?;
    Ok(true)
}

/// A lot that was granted for something.
#[derive(Clone, Copy, Debug, sqlx::FromRow)]
pub struct Granted {
    /// Its id.
    pub id: Uuid,
    /// How much of it has lapsed, in milli-credits.
    pub lapsed: i64,
}

/// The lot that was granted for this.
pub async fn lot_of(conn: &mut PgConnection, reference: &str) -> sqlx::Result<Option<Granted>> {
    const SQL: &str = "select l.id, coalesce((select -sum(e.amount) from ledger_txn t join ledger_entry e on e.txn = t.id
            where t.account = l.account and t.kind = 'lapse' and e.lot = l.id and e.bucket = 'available'), 0)::bigint as lapsed
        from lot l where l.source_ref = $1";
    sqlx::query_as(SQL).bind(reference).fetch_optional(conn).await
}

/// Lots whose time has come and of which something remains: account and lot.
pub async fn lapsing(pool: &Db, now: Timestamp, limit: i64) -> sqlx::Result<Vec<(Uuid, Uuid)>> {
    const SQL: &str = "select account, id from lot where open and expires_ms <= $1 and remaining > 0
        order by expires_ms limit $2";
    sqlx::query_as(SQL).bind(now.0 as i64).bind(limit).fetch_all(pool).await
}

/// Lets an account make no more holds, or lets it again.
pub async fn set_stopped(conn: &mut PgConnection, account: Uuid, stopped: Stopped) -> sqlx::Result<()> {
    const SQL: &str = "update ledger_account set stopped = $2 where account = $1 and stopped <> $2";
    sqlx::query(SQL).bind(account).bind(stopped == Stopped::Yes).execute(conn).await?;
    Ok(())
}

/// Whether an account makes no holds, being stopped.
pub async fn is_stopped(conn: &mut PgConnection, account: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar("select stopped from ledger_account where account = $1").bind(account).fetch_one(conn).await
}

/// What [`set_stopped`] sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It makes none.
    Yes,
    /// It makes them.
    No,
}

/// Credits to set aside.
#[derive(Clone, Copy, Debug)]
pub struct NewHold {
    /// Whose.
    pub account: Uuid,
    /// The job's id.
    pub id: Uuid,
    /// How many, in milli-credits.
    pub amount: i64,
    /// See [`Hold::expires`].
    pub expires: Timestamp,
}

/// Sets credits aside for a job; false when that job has a hold already: then nothing happens.
pub async fn hold(conn: &mut PgConnection, new: NewHold, stamp: Stamp) -> Result<bool, LedgerSqlError> {
    let book = lock_book(conn, new.account).await?;
    if lock_hold(conn, new.id).await?.is_some() {
        return Ok(false);
    }
    write(conn, &post::hold(&book, new.id, new.amount, new.expires, stamp)?, None).await?;
    Ok(true)
}

/// Ends a hold. `None` when it ends now, else how it had ended before: then nothing happens.
pub async fn end(
    conn: &mut PgConnection,
    account: Uuid,
    id: Uuid,
    how: End,
    stamp: Stamp,
) -> Result<Option<HoldState>, LedgerSqlError> {
    let book = lock_book(conn, account).await?;
    let hold = lock_hold(conn, id).await?.ok_or(LedgerSqlError::NoHold(id))?;
    match post::end(&book, &hold, how, stamp)? {
        Ended::Before(state) => Ok(Some(state)),
        Ended::Now(posting) => {
            write(conn, &posting, None).await?;
            Ok(None)
        }
    }
}

/// Transactions of a book after one, oldest first.
pub async fn transactions(
    conn: &mut PgConnection,
    account: Uuid,
    after: i64,
    limit: i64,
) -> Result<Vec<Txn>, LedgerSqlError> {
    const SQL: &str = "select t.id, t.seq, t.kind, t.key, t.at_ms, t.prev_hash, t.hash,
            array_agg(e.bucket order by e.line) as buckets, array_agg(e.amount order by e.line) as amounts,
            array_agg(e.balance_after order by e.line) as balances, array_agg(e.lot order by e.line) as lots
        from ledger_txn t join ledger_entry e on e.txn = t.id
        where t.account = $1 and t.seq > $2 group by t.id order by t.seq limit $3";
    let rows: Vec<TxnRow> = sqlx::query_as(SQL).bind(account).bind(after).bind(limit).fetch_all(conn).await?;
    rows.into_iter().map(|row| row.into_txn(account).ok_or(LedgerSqlError::Damaged(account))).collect()
}

/// Accounts that have a book, in order, after one.
pub async fn accounts(pool: &Db, after: Option<Uuid>, limit: i64) -> sqlx::Result<Vec<Uuid>> {
    const SQL: &str = "select account from ledger_account where $1::uuid is null or account > $1
        order by account limit $2";
    sqlx::query_scalar(SQL).bind(after).bind(limit).fetch_all(pool).await
}

/// Reads a book again as of one moment: how many transactions it has, and what is wrong with it.
pub async fn verify(pool: &Db, account: Uuid) -> Result<(i64, Result<(), Fault>), LedgerSqlError> {
    let mut tx = pool.begin().await?;
    sqlx::query("set transaction isolation level repeatable read, read only").execute(&mut *tx).await?;
    let book = balance(&mut tx, account).await?;
    let mut replay = Replay::begin(account);
    loop {
        let page = transactions(&mut tx, account, replay.seq(), VERIFY_PAGE).await?;
        if page.is_empty() {
            break;
        }
        if let Err(fault) = page.iter().try_for_each(|txn| replay.take(txn)) {
            return Ok((replay.seq(), Err(fault)));
        }
    }
    let lots = lots(&mut tx, &[account]).await?.remove(&account).unwrap_or_default();
    Ok((replay.seq(), replay.end(&book, &lots)))
}

#[derive(sqlx::FromRow)]
struct TxnRow {
    id: Uuid,
    seq: i64,
    kind: String,
    key: String,
    at_ms: i64,
    prev_hash: Vec<u8>,
    hash: Vec<u8>,
    buckets: Vec<String>,
    amounts: Vec<i64>,
    balances: Vec<i64>,
    lots: Vec<Option<Uuid>>,
}

impl TxnRow {
    fn into_txn(self, account: Uuid) -> Option<Txn> {
        let numbers = std::iter::zip(std::iter::zip(self.amounts, self.balances), self.lots);
        let line = |(bucket, ((amount, balance_after), lot)): (String, ((i64, i64), Option<Uuid>))| {
            Some(Entry { bucket: Bucket::parse(&bucket)?, amount, balance_after, lot })
        };
        let lines = std::iter::zip(self.buckets, numbers);
        Some(Txn {
            id: self.id,
            account,
            seq: self.seq,
            kind: TxnKind::parse(&self.kind)?,
            key: self.key,
            at: Timestamp(self.at_ms as u64),
            prev_hash: self.prev_hash.try_into().ok()?,
            hash: self.hash.try_into().ok()?,
            entries: lines.map(line).collect::<Option<_>>()?,
        })
    }
}

#[derive(sqlx::FromRow)]
struct AccountRow {
    account: Uuid,
    granted: i64,
    available: i64,
    held: i64,
    spent: i64,
    owed: i64,
    lost: i64,
    seq: i64,
    head: Vec<u8>,
    stopped: bool,
    open_holds: i64,
}

impl AccountRow {
    fn into_account(self) -> Result<Account, LedgerSqlError> {
        let Self { account: id, granted, available, held, spent, owed, lost, seq, head, stopped: _, open_holds: _ } =
            self;
        let head: Hash = head.try_into().map_err(|_| LedgerSqlError::Damaged(id))?;
        Ok(Account { id, granted, available, held, spent, owed, lost, seq, head })
    }
}

async fn lock_book(conn: &mut PgConnection, account: Uuid) -> Result<Book, LedgerSqlError> {
    lock_many(conn, &[account]).await?.pop().ok_or(LedgerSqlError::NoAccount(account))
}

/// Locks books in the order of their accounts; those that are not there are left out.
pub async fn lock_many(conn: &mut PgConnection, accounts: &[Uuid]) -> Result<Vec<Book>, LedgerSqlError> {
    const SQL: &str =
        concat!("select ", columns!(), " from ledger_account where account = any($1) order by account for update");
    let rows: Vec<AccountRow> = sqlx::query_as(SQL).bind(accounts).fetch_all(&mut *conn).await?;
    // Its own statement: it must see what was committed while the locks were waited for.
    let mut lots = lots(conn, accounts).await?;
    let book = |row: AccountRow| {
        let (id, stopped, open_holds) = (row.account, row.stopped, row.open_holds.unsigned_abs());
        let book = Book::new(row.into_account()?, lots.remove(&id).unwrap_or_default(), stopped);
        Ok(Book { open_holds, ..book })
    };
    rows.into_iter().map(book).collect()
}

#[derive(sqlx::FromRow)]
struct LotRow {
    account: Uuid,
    id: Uuid,
    source: String,
    remaining: i64,
    reserved: i64,
    expires_ms: Option<i64>,
    lost: i64,
}

/// The open lots of accounts.
async fn lots(conn: &mut PgConnection, accounts: &[Uuid]) -> Result<BTreeMap<Uuid, Vec<Lot>>, LedgerSqlError> {
    const SQL: &str = "select account, id, source, remaining, reserved, expires_ms, lost from lot
        where account = any($1) and open";
    let rows: Vec<LotRow> = sqlx::query_as(SQL).bind(accounts).fetch_all(conn).await?;
    let mut found: BTreeMap<Uuid, Vec<Lot>> = BTreeMap::new();
    for LotRow { account, id, source, remaining, reserved, expires_ms, lost } in rows {
        let source = Source::parse(&source).ok_or(LedgerSqlError::Damaged(account))?;
        let expires = expires_ms.map(|at| Timestamp(at as u64));
        found.entry(account).or_default().push(Lot { id, source, remaining, reserved, expires, lost });
    }
    Ok(found)
}

#[derive(sqlx::FromRow)]
struct HoldRow {
    id: Uuid,
    account: Uuid,
    amount: i64,
    captured: i64,
    state: String,
    created_ms: i64,
    expires_ms: i64,
    ended_ms: Option<i64>,
}

async fn lock_hold(conn: &mut PgConnection, id: Uuid) -> Result<Option<Hold>, LedgerSqlError> {
    const SQL: &str = "select id, account, amount, captured, state, created_ms, expires_ms, ended_ms from hold \
         where id = $1 for update";
    // What it was made from: the lines that made it. Those from before there were lots are of the account's own.
    const PARTS: &str = "select coalesce(e.lot, e.account), e.amount from ledger_txn t \
         join ledger_entry e on e.txn = t.id and e.bucket = 'held' where t.key = $1 order by e.line";
    let Some(row) = sqlx::query_as::<_, HoldRow>(SQL).bind(id).fetch_optional(&mut *conn).await? else {
        return Ok(None);
    };
    let parts: Vec<(Uuid, i64)> = sqlx::query_as(PARTS).bind(Hold::start_key(id)).fetch_all(conn).await?;
    if parts.iter().map(|(_, amount)| amount).sum::<i64>() != row.amount {
        return Err(LedgerSqlError::Damaged(id));
    }
    let state = HoldState::parse(&row.state).ok_or(LedgerSqlError::Damaged(id))?;
    Ok(Some(Hold {
        id: row.id,
        account: row.account,
        amount: row.amount,
        captured: row.captured,
        state,
        created: Timestamp(row.created_ms as u64),
        expires: Timestamp(row.expires_ms as u64),
        ended: row.ended_ms.map(|at| Timestamp(at as u64)),
        parts: parts.into_iter().map(|(lot, amount)| Part { lot, amount }).collect(),
    }))
}

/// One round trip writes the book, the transaction, its lines, its lots and the hold. The book's row is locked, and `seq`
/// says that it is still the one that was read.
async fn write(conn: &mut PgConnection, posting: &Posting, grant: Option<&Grant>) -> Result<(), LedgerSqlError> {
    const SQL: &str = "
        with txn as (
            insert into ledger_txn (id, account, seq, kind, key, at_ms, prev_hash, hash)
            values ($1, $2, $3, $4, $5, $6, $7, $8)
        ), lines as (
            insert into ledger_entry (txn, line, account, bucket, amount, balance_after, lot)
            select $1, line, $2, bucket, amount, balance, lot
            from unnest($9::text[], $10::bigint[], $11::bigint[], $24::uuid[]) with ordinality
                as t (bucket, amount, balance, lot, line)
        ), opened as (
            insert into hold (id, account, amount, captured, state, created_ms, expires_ms)
            select $16, $2, $17, $18, $19, $20, $21 where $19 = 'held'
        ), ended as (
            update hold set state = $19, captured = $18, ended_ms = $6 where id = $16 and $19 <> 'held'
        ), granted as (
            insert into lot (id, account, source, source_ref, amount, remaining, reserved, created_ms, expires_ms)
            select $1, $2, $29, $30, $31, $26[1], 0, $6, $32 where $29 is not null
        ), lots as (
            update lot set remaining = t.remaining, reserved = t.reserved, lost = t.lost
            from unnest($25::uuid[], $26::bigint[], $27::bigint[], $28::bigint[]) as t (id, remaining, reserved, lost)
            where lot.id = t.id and $29 is null
        )
        update ledger_account set granted = $12, available = $13, held = $14, spent = $15, seq = $3, head = $8,
            owed = $22, lost = $23
        where account = $2 and seq = $3 - 1";
    let Posting { account, txn, hold, lots } = posting;
    let hold = hold.as_ref();
    let written = sqlx::query(SQL)
        .bind(txn.id)
        .bind(account.id)
        .bind(txn.seq)
        .bind(txn.kind.as_str())
        .bind(&txn.key)
        .bind(txn.at.0 as i64)
        .bind(&txn.prev_hash[..])
        .bind(&txn.hash[..])
        .bind(txn.entries.iter().map(|line| line.bucket.as_str()).collect::<Vec<_>>())
        .bind(txn.entries.iter().map(|line| line.amount).collect::<Vec<_>>())
        .bind(txn.entries.iter().map(|line| line.balance_after).collect::<Vec<_>>())
        .bind(account.granted)
        .bind(account.available)
        .bind(account.held)
        .bind(account.spent)
        .bind(hold.map(|hold| hold.id))
        .bind(hold.map(|hold| hold.amount))
        .bind(hold.map(|hold| hold.captured))
        .bind(hold.map(|hold| hold.state.as_str()))
        .bind(hold.map(|hold| hold.created.0 as i64))
        .bind(hold.map(|hold| hold.expires.0 as i64))
        .bind(account.owed)
        .bind(account.lost)
        .bind(txn.entries.iter().map(|line| line.lot).collect::<Vec<_>>())
        .bind(lots.iter().map(|lot| lot.id).collect::<Vec<_>>())
        .bind(lots.iter().map(|lot| lot.remaining).collect::<Vec<_>>())
        .bind(lots.iter().map(|lot| lot.reserved).collect::<Vec<_>>())
        .bind(lots.iter().map(|lot| lot.lost).collect::<Vec<_>>())
        .bind(grant.map(|grant| grant.source.as_str()))
        .bind(grant.map(|grant| grant.reference.as_str()))
        .bind(grant.map(|grant| grant.amount))
        .bind(grant.and_then(|grant| grant.expires).map(|at| at.0 as i64))
        .execute(conn)
        .await?;
    if written.rows_affected() == 1 { Ok(()) } else { Err(LedgerSqlError::Damaged(account.id)) }
}
