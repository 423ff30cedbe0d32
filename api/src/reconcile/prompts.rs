//! Puts the words of new pictures' prompts into the database's index, and those of pictures from before there was one.

use super::{BATCH, Pass, World, pass_of};
use crate::gallery::prompts;

/// One look at the database.
pub(super) async fn pass(world: &World) -> anyhow::Result<Pass> {
    Ok(pass_of(prompts::index_waiting(&world.pool, BATCH).await?, 0))
}
