//! Generations: one row a job. Reading them, and the marks the API itself sets. They are made in [`crate::creation`].
//!
//! What a job goes through while it is worked on is written in [`super::progress`].

use sqlx::PgConnection;
use sqlx::types::Json;
use tintype_crds::WhenLate;
use tintype_types::{
    Attempt, FailureReason, JobEvent, JobId, JobState, Output, ResolvedRequest, Timestamp, Traceparent, WorkerId,
};
use uuid::Uuid;

use crate::clock::{from_ms, to_ms};
use crate::creation::{Deadline, NewJob};
use crate::database::Db;

/// How rows say that a job is refused rather than late.
pub(crate) const REFUSE: &str = "Refuse";

/// A job as Postgres has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Generation {
    /// Its id: a UUID version 7.
    pub id: Uuid,
    /// Whose.
    pub account: Uuid,
    /// What to make.
    pub request: ResolvedRequest,
    /// What it costs, in milli-credits.
    pub price: i64,
    /// Higher goes first.
    pub priority: i32,
    /// The pool it must run in.
    pub pool: Option<String>,
    /// Where it stands.
    pub state: JobState,
    /// The last attempt given out; 0 when there was none.
    pub attempt: Attempt,
    /// Attempts that failed.
    pub failed_attempts: u32,
    /// Who has it, or had it last.
    pub worker: Option<WorkerId>,
    /// Not to be tried before this.
    pub not_before: Option<Timestamp>,
    /// Steps done in the current attempt, as last written.
    pub step: u32,
    /// Steps of the current attempt.
    pub steps: u32,
    /// What it made.
    pub outputs: Vec<Output>,
    /// Why it failed.
    pub failure: Option<FailureReason>,
    /// The same for people.
    pub message: Option<String>,
    /// Time the GPU was held, in milliseconds.
    pub gpu_ms: u64,
    /// Its name in a cluster.
    pub cluster_uid: Option<String>,
    /// By when it should be done.
    pub deadline: Option<Deadline>,
    /// When it was to end as its attempt was given out, if its deadline was promised.
    pub promised: Option<Timestamp>,
    /// When it was made.
    pub created: Timestamp,
    /// When it was handed to the cluster.
    pub submitted: Option<Timestamp>,
    /// When its first attempt began.
    pub started: Option<Timestamp>,
    /// When its owner cancelled it.
    pub cancelled: Option<Timestamp>,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// When its credits were captured or given back.
    pub settled: Option<Timestamp>,
    /// What it is part of, if it is traced.
    pub traceparent: Option<Traceparent>,
}

impl Generation {
    /// A job as it is when it is made.
    pub(crate) fn new(new: &NewJob) -> Self {
        Self {
            id: new.id,
            account: new.account,
            request: new.request.clone(),
            price: new.price,
            priority: 0,
            pool: None,
            state: JobState::Queued,
            attempt: Attempt(0),
            failed_attempts: 0,
            worker: None,
            not_before: None,
            step: 0,
            steps: 0,
            outputs: Vec::new(),
            failure: None,
            message: None,
            gpu_ms: 0,
            cluster_uid: None,
            deadline: new.deadline,
            promised: None,
            created: new.stamp.at,
            submitted: new.submitted,
            started: None,
            cancelled: None,
            finished: None,
            settled: None,
            traceparent: new.traceparent,
        }
    }

    /// Its name to the dispatcher on this machine.
    pub fn job_id(&self) -> JobId {
        JobId(self.id.to_string())
    }

    /// Where it stands, as people are told.
    pub fn event(&self) -> JobEvent {
        JobEvent {
            job: self.job_id(),
            state: self.state,
            attempt: self.attempt,
            step: self.step,
            steps: self.steps,
            failure: self.failure,
            message: self.message.clone(),
            outputs: self.outputs.clone(),
            previews: Vec::new(),
        }
    }
}

