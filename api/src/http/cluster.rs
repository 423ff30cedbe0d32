//! `GET /api/v1/admin/cluster`: what runs where and why the rest waits, for the administrator. One look: queues, GPUs with
//! the jobs on them, and for the oldest jobs that have not ended where they stand. Says nothing of any prompt.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use futures::future::join_all;
use schemars::JsonSchema;
use serde::Serialize;
use tintype_dispatch::WorkerSeen;
use tintype_scheduler::{Explanation, Overview, QueueLoad, Verdict, WorkerLoad};
use tintype_types::ErrorCode;
use tintype_types::worker::{Gpu, Unwell};

use super::admin::Admin;
use crate::cluster::ClusterError;
use crate::error::ApiError;
use crate::records::generation::{self, Generation};
use crate::state::App;

/// Jobs that are explained in one answer. Each is a question to the scheduler.
const JOBS_MAX: i64 = 25;

/// What runs where, and what waits.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClusterView {
    /// Queues with jobs and declared ones, those with most jobs first.
    queues: Vec<QueueStanding>,
    /// Workers heard of lately, by name.
    workers: Vec<WorkerStanding>,
    /// The oldest jobs that have not ended, 25 at most.
    jobs: Vec<OpenJob>,
    /// How far apart the least and the most served queue are, in GPU milliseconds of weight 1.
    fairness_gap_ms: u64,
    /// When this was so, in milliseconds since 1970.
    at_ms: u64,
}

/// A queue in numbers.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QueueStanding {
    /// Its name.
    queue: String,
    /// Its part of the GPUs against other queues with work.
    weight: u32,
    /// Jobs being worked on.
    running: u32,
    /// Jobs that wait.
    waiting: u32,
    /// The most that may run; absent without a quota.
    #[serde(skip_serializing_if = "Option::is_none")]
    running_max: Option<u32>,
    /// GPU time served, divided by its weight, in milliseconds.
    served_ms: u64,
}

/// A worker, its GPUs and what runs on them.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WorkerStanding {
    /// Its name.
    worker: String,
    /// Its pool.
    pool: String,
    /// Whether it waits for work.
    idle: bool,
    /// Why it takes none, if it said so: what ails its GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    unwell: Option<Unwell>,
    /// Models it holds or loads, most recently used first.
    models: Vec<String>,
    /// Its GPUs, as its probe last read them; `CPU` where it has none.
    gpus: Vec<Gpu>,
    /// What it runs.
    jobs: Vec<JobOnWorker>,
    /// When it was last heard of, in milliseconds since 1970.
    last_heard_ms: u64,
}

/// How far a job is on its worker.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct JobOnWorker {
    /// Its id to the scheduler.
    job: String,
    /// Steps done.
    step: u32,
    /// Steps in all; 0 while unknown.
    steps: u32,
}

/// A job that has not ended, and where it stands.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OpenJob {
    /// Its id.
    id: String,
    /// Whose it is.
    account: String,
    /// The model it names.
    model: String,
    /// When it was made, in milliseconds since 1970.
    created_ms: u64,
    /// Its queue; absent while the scheduler does not know the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<String>,
    /// Where it stands; absent while the scheduler does not know the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<VerdictView>,
    /// When it should start, half the time earlier, in milliseconds since 1970; absent where nobody can tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    starts_ms: Option<u64>,
}

/// The one reason a job is not running, with its figures: `waitingForQuota` comes with `used` and `limit`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct VerdictView {
    /// Which.
    kind: String,
    #[serde(flatten)]
    facts: BTreeMap<String, serde_json::Value>,
}

