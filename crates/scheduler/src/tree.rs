//! The tree of queues: what parts of a queue may have together, what a queue may borrow of what others leave, and how a
//! queue's weight counts inside the one it is part of.
//!
//! A queue's quota is its own. It may run more than that only while its siblings leave room (`borrow`), never of what they
//! do not lend (`lend`), and not while one of them waits for its own: then what was borrowed is taken back by preemption.
//! Everything here is counted along the path to the root, so that a change costs as much as the tree is deep, unless a
//! limit is reached or left.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tintype_types::Timestamp;

use crate::line::Gate;
use crate::names::Name;
use crate::observation::Quota;
use crate::state::Queue;

/// Queues deeper in the tree than this are taken for roots.
const DEPTH_MAX: usize = 16;

/// All queues that are part of another, have parts, or have a quota of more than jobs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tree {
    of: BTreeMap<Name, Branch>,
    /// Some queue names a parent, known or not, or has a quota of more than jobs.
    asked_for: bool,
    /// Queues whose parents lead back to themselves: they stand for themselves until that is mended.
    pub(crate) cyclic: BTreeSet<Name>,
    /// Queues with ready jobs that run less than their own quota.
    pub(crate) owed: BTreeSet<Name>,
    /// Queues that may not run one more.
    shut: BTreeSet<Name>,
    /// When a window of GPU time ends that holds a queue shut.
    pub(crate) opens_at: Option<Timestamp>,
}

/// One queue of the tree.
#[derive(Clone, Debug, Default, PartialEq)]
struct Branch {
    parent: Option<Name>,
    children: BTreeSet<Name>,
    weight: u32,
    own: Option<u32>,
    quota: Quota,
    /// Of it and all its parts: jobs that run and that are ready to, and memory of the models of those that run.
    running: u32,
    ready: u32,
    vram_bytes: u64,
    /// Its own jobs alone that are ready.
    own_ready: u32,
    /// Its window's GPU time is used up.
    spent: bool,
    /// Of its children: weight of those with jobs, jobs kept for those that do not lend them, children that wait for
    /// their own.
    busy_weight: u64,
    kept: u32,
    owed: u32,
}

/// What of a queue's quota holds jobs back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Held {
    /// As many run as may.
    Running,
    /// The models of those that run take as much memory as they may.
    Vram,
    /// This window's GPU time was given out.
    GpuTime,
    /// What is left is kept for queues that run less than their own.
    Kept,
}

/// What a branch means to its parent.
#[derive(Clone, Copy, PartialEq)]
struct Part {
    busy: bool,
    kept: u32,
    owed: bool,
}

/// What limits a branch's parts.
#[derive(Clone, Copy, PartialEq)]
struct Limits {
    full: bool,
    full_for_borrowers: bool,
    over_own: bool,
}

/// A queue's own jobs in numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) running: u32,
    pub(crate) ready: u32,
    pub(crate) vram_bytes: u64,
}

impl Branch {
    fn part(&self) -> Part {
        let own = self.own.unwrap_or(0);
        let lent = self.quota.lend.unwrap_or(own).min(own);
        Part {
            busy: self.running + self.ready > 0,
            kept: (own - lent).saturating_sub(self.running),
            owed: self.ready > 0 && self.running < own,
        }
    }

    /// The most that may run in it; its own quota, with what it may borrow where it is part of another.
    fn most(&self) -> Option<u32> {
        let borrow = if self.parent.is_some() { self.quota.borrow.unwrap_or(0) } else { 0 };
        self.own.map(|own| own.saturating_add(borrow))
    }

    /// What of its quota is used up, where something is.
    fn full_of(&self) -> Held {
        let vram = self.quota.vram_bytes.is_some_and(|most| self.vram_bytes >= most);
        match (self.spent, vram) {
            (true, _) => Held::GpuTime,
            (false, true) => Held::Vram,
            (false, false) => Held::Running,
        }
    }