/// The columns of [`Row`].
macro_rules! columns {
    () => {
        "id, account, request, price, priority, pool, state, attempt, failed_attempts, worker, not_before_ms, step, \
         steps, outputs, failure, message, gpu_ms, cluster_uid, created_ms, submitted_ms, started_ms, cancelled_ms, \
         finished_ms, settled_ms, deadline_ms, when_late, promised_ms, traceparent"
    };
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    account: Uuid,
    request: Json<ResolvedRequest>,
    price: i64,
    priority: i32,
    pool: Option<String>,
    state: String,
    attempt: i32,
    failed_attempts: i32,
    worker: Option<String>,
    not_before_ms: Option<i64>,
    step: i32,
    steps: i32,
    outputs: Json<Vec<Output>>,
    failure: Option<String>,
    message: Option<String>,
    gpu_ms: i64,
    cluster_uid: Option<String>,
    created_ms: i64,
    submitted_ms: Option<i64>,
    started_ms: Option<i64>,
    cancelled_ms: Option<i64>,
    finished_ms: Option<i64>,
    settled_ms: Option<i64>,
    deadline_ms: Option<i64>,
    when_late: String,
    promised_ms: Option<i64>,
    traceparent: Option<String>,
}

impl Row {
    fn into_generation(self) -> Generation {
        Generation {
            id: self.id,
            account: self.account,
            request: self.request.0,
            price: self.price,
            priority: self.priority,
            pool: self.pool,
            // The column's check lets no other name in.
            state: parse_state(&self.state).unwrap_or(JobState::Queued),
            attempt: Attempt(self.attempt.unsigned_abs()),
            failed_attempts: self.failed_attempts.unsigned_abs(),
            worker: self.worker.map(WorkerId),
            not_before: self.not_before_ms.map(from_ms),
            step: self.step.unsigned_abs(),
            steps: self.steps.unsigned_abs(),
            outputs: self.outputs.0,
            failure: self.failure.map(|name| parse_failure(&name)),
            message: self.message,
            gpu_ms: self.gpu_ms.unsigned_abs(),
            cluster_uid: self.cluster_uid,
            deadline: self.deadline_ms.map(from_ms).map(|at| Deadline {
                at,
                when_late: if self.when_late == REFUSE { WhenLate::Refuse } else { WhenLate::Run },
            }),
            promised: self.promised_ms.map(from_ms),
            created: from_ms(self.created_ms),
            submitted: self.submitted_ms.map(from_ms),
            started: self.started_ms.map(from_ms),
            cancelled: self.cancelled_ms.map(from_ms),
            finished: self.finished_ms.map(from_ms),
            settled: self.settled_ms.map(from_ms),
            traceparent: self.traceparent.and_then(|text| text.parse().ok()),
        }
    }
}

fn many(rows: Vec<Row>) -> Vec<Generation> {
    rows.into_iter().map(Row::into_generation).collect()
}

fn parse_state(name: &str) -> Option<JobState> {
    use JobState::{Assigned, Complete, Failed, Preempted, Queued, Running};
    [Queued, Assigned, Running, Preempted, Complete, Failed].into_iter().find(|state| state.as_str() == name)
}

/// A reason a newer version wrote reads as the vaguest one here; the message beside it says more.
fn parse_failure(name: &str) -> FailureReason {
    FailureReason::ALL.into_iter().find(|reason| reason.as_str() == name).unwrap_or(FailureReason::Internal)
}

/// The job.
pub async fn find(pool: &Db, id: Uuid) -> sqlx::Result<Option<Generation>> {
    const SQL: &str = concat!("select ", columns!(), " from generation where id = $1");
    let row: Option<Row> = sqlx::query_as(SQL).bind(id).fetch_optional(pool).await?;
    Ok(row.map(Row::into_generation))
}

/// Those of these jobs that are there, in any order.
pub async fn find_all(pool: &Db, ids: &[Uuid]) -> sqlx::Result<Vec<Generation>> {
    const SQL: &str = concat!("select ", columns!(), " from generation where id = any($1)");
    Ok(many(sqlx::query_as(SQL).bind(ids).fetch_all(pool).await?))
}

