//! How jobs of all accounts ended, hour by hour or day by day.

use tintype_types::Timestamp;

use crate::clock::to_ms;
use crate::database::Db;

/// How jobs ended in one stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Stretch {
    /// Its first moment.
    pub at_ms: i64,
    /// Jobs that were done.
    pub done: i64,
    /// Jobs that failed.
    pub failed: i64,
    /// Jobs that were cancelled.
    pub cancelled: i64,
    /// Pictures made.
    pub images: i64,
    /// Time GPUs were held by them.
    pub gpu_ms: i64,
    /// Captured for them so far, in milli-credits.
    pub spent: i64,
    /// How long the one in the middle waited for its first start; none when none of them started.
    pub waited_ms: Option<i64>,
}

/// How jobs ended from `from` until before `to`, in stretches of `step_ms` that begin at its multiples; those without jobs are left out.
pub(crate) async fn ended(pool: &Db, from: Timestamp, to: Timestamp, step_ms: i64) -> sqlx::Result<Vec<Stretch>> {
    const SQL: &str = "select g.finished_ms / $3 * $3 as at_ms, count(*) filter (where g.state = 'Complete') as done,
            count(*) filter (where g.failure <> 'Cancelled') as failed,
            count(*) filter (where g.failure = 'Cancelled') as cancelled,
            coalesce(sum(jsonb_array_length(g.outputs)), 0)::bigint as images,
            coalesce(sum(g.gpu_ms), 0)::bigint as gpu_ms, coalesce(sum(h.captured), 0)::bigint as spent,
            percentile_disc(0.5) within group (order by g.started_ms - g.created_ms)
                filter (where g.started_ms is not null) as waited_ms
        from generation g left join hold h on h.id = g.id where g.finished_ms >= $1 and g.finished_ms < $2
        group by 1 order by 1";
    sqlx::query_as(SQL).bind(to_ms(from)).bind(to_ms(to)).bind(step_ms).fetch_all(pool).await
}
