//! The last net: a job that vanished from its cluster ends, and a hold nobody can end any more is given back. Never by
//! age alone: only when the job is gone or over. Both counts must stay at zero; a number above it is a bug elsewhere.
//! Beside it, lots whose time has come lapse, and what may be written once a minute: old idempotency keys go, and when API keys were last used.

use std::time::Duration;

use tintype_types::Timestamp;
use uuid::Uuid;

use super::{BATCH, Pass, World};
use crate::clock::{self, to_ms};
use crate::ledger::post::{End, Stamp};
use crate::ledger::sql as ledger;
use crate::records::progress::{self, Fence};
use crate::records::{generation, idempotency, key};

/// How long after it was handed over a job may be unseen before it counts as vanished.
const VANISHED_AFTER: Duration = Duration::from_mins(2);

/// One look at the database and the cluster.
pub(super) async fn pass(world: &World) -> anyhow::Result<Pass> {
    end_vanished(world).await?;
    free_holds(world).await?;
    lapse_lots(world).await?;
    while idempotency::forget_old(&world.pool, clock::now()).await? {}
    key::touch(&world.pool, &world.keyring.take_used()).await?;
    Ok(Pass::Done)
}

async fn end_vanished(world: &World) -> anyhow::Result<()> {
    let now = clock::now();
    let before = Timestamp(now.0.saturating_sub(VANISHED_AFTER.as_millis() as u64));
    for job in generation::submitted_before(&world.pool, before, BATCH).await? {
        if world.cluster.exists(&job).await? {
            continue;
        }
        let Some(uid) = &job.cluster_uid else { continue };
        let fence = Fence { job: job.id, attempt: job.attempt };
        if progress::vanish(&world.pool, fence, uid, now).await? {
            tracing::error!(job.id = %job.id, "a job vanished from the cluster; its credits are given back");
            world.metrics.vanished.inc();
            world.bells.settle.notify_one();
        }
    }
    Ok(())
}

async fn free_holds(world: &World) -> anyhow::Result<()> {
    const SQL: &str = "select h.id, h.account from hold h left join generation g on g.id = h.id
        where h.state = 'held' and h.expires_ms < $1 and (g.id is null or g.settled_ms is not null)
        order by h.expires_ms limit $2";
    let now = clock::now();
    let stray: Vec<(Uuid, Uuid)> = sqlx::query_as(SQL).bind(to_ms(now)).bind(BATCH).fetch_all(&world.pool).await?;
    for (hold, account) in stray {
        world.shared.changes(&[account]).await;
        let mut tx = world.pool.begin().await?;
        let stamp = Stamp { txn: Uuid::now_v7(), at: now };
        if ledger::end(&mut tx, account, hold, End::Expire, stamp).await?.is_none() {
            tx.commit().await?;
            tracing::error!(job.id = %hold, "a hold had no job that could end it; the credits are given back");
            world.metrics.expired.inc();
        }
    }
    Ok(())
}

/// Lots that lapse are not to be spent from their moment on, whenever this comes by.
async fn lapse_lots(world: &World) -> anyhow::Result<()> {
    let now = clock::now();
    loop {
        let lots = ledger::lapsing(&world.pool, now, BATCH).await?;
        let mut lapsed = 0;
        for (account, lot) in &lots {
            world.shared.changes(&[*account]).await;
            let mut tx = world.pool.begin().await?;
            if ledger::lapse(&mut tx, *account, *lot, Stamp { txn: Uuid::now_v7(), at: now }).await? {
                tx.commit().await?;
                world.metrics.lapsed.inc();
                lapsed += 1;
            }
        }
        // Many lapse at the same midnight. What did not lapse would be met again.
        if lapsed < BATCH {
            return Ok(());
        }
    }
}
