//! The letter of a week, to those who want it. That a week is over is noted in the transaction the letter is written in, so that
//! there is one a week whoever dies in between.

use std::time::Duration;

use tintype_types::Timestamp;

use super::{BATCH, Pass, World, pass_of};
use crate::clock;
use crate::mail::{self, Letter};
use crate::records::digest;

/// How long a week is.
const WEEK: Duration = Duration::from_hours(7 * 24);

/// One look at the database. Where no mail is sent there is nothing to do.
pub(super) async fn pass(world: &World) -> anyhow::Result<Pass> {
    if !world.mail {
        return Ok(Pass::Done);
    }
    let now = clock::now();
    let since = Timestamp(now.0.saturating_sub(u64::try_from(WEEK.as_millis())?));
    let mut tx = world.pool.begin().await?;
    let due = digest::due(&mut tx, since, now, BATCH).await?;
    for account in &due {
        mail::send(&mut tx, &Letter::Digest { account: *account, since_ms: clock::to_ms(since) }, now).await?;
    }
    tx.commit().await?;
    if !due.is_empty() {
        world.lane_bell.ring();
    }
    Ok(pass_of(due.len(), 0))
}
