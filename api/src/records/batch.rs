//! Batches: which jobs were asked for together.

use sqlx::PgConnection;
use tintype_types::Timestamp;
use uuid::Uuid;

use crate::clock::to_ms;
use crate::database::Db;

/// A batch, without its jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Batch {
    /// Its id: a UUID version 7.
    pub(crate) id: Uuid,
    /// Whose.
    pub(crate) account: Uuid,
    /// What all of it costs, in milli-credits.
    pub(crate) price: i64,
    /// When it was made.
    pub(crate) created_ms: i64,
}

/// Writes down that these jobs, which are there, are one batch.
pub(crate) async fn create(conn: &mut PgConnection, batch: &Batch, jobs: &[Uuid]) -> sqlx::Result<()> {
    let Batch { id, account, price, created_ms } = batch;
    sqlx::query("insert into batch (id, account, price, created_ms) values ($1, $2, $3, $4)")
        .bind(id)
        .bind(account)
        .bind(price)
        .bind(created_ms)
        .execute(&mut *conn)
        .await?;
    sqlx::query("insert into batch_job (batch, generation) select $1, unnest($2::uuid[])")
        .bind(id)
        .bind(jobs)
        .execute(conn)
        .await?;
    Ok(())
}

/// An account's batch.
pub(crate) async fn find_own(pool: &Db, account: Uuid, id: Uuid) -> sqlx::Result<Option<Batch>> {
    sqlx::query_as("select id, account, price, created_ms from batch where id = $1 and account = $2")
        .bind(id)
        .bind(account)
        .fetch_optional(pool)
        .await
}

/// The batch a job is of.
pub(crate) async fn of_job(pool: &Db, job: Uuid) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar("select batch from batch_job where generation = $1").bind(job).fetch_optional(pool).await
}

/// Cancels those of its jobs that have not ended; how many.
pub(crate) async fn cancel(pool: &Db, id: Uuid, at: Timestamp) -> sqlx::Result<u64> {
    const SQL: &str = "update generation set cancelled_ms = $2 where finished_ms is null and cancelled_ms is null
        and id in (select generation from batch_job where batch = $1)";
    Ok(sqlx::query(SQL).bind(id).bind(to_ms(at)).execute(pool).await?.rows_affected())
}
