//! Hands jobs over to the cluster: what is in the database and not there yet, and what its owner wants gone.

use super::{BATCH, Pass, World, pass_of};
use crate::clock;
use crate::cluster::ClusterError;
use crate::records::generation::{self, Generation};
use crate::records::progress::{self, Fence};
use tintype_types::{Attempt, FailureReason};

/// One look at the database.
pub(super) async fn pass(world: &World) -> anyhow::Result<Pass> {
    let jobs = generation::unsubmitted(&world.pool, BATCH).await?;
    let mut failed = 0;
    for job in &jobs {
        if let Err(error) = submit(world, job).await {
            failed += 1;
            tracing::warn!(job.id = %job.id, error = format!("{error:#}"), "a job could not be handed over yet");
        }
    }
    for job in generation::cancelling(&world.pool, BATCH).await? {
        if let Err(error) = world.cluster.cancel(&job).await {
            failed += 1;
            tracing::warn!(job.id = %job.id, %error, "a job could not be cancelled yet");
        }
    }
    Ok(pass_of(jobs.len(), failed))
}

async fn submit(world: &World, job: &Generation) -> anyhow::Result<()> {
    match world.cluster.submit(job).await {
        Ok(name) => Ok(generation::mark_submitted(&world.pool, job.id, name.as_deref(), clock::now()).await?),
        Err(ClusterError::Refused(why)) => {
            // No later try can succeed: the job is over, and settling gives the credits back.
            tracing::error!(job.id = %job.id, error = why, "the cluster refuses a job");
            let fence = Fence { job: job.id, attempt: Attempt(0) };
            let message =
                "the cluster did not take the job; nothing was charged. Ask whoever runs it to look at the log";
            progress::fail(&world.pool, fence, FailureReason::Internal, message, clock::now()).await?;
            world.bells.settle.notify_one();
            Ok(())
        }
        Err(error @ ClusterError::Unavailable(_)) => Err(error.into()),
    }
}
