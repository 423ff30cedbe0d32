//! One job and its only transitions. What the record was seen to hold and what we assume we wrote are kept apart, so
//! that forgetting an assumption is dropping one field.

use serde::{Deserialize, Serialize};
use tintype_types::{Attempt, BootId, FailureReason, Timestamp};

use crate::config::Config;
use crate::jobs::Id;
use crate::line::{Turn, WhenTurn};
use crate::names::Name;
use crate::record::{Record, Spot};

/// A job: the newest record seen, at most one unconfirmed write on top of it, and what memory alone knows.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) id: Id,
    /// The record as last seen. Its version only grows (but for a Reset).
    pub(crate) seen: Record,
    /// A decision whose write has not been seen to come back.
    pub(crate) assumed: Option<Assumed>,
    /// The attempt that is out, or whose end is assumed. Most jobs wait and have none, so it lies apart.
    pub(crate) run: Option<Box<Run>>,
    /// How the last attempt ended, where its worker reported that to this scheduler.
    pub(crate) closed: Option<Box<Closed>>,
    /// Its end was written by another scheduler: nobody here knows whether the worker reported it.
    pub(crate) forgot_how_it_ended: bool,
    /// Not to be decided about before this: a write was refused a moment ago.
    pub(crate) held_until: Option<Timestamp>,
    /// Since when its model is not known.
    pub(crate) model_unknown_since: Option<Timestamp>,
    /// When it was seen to have ended.
    pub(crate) ended_at: Timestamp,
    /// What it is estimated to run, where its model is resident. Kept, so that its place in line holds still.
    pub(crate) run_ms: u32,
    /// It was asked whether its deadline can be met at all.
    pub(crate) judged: bool,
    /// It will be done by its deadline.
    pub(crate) promise: Option<Box<Promise>>,
}

/// What a job was promised: its deadline, and what is put by to keep it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Promise<W = Name> {
    /// When it should end, as told when it was promised.
    pub(crate) ends: Timestamp,
    /// The busy worker that takes it next; none once it was given out.
    pub(crate) worker: Option<W>,
    /// Not given out by then, it is late.
    pub(crate) start_by: Timestamp,
    /// Work charged to its queue ahead of its assignment.
    pub(crate) charge: u64,
}

/// A decision that was made and not seen written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Assumed {
    /// The attempt the decision is about.
    pub(crate) attempt: Attempt,
    /// What it makes of the job.
    pub(crate) change: Change,
    /// When to stop believing in it.
    pub(crate) until: Timestamp,
}

/// What an assumed decision makes of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change {
    /// Given to a worker.
    Assigned,
    /// Waiting again.
    Requeued {
        /// Whether the worker said so itself.
        reported: bool,
    },
    /// Over.
    Ended {
        /// With pictures.
        complete: bool,
        /// Whether the worker said so itself.
        reported: bool,
    },
}

/// An attempt that is out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run<W = Name> {
    pub(crate) attempt: Attempt,
    pub(crate) worker: W,
    /// Which start of the worker; the record does not hold it, so after a Reset it is learnt from the worker.
    pub(crate) boot_id: Option<BootId>,
    pub(crate) assigned_at: Timestamp,
    pub(crate) lease_end: Timestamp,
    /// Whether the worker spoke of it.
    pub(crate) heard: bool,
    /// How often the assignment was sent.
    pub(crate) tellings: u32,
    pub(crate) step: u32,
    pub(crate) steps: u32,
    /// When progress was last written.
    pub(crate) progress_at: Timestamp,
    /// The worker restarted: the attempt is lost.
    pub(crate) doomed: bool,
    /// What the worker is to be told at its next renew.
    pub(crate) stop: Option<Stop>,
    /// Work charged to the queue for it, to be given back if it was never written.
    pub(crate) charge: u64,
    /// The worker had to load the model first.
    pub(crate) cold: bool,
    /// When it should end.
    pub(crate) ends_at: Timestamp,
}

