//! The database: how it is reached. Its schema is [`crate::migrations`]'s.
//!
//! Usually by connections of our own, each of which keeps what it was told and what was prepared on it. Behind a pooler that
//! lends a connection for one transaction (PgBouncer's transaction mode, the pooled addresses of hosted databases) neither is
//! so: there every statement runs in a transaction, which begins by saying all of it ([`Db::behind_pooler`]).

use std::fmt::Write as _;
use std::ops::{Deref, DerefMut};
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryFutureExt, TryStreamExt};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{AssertSqlSafe, Either, Execute, Executor, PgConnection, PgPool, Postgres, SqlStr, Transaction};

pub use crate::migrations::migrate;

/// Connections of one pool: a program has one for requests and one for what works for all accounts. Ledger transactions are short; more connections than this only wait for the same rows.
const CONNECTIONS_MAX: u32 = 16;
/// Connections past a pooler: one listens, the rest are for a moment.
const DIRECT_MAX: u32 = 4;
/// Longest wait for a connection before a request is answered 503.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// What each connection, or each transaction, is told: the longest one statement may take, as Postgres itself counts it, and
/// the longest a transaction may sit idle holding its locks, which is a task that died between two statements.
const TIMEOUTS: [(&str, &str); 2] = [("statement_timeout", "10s"), ("idle_in_transaction_session_timeout", "15s")];

/// The database, as some part of the program sees it. Cloning is cheap; clones are the same.
#[derive(Clone, Debug)]
pub struct Db {
    pool: PgPool,
    /// Past the pooler, if there is one: for what has to stay on its connection.
    direct: PgPool,
    /// Behind a pooler: what each transaction says of whose it is.
    opening: Option<Opening>,
}

/// SQL to begin a transaction with, after `begin`.
pub(crate) type Opening = fn() -> String;

/// What is done for all accounts.
pub(crate) fn nobodys() -> String {
    "set local app.account = '*'".to_owned()
}

impl From<PgPool> for Db {
    /// Connections of our own.
    fn from(pool: PgPool) -> Self {
        Self { direct: pool.clone(), pool, opening: None }
    }
}

impl Db {
    /// Connections that a pooler lends for a transaction each. They are told and have prepared whatever others told and
    /// prepared before: names of prepared statements would meet those of others, so a transaction begins by letting go of
    /// them, and none is kept in mind.
    ///
    /// # Errors
    /// It cannot be reached.
    pub(crate) async fn behind_pooler(url: &str, direct: &Self, opening: Opening) -> anyhow::Result<Self> {
        // Poolers refuse settings they do not know as a connection begins.
        let options = options(url)?.statement_cache_capacity(0).extra_float_digits(None);
        // Their own business is whether a connection lives, and between transactions there is none to ask.
        let pool = PgPoolOptions::new().test_before_acquire(false);
        let pool = open(pool.max_connections(CONNECTIONS_MAX), options).await?;
        Ok(Self { pool, direct: direct.direct.clone(), opening: Some(opening) })
    }

    /// Connections of our own even where the rest goes by a pooler.
    pub(crate) fn direct(&self) -> &PgPool {
        &self.direct
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// There is no connection in time.
    pub async fn begin(&self) -> sqlx::Result<Transaction<'static, Postgres>> {
        self.begin_as("begin").await
    }

    async fn begin_as(&self, begin: &str) -> sqlx::Result<Transaction<'static, Postgres>> {
        let Some(opening) = self.opening else { return self.pool.begin().await };
        let mut sql = format!("{begin}; {}; deallocate all", opening());
        for (name, value) in TIMEOUTS {
            // Writing to a string cannot fail.
            let _ = write!(sql, "; set local {name} = '{value}'");
        }
        self.pool.begin_with(AssertSqlSafe(sql)).await
    }

    /// A connection to read with, several times over. What writes takes a transaction.
    ///
    /// # Errors
    /// There is none in time.
    pub async fn reader(&self) -> sqlx::Result<Reader> {
        match self.opening {
            None => self.pool.acquire().await.map(Reader::Own),
            Some(_) => self.begin_as("begin read only").await.map(Reader::Lent),
        }
    }

    /// Closes its connections, when those in use come back.
    pub async fn close(&self) {
        self.pool.close().await;
        self.direct.close().await;
    }
}

/// See [`Db::reader`].
#[derive(Debug)]
pub enum Reader {
    /// Of our own.
    Own(PoolConnection<Postgres>),
    /// A pooler's, for one transaction that can only read.
    Lent(Transaction<'static, Postgres>),
}

impl Deref for Reader {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match self {
            Self::Own(conn) => conn,
            Self::Lent(tx) => tx,
        }
    }
}

impl DerefMut for Reader {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match self {
            Self::Own(conn) => conn,
            Self::Lent(tx) => tx,
        }
    }
}

/// Single statements. Behind a pooler each is a transaction, and nothing is said of what it did before that has committed.
impl<'p> Executor<'p> for &'p Db {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, sqlx::Result<Either<PgQueryResult, PgRow>>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        if self.opening.is_none() {
            return self.pool.fetch_many(query);
        }
        let done = async move {
            let mut tx = self.begin().await?;
            let all: Vec<_> = tx.fetch_many(query).try_collect().await?;
            tx.commit().await?;
            Ok(stream::iter(all.into_iter().map(Ok)))
        };
        done.try_flatten_stream().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<PgRow>>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        if self.opening.is_none() {
            return self.pool.fetch_optional(query);
        }
        let done = async move {
            let mut tx = self.begin().await?;
            let row = tx.fetch_optional(query).await?;
            tx.commit().await?;
            Ok(row)
        };
        done.boxed()
    }

    fn prepare_with<'e>(self, sql: SqlStr, parameters: &'e [PgTypeInfo]) -> BoxFuture<'e, sqlx::Result<PgStatement>>
    where
        'p: 'e,
    {
        self.direct.prepare_with(sql, parameters)
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, sqlx::Result<sqlx::Describe<Postgres>>>
    where
        'p: 'e,
    {
        self.direct.describe(sql)
    }
}

/// Connects, with limits on every wait.
///
/// # Errors
/// The database cannot be reached.
pub async fn connect(url: &str) -> anyhow::Result<PgPool> {
    connect_with(PgPoolOptions::new(), url).await
}

/// The same past a pooler, with a few connections.
pub(crate) async fn connect_past_pooler(url: &str) -> anyhow::Result<PgPool> {
    open(PgPoolOptions::new().max_connections(DIRECT_MAX), options(url)?.options(TIMEOUTS)).await
}

/// The same, with hooks of the caller's.
pub(crate) async fn connect_with(pool: PgPoolOptions, url: &str) -> anyhow::Result<PgPool> {
    open(pool.max_connections(CONNECTIONS_MAX), options(url)?.options(TIMEOUTS)).await
}

fn options(url: &str) -> anyhow::Result<PgConnectOptions> {
    let options = PgConnectOptions::from_str(url);
    let options = options.context("DATABASE_URL is not a PostgreSQL URL, such as postgres://user@host/tintype")?;
    Ok(options.application_name("tintype-api"))
}

async fn open(pool: PgPoolOptions, options: PgConnectOptions) -> anyhow::Result<PgPool> {
    let opened = pool.acquire_timeout(ACQUIRE_TIMEOUT).connect_with(options).await;
    opened.context("cannot connect to PostgreSQL; is it running, and is its URL right?")
}
