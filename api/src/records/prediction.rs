//! What Replicate's dialect knows of a job beside the job.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::types::Json;
use tintype_types::Timestamp;
use uuid::Uuid;

use crate::clock::to_ms;
use crate::database::Db;

/// What was sent for a prediction, and what belongs to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sent {
    /// The `input`, files as URLs.
    pub(crate) input: Value,
    /// Names of what of it was not honoured.
    pub(crate) ignored: Vec<String>,
    /// Who shows this may read the prediction's stream: their client for Node sends no key there.
    pub(crate) stream: String,
}

/// A prediction that is about to become a job.
#[derive(Clone, Debug)]
pub(crate) struct NewPrediction {
    /// The job's id.
    pub(crate) generation: Uuid,
    /// Whose.
    pub(crate) account: Uuid,
    /// What was sent for it.
    pub(crate) sent: Sent,
    /// Where this request wants to be told.
    pub(crate) webhook: Option<String>,
    /// Of what, by the names of our events.
    pub(crate) events: Vec<&'static str>,
}

/// Writes it. Before the job is made, so that nothing that happens to the job is missed.
pub(crate) async fn create(pool: &Db, new: &NewPrediction, at: Timestamp) -> sqlx::Result<()> {
    const SQL: &str = "insert into prediction (generation, account, input, webhook, events, created_ms)
        values ($1, $2, $3, $4, $5, $6)";
    sqlx::query(SQL)
        .bind(new.generation)
        .bind(new.account)
        .bind(Json(&new.sent))
        .bind(&new.webhook)
        .bind(&new.events)
        .bind(to_ms(at))
        .execute(pool)
        .await?;
    Ok(())
}

/// There is no such job after all.
pub(crate) async fn forget(pool: &Db, generation: Uuid) -> sqlx::Result<()> {
    const SQL: &str = "delete from prediction p where generation = $1
        and not exists (select 1 from generation g where g.id = p.generation)";
    sqlx::query(SQL).bind(generation).execute(pool).await?;
    Ok(())
}

/// What was sent, for each of these jobs that were asked for in this dialect.
pub(crate) async fn sent(pool: &Db, generations: &[Uuid]) -> sqlx::Result<Vec<(Uuid, Sent)>> {
    const SQL: &str = "select generation, input from prediction where generation = any($1)";
    let rows: Vec<(Uuid, Json<Sent>)> = sqlx::query_as(SQL).bind(generations).fetch_all(pool).await?;
    Ok(rows.into_iter().map(|(id, Json(sent))| (id, sent)).collect())
}
