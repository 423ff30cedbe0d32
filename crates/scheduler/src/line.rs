//! Who is next. Jobs that are ready wait in lines, one for each class (same pool, same model: what fits one fits
//! all), and the heads of the lines are kept in the order the policy wants them.
//!
//! The order: priority, then the least served queue, then age, then id. An event costs O(log n) for each class its
//! queue has jobs in.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use tintype_types::{JobId, PoolName, QueueKey, Timestamp};

use crate::observation::JobSeen;

/// Jobs that the same workers can run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Class {
    pub(crate) pool: Option<PoolName>,
    pub(crate) model: String,
}

/// A job's place among those of its queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Turn {
    priority: Reverse<i32>,
    submitted: Timestamp,
    job: JobId,
}

/// A job's place among those of all queues.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    priority: Reverse<i32>,
    served: u64,
    submitted: Timestamp,
    pub(crate) job: JobId,
}

/// What of a queue decides about its jobs' place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gate {
    /// Work served, divided by weight.
    pub(crate) served: u64,
    /// Whether its quota lets another job run.
    pub(crate) open: bool,
}

/// All lines.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Lines {
    classes: BTreeMap<Class, Line>,
    heads: BTreeMap<Rank, Class>,
    of_queue: BTreeMap<QueueKey, BTreeSet<Class>>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Line {
    turns: BTreeMap<QueueKey, BTreeSet<Turn>>,
    ranks: BTreeMap<QueueKey, Rank>,
    order: BTreeSet<Rank>,
}

impl Class {
    /// The class of a job.
    pub(crate) fn of(seen: &JobSeen) -> Self {
        Self { pool: seen.pool.clone(), model: seen.model.clone() }
    }
}

impl Turn {
    /// The turn of a job.
    pub(crate) fn of(seen: &JobSeen) -> Self {
        Self { priority: Reverse(seen.priority), submitted: seen.submitted, job: seen.id.clone() }
    }
}

impl Lines {
    /// Puts a ready job in line.
    pub(crate) fn add(&mut self, class: &Class, queue: &QueueKey, turn: Turn, gate: Gate) {
        let line = self.classes.entry(class.clone()).or_default();
        line.turns.entry(queue.clone()).or_default().insert(turn);
        self.of_queue.entry(queue.clone()).or_default().insert(class.clone());
        self.rerank(class, queue, gate);
    }

    /// Takes a job out of line.
    pub(crate) fn remove(&mut self, class: &Class, queue: &QueueKey, turn: &Turn, gate: Gate) {
        let Some(line) = self.classes.get_mut(class) else { return };
        let Some(turns) = line.turns.get_mut(queue) else { return };
        turns.remove(turn);
        if turns.is_empty() {
            line.turns.remove(queue);
            if let Some(classes) = self.of_queue.get_mut(queue) {
                classes.remove(class);
                if classes.is_empty() {
                    self.of_queue.remove(queue);
                }
            }
        }
        self.rerank(class, queue, gate);
    }

    /// A queue was served, or its quota opened or closed.
    pub(crate) fn regate(&mut self, queue: &QueueKey, gate: Gate) {
        for class in self.of_queue.get(queue).cloned().unwrap_or_default() {
            self.rerank(&class, queue, gate);
        }
    }

    /// The first job of each class, best first.
    pub(crate) fn heads(&self) -> impl Iterator<Item = (&Rank, &Class)> {
        self.heads.iter()
    }

    /// Every line's class, with the queues in it and how many jobs each has ready.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = (&Class, &QueueKey, usize)> {
        self.classes
            .iter()
            .flat_map(|(class, line)| line.turns.iter().map(move |(queue, turns)| (class, queue, turns.len())))
    }

    /// How many ready jobs of its queue come before this one.
    pub(crate) fn ahead(&self, queue: &QueueKey, turn: &Turn) -> usize {
        let classes = self.of_queue.get(queue).into_iter().flatten();
        let turns = classes.filter_map(|class| self.classes.get(class)?.turns.get(queue));
        turns.map(|turns| turns.range(..turn).count()).sum()
    }

    /// Makes the queue's entry in a class, and the head of that class, what they should be.
    fn rerank(&mut self, class: &Class, queue: &QueueKey, gate: Gate) {
        let Some(line) = self.classes.get_mut(class) else { return };
        let old_head = line.order.first().cloned();
        if let Some(old) = line.ranks.remove(queue) {
            line.order.remove(&old);
        }
        let first = line.turns.get(queue).and_then(BTreeSet::first);
        if let (true, Some(turn)) = (gate.open, first) {
            let rank =
                Rank { priority: turn.priority, served: gate.served, submitted: turn.submitted, job: turn.job.clone() };
            line.ranks.insert(queue.clone(), rank.clone());
            line.order.insert(rank);
        }
        let head = line.order.first().cloned();
        if line.turns.is_empty() {
            self.classes.remove(class);
        }
        if old_head != head {
            if let Some(old) = old_head {
                self.heads.remove(&old);
            }
            if let Some(head) = head {
                self.heads.insert(head, class.clone());
            }
        }
    }
}
