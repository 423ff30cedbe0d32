//! The second net: connections of requests, on which the database itself shows the rows of one account and no others.
//!
//! Every query names its account; should one forget, it finds nothing of anybody else's. Whose request it is is said once, by
//! the middleware that lets callers in ([`as_account`]), and told to the database whenever a connection is taken, in the
//! place of the round trip that would see whether it still lives. What works for all accounts has a pool of its own.

use sqlx::postgres::PgPoolOptions;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::database;

/// The role of migration 18.
const ROLE: &str = "tintype_tenant";
/// What the setting says for requests of no tenant: signing in, the administrator's.
const ANYBODY: &str = "*";

tokio::task_local! {
    static ACCOUNT: Uuid;
}

/// Does something that may see and change nothing but what is the account's.
pub async fn as_account<F: Future>(account: Uuid, doing: F) -> F::Output {
    ACCOUNT.scope(account, doing).await
}

/// A pool for requests. On a database whose migrations could make no role, it sees what its user sees.
///
/// # Errors
/// The database cannot be reached.
pub async fn connect(url: &str) -> anyhow::Result<PgPool> {
    let options = PgPoolOptions::new()
        .test_before_acquire(false)
        .after_connect(|conn, _| {
            let account = current();
            Box::pin(async move {
                become_tenant(conn).await?;
                tell(conn, &account).await
            })
        })
        .before_acquire(|conn, _| {
            let account = current();
            Box::pin(async move { tell(conn, &account).await.map(|()| true) })
        });
    let pool = database::connect_with(options, url).await?;
    let there: bool = sqlx::query_scalar("select to_regrole($1) is not null").bind(ROLE).fetch_one(&pool).await?;
    if !there {
        tracing::warn!("row-level security is off: the database's user could not make the role {ROLE}");
    }
    Ok(pool)
}

/// Before the first migration there is no role, and nothing to see.
async fn become_tenant(conn: &mut PgConnection) -> sqlx::Result<()> {
    const SQL: &str = "select set_config('role', $1, false) where to_regrole($1) is not null";
    sqlx::query(SQL).bind(ROLE).execute(conn).await?;
    Ok(())
}

async fn tell(conn: &mut PgConnection, account: &str) -> sqlx::Result<()> {
    sqlx::query("select set_config('app.account', $1, false)").bind(account).execute(conn).await?;
    Ok(())
}

fn current() -> String {
    ACCOUNT.try_with(Uuid::to_string).unwrap_or_else(|_| ANYBODY.to_owned())
}
