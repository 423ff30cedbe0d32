//! The ledger's only IO: reads a book under its lock, lets [`post`] decide, writes the posting in one statement.
//!
//! Everything runs in the caller's transaction, so that credits move together with what they are for. Locks are taken
//! in one order: the account, then the hold.

use sqlx::{PgConnection, PgPool};
use tintype_types::Timestamp;
use uuid::Uuid;

use super::account::{Account, Bucket, GENESIS, Hash};
use super::entry::{Entry, Txn, TxnKind};
use super::hold::{Hold, HoldState};
use super::post::{self, End, Ended, LedgerError, Posting, Stamp};
use super::verify::{Fault, Replay};

/// Transactions read at a time when a book is verified.
const VERIFY_PAGE: i64 = 1_000;

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
    const SQL: &str = "select granted, available, held, spent, seq, head from ledger_account where account = $1";
    let row = sqlx::query_as::<_, AccountRow>(SQL).bind(account).fetch_optional(conn).await?;
    row.ok_or(LedgerSqlError::NoAccount(account))?.into_account(account)
}

/// Gives credits under `key`; false when that key has been used: then nothing happens.
pub async fn grant(
    conn: &mut PgConnection,
    account: Uuid,
    amount: i64,
    key: String,
    stamp: Stamp,
) -> Result<bool, LedgerSqlError> {
    let book = lock_account(conn, account).await?;
    let used: bool = sqlx::query_scalar("select exists (select 1 from ledger_txn where key = $1)")
        .bind(&key)
        .fetch_one(&mut *conn)
        .await?;
    if used {
        return Ok(false);
    }
    write(conn, &post::grant(&book, amount, key, stamp)?).await?;
    Ok(true)
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
    let book = lock_account(conn, new.account).await?;
    if lock_hold(conn, new.id).await?.is_some() {
        return Ok(false);
    }
    write(conn, &post::hold(&book, new.id, new.amount, new.expires, stamp)?).await?;
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
    let book = lock_account(conn, account).await?;
    let hold = lock_hold(conn, id).await?.ok_or(LedgerSqlError::NoHold(id))?;
    match post::end(&book, &hold, how, stamp)? {
        Ended::Before(state) => Ok(Some(state)),
        Ended::Now(posting) => {
            write(conn, &posting).await?;
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
            array_agg(e.balance_after order by e.line) as balances
        from ledger_txn t join ledger_entry e on e.txn = t.id
        where t.account = $1 and t.seq > $2 group by t.id order by t.seq limit $3";
    let rows: Vec<TxnRow> = sqlx::query_as(SQL).bind(account).bind(after).bind(limit).fetch_all(conn).await?;
    rows.into_iter().map(|row| row.into_txn(account).ok_or(LedgerSqlError::Damaged(account))).collect()
}

/// Accounts that have a book, in order, after one.
pub async fn accounts(pool: &PgPool, after: Option<Uuid>, limit: i64) -> sqlx::Result<Vec<Uuid>> {
    const SQL: &str = "select account from ledger_account where $1::uuid is null or account > $1
        order by account limit $2";
    sqlx::query_scalar(SQL).bind(after).bind(limit).fetch_all(pool).await
}

/// Reads a book again as of one moment: how many transactions it has, and what is wrong with it.
pub async fn verify(pool: &PgPool, account: Uuid) -> Result<(i64, Result<(), Fault>), LedgerSqlError> {
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
    Ok((replay.seq(), replay.end(&book)))
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
}

impl TxnRow {
    fn into_txn(self, account: Uuid) -> Option<Txn> {
        let lines = std::iter::zip(self.buckets, std::iter::zip(self.amounts, self.balances));
        let line = |(bucket, (amount, balance_after)): (String, (i64, i64))| {
            Some(Entry { bucket: Bucket::parse(&bucket)?, amount, balance_after })
        };
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
    granted: i64,
    available: i64,
    held: i64,
    spent: i64,
    seq: i64,
    head: Vec<u8>,
}

impl AccountRow {
    fn into_account(self, id: Uuid) -> Result<Account, LedgerSqlError> {
        let Self { granted, available, held, spent, seq, head } = self;
        let head: Hash = head.try_into().map_err(|_| LedgerSqlError::Damaged(id))?;
        Ok(Account { id, granted, available, held, spent, seq, head })
    }
}

async fn lock_account(conn: &mut PgConnection, account: Uuid) -> Result<Account, LedgerSqlError> {
    const SQL: &str =
        "select granted, available, held, spent, seq, head from ledger_account where account = $1 for update";
    let row = sqlx::query_as::<_, AccountRow>(SQL).bind(account).fetch_optional(conn).await?;
    row.ok_or(LedgerSqlError::NoAccount(account))?.into_account(account)
}

/// Locks books in the order of their accounts; those that are not there are left out.
pub async fn lock_many(conn: &mut PgConnection, accounts: &[Uuid]) -> sqlx::Result<Vec<Account>> {
    const SQL: &str = "select account, granted, available, held, spent, seq, head from ledger_account
        where account = any($1) order by account for update";
    let rows: Vec<Book> = sqlx::query_as(SQL).bind(accounts).fetch_all(conn).await?;
    let book = |Book { account, row }: Book| {
        row.into_account(account).map_err(|error| sqlx::Error::Protocol(error.to_string()))
    };
    rows.into_iter().map(book).collect()
}

#[derive(sqlx::FromRow)]
struct Book {
    account: Uuid,
    #[sqlx(flatten)]
    row: AccountRow,
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
    let Some(row) = sqlx::query_as::<_, HoldRow>(SQL).bind(id).fetch_optional(conn).await? else { return Ok(None) };
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
    }))
}