/// Why the clock must come back to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    UnconfirmedWrite,
    Cancel,
    WorkerRestarted,
    Lease,
    ModelGrace,
    Backoff,
    WriteRetry,
    Deadline,
    Promise,
    Turn,
}

/// Why a running attempt is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stop {
    /// For good.
    Cancel(FailureReason),
    /// With a checkpoint: for a job that is more urgent.
    Preempt,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Closed<W = Name> {
    pub(crate) attempt: Attempt,
    pub(crate) worker: W,
    pub(crate) boot_id: Option<BootId>,
    pub(crate) complete: bool,
}

/// Where a job stands, assumptions included.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stand<'a> {
    Waiting,
    Out(&'a Run),
    Ended,
}

impl Run {
    /// A run just decided.
    pub(crate) fn assigned(attempt: Attempt, worker: Name, boot_id: BootId, now: Timestamp, config: &Config) -> Self {
        Self { boot_id: Some(boot_id), tellings: 1, ..Self::found(attempt, worker, now, config) }
    }

    /// A run the record speaks of: nobody knows how long it has gone unheard, so it gets a whole lease.
    fn found(attempt: Attempt, worker: Name, now: Timestamp, config: &Config) -> Self {
        Self {
            attempt,
            worker,
            boot_id: None,
            assigned_at: now,
            lease_end: now.plus(config.lease),
            heard: false,
            tellings: 0,
            step: 0,
            steps: 0,
            progress_at: now,
            doomed: false,
            stop: None,
            charge: 0,
            cold: false,
            ends_at: now,
        }
    }

    /// Whether this start of this worker runs it. A boot id nobody knows yet is taken on trust; what a newer start
    /// ended is nobody's, even while that cannot be written.
    pub(crate) fn is_by(&self, worker: Name, boot_id: &BootId) -> bool {
        !self.doomed && self.worker == worker && self.boot_id.as_ref().is_none_or(|known| known == boot_id)
    }
}

impl Why {
    /// For people.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::UnconfirmedWrite => "unconfirmed write",
            Self::Cancel => "cancel",
            Self::WorkerRestarted => "worker restarted",
            Self::Lease => "lease",
            Self::ModelGrace => "model grace",
            Self::Backoff => "backoff",
            Self::WriteRetry => "write retry",
            Self::Deadline => "deadline",
            Self::Promise => "promise",
            Self::Turn => "turn",
        }
    }
}

impl<W> Run<W> {
    /// The same with its worker named otherwise.
    pub(crate) fn of<V>(self, worker: impl FnOnce(W) -> V) -> Run<V> {
        Run {
            attempt: self.attempt,
            worker: worker(self.worker),
            boot_id: self.boot_id,
            assigned_at: self.assigned_at,
            lease_end: self.lease_end,
            heard: self.heard,
            tellings: self.tellings,
            step: self.step,
            steps: self.steps,
            progress_at: self.progress_at,
            doomed: self.doomed,
            stop: self.stop,
            charge: self.charge,
            cold: self.cold,
            ends_at: self.ends_at,
        }
    }
}

impl Promise {
    /// The promise the record speaks of: one of an earlier scheduler, that gave the job out. It binds like our own.
    pub(crate) fn found(seen: &Record, run_ms: u32) -> Option<Self> {
        let (ends, deadline) = (seen.promised?, seen.deadline.filter(|_| seen.place != Spot::Ended)?);
        let start_by = Timestamp(deadline.0.saturating_sub(u64::from(run_ms)));
        Some(Self { ends, worker: None, start_by, charge: 0 })
    }
}

impl<W> Promise<W> {
    /// The same with its worker named otherwise.
    pub(crate) fn of<V>(self, worker: impl FnOnce(W) -> V) -> Promise<V> {
        let Self { ends, worker: by, start_by, charge } = self;
        Promise { ends, worker: by.map(worker), start_by, charge }
    }
}

