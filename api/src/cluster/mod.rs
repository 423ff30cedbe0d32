//! Where jobs run: the only place that knows whether that is this machine or a Kubernetes cluster.
//!
//! Every call is idempotent and repeated by a reconciler until it succeeds, so none retries inside.

pub(crate) mod catalogue;
pub(crate) mod kubernetes;
pub(crate) mod local;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tintype_types::{JobEvent, ModelCard};

use crate::records::generation::Generation;

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

/// Answers that take a while.
pub(crate) type Reply<'a, T> = BoxFuture<'a, Result<T, ClusterError>>;

/// Where jobs run.
pub(crate) trait Cluster: Send + Sync + 'static {
    /// Hands a job over. Answers its name there, if it has one of its own.
    fn submit<'a>(&'a self, job: &'a Generation) -> Reply<'a, Option<String>>;
    /// Says that the owner wants the job gone. How it ends is seen by watching.
    fn cancel<'a>(&'a self, job: &'a Generation) -> Reply<'a, ()>;
    /// Where the job stands, then every change, as far as the cluster can tell; may end early.
    fn watch<'a>(&'a self, job: &'a Generation) -> Reply<'a, BoxStream<'static, JobEvent>>;
    /// Says that the job's money is settled: the cluster may forget the job.
    fn release<'a>(&'a self, job: &'a Generation) -> Reply<'a, ()>;
    /// Whether a job that was handed over is still there.
    fn exists<'a>(&'a self, job: &'a Generation) -> Reply<'a, bool>;
    /// What requests may name, in order of name.
    fn models(&self) -> Vec<ModelCard>;
    /// Whether jobs are being taken.
    fn is_ready(&self) -> bool;
    /// Routes it serves beside ours: workers and pictures on one machine.
    fn routes(&self) -> axum::Router;
}
