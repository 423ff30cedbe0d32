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
    sqlx::query_as("select id, kind, name from account where id = $1").bind(id).fetch_one(conn).await
}
