//! The schema, and bringing it up to date without standing in anybody's way.
//!
//! A statement that waits for a table's lock makes everybody wait who comes after it, readers too. So a migration waits for a
//! lock only so long, lets go, and tries again a few times; then it says clearly that it did not get it. What builds an index
//! beside the writers (`-- no-transaction`) keeps nobody waiting and may wait longer.

use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};

/// The schema, compiled in.
static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

/// Longest a migration waits for a lock: others wait behind it.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// How many times longer one waits that nobody waits behind.
const BESIDE_WRITERS: u32 = 12;
/// How often it is tried.
const TRIES_MAX: u32 = 6;
/// Pause after the first try; each is longer by as much.
const PAUSE: Duration = Duration::from_secs(2);
/// Longest one statement of a migration may take: an index of a large table, not forever.
const STATEMENT_MAX: Duration = Duration::from_mins(30);
/// Postgres's codes for a lock that was not had in time, and for one that two wait for in a ring, as an index that is built
/// beside writers and a replica that waits for its turn may.
const NO_LOCK: [&str; 2] = ["55P03", "40P01"];

/// How long locks are waited for.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Longest a migration waits for a lock.
    pub lock_wait: Duration,
    /// How often it is tried.
    pub tries: u32,
    /// Pause after the first try; each is longer by as much.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { lock_wait: LOCK_WAIT, tries: TRIES_MAX, pause: PAUSE }
    }
}

/// Why the schema is not up to date.
#[derive(Debug, thiserror::Error)]
pub enum NotMigrated {
    /// Somebody holds what a migration needs.
    #[error(
        "cannot bring the database schema up to date: migration {version} did not get a lock within {wait:?}, {tries} times. \
         A transaction that stays open holds it, or another replica is still migrating; pg_stat_activity shows which. End \
         it, or wait, then start again: what was applied before stays applied"
    )]
    Locked {
        /// Which migration, by its number.
        version: i64,
        /// How long it waited each time.
        wait: Duration,
        /// How often it was tried.
        tries: u32,
    },
    /// A migration failed, or one that was applied is another now.
    #[error("cannot bring the database schema up to date")]
    Failed(#[from] MigrateError),
    /// The database did not answer.
    #[error("cannot bring the database schema up to date: the database did not answer")]
    Database(#[from] sqlx::Error),
}

/// Brings the schema up to date. Several replicas may do it at once: the migrator holds a lock.
///
/// # Errors
/// A lock was not had in time, a migration failed, or one that was applied is another now.
pub async fn migrate(pool: &PgPool) -> anyhow::Result<()> {
    Ok(migrate_to(pool, i64::MAX, Patience::default()).await?)
}

/// The numbers of all migrations, in order.
pub fn versions() -> Vec<i64> {
    MIGRATIONS.iter().map(|step| step.version).collect()
}

/// Applies what is missing up to a migration, with so much patience.
///
/// # Errors
/// See [`migrate`].
pub async fn migrate_to(pool: &PgPool, last: i64, patience: Patience) -> Result<(), NotMigrated> {
    let mut tries = 0;
    loop {
        tries += 1;
        // A connection of its own: what it was told, and a lock the migrator may leave, end with it.
        let mut conn = pool.acquire().await?.detach();
        let applied = apply(&mut conn, last, patience).await;
        // Gone already is as good.
        drop(conn.close().await);
        let (version, error) = match applied {
            Ok(()) => return Ok(()),
            Err(failed) => failed,
        };
        if !is_lock(&error) {
            return Err(error);
        }
        let wait = patience.lock_wait;
        if tries >= patience.tries {
            return Err(NotMigrated::Locked { version, wait, tries });
        }
        tracing::warn!(version, tries, "a migration did not get a lock in time; it is tried again");
        tokio::time::sleep(patience.pause * tries).await;
    }
}

/// One try; what failed, and at which migration.
async fn apply(conn: &mut PgConnection, last: i64, patience: Patience) -> Result<(), (i64, NotMigrated)> {
    let at = |version: i64| move |error: NotMigrated| (version, error);
    let done = applied(conn).await.map_err(|error| at(0)(error.into()))?;
    let missing = MIGRATIONS.iter().filter(|step| step.version <= last && !done.contains(&step.version));
    for step in missing {
        let version = step.version;
        let wait = if step.no_tx { patience.lock_wait * BESIDE_WRITERS } else { patience.lock_wait };
        tell(conn, wait).await.map_err(|error| at(version)(error.into()))?;
        if step.no_tx {
            drop_half_built(conn).await.map_err(|error| at(version)(error.into()))?;
        }
        MIGRATIONS.run_direct(Some(version), conn, false).await.map_err(|error| at(version)(error.into()))?;
    }
    if last < i64::MAX {
        return Ok(());
    }
    // Nothing is missing now; this looks whether what was applied is still what it was.
    tell(conn, patience.lock_wait).await.map_err(|error| at(0)(error.into()))?;
    MIGRATIONS.run_direct(None, conn, false).await.map_err(|error| at(0)(error.into()))
}

/// Which migrations were applied; none in a new database.
async fn applied(conn: &mut PgConnection) -> sqlx::Result<Vec<i64>> {
    let known: bool =
        sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null").fetch_one(&mut *conn).await?;
    if !known {
        return Ok(Vec::new());
    }
    sqlx::query_scalar("select version from _sqlx_migrations where success").fetch_all(conn).await
}

/// Tells the connection how long it may wait and work.
async fn tell(conn: &mut PgConnection, wait: Duration) -> sqlx::Result<()> {
    let (wait, work) = (wait.as_millis(), STATEMENT_MAX.as_millis());
    let sql = format!("set lock_timeout = {wait}; set statement_timeout = {work}");
    conn.execute(AssertSqlSafe(sql)).await.map(drop)
}

/// Drops what an index build left behind that ended before it was done, and that would stand in the way of the next; not one
/// that is being built.
async fn drop_half_built(conn: &mut PgConnection) -> sqlx::Result<()> {
    const SQL: &str = "select format('%I.%I', n.nspname, c.relname) from pg_index i
        join pg_class c on c.oid = i.indexrelid join pg_namespace n on n.oid = c.relnamespace
        where not i.indisvalid and n.nspname = current_schema()
            and not exists (select 1 from pg_stat_progress_create_index b where b.index_relid = i.indexrelid)";
    let left: Vec<String> = sqlx::query_scalar(SQL).fetch_all(&mut *conn).await?;
    for index in left {
        tracing::warn!(index, "an index was left half built; it is built anew");
        conn.execute(AssertSqlSafe(format!("drop index concurrently {index}"))).await?;
    }
    Ok(())
}

/// Whether a lock was not had in time.
fn is_lock(error: &NotMigrated) -> bool {
    let cause = match error {
        NotMigrated::Failed(MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _))
        | NotMigrated::Database(cause) => cause,
        NotMigrated::Failed(_) | NotMigrated::Locked { .. } => return false,
    };
    let code = cause.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| NO_LOCK.contains(&code.as_ref()))
}
