//! Settles money: captures the hold of a job that is complete, gives back that of one that failed, then lets the
//! cluster forget the job. Both marks are in the same transaction as the money, so it happens once.

use anyhow::Context;
use sqlx::PgConnection;
use tintype_types::JobState;
use uuid::Uuid;

use super::{BATCH, Pass, World, pass_of};
use crate::clock::{self, to_ms};
use crate::gallery::index::{self, Changed};
use crate::ledger::post::{End, Stamp};
use crate::ledger::sql as ledger;
use crate::mail::{self, Letter};
use crate::price;
use crate::records::generation::{self, Generation, Mark};
use crate::records::{key, notice};
use crate::services::posthog::{self, Generated};

/// One look at the database.
pub(super) async fn pass(world: &World) -> anyhow::Result<Pass> {
    let jobs = generation::unsettled(&world.pool, BATCH).await?;
    let mut failed = 0;
    for id in &jobs {
        match settle(world, *id).await {
            // Settled by another replica just now: who waits here is told all the same.
            Ok(()) => world.board.wake(*id),
            Err(error) => {
                failed += 1;
                tracing::error!(job.id = %id, error = format!("{error:#}"), "a job's credits could not be settled yet");
            }
        }
    }
    if !jobs.is_empty() {
        // Whoever wants to hear that a job has ended is told by errands.
        world.bells.lanes.ring();
    }
    for job in generation::unreleased(&world.pool, BATCH).await? {
        if let Err(error) = release(world, &job).await {
            failed += 1;
            tracing::warn!(job.id = %job.id, error = format!("{error:#}"), "a settled job could not be let go yet");
        }
    }
    Ok(pass_of(jobs.len(), failed))
}

async fn settle(world: &World, id: Uuid) -> anyhow::Result<()> {
    let now = clock::now();
    let mut tx = world.pool.begin().await?;
    let Some(job) = generation::lock_unsettled(&mut tx, id).await? else { return Ok(()) };
    let (how, kept, outcome) = match job.state {
        JobState::Complete => {
            let made = u32::try_from(job.outputs.len()).unwrap_or(u32::MAX);
            let charged = price::charge(job.price, made, job.request.images);
            (End::Capture(charged), charged, if charged < job.price { "captured-part" } else { "captured" })
        }
        JobState::Failed => (End::Void, 0, "voided"),
        JobState::Queued | JobState::Assigned | JobState::Running | JobState::Preempted => {
            anyhow::bail!("the job is {:?} and has an end", job.state)
        }
    };
    let stamp = Stamp { txn: Uuid::now_v7(), at: now };
    world.shared.changes(&[job.account]).await;
    let before = ledger::end(&mut tx, job.account, id, how, stamp).await.context("ending the hold")?;
    if before.is_none() && kept < job.price {
        key::give_back(&mut tx, id, job.price - kept).await?;
    }
    generation::mark(&mut tx, id, Mark::Settled, now).await?;
    let letter = tell_owner(world, &mut tx, &job).await?;
    if world.services.posthog.is_some() && job.state == JobState::Complete {
        posthog::send(&mut tx, &generated(&job, kept), now).await?;
    }
    if world.services.typesense.is_some() && job.state == JobState::Complete {
        index::send(&mut tx, Changed::Job(id), now).await?;
    }
    tx.commit().await?;
    world.board.wake(job.account);
    if job.state == JobState::Complete {
        world.bells.prompts.notify_one();
    }
    if letter {
        world.lane_bell.ring();
    }
    if let Some(state) = before {
        tracing::error!(job.id = %id, hold = state.as_str(), "the hold had ended before its job was settled");
        world.metrics.settled.with_label_values(&["ended-before"]).inc();
    } else {
        tracing::info!(job.id = %id, price_milli = job.price, "credits {outcome}");
        world.metrics.settled.with_label_values(&[outcome]).inc();
        let seconds = now.since(job.created).as_secs_f64();
        world.metrics.job_seconds.with_label_values(&[outcome]).observe(seconds);
    }
    Ok(())
}

/// What is told of a job that is complete.
fn generated(job: &Generation, spent_millis: i64) -> Generated {
    Generated {
        account: job.account,
        model: job.request.model.clone(),
        prompt_length: job.request.prompt.chars().count(),
        spent_millis,
        at_ms: job.finished.unwrap_or(job.created).0,
    }
}

/// "Your images are ready!", for who wants to hear it; whether a letter waits now.
async fn tell_owner(world: &World, conn: &mut PgConnection, job: &Generation) -> anyhow::Result<bool> {
    let ready = job.state == JobState::Complete && !job.outputs.is_empty();
    if !(world.mail && ready && notice::wants_ready(conn, job.account).await?) {
        return Ok(false);
    }
    let since_ms = to_ms(job.finished.unwrap_or(job.created));
    mail::send(conn, &Letter::ImagesReady { account: job.account, since_ms }, clock::now()).await?;
    Ok(true)
}

async fn release(world: &World, job: &Generation) -> anyhow::Result<()> {
    world.cluster.release(job).await?;
    let mut tx = world.pool.begin().await?;
    generation::mark(&mut tx, job.id, Mark::Released, clock::now()).await?;
    Ok(tx.commit().await?)
}
