//! The lane of new jobs: whatever is waiting when a connection is free is made in one transaction. No timer: alone, an
//! order waits for nobody; under load, batches grow by themselves.

use std::collections::BTreeSet;
use std::sync::Arc;

use sqlx::PgPool;
use tintype_types::ErrorCode;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{NewJob, Outcome, sql};
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::services::shared::Shared;

/// Orders that may wait; beyond it callers are told to come back.
const QUEUE_MAX: usize = 1_024;
/// Orders in one transaction: beyond it they only hold their locks longer.
const BATCH_MAX: usize = 128;
/// Batches at a time: while one waits for the disk, the next is collected.
const BATCHERS: usize = 2;

struct Ask {
    order: NewJob,
    reply: oneshot::Sender<Result<Outcome, ApiError>>,
}

/// The lane. Cloning is cheap; clones are the same.
#[derive(Clone)]
pub(crate) struct Lane {
    queue: mpsc::Sender<Ask>,
}

impl Lane {
    /// Starts it; it ends with `stop`.
    pub(crate) fn start(pool: &PgPool, metrics: &Metrics, shared: &Shared, stop: &CancellationToken) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..BATCHERS {
            let work = work(pool.clone(), metrics.clone(), shared.clone(), Arc::clone(&waiting));
            tokio::spawn(stop.clone().run_until_cancelled_owned(work));
        }
        Self { queue }
    }

    /// Makes the job, together with whatever else is waiting. The job is made even if the caller goes away meanwhile.
    pub(crate) async fn make(&self, order: NewJob) -> Result<Outcome, ApiError> {
        let going = || ApiError::new(ErrorCode::Unavailable, "this server is going away; repeat").retry_after(1);
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(Ask { order, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                let message = "more requests than can be written down are waiting; repeat in a moment";
                ApiError::new(ErrorCode::QueueFull, message).retry_after(1)
            }
            mpsc::error::TrySendError::Closed(_) => going(),
        })?;
        answer.await.map_err(|_| going())?
    }
}

async fn work(pool: PgPool, metrics: Metrics, shared: Shared, waiting: Arc<Mutex<mpsc::Receiver<Ask>>>) {
    loop {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        if waiting.lock().await.recv_many(&mut batch, BATCH_MAX).await == 0 {
            return;
        }
        metrics.creation_batch.observe(batch.len() as f64);
        let accounts: BTreeSet<Uuid> = batch.iter().map(|ask| ask.order.account).collect();
        shared.changes(&Vec::from_iter(accounts)).await;
        carry_out(&pool, batch).await;
    }
}

async fn carry_out(pool: &PgPool, batch: Vec<Ask>) {
    let (orders, replies): (Vec<NewJob>, Vec<_>) = batch.into_iter().map(|ask| (ask.order, ask.reply)).unzip();
    match sql::create(pool, &orders).await {
        // Who does not wait any more need not be told.
        Ok(outcomes) => std::iter::zip(replies, outcomes).for_each(|(reply, made)| drop(reply.send(Ok(made)))),
        Err(error) if orders.len() > 1 && is_about_a_row(&error) => {
            for (order, reply) in std::iter::zip(&orders, replies) {
                let made = sql::create(pool, std::slice::from_ref(order)).await;
                let made = made.map(|outcomes| outcomes.into_iter().next().unwrap_or(Outcome::KeyTaken));
                drop(reply.send(made.map_err(ApiError::from)));
            }
        }
        Err(error) => {
            let told = ApiError::from(error);
            for reply in replies {
                drop(reply.send(Err(told.again())));
            }
        }
    }
}

/// Whether the others of the batch would fare better alone: a row the database refuses, or a circle of locks.
fn is_about_a_row(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(_))
}