/// The job, if it is this account's.
pub async fn find_own(pool: &Db, account: Uuid, id: Uuid) -> sqlx::Result<Option<Generation>> {
    Ok(find(pool, id).await?.filter(|job| job.account == account))
}

/// The newest job the same key asked for with the same body since `since` whose answer was never written.
pub async fn find_unanswered(
    pool: &Db,
    api_key: &str,
    body_sha256: &[u8; 32],
    since: Timestamp,
) -> sqlx::Result<Option<Generation>> {
    const SQL: &str = concat!(
        "select ",
        columns!(),
        " from generation where api_key = $1 and body_sha256 = $2 and answered_ms is null and created_ms >= $3
         order by id desc limit 1"
    );
    let row: Option<Row> =
        sqlx::query_as(SQL).bind(api_key).bind(&body_sha256[..]).bind(to_ms(since)).fetch_optional(pool).await?;
    Ok(row.map(Row::into_generation))
}

/// An account's jobs, newest first, from before a given one.
pub async fn list(pool: &Db, account: Uuid, before: Option<Uuid>, limit: i64) -> sqlx::Result<Vec<Generation>> {
    const SQL: &str = concat!(
        "select ",
        columns!(),
        " from generation where account = $1 and ($2::uuid is null or id < $2) order by id desc limit $3"
    );
    Ok(many(sqlx::query_as(SQL).bind(account).bind(before).bind(limit).fetch_all(pool).await?))
}

/// Jobs not yet handed to the cluster, oldest first.
pub async fn unsubmitted(pool: &Db, limit: i64) -> sqlx::Result<Vec<Generation>> {
    const SQL: &str = concat!(
        "select ",
        columns!(),
        " from generation where submitted_ms is null and finished_ms is null order by id limit $1"
    );
    Ok(many(sqlx::query_as(SQL).bind(limit).fetch_all(pool).await?))
}

/// Jobs whose owner wants them gone and that have not ended.
pub async fn cancelling(pool: &Db, limit: i64) -> sqlx::Result<Vec<Generation>> {
    const SQL: &str = concat!(
        "select ",
        columns!(),
        " from generation where cancelled_ms is not null and finished_ms is null and submitted_ms is not null
         order by id limit $1"
    );
    Ok(many(sqlx::query_as(SQL).bind(limit).fetch_all(pool).await?))
}

/// Every job that has not ended: what a scheduler starts from.
pub async fn open(pool: &Db) -> sqlx::Result<Vec<Generation>> {
    const SQL: &str = concat!("select ", columns!(), " from generation where finished_ms is null order by id");
    Ok(many(sqlx::query_as(SQL).fetch_all(pool).await?))
}

/// The oldest jobs of anybody's that have not ended.
pub async fn open_first(pool: &Db, limit: i64) -> sqlx::Result<Vec<Generation>> {
    const SQL: &str = concat!("select ", columns!(), " from generation where finished_ms is null order by id limit $1");
    Ok(many(sqlx::query_as(SQL).bind(limit).fetch_all(pool).await?))
}

/// An account's jobs that have not ended, oldest first.
pub async fn open_of(pool: &Db, account: Uuid, limit: i64) -> sqlx::Result<Vec<Generation>> {
    const SQL: &str = concat!(
        "select ",
        columns!(),
        " from generation where account = $1 and finished_ms is null order by id limit $2"
    );
    Ok(many(sqlx::query_as(SQL).bind(account).bind(limit).fetch_all(pool).await?))
}

/// The jobs of a batch, in their order.
pub(crate) async fn of_batch(pool: &Db, batch: Uuid) -> sqlx::Result<Vec<Generation>> {
    const SQL: &str = concat!(
        "select ",
        columns!(),
        " from generation where id in (select generation from batch_job where batch = $1) order by id"
    );
    Ok(many(sqlx::query_as(SQL).bind(batch).fetch_all(pool).await?))
}

