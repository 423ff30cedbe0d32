//! Everything that is derived from the state so that an event costs O(log n): each job is filed once, under what its
//! state says, and refiled when that changes. Nothing here is decided and nothing here is saved.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use tintype_types::Timestamp;

use crate::job::Why;
use crate::line::{Class, Gate, Lines, Turn};
use crate::names::{Name, Tag};
use crate::state::Queue;
use crate::tree::{Counts, Tree};
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
    runs: BTreeSet<(Name, Tag)>,
    /// Jobs with an attempt out, the lowest priority first.
    pub(crate) running: BTreeSet<(i32, Tag)>,
    /// Those of them that were told to make way for another.
    pub(crate) stopping: BTreeSet<Tag>,
    /// The job each busy worker takes next, where one was promised it.
    pub(crate) promised: BTreeMap<Tag, (Tag, Class)>,
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
    /// Queues that are part of others.
    pub(crate) tree: Tree,
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
    /// Memory of its model, where it runs or is the next to.
    pub(crate) vram_mib: u32,
}

/// What a job is filed as.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Filed {
    Ready(Class, Turn),
    Delayed(Delay),
    /// It is the next of this worker. Its queue was charged and its quota used for it: it counts as running.
    Promised(Tag, Class),
    /// An attempt is out, perhaps one that was told to make way.
    Out {
        worker: Name,
        priority: i32,
        stopping: bool,
    },
    /// Its end is decided and not seen written; it must not be forgotten.
    Ending,
    Ended(Timestamp),
}

/// The jobs of one queue in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Crowd {
    running: u32,
    waiting: u32,
    /// Of those that wait, the ones that are ready.
    ready: u32,
    vram_mib: u64,
    served: u64,
    running_max: Option<u32>,
}

impl Crowd {
    fn runs(&mut self, vram_mib: u32) {
        (self.running, self.vram_mib) = (self.running + 1, self.vram_mib + u64::from(vram_mib));
    }

    fn stops(&mut self, vram_mib: u32) {
        (self.running, self.vram_mib) = (self.running - 1, self.vram_mib - u64::from(vram_mib));
    }

    fn counts(self) -> Counts {
        Counts { running: self.running, ready: self.ready, vram_bytes: self.vram_mib << 20 }
    }

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
        self.tree.gate(queue).unwrap_or_else(|| self.crowds.get(&queue).copied().unwrap_or_default().gate())
    }

    /// Builds the tree of queues anew: one was declared otherwise, or a window of GPU time ended.
    pub(crate) fn plant(&mut self, queues: &BTreeMap<Name, Queue>, now: Timestamp) {
        let before = std::mem::take(&mut self.tree);
        let mut after = Tree::of(queues, now);
        for name in after.queues().collect::<Vec<_>>() {
            let counts = self.crowds.get(&name).copied().unwrap_or_default().counts();
            after.count(name, Counts::default(), counts);
        }
        let both: BTreeSet<Name> = before.queues().chain(after.queues()).collect();
        let own = |name: Name| self.crowds.get(&name).copied().unwrap_or_default().gate();
        let changed: Vec<(Name, Gate)> = both
            .into_iter()
            .map(|name| (name, before.gate(name).unwrap_or(own(name)), after.gate(name).unwrap_or(own(name))))
            .filter_map(|(name, was, is)| (was != is).then_some((name, is)))
            .collect();
        self.tree = after;
        for (name, gate) in changed {
            self.lines.regate(name, gate);
        }
    }

    /// The queue a filed job is in.
    pub(crate) fn queue_of(&self, job: Tag) -> Option<Name> {
        Some(self.filed.get(job)?.queue)
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

    /// Jobs whose attempts are out with a worker.
    pub(crate) fn runs_of(&self, worker: Name) -> impl Iterator<Item = Tag> {
        self.runs.range((worker, Tag::FIRST)..=(worker, Tag::LAST)).map(|(_, job)| *job)
    }

    /// Whether an attempt is out with a worker.
    pub(crate) fn runs_any(&self, worker: Name) -> bool {
        self.runs_of(worker).next().is_some()
    }

    /// Where a job is filed.
    pub(crate) fn filed(&self, job: Tag) -> Option<Filed> {
        Some(self.filed.get(job)?.place)
    }

    /// When the clock must come back, and why.
    pub(crate) fn next_timer(&self) -> Option<(Timestamp, &'static str)> {
        let timer = self.timers.first_key_value().map(|((at, _), why)| (*at, why.as_str()));
        timer.into_iter().chain(self.tree.opens_at.map(|at| (at, "quota window"))).min_by_key(|(at, _)| *at)
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
                let gate = self.gate(queue);
                self.lines.add(class, queue, turn, gate);
                self.update_crowd(queue, |crowd| (crowd.waiting, crowd.ready) = (crowd.waiting + 1, crowd.ready + 1));
                *self.backlog.entry(filing.model).or_default() += u64::from(filing.run_ms);
            }
            Filed::Delayed(delay) => {
                self.update_crowd(queue, |crowd| crowd.waiting += 1);
                *self.delays.entry(delay).or_default() += 1;
                self.delayed.insert((filing.model, job));
            }
            Filed::Promised(worker, class) => {
                self.update_crowd(queue, |crowd| crowd.runs(filing.vram_mib));
                *self.backlog.entry(filing.model).or_default() += u64::from(filing.run_ms);
                self.promised.insert(worker, (job, class));
            }
            Filed::Out { worker, priority, stopping } => {
                self.update_crowd(queue, |crowd| crowd.runs(filing.vram_mib));
                self.running.insert((priority, job));
                if stopping {
                    self.stopping.insert(job);
                }
                self.runs.insert((worker, job));
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
                self.shorten_backlog(filing);
                self.update_crowd(queue, |crowd| (crowd.waiting, crowd.ready) = (crowd.waiting - 1, crowd.ready - 1));
            }
            Filed::Delayed(delay) => {
                self.update_crowd(queue, |crowd| crowd.waiting -= 1);
                if let Some(count) = self.delays.get_mut(&delay) {
                    *count -= 1;
                }
                self.delays.retain(|_, count| *count > 0);
                self.delayed.remove(&(filing.model, job));
            }
            Filed::Promised(worker, _) => {
                self.shorten_backlog(filing);
                self.update_crowd(queue, |crowd| crowd.stops(filing.vram_mib));
                self.promised.remove(&worker);
            }
            Filed::Out { worker, priority, stopping } => {
                self.update_crowd(queue, |crowd| crowd.stops(filing.vram_mib));
                self.running.remove(&(priority, job));
                if stopping {
                    self.stopping.remove(&job);
                }
                self.runs.remove(&(worker, job));
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

    fn shorten_backlog(&mut self, filing: &Filing) {
        if let Some(backlog) = self.backlog.get_mut(&filing.model) {
            *backlog -= u64::from(filing.run_ms);
            if *backlog == 0 {
                self.backlog.remove(&filing.model);
            }
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
        if self.tree.has(queue) {
            for (queue, gate) in self.tree.count(queue, old.counts(), new.counts()) {
                self.lines.regate(queue, gate);
            }
        } else if old.gate() != new.gate() {
            self.lines.regate(queue, new.gate());
        }
    }
}
