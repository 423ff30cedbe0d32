//! What the tests share: a fresh database with the schema, ids and times, the ledger's invariants as SQL.

use sqlx::PgPool;
use tintype_api::ledger::{Grant, Source};
use tintype_types::Timestamp;
use uuid::Uuid;

/// A new database with the schema in it, and its URL.
pub(crate) async fn database() -> (PgPool, String) {
    let url = tokio::task::spawn_blocking(tintype_pg::testing::fresh_database).await.unwrap();
    let pool = tintype_api::database::connect(&url).await.unwrap();
    tintype_api::database::migrate(&pool).await.unwrap();
    (pool, url)
}

/// The time now.
pub(crate) fn now() -> Timestamp {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp(since_epoch.as_millis() as u64)
}

/// A row in `account`, with an empty book.
pub(crate) async fn account(pool: &PgPool) -> Uuid {
    let id = Uuid::now_v7();
    sqlx::query("insert into account (id, kind, name, created_ms) values ($1, 'user', 'test', 0)")
        .bind(id)
        .execute(pool)
        .await
        .unwrap();
    tintype_api::ledger::sql::open_account(&mut pool.acquire().await.unwrap(), id).await.unwrap();
    id
}

/// A lot of so many milli-credits that never lapses.
pub(crate) fn gift(amount: i64, reference: &str) -> Grant {
    Grant { source: Source::Promo, reference: reference.to_owned(), amount, expires: None }
}

/// What breaks an invariant of the ledger. An empty list is a sound ledger.
pub(crate) async fn ledger_faults(pool: &PgPool) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, sql) in crate::invariants::CHECKS {
        let broken: Vec<String> = sqlx::query_scalar(sql).fetch_all(pool).await.unwrap();
        faults.extend(broken.into_iter().map(|what| format!("{name}: {what}")));
    }
    faults
}
