//! Checkpoints in the store: whether an earlier attempt left one, and taking away those nobody will ask for. It waits for
//! the store, so it runs beside the actor and decides nothing: a checkpoint that is not found costs steps, not a job.

use std::time::Duration;

use tintype_store::{Store, checkpoint_key};
use tintype_types::{Attempt, JobId};

/// Earlier attempts looked at, the newest first. Those before left something older still, if anything.
const LOOKS_MAX: u32 = 4;
/// How long all looks together may hold up an assignment.
const LOOK_TIME_MAX: Duration = Duration::from_secs(2);

/// The key of the newest checkpoint that an attempt before this one left.
pub(crate) async fn newest_before(store: &Store, job: &JobId, attempt: Attempt) -> Option<String> {
    let looking = async {
        for earlier in (1..attempt.0).rev().take(LOOKS_MAX as usize) {
            let key = checkpoint_key(job, Attempt(earlier));
            match store.stat(&key).await {
                Ok(Some(_)) => return Some(key),
                Ok(None) => {}
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(job.id = %job, attempt = earlier, error, "the store could not be asked for a checkpoint");
                }
            }
        }
        None
    };
    let Ok(found) = tokio::time::timeout(LOOK_TIME_MAX, looking).await else {
        tracing::warn!(job.id = %job, "the store was too slow to be asked for a checkpoint; the job starts anew");
        return None;
    };
    found
}

/// This attempt is over and another will follow: what is now too old to be looked at goes.
pub(crate) fn forget_old(store: &Store, job: JobId, attempt: Attempt) {
    if let Some(old) = attempt.0.checked_sub(LOOKS_MAX).filter(|old| *old > 0) {
        forget(store.clone(), job, old..=old);
    }
}

/// The job is over with this attempt: all its checkpoints go. A worker that does not know yet may put one more; it stays
/// until the job's pictures go.
pub(crate) fn forget_all(store: &Store, job: JobId, attempt: Attempt) {
    if attempt.0 > 0 {
        forget(store.clone(), job, attempt.0.saturating_sub(LOOKS_MAX).max(1)..=attempt.0);
    }
}

fn forget(store: Store, job: JobId, attempts: std::ops::RangeInclusive<u32>) {
    tokio::spawn(async move {
        for attempt in attempts {
            if let Err(error) = store.delete_prefix(&checkpoint_key(&job, Attempt(attempt))).await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(job.id = %job, %attempt, error, "a checkpoint could not be deleted");
            }
        }
    });
}
