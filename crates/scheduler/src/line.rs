//! Who is next. Jobs that are ready wait in lines, one for each class (same pool, same model: what fits one fits all),
//! and the heads of the lines are kept in order.
//!
//! The order: priority; then jobs that waited unreasonably long, oldest first; then those that can still be on time,
//! the most urgent start first and short ones before long ones; then those that are late. How far queues may get ahead
//! of each other is not decided here but in `place`.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use tintype_types::Timestamp;

use crate::config::Config;
use crate::names::{Name, Tag};
use crate::record::Record;

/// How many times its own length a job on time is put back for it: short ones first loses fewer deadlines.
const LENGTH_ON_TIME: u32 = 3;
/// The same for late ones; their order is by age otherwise, so that none starves behind shorter ones for ever.
const LENGTH_LATE: u32 = 20;

/// More than there are stages.
const STAGES: u64 = 4;

/// Jobs that the same workers can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Class {
    pub(crate) pool: Option<Name>,
    pub(crate) model: Name,
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

/// A job's place in line. Packed as [`Tag`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C, packed(4))]
pub(crate) struct Turn {
    /// Priority and stage in one number, the better the smaller: lines are compared by it very often.
    band: u64,
    key: Timestamp,
    pub(crate) job: Tag,
}

/// Which part of its wait a job is in, its place there, and when that changes by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WhenTurn {
    stage: Stage,
    key: Timestamp,
    pub(crate) changes_at: Option<Timestamp>,
}

/// All lines.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Lines {
    classes: BTreeMap<Class, Line>,
    /// The first job of each class that may run.
    heads: BTreeMap<Turn, Class>,
    /// Classes a queue has ready jobs in, in order. There are few beside the jobs, so a list is found through faster than
    /// a tree; it is looked at only when a class's first job comes or its last one goes.
    of_queue: BTreeMap<Name, Vec<Class>>,
}

/// The ready jobs of a class.
#[derive(Clone, Debug, Default, PartialEq)]
struct Line {
    turns: BTreeSet<(Name, Turn)>,
    /// Each queue's first job, of queues whose quota lets one more run.
    order: BTreeSet<(Turn, Name)>,
    /// The first of the order: asked for far more often than it changes.
    head: Option<(Turn, Name)>,
}

impl Class {
    /// The class of a job.
    pub(crate) fn of(seen: &Record) -> Self {
        Self { pool: seen.pool, model: seen.model }
    }
}

impl Turn {
    /// Which part of its wait a job that runs some `run_ms` is in.
    pub(crate) fn when(seen: &Record, run_ms: u32, now: Timestamp, config: &Config) -> WhenTurn {
        let run = |times: u32| u64::from(run_ms) * u64::from(times);
        let late_at = Timestamp(deadline(seen, run_ms, config).0.saturating_sub(run(1)).saturating_add(1));
        let overdue_at = seen.submitted.plus(config.overdue_after);
        if now >= overdue_at {
            WhenTurn { stage: Stage::Overdue, key: seen.submitted, changes_at: None }
        } else if now >= late_at {
            let key = Timestamp(seen.submitted.0.saturating_add(run(LENGTH_LATE)));
            WhenTurn { stage: Stage::Late, key, changes_at: Some(overdue_at) }
        } else {
            let key = Timestamp(late_at.0.saturating_add(run(LENGTH_ON_TIME)));
            WhenTurn { stage: Stage::OnTime, key, changes_at: Some(late_at.min(overdue_at)) }
        }
    }

    /// The turn of a job.
    pub(crate) fn of(job: Tag, priority: i32, when: WhenTurn) -> Self {
        let lower = i64::from(i32::MAX) - i64::from(priority);
        Self { band: lower as u64 * STAGES + when.stage as u64, key: when.key, job }
    }

    /// Its priority.
    pub(crate) fn priority(self) -> i32 {
        i32::try_from(i64::from(i32::MAX) - self.lower() as i64).unwrap_or(i32::MIN)
    }

    /// How much lower its priority is than the highest there can be.
    pub(crate) fn lower(self) -> u64 {
        self.band / STAGES
    }

    /// Whether it waited longer than anyone should.
    pub(crate) fn overdue(self) -> bool {
        self.band % STAGES == Stage::Overdue as u64
    }

    /// Before and after any other, for ranges.
    const FIRST: Self = Self { band: 0, key: Timestamp(0), job: Tag::FIRST };
    const LAST: Self = Self { band: u64::MAX, key: Timestamp(u64::MAX), job: Tag::LAST };
}

/// By when a job should be done; one that names no deadline has one in proportion to its length.
pub(crate) fn deadline(seen: &Record, run_ms: u32, config: &Config) -> Timestamp {
    let own = u64::from(run_ms) * u64::from(config.patience_factor);
    seen.deadline.unwrap_or_else(|| Timestamp(seen.submitted.plus(config.patience).0.saturating_add(own)))
}

impl Line {
    fn first(&self, queue: Name) -> Option<Turn> {
        // With an end of its own the search goes down one way; without, it would go to the last of all as well.
        self.turns.range((queue, Turn::FIRST)..=(queue, Turn::LAST)).next().map(|(_, turn)| *turn)
    }

    /// The queues in it, with how many jobs each has: a run of equal queues at a time.
    fn sizes(&self) -> impl Iterator<Item = (Name, u32)> {
        let mut queues = self.turns.iter().map(|(queue, _)| *queue).peekable();
        std::iter::from_fn(move || {
            let queue = queues.next()?;
            let mut jobs = 1;
            while queues.next_if_eq(&queue).is_some() {
                jobs += 1;
            }
            Some((queue, jobs))
        })
    }
}

