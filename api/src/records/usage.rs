//! What an account used, summed up.

use tintype_types::Timestamp;
use uuid::Uuid;

use crate::clock::to_ms;
use crate::database::Db;

/// Lines of one answer.
pub const LINES_MAX: i64 = 10_000;

/// What was used in one day, of one model, with one key.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct UsageLine {
    /// The day's first moment, UTC.
    pub day_ms: i64,
    /// The model.
    pub model: String,
    /// The key, by its id; none when the job was not asked for with one.
    pub api_key: Option<String>,
    /// Jobs that ended.
    pub jobs: i64,
    /// Of those, failed or cancelled.
    pub failed: i64,
    /// Pictures made.
    pub images: i64,
    /// Time GPUs were held.
    pub gpu_ms: i64,
    /// Captured so far, in milli-credits.
    pub spent: i64,
}

/// What an account used from `from` until before `to`, by day, model and key.
pub async fn of_account(pool: &Db, account: Uuid, from: Timestamp, to: Timestamp) -> sqlx::Result<Vec<UsageLine>> {
    const SQL: &str = "select finished_ms / 86400000 * 86400000 as day_ms, request->>'model' as model, api_key,
            count(*) as jobs, count(*) filter (where generation.state = 'Failed') as failed,
            coalesce(sum(jsonb_array_length(outputs)), 0)::bigint as images,
            coalesce(sum(gpu_ms), 0)::bigint as gpu_ms,
            coalesce(sum(hold.captured), 0)::bigint as spent
        from generation left join hold using (id) where generation.account = $1 and finished_ms >= $2 and finished_ms < $3
        group by 1, 2, 3 order by 1, 2, 3 limit $4";
    sqlx::query_as(SQL).bind(account).bind(to_ms(from)).bind(to_ms(to)).bind(LINES_MAX).fetch_all(pool).await
}
