//! The record's own fence, without the dispatcher in front of it: what is not about the current attempt changes nothing.

use sqlx::PgPool;
use tintype_api::creation::sql::create;
use tintype_api::creation::{NewJob, Outcome};
use tintype_api::database::Db;
use tintype_api::ledger::post::Stamp;
use tintype_api::records::generation::{self, Mark};
use tintype_api::records::progress::{self, Fence, Given, Requeue, Seen};
use tintype_types::{
    Attempt, FailureReason, GenerationRequest, JobState, ModelDefaults, Output, Sampler, Timestamp, WorkerId,
};
use uuid::Uuid;

use crate::support::{account, database, gift, now};

async fn job(pool: &PgPool) -> Uuid {
    let account = account(pool).await;
    let defaults = ModelDefaults { width: 64, height: 64, steps: 20, guidance_scale: 3.0, sampler: Sampler::Euler };
    let request = GenerationRequest::new("m", "p").resolve(&defaults, 7);
    let id = Uuid::now_v7();
    let key = format!("{:08}", rand::random::<u32>() % 100_000_000);
    sqlx::query("insert into api_key (id, account, name, secret_sha256, created_ms) values ($1, $2, 'k', $3, 0)")
        .bind(&key)
        .bind(account)
        .bind(&[0_u8; 32][..])
        .execute(pool)
        .await
        .unwrap();
    let stamp = || Stamp { txn: Uuid::now_v7(), at: now() };
    let mut conn = pool.acquire().await.unwrap();
    tintype_api::ledger::sql::grant(&mut conn, account, &gift(16, &account.to_string()), stamp()).await.unwrap();
    drop(conn);
    let (body_sha256, repeat) = ([0; 32], None);
    let new = NewJob {
        id,
        account,
        api_key: Some(key.as_str().into()),
        request,
        body_sha256,
        repeat,
        price: 16,
        stamp: stamp(),
        deadline: None,
        open_max: 9,
        submitted: None,
        traceparent: None,
    };
    assert_eq!(create(&Db::from(pool.clone()), &[new]).await.unwrap(), [Outcome::Made]);
    id
}

fn output(seed: u64) -> Vec<Output> {
    vec![Output { key: "k".to_owned(), sha256: "s".to_owned(), bytes: 1, width: 64, height: 64, seed }]
}

fn requeue() -> Requeue<'static> {
    Requeue { not_before: Timestamp(5), reason: FailureReason::WorkerLost, message: "lost", failed_attempts: 1 }
}

#[tokio::test]
async fn a_job_that_stopped_with_a_checkpoint_says_so_until_it_is_taken_up() {
    let (pool, _) = database().await;
    let db = &Db::from(pool.clone());
    let job = job(&pool).await;
    let (first, second) = (Fence { job, attempt: Attempt(1) }, Fence { job, attempt: Attempt(2) });
    let worker = WorkerId::from("w1");
    let stopped = Requeue { reason: FailureReason::Preempted, failed_attempts: 0, ..requeue() };
    let state = async || -> String {
        sqlx::query_scalar("select state from generation where id = $1").bind(job).fetch_one(&pool).await.unwrap()
    };
    assert!(progress::assign(db, first, given(&worker), now()).await.unwrap().is_some());
    assert!(progress::requeue(db, first, &stopped).await.unwrap());
    assert_eq!(state().await, "Preempted");
    assert!(progress::requeue(db, first, &stopped).await.unwrap(), "told again");
    assert!(!progress::requeue(db, first, &requeue()).await.unwrap(), "it has stopped in another way");
    assert!(progress::assign(db, second, given(&worker), now()).await.unwrap().is_some());
    assert_eq!(state().await, "Assigned");
}

#[tokio::test]
async fn only_the_current_attempt_is_written() {
    let (pool, _) = database().await;
    let db = &Db::from(pool.clone());
    let job = job(&pool).await;
    let (first, second) = (Fence { job, attempt: Attempt(1) }, Fence { job, attempt: Attempt(2) });
    let (w1, w2) = (WorkerId::from("w1"), WorkerId::from("w2"));

    assert!(progress::assign(db, second, given(&w1), now()).await.unwrap().is_none(), "attempts have no gaps");
    assert!(progress::assign(db, first, given(&w1), now()).await.unwrap().is_some());
    assert!(progress::assign(db, first, given(&w1), now()).await.unwrap().is_some(), "told again");
    assert!(progress::assign(db, first, given(&w2), now()).await.unwrap().is_none(), "somebody else has it");
    assert!(progress::assign(db, second, given(&w2), now()).await.unwrap().is_none(), "it is out");
    assert!(progress::requeue(db, first, &requeue()).await.unwrap());
    assert!(progress::requeue(db, first, &requeue()).await.unwrap(), "told again");
    assert!(progress::assign(db, second, given(&w2), now()).await.unwrap().is_some());

    // The first attempt wakes up.
    assert!(!progress::advance(db, first, 9, 20).await.unwrap());
    assert!(!progress::requeue(db, first, &requeue()).await.unwrap());
    assert!(!progress::complete(db, first, &output(1), 5, now()).await.unwrap());
    assert!(!progress::fail(db, first, FailureReason::Internal, "no", now()).await.unwrap());
    let row = generation::find(db, job).await.unwrap().unwrap();
    assert_eq!((row.state, row.attempt, row.step, row.worker), (JobState::Assigned, Attempt(2), 0, Some(w2.clone())));

    assert!(progress::advance(db, second, 9, 20).await.unwrap());
    assert!(progress::complete(db, second, &output(2), 5, now()).await.unwrap());
    let ended = generation::find(db, job).await.unwrap().unwrap();
    assert!(progress::complete(db, second, &output(2), 5, now()).await.unwrap(), "told again");

    // It has ended: nothing changes any more.
    assert!(!progress::complete(db, second, &output(3), 5, now()).await.unwrap());
    assert!(!progress::fail(db, second, FailureReason::Internal, "no", now()).await.unwrap());
    assert!(!progress::requeue(db, second, &requeue()).await.unwrap());
    assert!(!progress::advance(db, second, 10, 20).await.unwrap());
    let third = Fence { job, attempt: Attempt(3) };
    assert!(progress::assign(db, third, given(&w1), now()).await.unwrap().is_none());
    assert!(!generation::mark(&mut pool.acquire().await.unwrap(), job, Mark::Cancelled, now()).await.unwrap());
    assert_eq!(generation::find(db, job).await.unwrap().unwrap(), ended);
    for forced in [
        "update generation set state = 'Failed', failure = 'Internal'",
        "update generation set outputs = '[]'",
        "update generation set attempt = 1",
        "update generation set attempt = 3",
        "update generation set price = 1",
    ] {
        assert!(sqlx::query(forced).execute(&pool).await.is_err(), "not refused: {forced}");
    }
}

