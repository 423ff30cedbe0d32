//! Everything that is derived from the state so that an event costs O(log n): each job is filed once, under what its
//! state says, and refiled when that changes. Nothing here is decided and nothing here is saved.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use tintype_types::Timestamp;

use crate::job::Why;
use crate::line::{Class, Gate, Lines, Turn};
use crate::names::{Name, Tag};
use crate::worker::{ByModel, Loaders, Parked};

/// Room for more jobs is made for this part of those there are at a time.
const GROWTH_PART: usize = 16;

/// The indexes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Index {
    /// Ready jobs.
    pub(crate) lines: Lines,
    /// Parked claims.
    pub(crate) parked: Parked,
    /// Which workers hold which model.
    pub(crate) holders: ByModel,
    /// Which models workers can load.
    pub(crate) loaders: Loaders,
    /// Attempts out with each worker.
    pub(crate) runs: BTreeMap<Name, BTreeSet<Tag>>,
    /// Jobs that wait and are not ready, by the model they name.
    delayed: BTreeSet<(Name, Tag)>,
    /// Why jobs that wait are not ready.
    pub(crate) delays: BTreeMap<Delay, u32>,
    /// Ended jobs, oldest end first.
    pub(crate) ended: BTreeSet<(Timestamp, Tag)>,
    /// Estimated time of ready jobs by the model they name.
    backlog: BTreeMap<Name, u64>,
    timers: BTreeMap<(Timestamp, Tag), Why>,
    crowds: BTreeMap<Name, Crowd>,
    /// Queues with waiting jobs, the least served first.
    active: BTreeSet<(u64, Name)>,
    filed: Filings,
}

/// Where each job is filed, by its number.
#[derive(Clone, Debug, Default)]
struct Filings {
    of: Vec<Option<Filing>>,
    len: usize,
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
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Filing {
    pub(crate) queue: Name,
    pub(crate) model: Name,
    pub(crate) place: Filed,
    pub(crate) timer: Option<(Timestamp, Why)>,
    /// What it is estimated to run.
    pub(crate) run_ms: u32,
}

/// What a job is filed as.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Filed {
    Ready(Class, Turn),
    Delayed(Delay),
    Out(Name),
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
    /// Whether the job waits.
    pub(crate) fn waits(&self) -> bool {
        matches!(self.place, Filed::Ready(..) | Filed::Delayed(_))
    }
}

impl Filings {
    fn get(&self, job: Tag) -> Option<&Filing> {
        self.of.get(job.no as usize)?.as_ref()
    }

    fn set(&mut self, job: Tag, filing: Option<Filing>) -> Option<Filing> {
        let no = job.no as usize;
        if no >= self.of.len() {
            if no >= self.of.capacity() {
                self.of.reserve_exact(no - self.of.len() + no / GROWTH_PART + 64);
            }
            self.of.resize(no + 1, None);
        }
        self.len += usize::from(filing.is_some());
        let old = std::mem::replace(&mut self.of[no], filing);
        self.len -= usize::from(old.is_some());
        old
    }
}

impl PartialEq for Filings {
    fn eq(&self, other: &Self) -> bool {
        let (short, long) = if self.of.len() < other.of.len() { (self, other) } else { (other, self) };
        let (same, rest) = long.of.split_at(short.of.len());
        self.len == other.len && short.of == same && rest.iter().all(Option::is_none)
    }
}

impl Index {
    /// Files a job anew; `None` takes it out.
    pub(crate) fn refile(&mut self, job: Tag, filing: Option<Filing>) {
        if self.filed.get(job) == filing.as_ref() {
            return;
        }
        if let Some(old) = self.filed.set(job, filing) {
            self.unfile(job, &old);
        }
        if let Some(new) = filing {
            self.file(job, &new);
        }
    }

    /// Sets what a queue's gate depends on.
    pub(crate) fn tune(&mut self, queue: Name, served: u64, running_max: Option<u32>) {
        self.update_crowd(queue, |crowd| {
            crowd.served = served;
            crowd.running_max = running_max;
        });
    }

    /// Jobs of the queue that run and that wait.
    pub(crate) fn crowd(&self, queue: Name) -> (u32, u32) {
        self.crowds.get(&queue).map_or((0, 0), |crowd| (crowd.running, crowd.waiting))
    }

    /// Whether a queue's quota lets another of its jobs run.
    pub(crate) fn gate(&self, queue: Name) -> Gate {
        self.crowds.get(&queue).copied().unwrap_or_default().gate()
    }

    /// Queues with waiting jobs, the least served first.
    pub(crate) fn active(&self) -> impl DoubleEndedIterator<Item = (u64, Name)> {
        self.active.iter().copied()
    }

