//! Who is next. Jobs that are ready wait in lines, one for each class (same pool, same model: what fits one fits all),
//! and the heads of the lines are kept in order.
//!
//! The order: priority; then jobs that waited unreasonably long, oldest first; then those that can still be on time,
//! the most urgent start first and short ones before long ones; then those that are late. How far queues may get ahead
//! of each other is not decided here but in `place`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use tintype_types::{JobId, PoolName, QueueKey, Timestamp};

use crate::config::Config;
use crate::observation::JobSeen;

/// How many times its own length a job on time is put back for it: short ones first loses fewer deadlines.
const LENGTH_ON_TIME: u32 = 3;
/// The same for late ones; their order is by age otherwise, so that none starves behind shorter ones for ever.
const LENGTH_LATE: u32 = 20;

/// Jobs that the same workers can run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Class {
    pub(crate) pool: Option<PoolName>,
    pub(crate) model: String,
}

/// Which part of its wait a job is in, in the order they are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// It waited longer than anyone should.
    Overdue,
    /// Begun now it is done by its deadline.
    OnTime,
    /// It is not.
    Late,
}

/// A job's place in line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Turn {
    pub(crate) priority: Reverse<i32>,
    pub(crate) stage: Stage,
    key: Timestamp,
    pub(crate) job: JobId,
}

/// All lines.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Lines {
    classes: BTreeMap<Class, Line>,
    heads: BTreeMap<Turn, Class>,
    of_queue: BTreeMap<QueueKey, BTreeSet<Class>>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Line {
    turns: BTreeMap<QueueKey, BTreeSet<Turn>>,
    /// Each queue's first job, of queues whose quota lets one more run.
    firsts: BTreeMap<QueueKey, Turn>,
    order: BTreeSet<Turn>,
}

impl Class {
    /// The class of a job.
    pub(crate) fn of(seen: &JobSeen) -> Self {
        Self { pool: seen.pool.clone(), model: seen.model.clone() }
    }
}

impl Turn {
    /// The turn of a job that runs some `run_ms`, and when it changes by itself.
    pub(crate) fn of(seen: &JobSeen, run_ms: u32, now: Timestamp, config: &Config) -> (Self, Option<Timestamp>) {
        let run = |times: u32| u64::from(run_ms) * u64::from(times);
        let late_at = Timestamp(deadline(seen, run_ms, config).0.saturating_sub(run(1)).saturating_add(1));
        let overdue_at = seen.submitted.plus(config.overdue_after);
        let (stage, key, next) = if now >= overdue_at {
            (Stage::Overdue, seen.submitted, None)
        } else if now >= late_at {
            (Stage::Late, Timestamp(seen.submitted.0.saturating_add(run(LENGTH_LATE))), Some(overdue_at))
        } else {
            let key = Timestamp(late_at.0.saturating_add(run(LENGTH_ON_TIME)));
            (Stage::OnTime, key, Some(late_at.min(overdue_at)))
        };
        (Self { priority: Reverse(seen.priority), stage, key, job: seen.id.clone() }, next)
    }
}

/// By when a job should be done; one that names no deadline has one in proportion to its length.
pub(crate) fn deadline(seen: &JobSeen, run_ms: u32, config: &Config) -> Timestamp {
    let own = u64::from(run_ms) * u64::from(config.patience_factor);
    seen.deadline.unwrap_or_else(|| Timestamp(seen.submitted.plus(config.patience).0.saturating_add(own)))
}

impl Lines {
    /// Puts a ready job in line. `open`: whether its queue's quota lets one more run.
    pub(crate) fn add(&mut self, class: &Class, queue: &QueueKey, turn: Turn, open: Gate) {
        let line = self.classes.entry(class.clone()).or_default();
        line.turns.entry(queue.clone()).or_default().insert(turn);
        self.of_queue.entry(queue.clone()).or_default().insert(class.clone());
        self.rerank(class, queue, open);
    }

    /// Takes a job out of line.
    pub(crate) fn remove(&mut self, class: &Class, queue: &QueueKey, turn: &Turn, open: Gate) {
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
        self.rerank(class, queue, open);
    }

    /// A queue's quota opened or closed.
    pub(crate) fn regate(&mut self, queue: &QueueKey, open: Gate) {
        for class in self.of_queue.get(queue).cloned().unwrap_or_default() {
            self.rerank(&class, queue, open);
        }
    }

    /// The first job of each class, best first.
    pub(crate) fn heads(&self) -> impl Iterator<Item = (&Turn, &Class)> {
        self.heads.iter()
    }

    /// Classes with ready jobs.
    pub(crate) fn classes(&self) -> impl Iterator<Item = &Class> {
        self.classes.keys()
    }

    /// The first job of each queue in a class, best first.
    pub(crate) fn order<'a>(&'a self, class: &Class) -> impl Iterator<Item = &'a Turn> {
        self.classes.get(class).into_iter().flat_map(|line| &line.order)
    }

    /// The first jobs of a queue, one for each class it has jobs in, if its quota is open.
    pub(crate) fn firsts_of<'a>(&'a self, queue: &'a QueueKey) -> impl Iterator<Item = (&'a Turn, &'a Class)> {
        let classes = self.of_queue.get(queue).into_iter().flatten();
        classes.filter_map(move |class| Some((self.classes.get(class)?.firsts.get(queue)?, class)))
    }

    /// Every line's class, with the queues in it and how many jobs each has ready.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = (&Class, &QueueKey, usize)> {
        self.classes
            .iter()
            .flat_map(|(class, line)| line.turns.iter().map(move |(queue, turns)| (class, queue, turns.len())))
    }

    /// Every ready job before a turn, whatever its queue, with its class; in no order.
    pub(crate) fn before<'a>(&'a self, turn: &'a Turn) -> impl Iterator<Item = (&'a Class, &'a Turn)> {
        let lines = self.classes.iter().flat_map(|(class, line)| line.turns.values().map(move |turns| (class, turns)));
        lines.flat_map(move |(class, turns)| turns.range(..turn).map(move |turn| (class, turn)))
    }

    /// The first ready job of a queue, whatever its class and quota.
    pub(crate) fn first_of(&self, queue: &QueueKey) -> Option<&Turn> {
        let classes = self.of_queue.get(queue).into_iter().flatten();
        classes.filter_map(|class| self.classes.get(class)?.turns.get(queue)?.first()).min()
    }

    /// How many ready jobs of its queue come before this one.
    pub(crate) fn ahead(&self, queue: &QueueKey, turn: &Turn) -> usize {
        let classes = self.of_queue.get(queue).into_iter().flatten();
        let turns = classes.filter_map(|class| self.classes.get(class)?.turns.get(queue));
        turns.map(|turns| turns.range(..turn).count()).sum()
    }

    /// Makes the queue's entry in a class, and the head of that class, what they should be.
    fn rerank(&mut self, class: &Class, queue: &QueueKey, open: Gate) {
        let Some(line) = self.classes.get_mut(class) else { return };
        let old_head = line.order.first().cloned();
        if let Some(old) = line.firsts.remove(queue) {
            line.order.remove(&old);
        }
        let first = line.turns.get(queue).and_then(BTreeSet::first);
        if let (Gate::Open, Some(turn)) = (open, first) {
            line.firsts.insert(queue.clone(), turn.clone());
            line.order.insert(turn.clone());
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

/// Whether a queue's quota lets another of its jobs run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    Shut,
}