#[tokio::test]
async fn a_cancelled_job_is_given_to_nobody() {
    let (pool, _) = database().await;
    let db = &Db::from(pool.clone());
    let job = job(&pool).await;
    assert!(generation::mark(&mut pool.acquire().await.unwrap(), job, Mark::Cancelled, now()).await.unwrap());
    let fence = Fence { job, attempt: Attempt(1) };
    assert!(progress::assign(db, fence, given(&WorkerId::from("w")), now()).await.unwrap().is_none());
    let none = Fence { job, attempt: Attempt(0) };
    assert!(progress::fail(db, none, FailureReason::Cancelled, "cancelled", now()).await.unwrap());
}

/// What a cluster's watch tells late, or of another object, does not undo what is known.
#[tokio::test]
async fn old_news_from_a_cluster_is_not_taken_over() {
    let (pool, _) = database().await;
    let db = &Db::from(pool.clone());
    let job = job(&pool).await;
    let seen = |uid: &str, state, attempt| seen(job, uid, state, attempt);
    let take = async |seen: Seen| progress::take_over(db, &seen, now()).await.unwrap();
    assert!(take(seen("a", JobState::Queued, 0)).await, "that it is submitted is news");
    assert!(!take(seen("a", JobState::Queued, 0)).await);
    assert!(take(seen("a", JobState::Assigned, 2)).await);
    assert!(!take(seen("a", JobState::Queued, 1)).await, "an earlier attempt");
    assert!(!take(seen("b", JobState::Failed, 3)).await, "another object of the name");
    assert!(!progress::vanish(db, Fence { job, attempt: Attempt(2) }, "b", now()).await.unwrap());
    assert!(!progress::vanish(db, Fence { job, attempt: Attempt(1) }, "a", now()).await.unwrap());
    assert!(take(seen("a", JobState::Failed, 2)).await);
    assert!(!take(seen("a", JobState::Complete, 2)).await, "it has ended");
    assert!(!progress::vanish(db, Fence { job, attempt: Attempt(2) }, "a", now()).await.unwrap());
}

fn seen(id: Uuid, uid: &str, state: JobState, attempt: u32) -> Seen {
    Seen {
        id,
        cluster_uid: uid.to_owned(),
        state,
        attempt: Attempt(attempt),
        failed_attempts: 0,
        worker: None,
        progress: None,
        outputs: Vec::new(),
        failure: (state == JobState::Failed).then(|| (FailureReason::Internal, "why".to_owned())),
        gpu_ms: 0,
    }
}

fn given(worker: &WorkerId) -> Given<'_> {
    Given { worker, promised: None }
}

#[tokio::test]
async fn whoever_tells_with_a_clock_that_is_behind_lets_nothing_happen_before_its_cause() {
    let (pool, _) = database().await;
    let db = &Db::from(pool.clone());
    let worker = WorkerId::from("w1");
    let behind = Timestamp(now().0 - 3_600_000);
    let moments = async |job: Uuid| -> (i64, i64, i64) {
        const SQL: &str = "select created_ms, started_ms, finished_ms from generation where id = $1";
        sqlx::query_as(SQL).bind(job).fetch_one(&pool).await.unwrap()
    };
    for way in ["complete", "fail", "vanish", "take over"] {
        let job = job(&pool).await;
        let fence = Fence { job, attempt: Attempt(1) };
        let told = async |state| progress::take_over(db, &seen(job, way, state, 1), behind).await;
        match way {
            "complete" | "fail" => drop(progress::assign(db, fence, given(&worker), behind).await.unwrap().unwrap()),
            _ => assert!(told(JobState::Running).await.unwrap()),
        }
        let ended = match way {
            "complete" => progress::complete(db, fence, &output(7), 5, behind).await,
            "fail" => progress::fail(db, fence, FailureReason::Internal, "broke", behind).await,
            "vanish" => progress::vanish(db, fence, way, behind).await,
            _ => told(JobState::Complete).await,
        };
        assert!(ended.unwrap(), "{way}");
        let (created, started, finished) = moments(job).await;
        assert_eq!((started, finished), (created, created), "{way}");
    }
}
