//! Everything that is derived from the state so that an event costs O(log n): each job is filed once, under what its
//! state says, and refiled when that changes. Nothing here is decided and nothing here is saved.

use std::collections::{BTreeMap, BTreeSet};

use tintype_types::{JobId, QueueKey, Timestamp, WorkerId};

use crate::line::{Class, Gate, Lines, Turn};
use crate::worker::{Holders, Loaders, Parked};

/// The indexes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Index {
    /// Ready jobs.
    pub(crate) lines: Lines,
    /// Parked claims.
    pub(crate) parked: Parked,
    /// Which workers hold which model.
    pub(crate) holders: Holders,
    /// Which models workers can load.
    pub(crate) loaders: Loaders,
    /// Attempts out with each worker.
    pub(crate) runs: BTreeMap<WorkerId, BTreeSet<JobId>>,
    /// Waiting jobs by the model they name.
    pub(crate) by_model: BTreeMap<String, BTreeSet<JobId>>,
    /// Why jobs that wait are not ready.
    pub(crate) delays: BTreeMap<Delay, u32>,
    /// Ended jobs, oldest end first.
    pub(crate) ended: BTreeSet<(Timestamp, JobId)>,
    /// Estimated time of ready jobs by the model they name.
    backlog: BTreeMap<String, u64>,
    timers: BTreeMap<(Timestamp, JobId), &'static str>,
    crowds: BTreeMap<QueueKey, Crowd>,
    /// Queues with waiting jobs, the least served first.
    active: BTreeSet<(u64, QueueKey)>,
    filed: BTreeMap<JobId, Filing>,
}

/// Why a waiting job is not ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Delay {
    /// Its last attempt failed a moment ago.
    BackingOff,
    /// Nobody told of its model.
    UnknownModel,
    /// A write about it is not confirmed, or was refused.
    Unsettled,
}

/// Where a job is filed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Filing {
    pub(crate) queue: QueueKey,
    pub(crate) model: String,
    pub(crate) place: Filed,
    pub(crate) timer: Option<(Timestamp, &'static str)>,
    /// What it is estimated to run.
    pub(crate) run_ms: u32,
}

/// What a job is filed as.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Filed {
    Ready(Class, Turn),
    Delayed(Delay),
    Out(WorkerId),
    /// Its end is decided and not seen written; it must not be forgotten.
    Ending,
    Ended(Timestamp),
}

/// The jobs of one queue in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Crowd {
    running: u32,
    waiting: u32,
    served: u64,
    running_max: Option<u32>,
}

impl Crowd {
    fn gate(self) -> Gate {
        if self.running_max.is_none_or(|max| self.running < max) { Gate::Open } else { Gate::Shut }
    }
}

impl Filing {
    fn waits(&self) -> bool {
        matches!(self.place, Filed::Ready(..) | Filed::Delayed(_))
    }
}

impl Index {
    /// Files a job anew; `None` takes it out.
    pub(crate) fn refile(&mut self, id: &JobId, filing: Option<Filing>) {
        if self.filed.get(id) == filing.as_ref() {
            return;
        }
        if let Some(old) = self.filed.remove(id) {
            self.unfile(id, &old);
        }
        if let Some(new) = filing {
            self.file(id, &new);
            self.filed.insert(id.clone(), new);
        }
    }

    /// Sets what a queue's gate depends on.
    pub(crate) fn tune(&mut self, queue: &QueueKey, served: u64, running_max: Option<u32>) {
        self.update_crowd(queue, |crowd| {
            crowd.served = served;
            crowd.running_max = running_max;
        });
    }

    /// Jobs of the queue that run and that wait.
    pub(crate) fn crowd(&self, queue: &QueueKey) -> (u32, u32) {
        self.crowds.get(queue).map_or((0, 0), |crowd| (crowd.running, crowd.waiting))
    }

    /// Queues with waiting jobs, the least served first.
    pub(crate) fn active(&self) -> impl DoubleEndedIterator<Item = (u64, &QueueKey)> {
        self.active.iter().map(|(served, queue)| (*served, queue))
    }

    /// Estimated time of all ready jobs that name a model, in milliseconds.
    pub(crate) fn backlog_ms(&self, model: &str) -> u64 {
        self.backlog.get(model).copied().unwrap_or_default()
    }

    /// Whether a filed job waits.
    pub(crate) fn waits(&self, id: &JobId) -> bool {
        self.filed.get(id).is_some_and(Filing::waits)
    }

