//! What a job goes through while it is worked on. Every statement is fenced by the attempt and the state, and repeating
//! one that was written is fine. Whoever tells of an event has a clock of its own, so nothing is written to have happened
//! before what it follows from: no job starts before it was made, and none ends before it started.

use sqlx::types::Json;
use tintype_dispatch::Given as GivenJob;
use tintype_types::{Attempt, FailureReason, JobState, Output, ResolvedRequest, Timestamp, WorkerId};
use uuid::Uuid;

use crate::clock::{from_ms, to_ms};
use crate::database::Db;

/// Longest message kept with a failure, in characters.
const MESSAGE_CHARS_MAX: usize = 1_024;

/// Which attempt of which job a statement is about.
#[derive(Clone, Copy, Debug)]
pub struct Fence {
    /// The job.
    pub job: Uuid,
    /// The attempt.
    pub attempt: Attempt,
}

impl Fence {
    fn attempt(self) -> i32 {
        i32::try_from(self.attempt.0).unwrap_or(i32::MAX)
    }
}

/// To whom an attempt is given.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// The worker.
    pub worker: &'a WorkerId,
    /// When it should end, if its deadline was promised.
    pub promised: Option<Timestamp>,
}

/// Gives the job to a worker as this attempt. None when the record says otherwise.
pub async fn assign(pool: &Db, fence: Fence, given: Given<'_>, at: Timestamp) -> sqlx::Result<Option<GivenJob>> {
    const ASSIGN: &str = "
        update generation set state = 'Assigned', attempt = $2, worker = $3, step = 0,
            steps = (request->>'steps')::int * (request->>'images')::int,
            not_before_ms = null, message = null, started_ms = coalesce(started_ms, greatest($4, created_ms)),
            promised_ms = coalesce($5, promised_ms)
        where id = $1 and attempt = $2 - 1 and state in ('Queued', 'Preempted') and cancelled_ms is null
        returning request, created_ms, traceparent";
    const ASSIGNED: &str = "
        select request, created_ms, traceparent from generation
        where id = $1 and attempt = $2 and worker = $3 and state in ('Assigned', 'Running')";
    let Given { worker, promised } = given;
    let assigned: Option<GivenRow> = sqlx::query_as(ASSIGN)
        .bind(fence.job)
        .bind(fence.attempt())
        .bind(worker.as_str())
        .bind(to_ms(at))
        .bind(promised.map(to_ms))
        .fetch_optional(pool)
        .await?;
    if let Some(row) = assigned {
        return Ok(Some(given_job(row)));
    }
    let before: Option<GivenRow> = sqlx::query_as(ASSIGNED)
        .bind(fence.job)
        .bind(fence.attempt())
        .bind(worker.as_str())
        .fetch_optional(pool)
        .await?;
    Ok(before.map(given_job))
}

/// What is asked for, when it was made, what it is part of.
type GivenRow = (Json<ResolvedRequest>, i64, Option<String>);

fn given_job((request, created_ms, traceparent): GivenRow) -> GivenJob {
    let traceparent = traceparent.and_then(|text| text.parse().ok());
    GivenJob { request: request.0, submitted: from_ms(created_ms), traceparent }
}

/// Notes how far the attempt has come.
pub async fn advance(pool: &Db, fence: Fence, step: u32, steps: u32) -> sqlx::Result<bool> {
    const SQL: &str = "update generation set state = 'Running', step = greatest(step, $3), steps = $4
        where id = $1 and attempt = $2 and state in ('Assigned', 'Running')";
    let done = sqlx::query(SQL)
        .bind(fence.job)
        .bind(fence.attempt())
        .bind(clamp(step))
        .bind(clamp(steps))
        .execute(pool)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// How an attempt ended that is to be followed by another.
#[derive(Debug)]
pub struct Requeue<'a> {
    /// Not to be tried before this.
    pub not_before: Timestamp,
    /// Why.
    pub reason: FailureReason,
    /// For people.
    pub message: &'a str,
    /// Attempts that failed, this one included if it counts.
    pub failed_attempts: u32,
}

/// Puts the job back in its queue.
pub async fn requeue(pool: &Db, fence: Fence, how: &Requeue<'_>) -> sqlx::Result<bool> {
    const SQL: &str = "update generation set state = $6, worker = null, not_before_ms = $3, message = $4,
            failed_attempts = $5, step = case when $6 = 'Preempted' then step else 0 end
        where id = $1 and attempt = $2 and (state in ('Assigned', 'Running')
            or (state = $6 and failed_attempts = $5 and not_before_ms = $3))";
    let done = sqlx::query(SQL)
        .bind(fence.job)
        .bind(fence.attempt())
        .bind(to_ms(how.not_before))
        .bind(shortened(how.message))
        .bind(clamp(how.failed_attempts))
        .bind(how.reason.state_after().as_str())
        .execute(pool)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Ends the job without a picture.
pub async fn fail(pool: &Db, fence: Fence, reason: FailureReason, message: &str, at: Timestamp) -> sqlx::Result<bool> {
    const FAIL: &str = "update generation set state = 'Failed', failure = $3, message = $4,
            finished_ms = greatest($5, created_ms, started_ms)
        where id = $1 and attempt = $2 and finished_ms is null";
    const FAILED: &str = "select exists (select 1 from generation
        where id = $1 and attempt = $2 and state = 'Failed' and failure = $3)";
    let done = sqlx::query(FAIL)
        .bind(fence.job)
        .bind(fence.attempt())
        .bind(reason.as_str())
        .bind(shortened(message))
        .bind(to_ms(at))
        .execute(pool)
        .await?;
    if done.rows_affected() == 1 {
        return Ok(true);
    }
    let before = sqlx::query_scalar(FAILED).bind(fence.job).bind(fence.attempt()).bind(reason.as_str());
    before.fetch_one(pool).await
}

