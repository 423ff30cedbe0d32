//! Where jobs run: the only place that knows whether that is this machine or a Kubernetes cluster.
//!
//! Every call is idempotent and repeated by a reconciler until it succeeds, so none retries inside.

pub(crate) mod catalogue;
pub(crate) mod kubernetes;
pub(crate) mod local;
mod relay;
pub(crate) mod secret;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tintype_dispatch::WorkerSeen;
use tintype_scheduler::{Explanation, Overview};
use tintype_store::{Store, StoreError};
use tintype_types::{JobEvent, ModelCard};

use crate::clock;
use crate::records::generation::Generation;

/// How long a signed URL of a picture is good.
pub(crate) const PICTURE_URL_TTL: Duration = Duration::from_hours(1);

/// Why the cluster did not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    /// It cannot be reached, or is too busy; a later try may succeed.
    #[error("the cluster cannot be reached: {0}")]
    Unavailable(String),
    /// It will not, however often it is asked.
    #[error("the cluster refuses: {0}")]
    Refused(String),
}

/// What requests may name, by that name: checkpoints, LoRAs, ControlNets.
pub(crate) type Models = BTreeMap<String, ModelCard>;

/// Answers that take a while.
pub(crate) type Reply<'a, T> = BoxFuture<'a, Result<T, ClusterError>>;

/// Where jobs run.
pub(crate) trait Cluster: Send + Sync + 'static {
    /// Hands a job over. Answers its name there, if it has one of its own.
    fn submit<'a>(&'a self, job: &'a Generation) -> Reply<'a, Option<String>>;
    /// Whether the scheduler is in this process: whoever makes a job tells it at once, and a start reads every open job.
    fn is_here(&self) -> bool;
    /// Says that the owner wants the job gone. How it ends is seen by watching.
    fn cancel<'a>(&'a self, job: &'a Generation) -> Reply<'a, ()>;
    /// Where the job stands, then every change, as far as the cluster can tell; may end early.
    fn watch<'a>(&'a self, job: &'a Generation) -> Reply<'a, BoxStream<'static, JobEvent>>;
    /// Says that the job's money is settled: the cluster may forget the job.
    fn release<'a>(&'a self, job: &'a Generation) -> Reply<'a, ()>;
    /// Whether a job that was handed over is still there.
    fn exists<'a>(&'a self, job: &'a Generation) -> Reply<'a, bool>;
    /// A URL anybody can fetch the job's `n`-th picture from for a while; the picture must be one of its outputs.
    fn picture_url<'a>(&'a self, job: &'a Generation, n: usize) -> Reply<'a, String>;
    /// The picture itself.
    fn picture<'a>(&'a self, job: &'a Generation, n: usize) -> Reply<'a, Bytes>;
    /// Puts an uploaded picture in the store; putting it twice is fine.
    fn put_input<'a>(&'a self, key: &'a str, content: Bytes) -> Reply<'a, ()>;
    /// A picture, uploaded or made, by its key.
    fn object<'a>(&'a self, key: &'a str) -> Reply<'a, Bytes>;
    /// A URL anybody can fetch a picture from for a while, uploaded or made, by its key.
    fn object_url<'a>(&'a self, key: &'a str) -> Reply<'a, String>;
    /// The same without asking anybody; none when others sign for the store.
    fn signed_url(&self, key: &str) -> Option<String>;
    /// Deletes a picture, uploaded or made; one that is not there is fine.
    fn delete_object<'a>(&'a self, key: &'a str) -> Reply<'a, ()>;
    /// Workers as they were last heard of.
    fn workers(&self) -> Reply<'_, Vec<WorkerSeen>>;
    /// Queues and workers in numbers.
    fn overview(&self) -> Reply<'_, Overview>;
    /// Why the job is not running and what would start it; none if the scheduler does not know it.
    fn explain<'a>(&'a self, job: &'a Generation) -> Reply<'a, Option<Explanation>>;
    /// What requests may name.
    fn models(&self) -> Arc<Models>;
    /// Whether jobs are being taken.
    fn is_ready(&self) -> bool;
    /// Routes it serves beside ours: workers and pictures on one machine.
    fn routes(&self) -> axum::Router;
}

/// The picture's key in the image store.
fn picture_key(job: &Generation, n: usize) -> Result<&str, ClusterError> {
    let output = job.outputs.get(n).ok_or_else(|| ClusterError::Refused(format!("the job has no picture {n}")))?;
    Ok(&output.key)
}

/// A signed URL from a store of our own.
fn signed_url(store: &Store, key: &str) -> Result<String, ClusterError> {
    let signed = store.sign_get(key, clock::now(), PICTURE_URL_TTL);
    signed.map_err(|error| ClusterError::Refused(error.to_string()))
}

/// A store of our own did not do it.
fn store_failed(error: StoreError) -> ClusterError {
    ClusterError::Unavailable(error.to_string())
}

/// The bytes from a store of our own.
async fn stored(store: &Store, job: &Generation, n: usize) -> Result<Bytes, ClusterError> {
    store.read(picture_key(job, n)?).await.map_err(|error| ClusterError::Unavailable(error.to_string()))
}
