//! Budgets: who has spent, or has left, what they wanted to be told of gets a letter. Noted in the transaction the letter is
//! written in, so that there is one a crossing whoever dies in between.

use super::{BATCH, Pass, World, pass_of};
use crate::clock::{self, month_start};
use crate::mail::{self, Letter};
use crate::records::alarm;

/// One look at the database. Where no mail is sent there is nothing to do: the wallet shows how it stands.
pub(super) async fn pass(world: &World) -> anyhow::Result<Pass> {
    if !world.mail {
        return Ok(Pass::Done);
    }
    let now = clock::now();
    let mut tx = world.pool.begin().await?;
    let mut letters = Vec::new();
    let looked_at = alarm::maybe_spent(&mut tx, now, BATCH).await?;
    for (account, limit_millis) in &looked_at {
        let month = alarm::spent_this_month(&mut tx, *account, now).await?;
        let crossed = month >= *limit_millis;
        alarm::counted(&mut tx, *account, month, crossed.then(|| month_start(now))).await?;
        if crossed {
            letters.push(Letter::BudgetSpent { account: *account, limit_millis: *limit_millis });
        }
    }
    let fallen = alarm::fallen(&mut tx, BATCH).await?;
    let low = |(account, limit_millis, left_millis)| Letter::RunsLow { account, limit_millis, left_millis };
    let rows = looked_at.len().max(fallen.len());
    letters.extend(fallen.into_iter().map(low));
    for letter in &letters {
        mail::send(&mut tx, letter, now).await?;
    }
    tx.commit().await?;
    if !letters.is_empty() {
        world.lane_bell.ring();
    }
    Ok(pass_of(rows, 0))
}
