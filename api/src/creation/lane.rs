//! The lane of new jobs: whatever is waiting when a connection is free is made in one transaction. No timer: alone, an
//! order waits for nobody; under load, batches grow by themselves.
//!
//! Where the scheduler is in this process, jobs count as handed over as they are written, and the lane tells it at once: writing
//! that down afterwards cost as much as making them. Should the process end between the two, its next start reads them.

use std::collections::BTreeSet;
use std::sync::Arc;

use tintype_types::ErrorCode;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{NewJob, Outcome, sql};
use crate::error::ApiError;
use crate::reconcile::World;
use crate::records::generation::Generation;

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
    pub(crate) fn start(world: &World, stop: &CancellationToken) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..BATCHERS {
            let work = work(world.clone(), Arc::clone(&waiting));
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

async fn work(world: World, waiting: Arc<Mutex<mpsc::Receiver<Ask>>>) {
    loop {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        if waiting.lock().await.recv_many(&mut batch, BATCH_MAX).await == 0 {
            return;
        }
        world.metrics.creation_batch.observe(batch.len() as f64);
        let accounts: BTreeSet<Uuid> = batch.iter().map(|ask| ask.order.account).collect();
        world.shared.changes(&Vec::from_iter(accounts)).await;
        carry_out(&world, batch).await;
    }
}

async fn carry_out(world: &World, batch: Vec<Ask>) {
    let here = world.cluster.is_here();
    let (orders, replies): (Vec<NewJob>, Vec<_>) = batch
        .into_iter()
        .map(|Ask { order, reply }| (NewJob { submitted: here.then_some(order.stamp.at), ..order }, reply))
        .unzip();
    match sql::create(&world.pool, &orders).await {
        Ok(outcomes) => {
            hand_over(world, &orders, &outcomes).await;
            // Who does not wait any more need not be told.
            std::iter::zip(replies, outcomes).for_each(|(reply, made)| drop(reply.send(Ok(made))));
        }
        Err(error) if orders.len() > 1 && is_about_a_row(&error) => {
            for (order, reply) in std::iter::zip(&orders, replies) {
                let order = std::slice::from_ref(order);
                let made = sql::create(&world.pool, order).await;
                hand_over(world, order, made.as_deref().unwrap_or_default()).await;
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

/// Tells the scheduler of jobs that were made, before their owners can ask anything about them: or has them told of.
async fn hand_over(world: &World, orders: &[NewJob], outcomes: &[Outcome]) {
    let made = std::iter::zip(orders, outcomes).filter(|(_, outcome)| **outcome == Outcome::Made);
    for (order, _) in made {
        if order.submitted.is_none() {
            world.bells.submit.notify_one();
        } else if let Err(error) = world.cluster.submit(&Generation::new(order)).await {
            // The scheduler has ended, and this process with it: the next start reads the job.
            tracing::warn!(job.id = %order.id, %error, "a job waits for the next start of this server");
        }
    }
}

/// Whether the others of the batch would fare better alone: a row the database refuses, or a circle of locks.
fn is_about_a_row(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(_))
}
