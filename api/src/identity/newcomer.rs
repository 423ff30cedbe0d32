//! A new user: an account, its book, its first credits. The one place where users begin, however they came.

use sqlx::PgConnection;
use tintype_types::Timestamp;
use uuid::Uuid;

use crate::ledger::post::Stamp;
use crate::ledger::sql as ledger;
use crate::ledger::sql::LedgerSqlError;
use crate::records::account;

/// Makes a user's account with the credits everybody starts with.
pub(crate) async fn open(conn: &mut PgConnection, name: &str, at: Timestamp) -> Result<Uuid, LedgerSqlError> {
    let id = Uuid::now_v7();
    account::create_user(conn, id, name, at).await?;
    let stamp = Stamp { txn: Uuid::now_v7(), at };
    ledger::welcome(conn, id, stamp).await?;
    Ok(id)
}
