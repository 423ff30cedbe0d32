//! The connection pool and the schema.

use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use sqlx::PgPool;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

/// The schema, compiled in.
static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

/// Connections of one pool: a program has one for requests and one for what works for all accounts. Ledger transactions are short; more connections than this only wait for the same rows.
const CONNECTIONS_MAX: u32 = 16;
/// Longest wait for a connection before a request is answered 503.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest one statement may take, as Postgres itself counts it.
const STATEMENT_TIMEOUT: &str = "10s";
/// Longest a transaction may sit idle holding its locks: a task that died between two statements.
const IDLE_IN_TRANSACTION_TIMEOUT: &str = "15s";

/// Connects, with limits on every wait.
pub async fn connect(url: &str) -> anyhow::Result<PgPool> {
    connect_with(PgPoolOptions::new(), url).await
}

/// The same, with hooks of the caller's.
pub(crate) async fn connect_with(pool: PgPoolOptions, url: &str) -> anyhow::Result<PgPool> {
    let options = PgConnectOptions::from_str(url)
        .context("DATABASE_URL is not a PostgreSQL URL, such as postgres://user@host/tintype")?
        .application_name("tintype-api")
        .options([
            ("statement_timeout", STATEMENT_TIMEOUT),
            ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_TIMEOUT),
        ]);
    pool.max_connections(CONNECTIONS_MAX)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_with(options)
        .await
        .context("cannot connect to PostgreSQL; is it running, and is DATABASE_URL right?")
}

/// Brings the schema up to date. Several replicas may do it at once: the migrator holds a lock.
pub async fn migrate(pool: &PgPool) -> anyhow::Result<()> {
    MIGRATIONS.run(pool).await.context("cannot bring the database schema up to date")
}
