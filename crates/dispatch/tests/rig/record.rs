//! A record in memory that keeps the contract of `Record`: compare-and-set on the attempt, idempotent, terminal states
//! for good. It can be told to fail in the ways real ones do.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use tintype_dispatch::{Given, Record, WriteError, WriteFuture, Written};
use tintype_scheduler::{Decision, JobSeen, Place};
use tintype_types::{
    Attempt, FailureReason, GenerationRequest, JobId, ModelDefaults, Output, ResolvedRequest, Sampler, Timestamp,
    Traceparent,
};
use tokio::sync::{Semaphore, mpsc};

use super::MODEL;

/// How the next write goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is refused.
    Refuse,
    /// It is done, but its answer is lost.
    LoseAck,
    /// It is not done.
    Down,
    /// It is done and the watch shows it, but its answer waits for [`MemoryRecord::release`].
    LateAck,
    /// The same, and then the answer is lost after all.
    LateLostAck,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ended {
    Complete(Vec<Output>),
    Failed(FailureReason),
}

pub(crate) struct MemoryRecord {
    inner: Mutex<Inner>,
    changes: mpsc::Sender<JobSeen>,
    /// A permit for each write, while writes are held.
    gate: Semaphore,
}

#[derive(Default)]
struct Inner {
    rows: BTreeMap<JobId, Row>,
    faults: VecDeque<Fault>,
    held: bool,
    /// Whether changes are told to the dispatcher.
    mute: bool,
    /// Writes that came in, whatever became of them.
    asked: Vec<Decision>,
    /// Writes that were done.
    done: Vec<Decision>,
}

#[derive(Clone)]
struct Row {
    seen: JobSeen,
    request: ResolvedRequest,
    traceparent: Option<Traceparent>,
    ended: Option<Ended>,
}

impl MemoryRecord {
    pub(crate) fn new() -> (Arc<Self>, mpsc::Receiver<JobSeen>) {
        let (changes, receiver) = mpsc::channel(100_000);
        (Arc::new(Self { inner: Mutex::default(), changes, gate: Semaphore::new(0) }), receiver)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Adds a job that asks for so many pictures, and tells of it.
    pub(crate) fn add(&self, id: &str, images: u32) -> JobId {
        self.add_for_model(id, images, MODEL)
    }

    pub(crate) fn add_for_model(&self, id: &str, images: u32, model: &str) -> JobId {
        self.add_request(
            id,
            GenerationRequest { images: Some(images), ..GenerationRequest::new(model, "a red circle") },
        )
    }

    pub(crate) fn add_request(&self, id: &str, request: GenerationRequest) -> JobId {
        let images = request.images.unwrap_or(1);
        let sampler = Sampler::Ddim;
        let defaults = ModelDefaults { width: 64, height: 64, steps: 20, guidance_scale: 3.0, sampler };
        let (work_steps, submitted) = (20 * images, Timestamp(1));
        let seen = JobSeen { work_steps, submitted, ..JobSeen::new(id, "default", request.model.as_str()) };
        let row = Row { seen: seen.clone(), request: request.resolve(&defaults, 7), traceparent: None, ended: None };
        self.lock().rows.insert(seen.id.clone(), row);
        self.tell(&seen);
        seen.id
    }

    /// Has an earlier job be part of a trace.
    pub(crate) fn trace(&self, id: &JobId, part_of: Traceparent) {
        self.lock().rows.get_mut(id).unwrap().traceparent = Some(part_of);
    }

    pub(crate) fn cancel(&self, id: &JobId) {
        let seen = {
            let mut inner = self.lock();
            let row = inner.rows.get_mut(id).unwrap();
            row.seen.cancelled = true;
            row.seen.clone()
        };
        self.tell(&seen);
    }

    pub(crate) fn fail_next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.lock().faults.extend(faults);
    }

    /// From now on each write waits for [`MemoryRecord::release`].
    pub(crate) fn hold(&self) {
        self.lock().held = true;
    }

    /// Lets all writes go on, waiting and future ones.
    pub(crate) fn release(&self) {
        self.lock().held = false;
        self.gate.add_permits(10_000);
    }

    /// Whether changes are kept from the dispatcher, as by a watch that lags.
    pub(crate) fn set_mute(&self, mute: bool) {
        self.lock().mute = mute;
    }

    /// Tells of every job anew, as a watch that catches up.
    pub(crate) fn tell_all(&self) {
        for seen in self.jobs() {
            self.tell(&seen);
        }
    }

    pub(crate) fn jobs(&self) -> Vec<JobSeen> {
        self.lock().rows.values().map(|row| row.seen.clone()).collect()
    }