    /// Estimated time of all ready jobs that name a model, in milliseconds.
    pub(crate) fn backlog_ms(&self, model: Name) -> u64 {
        self.backlog.get(&model).copied().unwrap_or_default()
    }

    /// Waiting jobs that name a model.
    pub(crate) fn waiting_for(&self, model: Name) -> Vec<Tag> {
        let delayed = self.delayed.range((model, Tag::FIRST)..=(model, Tag::LAST)).map(|(_, job)| *job);
        let mut jobs: Vec<Tag> = self.lines.jobs_of(model).chain(delayed).collect();
        jobs.sort_unstable();
        jobs
    }

    /// Whether a filed job waits.
    pub(crate) fn waits(&self, job: Tag) -> bool {
        self.filed.get(job).is_some_and(Filing::waits)
    }

    /// Where a job is filed.
    pub(crate) fn filed(&self, job: Tag) -> Option<Filed> {
        Some(self.filed.get(job)?.place)
    }

    /// When the clock must come back, and why.
    pub(crate) fn next_timer(&self) -> Option<(Timestamp, &'static str)> {
        self.timers.first_key_value().map(|((at, _), why)| (*at, why.as_str()))
    }

    /// Up to `most` jobs whose timer is due.
    pub(crate) fn due(&self, now: Timestamp, most: usize) -> Vec<Tag> {
        let due = self.timers.keys().take_while(|(at, _)| *at <= now);
        due.take(most).map(|(_, job)| *job).collect()
    }

    /// Jobs that have not ended.
    pub(crate) fn live(&self) -> usize {
        self.filed.len - self.ended.len()
    }

    fn file(&mut self, job: Tag, filing: &Filing) {
        let queue = filing.queue;
        match filing.place {
            Filed::Ready(class, turn) => {
                self.update_crowd(queue, |crowd| crowd.waiting += 1);
                let gate = self.gate(queue);
                self.lines.add(class, queue, turn, gate);
                *self.backlog.entry(filing.model).or_default() += u64::from(filing.run_ms);
            }
            Filed::Delayed(delay) => {
                self.update_crowd(queue, |crowd| crowd.waiting += 1);
                *self.delays.entry(delay).or_default() += 1;
                self.delayed.insert((filing.model, job));
            }
            Filed::Out(worker) => {
                self.update_crowd(queue, |crowd| crowd.running += 1);
                self.runs.entry(worker).or_default().insert(job);
            }
            Filed::Ending => {}
            Filed::Ended(at) => {
                self.ended.insert((at, job));
            }
        }
        if let Some((at, why)) = filing.timer {
            self.timers.insert((at, job), why);
        }
    }

    fn unfile(&mut self, job: Tag, filing: &Filing) {
        let queue = filing.queue;
        match filing.place {
            Filed::Ready(class, turn) => {
                let gate = self.gate(queue);
                self.lines.remove(class, queue, turn, gate);
                if let Some(backlog) = self.backlog.get_mut(&filing.model) {
                    *backlog -= u64::from(filing.run_ms);
                    if *backlog == 0 {
                        self.backlog.remove(&filing.model);
                    }
                }
                self.update_crowd(queue, |crowd| crowd.waiting -= 1);
            }
            Filed::Delayed(delay) => {
                self.update_crowd(queue, |crowd| crowd.waiting -= 1);
                if let Some(count) = self.delays.get_mut(&delay) {
                    *count -= 1;
                }
                self.delays.retain(|_, count| *count > 0);
                self.delayed.remove(&(filing.model, job));
            }
            Filed::Out(worker) => {
                self.update_crowd(queue, |crowd| crowd.running -= 1);
                if let Some(runs) = self.runs.get_mut(&worker) {
                    runs.remove(&job);
                    if runs.is_empty() {
                        self.runs.remove(&worker);
                    }
                }
            }
            Filed::Ending => {}
            Filed::Ended(at) => {
                self.ended.remove(&(at, job));
            }
        }
        if let Some((at, _)) = filing.timer {
            self.timers.remove(&(at, job));
        }
    }

    fn update_crowd(&mut self, queue: Name, update: impl FnOnce(&mut Crowd)) {
        let mut entry = match self.crowds.entry(queue) {
            Entry::Occupied(entry) => entry,
            Entry::Vacant(entry) => entry.insert_entry(Crowd::default()),
        };
        let old = *entry.get();
        update(entry.get_mut());
        let new = *entry.get();
        if new == Crowd::default() {
            entry.remove();
        }
        if (old.waiting > 0, old.served) != (new.waiting > 0, new.served) {
            if old.waiting > 0 {
                self.active.remove(&(old.served, queue));
            }
            if new.waiting > 0 {
                self.active.insert((new.served, queue));
            }
        }
        if old.gate() != new.gate() {
            self.lines.regate(queue, new.gate());
        }
    }
}
