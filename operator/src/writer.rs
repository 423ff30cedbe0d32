//! Writes decisions into a job's status: the only file that patches jobs.
//!
//! One write a decision, server-side apply of the whole status under one field manager, with the UID and the
//! resourceVersion the decision was made on. A refusal by the API server is a fact, not a failure. Nothing is retried
//! here: the client this is given must have its own retrying switched off.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tintype_crds::labels::{MANAGER_SCHEDULER, TRACEPARENT};
use tintype_crds::{GROUP, GenerationJob, GenerationJobStatus, VERSION};
use tintype_dispatch::{Given, Record, WriteError, Written};
use tintype_scheduler::Decision;
use tintype_types::{Timestamp, Traceparent};
use tokio::time::timeout;

use crate::convert::{from_time, now};
use crate::index::Index;
use crate::metrics::Metrics;
use crate::resolve::resolve;
use crate::status::{Next, job_of, next_status};
use crate::term::Term;

/// Longest one call may take. Under the server's own 60 s, during which it may neither answer nor refuse.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The record in a cluster.
pub struct Writer {
    client: Client,
    index: Arc<Index>,
    term: Arc<Term>,
    metrics: Metrics,
}

impl Writer {
    /// A writer that acts while `term` lasts.
    pub fn new(client: Client, index: Arc<Index>, term: Arc<Term>, metrics: Metrics) -> Self {
        Self { client, index, term, metrics }
    }

    async fn carry_out(&self, decision: Decision) -> Result<Written, WriteError> {
        let epoch = self.term.epoch().ok_or_else(|| refused("this replica does not lead"))?;
        let job = self.index.job(job_of(&decision)).ok_or_else(|| refused("the job is not there any more"))?;
        let answer = match decision {
            Decision::Assign { .. } => {
                let model = &job.spec.request.model;
                let defaults =
                    self.index.model_defaults(model).ok_or_else(|| refused("no model of that name is known"))?;
                let submitted = job.metadata.creation_timestamp.as_ref().map_or(Timestamp(0), from_time);
                Written::Assigned(Box::new(Given {
                    request: resolve(&job, &defaults),
                    submitted,
                    traceparent: traceparent(&job),
                }))
            }
            Decision::Progress { .. }
            | Decision::Requeue { .. }
            | Decision::Fail { .. }
            | Decision::Complete { .. }
            | Decision::Cancel { .. }
            | Decision::Preempt { .. } => Written::Recorded,
        };
        match next_status(&job, decision.clone(), epoch, now()).map_err(WriteError::Refused)? {
            Next::Shown => Ok(answer),
            Next::Write(status) => {
                self.apply(&job, &status).await?;
                self.metrics.costs.written(&job, &decision, &self.index.pool_objects());
                Ok(answer)
            }
        }
    }

    async fn apply(&self, job: &GenerationJob, status: &GenerationJobStatus) -> Result<(), WriteError> {
        let jobs = self.jobs(job);
        let params = PatchParams::apply(MANAGER_SCHEDULER).force();
        let body = body(job, status);
        let _timer = self.metrics.write_seconds.start_timer();
        let (name, patch) = (job.name_any(), Patch::Apply(body));
        let call = jobs.patch_status(&name, &params, &patch);
        match timeout(CALL_TIMEOUT, call).await {
            Ok(Ok(written)) => {
                self.index.written(written);
                Ok(())
            }
            Ok(Err(error)) => Err(self.read_again(job, error).await),
            Err(_) => Err(WriteError::Unavailable(format!("no answer within {} s", CALL_TIMEOUT.as_secs()))),
        }
    }

    /// What an error means. A conflict says only that the job changed, and a label somebody put on it is a change too:
    /// so the job is read, and whether the decision still stands is left to the next try.
    async fn read_again(&self, job: &GenerationJob, error: kube::Error) -> WriteError {
        let kube::Error::Api(status) = &error else { return WriteError::Unavailable(text(&error)) };
        match status.code {
            // The rules of the schema: a newer leader, a later attempt, or a job that has ended.
            422 => WriteError::Refused(status.message.clone()),
            404 => refused("the job is not there any more"),
            409 => match timeout(CALL_TIMEOUT, self.jobs(job).get(&job.name_any())).await {
                Ok(Ok(found)) if found.metadata.uid == job.metadata.uid => {
                    let same = found.status == job.status;
                    self.index.written(found);
                    let changed = "the job changed while it was written".to_owned();
                    if same { WriteError::Unavailable(changed) } else { WriteError::Refused(changed) }
                }
                Ok(Ok(_)) => refused("the job was replaced by another one of its name"),
                Ok(Err(kube::Error::Api(status))) if status.code == 404 => refused("the job is not there any more"),
                Ok(Err(error)) => WriteError::Unavailable(text(&error)),
                Err(_) => WriteError::Unavailable("no answer in time".to_owned()),
            },
            _ => WriteError::Unavailable(text(&error)),
        }
    }

    fn jobs(&self, job: &GenerationJob) -> Api<GenerationJob> {
        Api::namespaced(self.client.clone(), job.metadata.namespace.as_deref().unwrap_or_default())
    }

    fn count(&self, decision: &'static str, outcome: &Result<Written, WriteError>) {
        let outcome = match outcome {
            Ok(_) => "written",
            Err(WriteError::Refused(_)) => "refused",
            Err(WriteError::Unavailable(_)) => "unavailable",
        };
        self.metrics.writes.with_label_values(&[decision, outcome]).inc();
    }
}

impl Record for Writer {
    fn write(&self, decision: Decision) -> Pin<Box<dyn Future<Output = Result<Written, WriteError>> + Send + '_>> {
        Box::pin(async move {
            let (name, job) = (decision.name(), job_of(&decision).clone());
            let part_of = self.index.job(&job).and_then(|job| traceparent(&job));
            let outcome = self.carry_out(decision).await;
            self.count(name, &outcome);
            let _in_trace = part_of.map(|part_of| tracing::info_span!("job", trace.id = part_of.trace()).entered());
            match &outcome {
                Ok(_) => tracing::info!(job.id = %job, decision = name, "decision written"),
                Err(WriteError::Refused(why)) => {
                    tracing::info!(job.id = %job, decision = name, why, "decision refused");
                }
                Err(WriteError::Unavailable(why)) => {
                    tracing::warn!(job.id = %job, decision = name, why, "the API server did not take the decision");
                }
            }
            outcome
        })
    }
}

/// What the job is part of. What is no traceparent is none: a slip in an annotation must not keep a job from running.
fn traceparent(job: &GenerationJob) -> Option<Traceparent> {
    job.annotations().get(TRACEPARENT)?.parse().ok()
}

/// What is applied: nothing of the spec, everything of the status.
fn body(job: &GenerationJob, status: &GenerationJobStatus) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": "GenerationJob",
        "metadata": {
            "name": job.metadata.name,
            "namespace": job.metadata.namespace,
            "uid": job.metadata.uid,
            "resourceVersion": job.metadata.resource_version,
        },
        "status": status,
    })
}

fn refused(why: &str) -> WriteError {
    WriteError::Refused(why.to_owned())
}

/// Only what the API server said of itself: never a body, which may hold a prompt.
fn text(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return format!("{} {}: {}", status.code, status.reason, status.message);
    }
    if let kube::Error::SerdeError(_) = error {
        return "the answer could not be read".to_owned();
    }
    error.to_string()
}