/// One round trip writes the book, the transaction, its lines and the hold. The book's row is locked, and `seq` says
/// that it is still the one that was read.
async fn write(conn: &mut PgConnection, posting: &Posting) -> Result<(), LedgerSqlError> {
    const SQL: &str = "
        with txn as (
            insert into ledger_txn (id, account, seq, kind, key, at_ms, prev_hash, hash)
            values ($1, $2, $3, $4, $5, $6, $7, $8)
        ), lines as (
            insert into ledger_entry (txn, line, account, bucket, amount, balance_after)
            select $1, line, $2, bucket, amount, balance
            from unnest($9::text[], $10::bigint[], $11::bigint[]) with ordinality as t (bucket, amount, balance, line)
        ), opened as (
            insert into hold (id, account, amount, captured, state, created_ms, expires_ms)
            select $16, $2, $17, $18, $19, $20, $21 where $19 = 'held'
        ), ended as (
            update hold set state = $19, captured = $18, ended_ms = $6 where id = $16 and $19 <> 'held'
        )
        update ledger_account set granted = $12, available = $13, held = $14, spent = $15, seq = $3, head = $8
        where account = $2 and seq = $3 - 1";
    let Posting { account, txn, hold } = posting;
    let buckets: Vec<&str> = txn.entries.iter().map(|line| line.bucket.as_str()).collect();
    let amounts: Vec<i64> = txn.entries.iter().map(|line| line.amount).collect();
    let balances: Vec<i64> = txn.entries.iter().map(|line| line.balance_after).collect();
    let written = sqlx::query(SQL)
        .bind(txn.id)
        .bind(account.id)
        .bind(txn.seq)
        .bind(txn.kind.as_str())
        .bind(&txn.key)
        .bind(txn.at.0 as i64)
        .bind(&txn.prev_hash[..])
        .bind(&txn.hash[..])
        .bind(buckets)
        .bind(amounts)
        .bind(balances)
        .bind(account.granted)
        .bind(account.available)
        .bind(account.held)
        .bind(account.spent)
        .bind(hold.as_ref().map(|hold| hold.id))
        .bind(hold.as_ref().map(|hold| hold.amount))
        .bind(hold.as_ref().map(|hold| hold.captured))
        .bind(hold.as_ref().map(|hold| hold.state.as_str()))
        .bind(hold.as_ref().map(|hold| hold.created.0 as i64))
        .bind(hold.as_ref().map(|hold| hold.expires.0 as i64))
        .execute(conn)
        .await?;
    if written.rows_affected() == 1 { Ok(()) } else { Err(LedgerSqlError::Damaged(account.id)) }
}
