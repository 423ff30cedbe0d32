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
    let mut nameless = Vec::new();
    for job in &jobs {
        match submit(world, job).await {
            Ok(Handed::Nameless) => nameless.push(job.id),
            Ok(Handed::Noted) => {}
            Err(error) => {
                failed += 1;
                tracing::warn!(job.id = %job.id, error = format!("{error:#}"), "a job could not be handed over yet");
            }
        }
    }
    generation::mark_all_submitted(&world.pool, &nameless, clock::now()).await?;
    for job in generation::cancelling(&world.pool, BATCH).await? {
        if let Err(error) = world.cluster.cancel(&job).await {
            failed += 1;
            tracing::warn!(job.id = %job.id, %error, "a job could not be cancelled yet");
        }
    }
    Ok(pass_of(jobs.len(), failed))
}

/// A job that was handed over.
enum Handed {
    /// It has no other name there: to be noted together with others.
    Nameless,
    /// It is noted.
    Noted,
}

async fn submit(world: &World, job: &Generation) -> anyhow::Result<Handed> {
    match world.cluster.submit(job).await {
        Ok(None) => Ok(Handed::Nameless),
        Ok(Some(name)) => {
            generation::mark_submitted(&world.pool, job.id, Some(&name), clock::now()).await?;
            Ok(Handed::Noted)
        }
        Err(ClusterError::Refused(why)) => {
            // No later try can succeed: the job is over, and settling gives the credits back.
            tracing::error!(job.id = %job.id, error = why, "the cluster refuses a job");
            let fence = Fence { job: job.id, attempt: Attempt(0) };
            let message =
                "the cluster did not take the job; nothing was charged. Ask whoever runs it to look at the log";
            progress::fail(&world.pool, fence, FailureReason::Internal, message, clock::now()).await?;
            world.bells.settle.notify_one();
            Ok(Handed::Noted)
        }
        Err(error @ ClusterError::Unavailable(_)) => Err(error.into()),
    }
}