    fn limits(&self) -> Limits {
        let most = self.most();
        let at_most = |running: u32| most.is_some_and(|most| running >= most);
        let vram = self.quota.vram_bytes.is_some_and(|most| self.vram_bytes >= most);
        Limits {
            full: at_most(self.running) || vram || self.spent,
            full_for_borrowers: at_most(self.running.saturating_add(self.kept).saturating_add(self.owed)),
            over_own: self.own.is_none_or(|own| self.running >= own),
        }
    }
}

impl Tree {
    /// The tree of these queues, with nothing running or waiting.
    pub(crate) fn of(queues: &BTreeMap<Name, Queue>, now: Timestamp) -> Self {
        let mut tree = Self::default();
        let declared = |name: &Name| queues.get(name).is_some_and(|queue| queue.declared);
        for (name, queue) in queues {
            tree.asked_for |= queue.parent.is_some() || queue.quota != Quota::default();
            tree.cyclic.extend(leads_to_itself(queues, *name).then_some(*name));
            if let Some(parent) = queue.parent.filter(declared) {
                tree.of.insert(parent, Branch::default());
                tree.of.insert(*name, Branch::default());
            } else if queue.quota != Quota::default() {
                tree.of.insert(*name, Branch::default());
            }
        }
        for name in tree.of.keys().copied().collect::<Vec<_>>() {
            let Some(queue) = queues.get(&name) else { continue };
            let parent = queue.parent.filter(declared).filter(|_| !tree.cyclic.contains(&name));
            let spent = queue.is_spent(now);
            if let Some(branch) = tree.of.get_mut(&name) {
                (branch.parent, branch.weight, branch.own) = (parent, queue.weight.max(1), queue.running_max);
                (branch.quota, branch.spent) = (queue.quota, spent);
            }
            if spent {
                tree.opens_at = tree.opens_at.into_iter().chain([queue.window_end(now)]).min();
            }
            if let Some(parent) = parent.and_then(|parent| tree.of.get_mut(&parent)) {
                parent.children.insert(name);
            }
        }
        tree.tell_parents();
        tree.shut = tree.of.keys().copied().filter(|name| tree.judge(*name) == Gate::Shut).collect();
        tree
    }

    /// What branches keep from their siblings though nothing runs yet.
    fn tell_parents(&mut self) {
        let parts: Vec<_> = self.of.values().filter_map(|branch| Some((branch.parent?, branch.part().kept))).collect();
        for (parent, kept) in parts {
            if let Some(parent) = self.of.get_mut(&parent) {
                parent.kept += kept;
            }
        }
    }

    /// Whether a queue is part of it.
    pub(crate) fn has(&self, queue: Name) -> bool {
        self.of.contains_key(&queue)
    }

    /// Whether it is not worth looking at: every queue stands for itself and has a quota of jobs alone.
    pub(crate) fn is_bare(&self) -> bool {
        !self.asked_for
    }

    /// All queues of it.
    pub(crate) fn queues(&self) -> impl Iterator<Item = Name> {
        self.of.keys().copied()
    }

    /// Whether a queue may run one more; `None` where its own number of jobs is all that counts.
    pub(crate) fn gate(&self, queue: Name) -> Option<Gate> {
        self.has(queue).then(|| if self.shut.contains(&queue) { Gate::Shut } else { Gate::Open })
    }

    fn judge(&self, queue: Name) -> Gate {
        if self.holds(queue).is_some() { Gate::Shut } else { Gate::Open }
    }

    /// The queue whose quota keeps another from running one more, and what of it does.
    pub(crate) fn holds(&self, queue: Name) -> Option<(Name, Held)> {
        let mut borrows = false;
        for name in self.path(queue) {
            let branch = self.of.get(&name)?;
            let limits = branch.limits();
            if limits.full {
                return Some((name, branch.full_of()));
            }
            if borrows && limits.full_for_borrowers {
                return Some((name, Held::Kept));
            }
            // Whoever is over its own takes from what the next queue up has.
            borrows = limits.over_own;
        }
        None
    }

