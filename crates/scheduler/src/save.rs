//! The form a state is kept, shown and compared in: texts for names, ids for numbers, in an order that does not depend
//! on what was seen before. The same facts make the same of it, however they came.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tintype_types::{BootId, JobId, PoolName, QueueKey, Timestamp, WorkerId};

use crate::cost::{Costs, SavedCosts};
use crate::demand::{Demand, SavedDemand};
use crate::job::{Assumed, Closed, Job, Promise, Run};
use crate::jobs::{Id, Jobs};
use crate::names::Names;
use crate::observation::{ClaimSeen, JobSeen, ModelSeen, PoolSeen};
use crate::record::Record;
use crate::state::{Queue, State};
use crate::warm::{Failure, Failures};
use crate::worker::{Claim, Worker};

/// All that is saved.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Saved {
    now: Timestamp,
    jobs: BTreeMap<JobId, SavedJob>,
    queues: BTreeMap<QueueKey, Queue<QueueKey>>,
    pools: BTreeMap<PoolName, PoolSeen>,
    models: BTreeMap<String, ModelSeen>,
    workers: BTreeMap<WorkerId, SavedWorker>,
    costs: SavedCosts,
    demand: SavedDemand,
    warmed_at: Timestamp,
    #[serde(default)]
    unwarmed: Vec<(String, String, Failure)>,
    served_floor: u64,
    jobs_dropped: u64,
    promises: (u64, u64),
}

/// A [`Job`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct SavedJob {
    seen: JobSeen,
    assumed: Option<Assumed>,
    run: Option<Run<WorkerId>>,
    closed: Option<Closed<WorkerId>>,
    forgot_how_it_ended: bool,
    held_until: Option<Timestamp>,
    model_unknown_since: Option<Timestamp>,
    ended_at: Timestamp,
    run_ms: u32,
    judged: bool,
    promise: Option<Promise<WorkerId>>,
}

/// A [`Worker`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct SavedWorker {
    claim: ClaimSeen,
    parked: bool,
    holds: Vec<String>,
    warming: Option<(String, Timestamp)>,
    slots: u32,
    idle_since: Option<Timestamp>,
    seen_at: Timestamp,
    old_boots: Vec<BootId>,
}

impl Saved {
    /// A state as it is kept.
    pub(crate) fn of(state: &State) -> Self {
        let State { now, names, jobs, queues, pools, models, workers, .. } = state;
        let text = |name| names.text(name).to_owned();
        Self {
            now: *now,
            jobs: jobs.iter().map(|(_, job)| (job.id.job_id(), SavedJob::of(job, names))).collect(),
            queues: queues
                .iter()
                .map(|(key, queue)| (QueueKey(text(*key)), queue.clone().of(|parent| QueueKey(text(parent)))))
                .collect(),
            pools: pools.clone(),
            models: models.iter().map(|(name, model)| (text(*name), model.clone())).collect(),
            workers: workers
                .values()
                .map(|worker| (WorkerId(text(worker.tag.name())), SavedWorker::of(worker, names)))
                .collect(),
            costs: state.costs.saved(names),
            demand: state.demand.saved(names),
            warmed_at: state.warmed_at,
            unwarmed: state.unwarmed.saved(names),
            served_floor: state.served_floor,
            jobs_dropped: state.jobs_dropped,
            promises: state.promises,
        }
    }

    /// The state that was kept.
    pub(crate) fn state(self) -> State {
        let (mut names, mut kept) = (Names::default(), Jobs::default());
        for job in self.jobs.into_values() {
            kept.insert(job.job(&mut names));
        }
        let mut queues = BTreeMap::new();
        for (key, queue) in self.queues {
            queues.insert(names.name(key.as_str()), queue.of(|parent| names.name(parent.as_str())));
        }
        State {
            now: self.now,
            jobs: kept,
            queues,
            pools: self.pools,
            models: self.models.into_iter().map(|(name, model)| (names.name(&name), model)).collect(),
            workers: self.workers.into_values().map(|worker| worker.worker(&mut names)).collect(),
            costs: Costs::of(self.costs, &mut names),
            demand: Demand::restored(self.demand, &mut names),
            warmed_at: self.warmed_at,
            unwarmed: Failures::restored(self.unwarmed, &mut names),
            served_floor: self.served_floor,
            jobs_dropped: self.jobs_dropped,
            promises: self.promises,
            names,
        }
    }
}

impl SavedJob {
    fn of(job: &Job, names: &Names) -> Self {
        let worker = |name| WorkerId::from(names.text(name));
        Self {
            seen: job.seen.seen(job.id.job_id(), names),
            assumed: job.assumed.clone(),
            run: job.run.clone().map(|run| run.of(worker)),
            closed: job.closed.clone().map(|closed| closed.of(worker)),
            forgot_how_it_ended: job.forgot_how_it_ended,
            held_until: job.held_until,
            model_unknown_since: job.model_unknown_since,
            ended_at: job.ended_at,
            run_ms: job.run_ms,
            judged: job.judged,
            promise: job.promise.clone().map(|promise| promise.of(worker)),
        }
    }

    fn job(self, names: &mut Names) -> Job {
        Job {
            id: Id::of(&self.seen.id),
            seen: Record::of(&self.seen, names),
            assumed: self.assumed,
            run: self.run.map(|run| Box::new(run.of(|worker| names.name(worker.as_str())))),
            closed: self.closed.map(|closed| Box::new(closed.of(|worker| names.name(worker.as_str())))),
            forgot_how_it_ended: self.forgot_how_it_ended,
            held_until: self.held_until,
            model_unknown_since: self.model_unknown_since,
            ended_at: self.ended_at,
            run_ms: self.run_ms,
            judged: self.judged,
            promise: self.promise.map(|promise| Box::new(promise.of(|worker| names.name(worker.as_str())))),
        }
    }
}

impl SavedWorker {
    fn of(worker: &Worker, names: &Names) -> Self {
        let text = |name| names.text(name).to_owned();
        Self {
            claim: worker.claim.seen(worker.tag.name(), names),
            parked: worker.parked,
            holds: worker.holds.iter().copied().map(text).collect(),
            warming: worker.warming.map(|(model, since)| (text(model), since)),
            slots: worker.slots,
            idle_since: worker.idle_since,
            seen_at: worker.seen_at,
            old_boots: worker.old_boots.clone(),
        }
    }

    fn worker(self, names: &mut Names) -> (crate::names::Name, Worker) {
        let name = names.name(self.claim.worker.as_str());
        let worker = Worker {
            tag: names.tag(name),
            claim: Claim::of(self.claim, names),
            parked: self.parked,
            holds: self.holds.iter().map(|model| names.name(model)).collect(),
            warming: self.warming.map(|(model, since)| (names.name(&model), since)),
            slots: self.slots,
            idle_since: self.idle_since,
            seen_at: self.seen_at,
            old_boots: self.old_boots,
        };
        (name, worker)
    }
}
