//! Sweeps uploaded pictures: begins the deletion of those whose time has come, then deletes the files of all whose
//! deletion has begun. The row goes last, so a file that could not be deleted is met again.

use super::{BATCH, Pass, World, pass_of};
use crate::clock;
use crate::records::asset;

/// One look at the database.
pub(super) async fn pass(world: &World) -> anyhow::Result<Pass> {
    for id in asset::expired(&world.pool, clock::now(), BATCH).await? {
        let mut tx = world.pool.begin().await?;
        asset::begin_deletion(&mut tx, None, id, clock::now()).await?;
        tx.commit().await?;
    }
    let gone = asset::deleting(&world.pool, BATCH).await?;
    let mut failed = 0;
    for (id, key) in &gone {
        match world.cluster.delete_object(key).await {
            Ok(()) => asset::forget(&world.pool, *id).await?,
            Err(error) => {
                failed += 1;
                tracing::warn!(asset.id = %id, %error, "an uploaded picture could not be deleted yet");
            }
        }
    }
    Ok(pass_of(gone.len(), failed))
}
