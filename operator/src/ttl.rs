//! Deletes ended jobs once their time has come, while this replica leads.
//!
//! A delete names the UID and the resourceVersion that was looked at, so a job of the same name made meanwhile, or one
//! that changed, is left alone. A finalizer still holds the job as long as it has to.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use tintype_crds::GenerationJob;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::convert::now;
use crate::index::Index;
use crate::lease::Leadership;
use crate::metrics::Metrics;

/// Longest one delete may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Deletes under way at once: far below what the API server takes, so that jobs never wait for housekeeping.
const AT_ONCE: usize = 8;
/// Most deletes between two looks.
const BATCH: usize = 256;
/// Longest and shortest pause between two looks.
const PAUSE_MAX: Duration = Duration::from_secs(5);
const PAUSE_MIN: Duration = Duration::from_millis(200);

/// Runs for ever; does nothing while another replica leads.
pub async fn run(
    client: Client,
    index: Arc<Index>,
    default_ttl: Option<Duration>,
    mut leadership: watch::Receiver<Leadership>,
    metrics: Metrics,
) {
    while leadership.wait_for(|now| matches!(now, Leadership::Leading { .. })).await.is_ok() {
        let look = index.expiring(default_ttl, now());
        futures::stream::iter(look.due.into_iter().take(BATCH))
            .map(|job| delete(client.clone(), job, &metrics))
            .buffer_unordered(AT_ONCE)
            .collect::<()>()
            .await;
        let until_next = look.next.map_or(PAUSE_MAX, |next| next.since(now()));
        sleep(until_next.clamp(PAUSE_MIN, PAUSE_MAX)).await;
    }
}

async fn delete(client: Client, job: Arc<GenerationJob>, metrics: &Metrics) {
    let jobs: Api<GenerationJob> = Api::namespaced(client, job.metadata.namespace.as_deref().unwrap_or_default());
    let exactly =
        Preconditions { uid: job.metadata.uid.clone(), resource_version: job.metadata.resource_version.clone() };
    let params = DeleteParams { preconditions: Some(exactly), ..DeleteParams::background() };
    let outcome = match timeout(CALL_TIMEOUT, jobs.delete(&job.name_any(), &params)).await {
        Ok(Ok(_)) => "deleted",
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => "gone",
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => "changed",
        Ok(Err(error)) => {
            tracing::warn!(job.id = job.metadata.uid, error = %error, "an ended job could not be deleted; it is tried again");
            "failed"
        }
        Err(_) => {
            tracing::warn!(job.id = job.metadata.uid, "deleting an ended job took too long; it is tried again");
            "failed"
        }
    };
    metrics.deletions.with_label_values(&[outcome]).inc();
}
