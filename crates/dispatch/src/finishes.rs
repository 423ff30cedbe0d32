//! Finish calls that wait for their write, and what became of earlier ones. It must not know how a write is done.

use std::collections::BTreeMap;

use tintype_types::{Attempt, BootId, JobEvent, JobId, WorkerId};
use tokio::sync::oneshot;

use crate::answer::Refusal;
use crate::bounded::Bounded;

/// Calls that wait for the same write: a worker repeats one it got no answer to, and no worker needs more.
const WAITERS_MAX: usize = 4;
/// Written finishes remembered until the scheduler has seen them in the record.
const WRITTEN_KEPT_MAX: usize = 10_000;
/// Ends remembered whose write got no answer.
const UNKNOWN_KEPT_MAX: usize = 1_000;

/// Ends remembered that the record showed while they were being written; no more than there are writes under way.
const EARLY_KEPT_MAX: usize = 1_000;

/// Where a finish's answer goes.
pub(crate) type FinishReply = oneshot::Sender<Result<(), Refusal>>;

/// One attempt.
pub(crate) type Key = (JobId, Attempt);

/// One start of one worker.
pub(crate) type Runner = (WorkerId, BootId);

#[derive(Debug)]
struct Waiting {
    by: Runner,
    replies: Vec<FinishReply>,
}

/// An end whose write got no answer.
#[derive(Debug)]
struct Doubt {
    /// What watchers are told if it turns out to be written; none once two different ends of the attempt are in doubt.
    event: Option<JobEvent>,
    /// Who reported it.
    by: Option<Runner>,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Finishes {
    waiting: BTreeMap<Key, Waiting>,
    written: Bounded<Key, Runner>,
    unknown: Bounded<Key, Doubt>,
    /// Ends seen in the record before the write that made them was answered: the watch may be faster.
    early: Bounded<Key, ()>,
}

impl Finishes {
    pub(crate) fn new() -> Self {
        let (written, unknown) = (Bounded::new(WRITTEN_KEPT_MAX), Bounded::new(UNKNOWN_KEPT_MAX));
        Self { waiting: BTreeMap::new(), written, unknown, early: Bounded::new(EARLY_KEPT_MAX) }
    }

    /// Whether a finish of this attempt by this runner is written.
    pub(crate) fn is_written(&self, key: &Key, by: &Runner) -> bool {
        self.written.get(key) == Some(by)
    }

    /// Whether a finish of this attempt by this runner is being written.
    pub(crate) fn is_waiting(&self, key: &Key, by: &Runner) -> bool {
        self.waiting.get(key).is_some_and(|waiting| waiting.by == *by)
    }

    /// Lets a call wait for the end of this attempt to be written.
    pub(crate) fn wait(&mut self, key: Key, by: Runner, reply: FinishReply) {
        let waiting = self.waiting.entry(key).or_insert_with(|| Waiting { by, replies: Vec::new() });
        waiting.replies.retain(|reply| !reply.is_closed());
        if waiting.replies.len() < WAITERS_MAX {
            waiting.replies.push(reply);
        } else {
            // The caller may have gone away, which is no concern of ours.
            let _ = reply.send(Err(Refusal::unwritten()));
        }
    }

    /// The end of this attempt is written, or will not be: answers who waited for it.
    pub(crate) fn settle(&mut self, key: &Key, answer: &Result<(), Refusal>) {
        let Some(Waiting { by, replies }) = self.waiting.remove(key) else { return };
        if answer.is_ok() {
            self.written.insert(key.clone(), by);
        }
        for reply in replies {
            let _ = reply.send(answer.clone());
        }
    }

    /// The write of this terminal event got no answer: it may be in the record. To be called before [`Self::settle`].
    pub(crate) fn doubt(&mut self, event: JobEvent) {
        let key = (event.job.clone(), event.attempt);
        let same = self.unknown.get(&key).is_none_or(|known| known.event.as_ref() == Some(&event));
        let by = self.waiting.get(&key).map(|waiting| waiting.by.clone());
        self.unknown.insert(key, Doubt { event: same.then_some(event), by });
    }

    /// The record shows the job ended with this attempt: the end that was in doubt, if there is just one, is written.
    /// Answers what to tell the watchers.
    pub(crate) fn dispel(&mut self, key: &Key) -> Option<JobEvent> {
        let Doubt { event, by } = self.unknown.remove(key)?;
        let event = event?;
        if let Some(by) = by {
            self.written.insert(key.clone(), by);
        }
        Some(event)
    }

    /// The record shows the job ended with this attempt, while an end of it is being written.
    pub(crate) fn seen_early(&mut self, key: Key) {
        self.early.insert(key, ());
    }

    /// Whether the record showed the end before its write was answered. Asked once.
    pub(crate) fn was_seen_early(&mut self, key: &Key) -> bool {
        self.early.remove(key).is_some()
    }

    /// Answers all that wait that nothing could be recorded, and forgets everything.
    pub(crate) fn abandon(&mut self) {
        for key in self.waiting.keys().cloned().collect::<Vec<_>>() {
            self.settle(&key, &Err(Refusal::unwritten()));
        }
        self.written.clear();
        self.unknown.clear();
        self.early.clear();
    }
}
