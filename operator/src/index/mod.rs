//! What the API server has told so far, kept warm on every replica: objects in, observations out.
//!
//! A thing is stored only when it is newer than what is known, so a watch that lags behind our own write never takes
//! that write back. It must not know who leads or who listens.

mod jobs;
mod models;
mod pools;
mod queues;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tintype_crds::{DiffusionModel, GenerationJob, GenerationQueue, GpuPool};
use tintype_scheduler::{Observation, WorldSeen};
use tintype_types::{JobId, JobState, ModelDefaults, PoolName, Timestamp, WorkerId};

pub use jobs::{Expiring, job_id};
pub use queues::QueueStatus;

/// What happened to the objects of one kind.
#[derive(Clone, Debug)]
pub enum Event<K> {
    /// One is, or has become, this.
    Apply(Box<K>),
    /// One is not there any more.
    Delete(Box<K>),
    /// These are all there are.
    Replace(Vec<K>),
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Change {
    /// To jobs.
    Jobs(Event<GenerationJob>),
    /// To models.
    Models(Event<DiffusionModel>),
    /// To queues.
    Queues(Event<GenerationQueue>),
    /// To pools.
    Pools(Event<GpuPool>),
}

/// The objects. Shared between the task that watches and those that write; the lock is never held over a wait.
#[derive(Debug, Default)]
pub struct Index {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    jobs: jobs::Jobs,
    models: models::Models,
    queues: queues::Queues,
    pools: pools::Pools,
    /// Whether the kind has been seen whole at least once: jobs, models, queues, pools.
    synced: [bool; 4],
}

impl Index {
    /// An index for the Tintype whose workers run in this namespace.
    pub fn of(namespace: &str) -> Self {
        let state = State { pools: pools::Pools::of(namespace), ..State::default() };
        Self { state: Mutex::new(state) }
    }

    /// Takes a change in and says what the scheduler should be told of it.
    pub fn change(&self, change: Change) -> Vec<Observation> {
        let mut state = self.lock();
        let State { jobs, models, queues, pools, synced } = &mut *state;
        match change {
            Change::Jobs(event) => {
                synced[0] |= matches!(event, Event::Replace(_));
                jobs.change(event, models)
            }
            Change::Models(event) => {
                synced[1] |= matches!(event, Event::Replace(_));
                let before = models.adapters();
                let mut observations = models.change(event);
                if before != models.adapters() {
                    observations.extend(jobs.with_adapters(models));
                }
                observations
            }
            Change::Queues(event) => {
                synced[2] |= matches!(event, Event::Replace(_));
                queues.change(event)
            }
            Change::Pools(event) => {
                synced[3] |= matches!(event, Event::Replace(_));
                pools.change(event)
            }
        }
    }

    /// Everything, for a scheduler that begins. Ended jobs are left out.
    pub fn world(&self) -> WorldSeen {
        let state = self.lock();
        WorldSeen {
            jobs: state.jobs.seen(&state.models),
            queues: state.queues.seen(),
            pools: state.pools.seen(),
            models: state.models.seen(),
        }
    }

    /// What is said of the cost of models.
    pub fn hints(&self) -> tintype_scheduler::Learned {
        self.lock().models.hints()
    }

    /// Whether every kind has been seen whole.
    pub fn is_synced(&self) -> bool {
        self.lock().synced.iter().all(|synced| *synced)
    }

    /// The newest known form of a job: watched, or written by ourselves.
    pub fn job(&self, id: &JobId) -> Option<Arc<GenerationJob>> {
        self.lock().jobs.get(id)
    }

    /// What a request for this model gets when it does not say.
    pub fn model_defaults(&self, name: &str) -> Option<ModelDefaults> {
        self.lock().models.defaults(name)
    }

    /// Remembers what a write of ours answered, so that the next write builds on it before the watch has caught up.
    pub fn written(&self, job: GenerationJob) {
        self.lock().jobs.written(job);
    }

    /// The highest leader term any job carries. A new term must be above it even if the leader lease was deleted.
    pub fn highest_epoch(&self) -> u64 {
        self.lock().jobs.highest_epoch()
    }

    /// The ended job that is to be deleted first, and when; `default_ttl` is for jobs that do not say.
    pub fn expiring(&self, default_ttl: Option<std::time::Duration>, now: Timestamp) -> Expiring {
        self.lock().jobs.expiring(default_ttl, now)
    }

    /// Jobs in each state, for the metrics.
    pub fn count_states(&self) -> BTreeMap<JobState, u64> {
        self.lock().jobs.count_states()
    }

    /// Pools by name, with the generation of their spec.
    pub fn pools(&self) -> Vec<(String, Option<i64>, tintype_crds::GpuPoolStatus)> {
        self.lock().pools.statuses()
    }

    /// Queues with what their objects say of them.
    pub fn queues(&self) -> Vec<QueueStatus> {
        self.lock().queues.statuses()
    }

    /// Every pool, as it was seen last.
    pub fn pool_objects(&self) -> Vec<GpuPool> {
        self.lock().pools.objects()
    }

    /// Every model, as it was seen last.
    pub fn model_objects(&self) -> Vec<DiffusionModel> {
        self.lock().models.objects()
    }

    /// Workers that have a job, with the pool it was given to them in.
    pub fn busy_workers(&self) -> BTreeMap<WorkerId, Option<PoolName>> {
        self.lock().jobs.workers()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here can stop half way through a change, so what a panicking thread left is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What differs between two views: new or changed values, and keys that went.
fn difference<K: Ord + Clone, V: PartialEq + Clone>(
    before: &BTreeMap<K, V>,
    after: &BTreeMap<K, V>,
) -> (Vec<V>, Vec<K>) {
    let changed = after.iter().filter(|(key, value)| before.get(*key) != Some(*value));
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    (changed.map(|(_, value)| value.clone()).collect(), gone.cloned().collect())
}

/// Objects of a kind that is small and changes seldom, by namespace and name.
#[derive(Debug)]
struct Plain<K>(BTreeMap<(String, String), K>);

impl<K> Default for Plain<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: kube::Resource> Plain<K> {
    fn change(&mut self, event: Event<K>) {
        match event {
            Event::Apply(object) => {
                self.0.insert(place(&*object), *object);
            }
            Event::Delete(object) => {
                self.0.remove(&place(&*object));
            }
            Event::Replace(objects) => {
                self.0 = objects.into_iter().map(|object| (place(&object), object)).collect();
            }
        }
    }
}

fn place<K: kube::Resource>(object: &K) -> (String, String) {
    let meta = object.meta();
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}