impl<W> Closed<W> {
    /// The same with its worker named otherwise.
    pub(crate) fn of<V>(self, worker: impl FnOnce(W) -> V) -> Closed<V> {
        let Self { attempt, worker: by, boot_id, complete } = self;
        Closed { attempt, worker: worker(by), boot_id, complete }
    }
}

impl Job {
    /// A job seen for the first time.
    pub(crate) fn new(id: Id, seen: Record, now: Timestamp, config: &Config) -> Self {
        let mut job = Self {
            id,
            seen,
            assumed: None,
            run: None,
            closed: None,
            forgot_how_it_ended: false,
            held_until: None,
            model_unknown_since: None,
            ended_at: now,
            run_ms: 0,
            judged: false,
            promise: None,
        };
        job.follow_record(now, config);
        job
    }

    /// Where the job stands, assumptions included.
    pub(crate) fn stand(&self) -> Stand<'_> {
        match (self.assumed.as_ref().map(|assumed| &assumed.change), &self.seen.place, &self.run) {
            (Some(Change::Ended { .. }), _, _) | (None, Spot::Ended, _) => Stand::Ended,
            (Some(Change::Assigned), _, Some(run)) | (None, Spot::Assigned(_), Some(run)) => Stand::Out(run),
            (Some(Change::Requeued { .. } | Change::Assigned) | None, _, _) => Stand::Waiting,
        }
    }

    /// The last attempt given out, assumptions included.
    pub(crate) fn attempt(&self) -> Attempt {
        self.assumed.as_ref().map_or(self.seen.attempt, |assumed| assumed.attempt)
    }

    /// Takes in what the record is said to hold. What is older than what was seen before changes nothing, save that a
    /// cancellation is never unlearnt.
    pub(crate) fn observe(&mut self, seen: Record, now: Timestamp, config: &Config) {
        let cancelled = self.seen.cancelled || seen.cancelled;
        let (old, new) = (version(&self.seen), version(&seen));
        if new >= old {
            self.seen = seen;
            self.held_until = None;
        }
        self.seen.cancelled = cancelled;
        if new > old {
            self.follow_record(now, config);
        }
    }

    /// The worker spoke of its attempt. It is told only after the write, so the write is done.
    pub(crate) fn confirm_assigned(&mut self) {
        let assumed_assigned = self.assumed.as_ref().is_some_and(|assumed| assumed.change == Change::Assigned);
        if let (true, Some(run)) = (assumed_assigned, &self.run) {
            self.assumed = None;
            self.seen.attempt = run.attempt;
            self.seen.place = Spot::Assigned(run.worker);
        }
    }

    /// Forgets the unconfirmed write and leaves the job alone for a moment. Answers the charge to give back.
    pub(crate) fn forget_assumed(&mut self, held_until: Timestamp) -> u64 {
        let Some(assumed) = self.assumed.take() else { return 0 };
        self.held_until = Some(held_until);
        match assumed.change {
            Change::Assigned => self.run.take().map_or(0, |run| run.charge),
            Change::Requeued { .. } | Change::Ended { .. } => 0,
        }
    }

    /// Why the clock must come back to this job, and when. `now` only tells what is already past.
    pub(crate) fn timer(&self, now: Timestamp, config: &Config) -> Option<(Timestamp, Why)> {
        self.timer_but_turn(now, config).or_else(|| {
            let when = matches!(self.stand(), Stand::Waiting).then(|| self.when(now, config))?;
            let turn = when.changes_at.map(|at| (at, Why::Turn));
            let promise = self.waits_for().map(|promise| (promise.start_by, Why::Promise));
            let refused = self.refused_at(config).map(|at| (at, Why::Deadline));
            [promise, refused, turn].into_iter().flatten().min_by_key(|(at, _)| *at)
        })
    }

    /// The promise of a job that waits for the worker that will take it.
    pub(crate) fn waits_for(&self) -> Option<&Promise> {
        self.promise.as_deref().filter(|promise| promise.worker.is_some())
    }

    /// When the clock must come to a waiting job that is refused rather than late: at once to see whether its deadline
    /// can be met, then when it cannot be met any more.
    pub(crate) fn refused_at(&self, config: &Config) -> Option<Timestamp> {
        let deadline = self.seen.deadline.filter(|_| self.seen.refuse_late)?;
        // A later attempt may go on from a checkpoint, so nobody knows how little is left of it.
        let run_ms = if self.seen.attempt == Attempt(0) { self.run_ms } else { 0 };
        let last = Timestamp(deadline.0.saturating_sub(u64::from(run_ms)).saturating_add(1));
        let fresh = !self.judged && self.seen.attempt == Attempt(0);
        Some(if fresh { last.min(self.seen.submitted) } else { last }).filter(|_| config.deadlines)
    }

    /// Which part of its wait it is in, and when that changes by itself.
    pub(crate) fn when(&self, now: Timestamp, config: &Config) -> WhenTurn {
        Turn::when(&self.seen, self.run_ms, now, config)
    }

    fn timer_but_turn(&self, now: Timestamp, config: &Config) -> Option<(Timestamp, Why)> {
        if let Some(assumed) = &self.assumed {
            return Some((assumed.until, Why::UnconfirmedWrite));
        }
        let held = self.held_until.unwrap_or_default();
        let (at, why) = match self.stand() {
            Stand::Ended => return None,
            Stand::Out(run) if self.seen.cancelled && run.stop.is_none() => return Some((Timestamp(0), Why::Cancel)),
            Stand::Out(run) if run.doomed => (Timestamp(0), Why::WorkerRestarted),
            Stand::Out(run) => (run.lease_end, Why::Lease),
            Stand::Waiting if self.seen.cancelled => (Timestamp(0), Why::Cancel),
            Stand::Waiting => match (self.model_unknown_since, self.seen.not_before) {
                (Some(since), _) => (since.plus(config.model_grace), Why::ModelGrace),
                (None, Some(until)) if until > now => (until, Why::Backoff),
                (None, _) if self.held_until.is_some() => (Timestamp(0), Why::WriteRetry),
                (None, _) => return None,
            },
        };
        Some((at.max(held), why))
    }

    /// Makes memory agree with a record that moved on.
    fn follow_record(&mut self, now: Timestamp, config: &Config) {
        let assumed = self.assumed.take();
        match self.seen.place {
            Spot::Assigned(worker) => {
                let same = |run: &Run| run.attempt == self.seen.attempt && run.worker == worker;
                if !self.run.as_deref().is_some_and(same) {
                    self.run = Some(Box::new(Run::found(self.seen.attempt, worker, now, config)));
                }
            }
            Spot::Queued | Spot::Ended => {
                let run = self.run.take();
                let ours = assumed.as_ref().is_some_and(|assumed| matches!(assumed.change, Change::Ended { .. }));
                self.forgot_how_it_ended = self.seen.place == Spot::Ended && !ours;
                self.closed = close(assumed, run, self.seen.attempt).map(Box::new);
                self.ended_at = now;
            }
        }
    }
}

/// Orders what one job's record can hold: attempt n is assigned, then perhaps queued again, and an end is final.
/// Every transition we write goes up, so an observation with a lower version is a late one.
fn version(seen: &Record) -> (bool, Attempt, bool) {
    match seen.place {
        Spot::Assigned(_) => (false, seen.attempt, false),
        Spot::Queued => (false, seen.attempt, true),
        Spot::Ended => (true, seen.attempt, true),
    }
}

/// Remembers an end the worker itself reported, so that its repeated finish is answered alike.
fn close(assumed: Option<Assumed>, run: Option<Box<Run>>, attempt: Attempt) -> Option<Closed> {
    let complete = match assumed?.change {
        Change::Requeued { reported: true } => false,
        Change::Ended { complete, reported: true } => complete,
        Change::Assigned | Change::Requeued { reported: false } | Change::Ended { reported: false, .. } => return None,
    };
    let run = *run.filter(|run| run.attempt == attempt)?;
    Some(Closed { attempt, worker: run.worker, boot_id: run.boot_id, complete })
}