/// Ends a job that is gone from its cluster, as cancelled if its owner wanted that. False when it has ended, goes on as
/// a later attempt, or is another job of the name.
pub async fn vanish(pool: &Db, fence: Fence, cluster_uid: &str, at: Timestamp) -> sqlx::Result<bool> {
    const SQL: &str = "update generation set state = 'Failed', finished_ms = greatest($4, created_ms, started_ms),
            failure = case when cancelled_ms is null then 'Internal' else 'Cancelled' end,
            message = case when cancelled_ms is null
                then 'the job was deleted in the cluster before it ended; nothing was charged'
                else 'cancelled by its owner' end
        where id = $1 and attempt = $2 and cluster_uid = $3 and finished_ms is null";
    let done = sqlx::query(SQL).bind(fence.job).bind(fence.attempt()).bind(cluster_uid).bind(to_ms(at));
    Ok(done.execute(pool).await?.rows_affected() == 1)
}

/// Ends the job with its pictures.
pub async fn complete(pool: &Db, fence: Fence, outputs: &[Output], gpu_ms: u64, at: Timestamp) -> sqlx::Result<bool> {
    const COMPLETE: &str = "update generation set state = 'Complete', outputs = $3, gpu_ms = $4,
            finished_ms = greatest($5, created_ms, started_ms), step = steps, message = null
        where id = $1 and attempt = $2 and state in ('Assigned', 'Running')";
    const COMPLETED: &str = "select exists (select 1 from generation
        where id = $1 and attempt = $2 and state = 'Complete' and outputs = $3)";
    let done = sqlx::query(COMPLETE)
        .bind(fence.job)
        .bind(fence.attempt())
        .bind(Json(outputs))
        .bind(i64::try_from(gpu_ms).unwrap_or(i64::MAX))
        .bind(to_ms(at))
        .execute(pool)
        .await?;
    if done.rows_affected() == 1 {
        return Ok(true);
    }
    sqlx::query_scalar(COMPLETED).bind(fence.job).bind(fence.attempt()).bind(Json(outputs)).fetch_one(pool).await
}

/// A job as a cluster tells of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The row's id.
    pub id: Uuid,
    /// The job's name in the cluster.
    pub cluster_uid: String,
    /// Where it stands.
    pub state: JobState,
    /// The last attempt given out.
    pub attempt: Attempt,
    /// Attempts that failed.
    pub failed_attempts: u32,
    /// Who has it.
    pub worker: Option<WorkerId>,
    /// Steps done and in all.
    pub progress: Option<(u32, u32)>,
    /// What it made.
    pub outputs: Vec<Output>,
    /// Why it failed; kept only when the state is `Failed`.
    pub failure: Option<(FailureReason, String)>,
    /// Time the GPU was held, in milliseconds.
    pub gpu_ms: u64,
}

/// Takes over what the cluster tells, unless the row knows more. True when the row changed.
pub async fn take_over(pool: &Db, seen: &Seen, at: Timestamp) -> sqlx::Result<bool> {
    const SQL: &str = "
        update generation set state = $3, attempt = $4, failed_attempts = $5, worker = $6,
            step = case when attempt = $4 then greatest(step, $7) else $7 end, steps = greatest(steps, $8), outputs = $9, failure = case when $3 = 'Failed' then $10 end, message = $11, gpu_ms = $12,
            submitted_ms = coalesce(submitted_ms, $13), cluster_uid = coalesce(cluster_uid, $2),
            started_ms = case when $4 > 0 then coalesce(started_ms, greatest($13, created_ms)) end,
            finished_ms = case when $3 in ('Complete', 'Failed') then greatest($13, created_ms, started_ms) end
        where id = $1 and finished_ms is null and attempt <= $4 and coalesce(cluster_uid, $2) = $2
            and ((state, attempt, failed_attempts, worker, outputs, submitted_ms is null)
                is distinct from ($3, $4, $5, $6, $9, false) or $7 > step)";
    let (step, steps) = seen.progress.unwrap_or_default();
    let (reason, message) =
        seen.failure.as_ref().map(|(reason, message)| (reason.as_str(), shortened(message))).unzip();
    let done = sqlx::query(SQL)
        .bind(seen.id)
        .bind(&seen.cluster_uid)
        .bind(seen.state.as_str())
        .bind(clamp(seen.attempt.0))
        .bind(clamp(seen.failed_attempts))
        .bind(seen.worker.as_ref().map(WorkerId::as_str))
        .bind(clamp(step))
        .bind(clamp(steps))
        .bind(Json(&seen.outputs))
        .bind(reason)
        .bind(message)
        .bind(i64::try_from(seen.gpu_ms).unwrap_or(i64::MAX))
        .bind(to_ms(at))
        .execute(pool)
        .await?;
    Ok(done.rows_affected() == 1)
}

fn clamp(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn shortened(message: &str) -> String {
    message.chars().filter(|c| *c != '\0').take(MESSAGE_CHARS_MAX).collect()
}
