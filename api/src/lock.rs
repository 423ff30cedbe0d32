//! One scheduler a database. In local mode the scheduler's state is in memory, so a second API on the same database
//! would lease the same GPUs twice; a lock of the database's session keeps it out, and goes when we do, however we go.

use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

/// The lock's number: `tintype1` in ASCII.
const NUMBER: i64 = 0x7469_6e74_7970_6531;
/// How long an earlier process may take to be noticed gone.
const WAIT_MAX: Duration = Duration::from_secs(15);
/// How often it is tried.
const TRY_INTERVAL: Duration = Duration::from_millis(100);
/// How often the session is checked to be alive.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// Longest a check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// The lock, while it is held; or none, where none is needed.
#[derive(Debug)]
pub(crate) struct SchedulerLock {
    session: Option<Mutex<PgConnection>>,
}

impl SchedulerLock {
    /// Takes the lock, waiting a little for a process that is just going.
    pub(crate) async fn take(database_url: &str) -> anyhow::Result<Self> {
        let options = PgConnectOptions::from_str(database_url)?.application_name("tintype-api-lock");
        let mut session = options.connect().await.context("cannot connect to PostgreSQL")?;
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            let taken: bool = sqlx::query_scalar("select pg_try_advisory_lock($1)")
                .bind(NUMBER)
                .fetch_one(&mut session)
                .await
                .context("cannot ask for the scheduler's lock")?;
            if taken {
                return Ok(Self { session: Some(Mutex::new(session)) });
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "another API in local mode uses this database; stop that one, or give this one its own database"
            );
            sleep(TRY_INTERVAL).await;
        }
    }

    /// No lock: the cluster elects its own leader.
    pub(crate) fn none() -> Self {
        Self { session: None }
    }

    /// Returns when the lock is lost: somebody else may schedule now, so we must end.
    pub(crate) async fn lost(&self) -> anyhow::Error {
        let Some(session) = &self.session else { return std::future::pending().await };
        loop {
            sleep(CHECK_INTERVAL).await;
            match timeout(CHECK_TIMEOUT, session.lock().await.ping()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    return anyhow::Error::new(error).context("the scheduler's lock on the database is lost");
                }
                Err(_) => return anyhow::anyhow!("the database does not answer, so the scheduler's lock may be lost"),
            }
        }
    }

    /// Lets go of it, so that the next process need not wait.
    pub(crate) async fn release(self) {
        if let Some(session) = self.session {
            // If it cannot be said, the end of the process says it.
            let _ = timeout(CHECK_TIMEOUT, session.into_inner().close()).await;
        }
    }
}