    pub(crate) fn seen(&self, id: &JobId) -> JobSeen {
        self.lock().rows[id].seen.clone()
    }

    pub(crate) fn ended(&self, id: &JobId) -> Option<Ended> {
        self.lock().rows[id].ended.clone()
    }

    pub(crate) fn asked(&self) -> usize {
        self.lock().asked.len()
    }

    pub(crate) fn done(&self) -> Vec<Decision> {
        self.lock().done.clone()
    }

    fn tell(&self, seen: &JobSeen) {
        if !self.lock().mute {
            self.changes.try_send(seen.clone()).unwrap();
        }
    }

    async fn answer(&self, decision: Decision) -> Result<Written, WriteError> {
        let held = {
            let mut inner = self.lock();
            inner.asked.push(decision.clone());
            inner.held
        };
        if held {
            self.gate.acquire().await.unwrap().forget();
        }
        let fault = self.lock().faults.pop_front();
        match fault {
            Some(Fault::Down) => return Err(WriteError::Unavailable("down".to_owned())),
            Some(Fault::Refuse) => return Err(WriteError::Refused("told to".to_owned())),
            Some(Fault::LoseAck | Fault::LateAck | Fault::LateLostAck) | None => {}
        }
        let (written, seen) = {
            let mut inner = self.lock();
            let Inner { rows, done, .. } = &mut *inner;
            let row = rows.get_mut(job(&decision)).ok_or_else(|| WriteError::Refused("no such job".to_owned()))?;
            let written = row.apply(&decision).map_err(WriteError::Refused)?;
            done.push(decision);
            (written, row.seen.clone())
        };
        self.tell(&seen);
        if matches!(fault, Some(Fault::LateAck | Fault::LateLostAck)) {
            self.gate.acquire().await.unwrap().forget();
        }
        match fault {
            Some(Fault::LateAck) | None => Ok(written),
            Some(_) => Err(WriteError::Unavailable("the answer was lost".to_owned())),
        }
    }
}

impl Record for MemoryRecord {
    fn write(&self, decision: Decision) -> WriteFuture<'_> {
        Box::pin(self.answer(decision))
    }
}

impl Row {
    fn apply(&mut self, decision: &Decision) -> Result<Written, String> {
        let out = matches!(self.seen.place, Place::Assigned(_));
        let current = |attempt: Attempt| {
            let fits = self.ended.is_none() && attempt == self.seen.attempt;
            if fits { Ok(()) } else { Err(format!("attempt {attempt} is not the current one of {}", self.seen.id)) }
        };
        match decision {
            Decision::Assign { attempt, worker, .. } => {
                let place = Place::Assigned(worker.clone());
                let again = self.seen.place == place && self.seen.attempt == *attempt;
                let next = self.seen.place == Place::Queued && self.seen.attempt.next() == *attempt;
                if !(again || next) {
                    return Err(format!("attempt {attempt} is not the next one of {}", self.seen.id));
                }
                (self.seen.place, self.seen.attempt) = (place, *attempt);
                let traceparent = self.traceparent;
                let given = Given { request: self.request.clone(), submitted: self.seen.submitted, traceparent };
                return Ok(Written::Assigned(Box::new(given)));
            }
            Decision::Progress { attempt, .. } => current(*attempt)?,
            Decision::Requeue { attempt, not_before, failed_attempts, .. } => {
                current(*attempt)?;
                if out {
                    self.seen.place = Place::Queued;
                    self.seen.not_before = Some(*not_before);
                    self.seen.failed_attempts = *failed_attempts;
                }
            }
            Decision::Fail { attempt, reason, .. } => {
                let end = Ended::Failed(*reason);
                if self.ended.as_ref() != Some(&end) {
                    current(*attempt)?;
                    self.end(end);
                }
            }
            Decision::Complete { attempt, outputs, .. } => {
                let end = Ended::Complete(outputs.clone());
                if self.ended.as_ref() != Some(&end) {
                    current(*attempt)?;
                    self.end(end);
                }
            }
            Decision::Cancel { .. } | Decision::Preempt { .. } => unreachable!("{decision:?} is told, not written"),
        }
        Ok(Written::Recorded)
    }

    fn end(&mut self, ended: Ended) {
        self.ended = Some(ended);
        self.seen.place = Place::Ended;
    }
}

fn job(decision: &Decision) -> &JobId {
    match decision {
        Decision::Assign { job, .. }
        | Decision::Progress { job, .. }
        | Decision::Requeue { job, .. }
        | Decision::Fail { job, .. }
        | Decision::Complete { job, .. }
        | Decision::Cancel { job, .. }
        | Decision::Preempt { job, .. } => job,
    }
}