    /// Where a job is filed.
    pub(crate) fn filed(&self, id: &JobId) -> Option<&Filed> {
        Some(&self.filed.get(id)?.place)
    }

    /// When the clock must come back, and why.
    pub(crate) fn next_timer(&self) -> Option<(Timestamp, &'static str)> {
        self.timers.first_key_value().map(|((at, _), why)| (*at, *why))
    }

    /// Up to `most` jobs whose timer is due.
    pub(crate) fn due(&self, now: Timestamp, most: usize) -> Vec<JobId> {
        let due = self.timers.keys().take_while(|(at, _)| *at <= now);
        due.take(most).map(|(_, id)| id.clone()).collect()
    }

    /// Jobs that have not ended.
    pub(crate) fn live(&self) -> usize {
        self.filed.len() - self.ended.len()
    }

    fn file(&mut self, id: &JobId, filing: &Filing) {
        let queue = &filing.queue;
        match &filing.place {
            Filed::Ready(class, turn) => {
                self.update_crowd(queue, |crowd| crowd.waiting += 1);
                let gate = self.crowds.get(queue).copied().unwrap_or_default().gate();
                self.lines.add(class, queue, turn.clone(), gate);
                *self.backlog.entry(filing.model.clone()).or_default() += u64::from(filing.run_ms);
            }
            Filed::Delayed(delay) => {
                self.update_crowd(queue, |crowd| crowd.waiting += 1);
                *self.delays.entry(*delay).or_default() += 1;
            }
            Filed::Out(worker) => {
                self.update_crowd(queue, |crowd| crowd.running += 1);
                self.runs.entry(worker.clone()).or_default().insert(id.clone());
            }
            Filed::Ending => {}
            Filed::Ended(at) => {
                self.ended.insert((*at, id.clone()));
            }
        }
        if filing.waits() {
            self.by_model.entry(filing.model.clone()).or_default().insert(id.clone());
        }
        if let Some((at, why)) = filing.timer {
            self.timers.insert((at, id.clone()), why);
        }
    }

    fn unfile(&mut self, id: &JobId, filing: &Filing) {
        let queue = &filing.queue;
        match &filing.place {
            Filed::Ready(class, turn) => {
                let gate = self.crowds.get(queue).copied().unwrap_or_default().gate();
                self.lines.remove(class, queue, turn, gate);
                if let Some(backlog) = self.backlog.get_mut(&filing.model) {
                    *backlog -= u64::from(filing.run_ms);
                }
                if self.backlog_ms(&filing.model) == 0 {
                    self.backlog.remove(&filing.model);
                }
                self.update_crowd(queue, |crowd| crowd.waiting -= 1);
            }
            Filed::Delayed(delay) => {
                self.update_crowd(queue, |crowd| crowd.waiting -= 1);
                if let Some(count) = self.delays.get_mut(delay) {
                    *count -= 1;
                }
                self.delays.retain(|_, count| *count > 0);
            }
            Filed::Out(worker) => {
                self.update_crowd(queue, |crowd| crowd.running -= 1);
                remove_from(&mut self.runs, worker, id);
            }
            Filed::Ending => {}
            Filed::Ended(at) => {
                self.ended.remove(&(*at, id.clone()));
            }
        }
        if filing.waits() {
            remove_from(&mut self.by_model, &filing.model, id);
        }
        if let Some((at, _)) = filing.timer {
            self.timers.remove(&(at, id.clone()));
        }
    }

    fn update_crowd(&mut self, queue: &QueueKey, update: impl FnOnce(&mut Crowd)) {
        let old = self.crowds.get(queue).copied().unwrap_or_default();
        let mut new = old;
        update(&mut new);
        if old.waiting > 0 {
            self.active.remove(&(old.served, queue.clone()));
        }
        if new.waiting > 0 {
            self.active.insert((new.served, queue.clone()));
        }
        if new == Crowd::default() {
            self.crowds.remove(queue);
        } else {
            self.crowds.insert(queue.clone(), new);
        }
        if old.gate() != new.gate() {
            self.lines.regate(queue, new.gate());
        }
    }
}

/// Removes from a map of sets, leaving no empty set.
fn remove_from<K: Ord>(map: &mut BTreeMap<K, BTreeSet<JobId>>, key: &K, id: &JobId) {
    if let Some(set) = map.get_mut(key) {
        set.remove(id);
        if set.is_empty() {
            map.remove(key);
        }
    }
}
