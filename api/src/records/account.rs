//! Accounts.

use sqlx::PgConnection;
use tintype_types::Timestamp;
use uuid::Uuid;

use crate::clock::to_ms;

/// What an account is.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Account {
    /// Its id.
    pub id: Uuid,
    /// `user` or `org`.
    pub kind: String,
    /// For people.
    pub name: String,
}

/// Makes a user's account, without a ledger.
pub async fn create_user(conn: &mut PgConnection, id: Uuid, name: &str, at: Timestamp) -> sqlx::Result<()> {
    sqlx::query("insert into account (id, kind, name, created_ms) values ($1, 'user', $2, $3)")
        .bind(id)
        .bind(name)
        .bind(to_ms(at))
        .execute(conn)
        .await?;
    Ok(())
}

/// The account.
pub async fn find(conn: &mut PgConnection, id: Uuid) -> sqlx::Result<Account> {
    find_optional(conn, id).await?.ok_or(sqlx::Error::RowNotFound)
}

/// The account, if there is one of this id.
pub async fn find_optional(conn: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Account>> {
    sqlx::query_as("select id, kind, name from account where id = $1").bind(id).fetch_optional(conn).await
}

/// Keeps every key of the account from opening anything, since a moment; or lets them again. Programs that have them in
/// memory are told as the transaction commits.
pub(crate) async fn suspend(conn: &mut PgConnection, id: Uuid, since: Option<Timestamp>) -> sqlx::Result<()> {
    sqlx::query("update account set suspended_ms = $2 where id = $1")
        .bind(id)
        .bind(since.map(to_ms))
        .execute(&mut *conn)
        .await?;
    sqlx::query("select pg_notify('tintype_keys', id) from api_key where account = $1 and revoked_ms is null")
        .bind(id)
        .execute(conn)
        .await?;
    Ok(())
}
