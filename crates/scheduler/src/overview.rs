//! Queues and workers as they stand, for people. Nothing here changes the state.

use serde::{Deserialize, Serialize};
use tintype_types::worker::Unwell;
use tintype_types::{JobId, PoolName, QueueKey, Timestamp, WorkerId};

use crate::job::Job;
use crate::names::{Name, Tag};
use crate::scale::PoolPlan;
use crate::state::{Core, Queue, SERVED_SCALE};
use crate::warm::WarmWish;
use crate::worker::Worker;

/// Queues shown: those with most jobs.
const QUEUES_MAX: usize = 1_000;
/// Workers shown, by name.
const WORKERS_MAX: usize = 10_000;

/// Queues and workers as they stand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    /// When this was so.
    pub now: Timestamp,
    /// Queues with jobs and declared ones, those with most jobs first.
    pub queues: Vec<QueueLoad>,
    /// Workers heard of lately, by name.
    pub workers: Vec<WorkerLoad>,
    /// How many workers each pool should have, by name.
    #[serde(default)]
    pub pools: Vec<PoolPlan>,
    /// The models that pools want in memory, and where each stands.
    #[serde(default)]
    pub warm: Vec<WarmWish>,
    /// How far apart the least and the most served queue that could run are, in GPU milliseconds of weight 1.
    pub fairness_gap_ms: u64,
    /// Jobs not taken in because there were too many.
    pub jobs_dropped: u64,
    /// Deadlines that were promised and met.
    #[serde(default)]
    pub promises_kept: u64,
    /// Deadlines that were promised and not met.
    #[serde(default)]
    pub promises_broken: u64,
}

/// A queue in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueLoad {
    /// The queue.
    pub queue: QueueKey,
    /// Its part of the GPUs against other queues with work.
    pub weight: u32,
    /// Jobs with an attempt out.
    pub running: u32,
    /// Jobs that wait.
    pub waiting: u32,
    /// The most that may run; none is no quota.
    pub running_max: Option<u32>,
    /// The queue it is part of.
    #[serde(default)]
    pub parent: Option<QueueKey>,
    /// Its parents lead back to itself, so it stands for itself.
    #[serde(default)]
    pub cyclic: bool,
    /// GPU time served, divided by its weight, in milliseconds.
    pub served_ms: u64,
    /// Its first ready job, and since when that waits.
    pub first: Option<(JobId, Timestamp)>,
}

/// A worker in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerLoad {
    /// The worker.
    pub worker: WorkerId,
    /// Its pool.
    pub pool: PoolName,
    /// Its first GPU's product name.
    pub gpu: Option<String>,
    /// Whether it waits for work.
    pub idle: bool,
    /// Why it takes no work, if it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unwell: Option<Unwell>,
    /// Models it holds or loads, most recently used first.
    pub models: Vec<String>,
    /// What it runs: job, steps done, steps in all (0 while unknown).
    pub jobs: Vec<(JobId, u32, u32)>,
    /// When it was last heard of.
    pub last_heard: Timestamp,
}

impl Core {
    /// Queues and workers as they stand.
    pub(crate) fn overview(&self) -> Overview {
        let shown = |(key, queue): (&Name, &Queue)| {
            let (running, waiting) = self.index.crowd(*key);
            (queue.declared || running + waiting > 0).then(|| self.queue_load(*key, queue))
        };
        let mut queues: Vec<QueueLoad> = self.state.queues.iter().filter_map(shown).collect();
        queues.sort_by_key(|queue| (std::cmp::Reverse(queue.running + queue.waiting), queue.queue.clone()));
        queues.truncate(QUEUES_MAX);
        let mut workers: Vec<(&str, &Worker)> =
            self.state.workers.iter().map(|(name, worker)| (self.state.names.text(*name), worker)).collect();
        workers.sort_unstable_by_key(|(name, _)| *name);
        workers.truncate(WORKERS_MAX);
        Overview {
            now: self.state.now,
            queues,
            workers: workers.into_iter().map(|(id, worker)| self.worker_load(id, worker)).collect(),
            pools: self.scale(),
            warm: self.warm_wishes(),
            fairness_gap_ms: self.fairness_gap_ms(),
            jobs_dropped: self.state.jobs_dropped,
            promises_kept: self.state.promises.0,
            promises_broken: self.state.promises.1,
        }
    }

    fn queue_load(&self, key: Name, queue: &Queue) -> QueueLoad {
        let (running, waiting) = self.index.crowd(key);
        let first = self.index.lines.first_of(key).and_then(|turn| self.state.jobs.get(turn.job));
        QueueLoad {
            queue: self.state.names.text(key).into(),
            weight: queue.weight,
            running,
            waiting,
            running_max: queue.running_max,
            parent: queue.parent.map(|parent| self.state.names.text(parent).into()),
            cyclic: self.index.tree.cyclic.contains(&key),
            served_ms: queue.served / SERVED_SCALE,
            first: first.map(|job| (job.id.job_id(), job.seen.submitted)),
        }
    }

    fn worker_load(&self, id: &str, worker: &Worker) -> WorkerLoad {
        let steps = |job: &Job| job.run.as_ref().map_or((0, 0), |run| (run.step, run.steps));
        let text = |name: Name| self.state.names.text(name);
        let runs = self.index.runs_of(worker.tag.name());
        let job = |tag: Tag| {
            let job = self.state.jobs.get(tag)?;
            let (step, steps) = steps(job);
            Some((job.id.job_id(), step, steps))
        };
        WorkerLoad {
            worker: WorkerId::from(id),
            pool: text(worker.claim.pool).into(),
            gpu: worker.claim.kind.map(|kind| text(kind).to_owned()),
            idle: worker.parked,
            unwell: worker.claim.unwell.as_deref().cloned(),
            models: worker.holds.iter().map(|model| text(*model).to_owned()).collect(),
            jobs: runs.filter_map(job).collect(),
            last_heard: worker.seen_at,
        }
    }
}