/// Shows what runs where and why the rest waits.
pub(crate) async fn show(State(app): State<App>, _admin: Admin) -> Result<Json<ClusterView>, ApiError> {
    let (overview, workers) = tokio::join!(app.cluster.overview(), app.cluster.workers());
    let (overview, workers) = (overview.map_err(|e| lost(&e))?, workers.map_err(|e| lost(&e))?);
    let open = generation::open_first(&app.pool, JOBS_MAX).await?;
    let explained = join_all(open.iter().map(|job| app.cluster.explain(job))).await;
    // A job that cannot be asked about now is shown without its reason.
    let jobs = open.iter().zip(explained).map(|(job, told)| open_job(job, told.ok().flatten())).collect();
    Ok(Json(view(overview, workers, jobs)))
}

fn view(overview: Overview, seen: Vec<WorkerSeen>, jobs: Vec<OpenJob>) -> ClusterView {
    let mut gpus: BTreeMap<_, _> = seen.into_iter().map(|one| (one.worker, one.gpus)).collect();
    let Overview { now, queues, workers, fairness_gap_ms, .. } = overview;
    let workers = workers.into_iter().map(|load| {
        let gpus = gpus.remove(&load.worker).unwrap_or_default();
        worker(load, gpus)
    });
    let workers = workers.collect();
    ClusterView { queues: queues.into_iter().map(queue).collect(), workers, jobs, fairness_gap_ms, at_ms: now.0 }
}

fn queue(load: QueueLoad) -> QueueStanding {
    let QueueLoad { queue, weight, running, waiting, running_max, served_ms, .. } = load;
    QueueStanding { queue: queue.to_string(), weight, running, waiting, running_max, served_ms }
}

fn worker(load: WorkerLoad, gpus: Vec<Gpu>) -> WorkerStanding {
    let WorkerLoad { worker, pool, idle, unwell, models, jobs, last_heard, .. } = load;
    let jobs = jobs.into_iter().map(|(job, step, steps)| JobOnWorker { job: job.to_string(), step, steps }).collect();
    let (worker, pool) = (worker.to_string(), pool.to_string());
    WorkerStanding { worker, pool, idle, unwell, models, gpus, jobs, last_heard_ms: last_heard.0 }
}

fn open_job(job: &Generation, told: Option<Explanation>) -> OpenJob {
    let (queue, verdict, starts_ms) = match told {
        Some(Explanation { queue, verdict, estimate, .. }) => {
            (Some(queue.to_string()), VerdictView::of(&verdict), estimate.map(|estimate| estimate.starts_p50.0))
        }
        None => (None, None, None),
    };
    OpenJob {
        id: job.id.to_string(),
        account: job.account.to_string(),
        model: job.request.model.clone(),
        created_ms: job.created.0,
        queue,
        verdict,
        starts_ms,
    }
}

impl VerdictView {
    /// The verdict as the scheduler writes it: whoever shows it has the words.
    pub(super) fn of(verdict: &Verdict) -> Option<Self> {
        let serde_json::Value::Object(mut facts) = serde_json::to_value(verdict).ok()? else { return None };
        let kind = facts.remove("kind")?.as_str()?.to_owned();
        Some(Self { kind, facts: facts.into_iter().collect() })
    }

    /// The same with no figures but these.
    pub(super) fn with_only(mut self, names: &[&str]) -> Self {
        self.facts.retain(|name, _| names.contains(&name.as_str()));
        self
    }
}

fn lost(error: &ClusterError) -> ApiError {
    tracing::warn!(%error, "the scheduler could not be asked how the cluster stands");
    ApiError::new(ErrorCode::Unavailable, "the scheduler cannot be asked now; try again in a moment").retry_after(5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_keeps_its_kind_and_its_figures() {
        let told = VerdictView::of(&Verdict::WaitingForQuota { used: 2, limit: 3 }).unwrap();
        let json = serde_json::to_value(&told).unwrap();
        assert_eq!(json, serde_json::json!({ "kind": "waitingForQuota", "used": 2, "limit": 3 }));
        assert_eq!(serde_json::to_value(VerdictView::of(&Verdict::Settling).unwrap()).unwrap()["kind"], "settling");
    }
}
