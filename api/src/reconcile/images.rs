//! Takes deleted pictures from the store. The row goes last, so a file that could not be deleted is met again.

use uuid::Uuid;

use super::{BATCH, Pass, World, pass_of};
use crate::clock;
use crate::gallery::index::{self, Changed};
use crate::gallery::keeping;

/// One look at the database.
pub(super) async fn pass(world: &World) -> anyhow::Result<Pass> {
    let gone = keeping::deleted(&world.pool, clock::now(), BATCH).await?;
    let mut failed = 0;
    for (id, key) in &gone {
        match world.cluster.delete_object(key).await {
            Ok(()) => forget(world, *id).await?,
            Err(error) => {
                failed += 1;
                tracing::warn!(image.id = %id, %error, "a deleted picture could not be taken from the store yet");
            }
        }
    }
    Ok(pass_of(gone.len(), failed))
}

/// The row goes, and the index of pictures hears of it.
async fn forget(world: &World, id: Uuid) -> anyhow::Result<()> {
    let mut tx = world.pool.begin().await?;
    keeping::forget(&mut tx, id).await?;
    if world.services.typesense.is_some() {
        index::send(&mut tx, Changed::Image(id), clock::now()).await?;
    }
    Ok(tx.commit().await?)
}
