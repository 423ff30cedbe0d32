//! The record: where decisions become durable before anybody is told of them.
//!
//! Implemented by the Kubernetes shell (server-side apply of a job's status) and by the local shell (Postgres).

use std::future::Future;
use std::pin::Pin;

use tintype_scheduler::Decision;
use tintype_types::{ResolvedRequest, Timestamp, Traceparent};

/// What a write answers.
pub type WriteFuture<'a> = Pin<Box<dyn Future<Output = Result<Written, WriteError>> + Send + 'a>>;

/// Where decisions are written.
///
/// A write is idempotent: writing a decision the record already shows succeeds. It is fenced: a write about an attempt
/// that is not the record's current one (or, for `Assign`, not the next one, or about a job that has ended) is refused.
/// It does not retry inside; every call has a timeout of its own.
pub trait Record: Send + Sync + 'static {
    /// Makes the decision durable. `Cancel` and `Preempt` are never passed in: they are told, not written.
    fn write(&self, decision: Decision) -> WriteFuture<'_>;
}

/// A decision that is durable now.
#[derive(Clone, Debug, PartialEq)]
pub enum Written {
    /// The job is assigned.
    Assigned(Box<Given>),
    /// Any other decision.
    Recorded,
}

/// What the record knows of a job that is given to a worker.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    /// What it asks for.
    pub request: ResolvedRequest,
    /// When it was made.
    pub submitted: Timestamp,
    /// What it is part of, if it is traced.
    pub traceparent: Option<Traceparent>,
}

/// A decision that is not (known to be) durable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The record says otherwise; a newer observation will tell.
    #[error("the record refused the write: {0}")]
    Refused(String),
    /// The record could not be reached or its answer was lost; the outcome is unknown until observed again.
    #[error("the record did not answer: {0}")]
    Unavailable(String),
}