impl Lines {
    /// Puts a ready job in line. `gate`: whether its queue's quota lets one more run.
    pub(crate) fn add(&mut self, class: Class, queue: Name, turn: Turn, gate: Gate) {
        let line = self.classes.entry(class).or_default();
        let first = line.first(queue);
        line.turns.insert((queue, turn));
        if first.is_none() {
            list(self.of_queue.entry(queue).or_default(), class);
        }
        if gate == Gate::Open && first.is_none_or(|first| turn < first) {
            self.put(class, queue, first, Some(turn));
        }
    }

    /// Takes a job out of line.
    pub(crate) fn remove(&mut self, class: Class, queue: Name, turn: Turn, gate: Gate) {
        let Some(line) = self.classes.get_mut(&class) else { return };
        if !line.turns.remove(&(queue, turn)) {
            return;
        }
        let (next, empty) = (line.first(queue), line.turns.is_empty());
        if next.is_none()
            && let Entry::Occupied(mut classes) = self.of_queue.entry(queue)
        {
            unlist(classes.get_mut(), class);
            if classes.get().is_empty() {
                classes.remove();
            }
        }
        if gate == Gate::Open && next.is_none_or(|next| turn < next) {
            self.put(class, queue, Some(turn), next);
        }
        if empty {
            self.classes.remove(&class);
        }
    }

    /// A queue's quota opened or closed.
    pub(crate) fn regate(&mut self, queue: Name, gate: Gate) {
        let classes: Vec<Class> = self.classes_of(queue).collect();
        for class in classes {
            let first = self.classes.get(&class).and_then(|line| line.first(queue));
            match gate {
                Gate::Open => self.put(class, queue, None, first),
                Gate::Shut => self.put(class, queue, first, None),
            }
        }
    }

    /// The first job of each class, best first.
    pub(crate) fn heads(&self) -> impl Iterator<Item = (Turn, Class)> {
        self.heads.iter().map(|(turn, class)| (*turn, *class))
    }

    /// How many classes have a job that may run.
    pub(crate) fn heads_len(&self) -> usize {
        self.heads.len()
    }

    /// Ready jobs that name a model.
    pub(crate) fn jobs_of(&self, model: Name) -> impl Iterator<Item = Tag> {
        let lines = self.classes.iter().filter(move |(class, _)| class.model == model);
        lines.flat_map(|(_, line)| &line.turns).map(|(_, turn)| turn.job)
    }

    /// The first of [`Lines::order`].
    pub(crate) fn head(&self, class: Class) -> Option<(Turn, Name)> {
        self.classes.get(&class)?.head
    }

    /// The first job of each queue in a class, best first, with its queue.
    pub(crate) fn order(&self, class: Class) -> impl Iterator<Item = (Turn, Name)> {
        self.classes.get(&class).into_iter().flat_map(|line| &line.order).copied()
    }

    /// Classes a queue has ready jobs in.
    pub(crate) fn classes_of(&self, queue: Name) -> impl Iterator<Item = Class> {
        self.of_queue.get(&queue).into_iter().flatten().copied()
    }

    /// Every line's class, with the queues in it and how many jobs each has ready.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = (Class, Name, u32)> {
        self.classes.iter().flat_map(|(class, line)| line.sizes().map(|(queue, jobs)| (*class, queue, jobs)))
    }

    /// Every ready job before a turn, whatever its queue, with its class; in no order.
    pub(crate) fn before(&self, turn: Turn) -> impl Iterator<Item = (Class, Turn)> {
        let all = self.classes.iter().flat_map(|(class, line)| line.turns.iter().map(move |(_, turn)| (*class, *turn)));
        all.filter(move |(_, before)| *before < turn)
    }

    /// The first ready job of a queue, whatever its class and quota.
    pub(crate) fn first_of(&self, queue: Name) -> Option<Turn> {
        self.first_in(queue).map(|(turn, _)| turn)
    }

    /// The same with its class.
    pub(crate) fn first_in(&self, queue: Name) -> Option<(Turn, Class)> {
        self.classes_of(queue).filter_map(|class| Some((self.classes.get(&class)?.first(queue)?, class))).min()
    }

    /// How many ready jobs of its queue come before this one.
    pub(crate) fn ahead(&self, queue: Name, turn: Turn) -> usize {
        let lines = self.classes_of(queue).filter_map(|class| self.classes.get(&class));
        lines.map(|line| line.turns.range((queue, Turn::FIRST)..(queue, turn)).count()).sum()
    }

    /// Replaces a queue's first job in a class, and the head of that class where that changes it.
    fn put(&mut self, class: Class, queue: Name, old: Option<Turn>, new: Option<Turn>) {
        let Some(line) = self.classes.get_mut(&class) else { return };
        let old_head = line.head.map(|(turn, _)| turn);
        // What is first is taken off the front: nothing has to be found for that.
        match old {
            Some(old) if line.head == Some((old, queue)) => {
                line.order.pop_first();
            }
            Some(old) => {
                line.order.remove(&(old, queue));
            }
            None => {}
        }
        if let Some(new) = new {
            line.order.insert((new, queue));
        }
        line.head = line.order.first().copied();
        let head = line.head.map(|(turn, _)| turn);
        if old_head != head {
            if let Some(old) = old_head {
                self.heads.remove(&old);
            }
            if let Some(head) = head {
                self.heads.insert(head, class);
            }
        }
    }
}

/// Puts a class into a list in its place.
fn list(classes: &mut Vec<Class>, class: Class) {
    if let Err(place) = classes.binary_search(&class) {
        classes.insert(place, class);
    }
}

/// Takes it out.
fn unlist(classes: &mut Vec<Class>, class: Class) {
    if let Ok(place) = classes.binary_search(&class) {
        classes.remove(place);
    }
}

/// Whether a queue's quota lets another of its jobs run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    Shut,
}
