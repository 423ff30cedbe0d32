//! The second net: connections of requests, on which the database itself shows the rows of one account and no others.
//!
//! Every query names its account; should one forget, it finds nothing of anybody else's. Whose request it is is said once, by
//! the middleware that lets callers in ([`as_account`]), and told to the database whenever a connection is taken, in the
//! place of the round trip that would see whether it still lives; behind a pooler, whenever a transaction begins. What works for
//! all accounts has a pool of its own.

use sqlx::PgConnection;
use sqlx::postgres::PgPoolOptions;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::database::{self, Db};

/// The role of migration 18.
const ROLE: &str = "tintype_tenant";
/// What the setting says for requests of no tenant: signing in, the administrator's.
const ANYBODY: &str = "*";

tokio::task_local! {
    /// What the setting says: accounts, with commas between.
    static ACCOUNTS: String;
}

/// Does something that may see and change nothing but what is the account's.
pub async fn as_account<F: Future>(account: Uuid, doing: F) -> F::Output {
    as_accounts(&[account], doing).await
}

/// The same for several accounts: those of a person.
pub async fn as_accounts<F: Future>(accounts: &[Uuid], doing: F) -> F::Output {
    let accounts: Vec<String> = accounts.iter().map(Uuid::to_string).collect();
    ACCOUNTS.scope(accounts.join(","), doing).await
}

/// Does something for an account that is only just becoming one of the caller's, too.
pub(crate) async fn also_as<F: Future>(account: Uuid, doing: F) -> F::Output {
    match ACCOUNTS.try_with(|accounts| format!("{accounts},{account}")) {
        Ok(accounts) => ACCOUNTS.scope(accounts, doing).await,
        Err(_) => doing.await,
    }
}

/// Looks into the database from within a stream, as the account. The look goes on by itself: a stream that its reader leaves
/// standing is not polled, and a look that is polled with it would hold its connection for as long. It ends with the stream.
///
/// # Errors
/// It broke.
pub(crate) async fn look_as<T: Send + 'static>(
    account: Uuid,
    look: impl Future<Output = T> + Send + 'static,
) -> sqlx::Result<T> {
    let looking = AbortOnDropHandle::new(tokio::spawn(as_account(account, look)));
    looking.await.map_err(|_| sqlx::Error::WorkerCrashed)
}

/// A pool for requests. On a database whose migrations could make no role, it sees what its user sees.
///
/// # Errors
/// The database cannot be reached.
pub async fn connect(url: &str) -> anyhow::Result<Db> {
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
    let pool = Db::from(database::connect_with(options, url).await?);
    role_is_there(&pool).await?;
    Ok(pool)
}

/// The same behind a pooler, where each transaction says whose it is.
///
/// # Errors
/// The database cannot be reached.
pub async fn connect_behind_pooler(url: &str, direct: &Db) -> anyhow::Result<Db> {
    let opening = if role_is_there(direct).await? { tenants } else { database::nobodys };
    Db::behind_pooler(url, direct, opening).await
}

/// What a request's transaction begins with. Accounts are UUIDs, so that nothing in them is SQL.
fn tenants() -> String {
    format!("set local role {ROLE}; set local app.account = '{}'", current())
}

async fn role_is_there(pool: &Db) -> anyhow::Result<bool> {
    let there: bool = sqlx::query_scalar("select to_regrole($1) is not null").bind(ROLE).fetch_one(pool).await?;
    if !there {
        tracing::warn!("row-level security is off: the database's user could not make the role {ROLE}");
    }
    Ok(there)
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
    ACCOUNTS.try_with(String::clone).unwrap_or_else(|_| ANYBODY.to_owned())
}