/// Jobs that ended and whose credits are still held, oldest first.
pub async fn unsettled(pool: &Db, limit: i64) -> sqlx::Result<Vec<Uuid>> {
    const SQL: &str = "select id from generation where finished_ms is not null and settled_ms is null \
         order by id limit $1";
    sqlx::query_scalar(SQL).bind(limit).fetch_all(pool).await
}

/// Locks a job that ended and is unsettled; none when it is settled, or another replica is at it.
pub async fn lock_unsettled(conn: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Generation>> {
    const SQL: &str = concat!(
        "select ",
        columns!(),
        " from generation where id = $1 and finished_ms is not null and settled_ms is null for update skip locked"
    );
    let row: Option<Row> = sqlx::query_as(SQL).bind(id).fetch_optional(conn).await?;
    Ok(row.map(Row::into_generation))
}

/// Settled jobs the cluster still holds on to.
pub async fn unreleased(pool: &Db, limit: i64) -> sqlx::Result<Vec<Generation>> {
    const SQL: &str = concat!(
        "select ",
        columns!(),
        " from generation where settled_ms is not null and released_ms is null and cluster_uid is not null
         order by id limit $1"
    );
    Ok(many(sqlx::query_as(SQL).bind(limit).fetch_all(pool).await?))
}

/// Jobs handed to the cluster before `before` that have not ended.
pub async fn submitted_before(pool: &Db, before: Timestamp, limit: i64) -> sqlx::Result<Vec<Generation>> {
    const SQL: &str = concat!(
        "select ",
        columns!(),
        " from generation where finished_ms is null and submitted_ms < $1 order by id limit $2"
    );
    Ok(many(sqlx::query_as(SQL).bind(to_ms(before)).bind(limit).fetch_all(pool).await?))
}

/// A mark the API sets on a job, with the time, once.
#[derive(Clone, Copy, Debug)]
pub enum Mark {
    /// The credits are captured or given back.
    Settled,
    /// The cluster was told so.
    Released,
    /// An answer to the request that made it was written.
    Answered,
    /// The owner wants it gone (only while it has not ended).
    Cancelled,
}

/// Sets a mark; false when it was set, or cannot be.
pub async fn mark(conn: &mut PgConnection, id: Uuid, mark: Mark, at: Timestamp) -> sqlx::Result<bool> {
    let sql = match mark {
        Mark::Settled => "update generation set settled_ms = $2 where id = $1 and settled_ms is null",
        Mark::Released => "update generation set released_ms = $2 where id = $1 and released_ms is null",
        Mark::Answered => "update generation set answered_ms = $2 where id = $1 and answered_ms is null",
        Mark::Cancelled => {
            "update generation set cancelled_ms = $2 where id = $1 and cancelled_ms is null and finished_ms is null"
        }
    };
    Ok(sqlx::query(sql).bind(id).bind(to_ms(at)).execute(conn).await?.rows_affected() == 1)
}

/// The cluster has the jobs, under the names they have here.
pub async fn mark_all_submitted(pool: &Db, ids: &[Uuid], at: Timestamp) -> sqlx::Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let sql = "update generation set submitted_ms = $2 where id = any($1) and submitted_ms is null";
    sqlx::query(sql).bind(ids).bind(to_ms(at)).execute(pool).await?;
    Ok(())
}

/// The cluster has the job, under this name.
pub async fn mark_submitted(pool: &Db, id: Uuid, cluster_uid: Option<&str>, at: Timestamp) -> sqlx::Result<()> {
    sqlx::query(
        "update generation set submitted_ms = $2, cluster_uid = coalesce(cluster_uid, $3)
         where id = $1 and submitted_ms is null",
    )
    .bind(id)
    .bind(to_ms(at))
    .bind(cluster_uid)
    .execute(pool)
    .await?;
    Ok(())
}