    /// A queue's own jobs changed. Answers the queues whose gate did, with what it is now.
    pub(crate) fn count(&mut self, queue: Name, was: Counts, is: Counts) -> Vec<(Name, Gate)> {
        let (mut at, mut under) = (Some(queue), queue);
        let mut below: Option<(Part, Part, u32)> = None;
        let own_ready = is.ready;
        while let Some(name) = at {
            let Some(branch) = self.of.get_mut(&name) else { break };
            let (limits, part) = (branch.limits(), branch.part());
            if let Some((was, is, weight)) = below {
                let busy = |part: Part| if part.busy { u64::from(weight) } else { 0 };
                branch.busy_weight = branch.busy_weight + busy(is) - busy(was);
                branch.kept = branch.kept + is.kept - was.kept;
                branch.owed = branch.owed + u32::from(is.owed) - u32::from(was.owed);
            }
            branch.running = branch.running + is.running - was.running;
            branch.ready = branch.ready + is.ready - was.ready;
            branch.vram_bytes = branch.vram_bytes + is.vram_bytes - was.vram_bytes;
            if name == queue {
                branch.own_ready = own_ready;
            }
            if branch.own_ready > 0 && branch.part().owed {
                self.owed.insert(name)
            } else {
                self.owed.remove(&name)
            };
            below = Some((part, branch.part(), branch.weight));
            if limits != branch.limits() {
                under = name;
            }
            at = branch.parent;
        }
        self.regate(under)
    }

    /// Judges the gates of a queue and all its parts anew; answers those that changed.
    fn regate(&mut self, under: Name) -> Vec<(Name, Gate)> {
        let (mut queues, mut looked_at) = (vec![under], 0);
        while let Some(name) = queues.get(looked_at).copied() {
            queues.extend(self.of.get(&name).into_iter().flat_map(|branch| &branch.children));
            looked_at += 1;
        }
        let judged = queues.into_iter().map(|name| (name, self.judge(name)));
        let changed: Vec<_> = judged.filter(|(name, gate)| self.shut.contains(name) != (*gate == Gate::Shut)).collect();
        for (name, gate) in &changed {
            match gate {
                Gate::Shut => self.shut.insert(*name),
                Gate::Open => self.shut.remove(name),
            };
        }
        changed
    }

    /// How many times dearer GPU time is to a queue than its own weight says, as it shares what the queues above it get.
    pub(crate) fn dearer(&self, queue: Name) -> f64 {
        let (mut at, mut dearer) = (self.of.get(&queue), 1.0);
        while let Some(branch) = at {
            let parent = branch.parent.and_then(|parent| self.of.get(&parent));
            if let Some(parent) = parent {
                let busy = parent.busy_weight.max(u64::from(branch.weight));
                dearer *= busy as f64 / f64::from(parent.weight.max(1));
            }
            at = parent;
        }
        dearer
    }

    /// A queue and those above it.
    pub(crate) fn path(&self, queue: Name) -> impl Iterator<Item = Name> {
        std::iter::successors(Some(queue), |name| self.of.get(name)?.parent)
    }

    /// The queue above one that runs less than its own whose parts run all that they may together.
    pub(crate) fn full_above(&self, queue: Name) -> Option<Name> {
        let mut path = self.path(queue);
        let closed = |name: &Name| self.of.get(name).filter(|branch| branch.limits().full);
        if path.next().is_some_and(|own| closed(&own).is_some()) {
            return None;
        }
        let full = path.find(|name| closed(name).is_some())?;
        closed(&full)?
            .most()
            .is_some_and(|most| self.of.get(&full).is_some_and(|branch| branch.running >= most))
            .then_some(full)
    }

    /// Whether a queue below `above` runs more than its own.
    pub(crate) fn borrows_below(&self, above: Name, queue: Name) -> bool {
        let over = |branch: &Branch| branch.own.is_none_or(|own| branch.running > own);
        self.of.get(&queue).is_some_and(over) && self.path(queue).skip(1).any(|name| name == above)
    }
}

/// Whether a queue's parents lead to a circle, or too far.
fn leads_to_itself(queues: &BTreeMap<Name, Queue>, queue: Name) -> bool {
    let mut above = std::iter::successors(Some(queue), |name| queues.get(name)?.parent);
    above.nth(DEPTH_MAX).is_some()
}
