//! Drives the production scheduler through a piece of work: a fleet of simulated workers claims, renews and finishes as
//! real ones do, and a record that never refuses writes down what is decided.

mod fleet;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use tintype_scheduler::{Config, Decision, JobSeen, ModelSeen, Observation, Place, Scheduler, Shape, WarmUp};
use tintype_types::{Attempt, JobId, Timestamp, WorkerId};

use crate::{Fleet, Schedule, Work};
use fleet::{Event, Workers};

/// A replay that makes no progress over this many events is broken. A request takes some ten.
const EVENTS_PER_REQUEST_MAX: u64 = 1_000;
/// How often the distance between queues is noted for the chart, in seconds.
const LAG_EVERY_S: f64 = 10.0;

/// Why the production scheduler could not be replayed. Any of these is a fault of ours.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DriveError {
    /// A decision that a fleet without faults gives no reason for.
    #[error("the scheduler decided `{0}` on a fleet without faults; please report this")]
    Unexpected(&'static str),
    /// A decision about a job or worker nobody has.
    #[error("the scheduler decided about something that is not there; please report this")]
    Unknown,
    /// It goes round in circles.
    #[error("the replay made no progress; please report this")]
    Stuck,
}

/// What a replay answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Driven {
    /// Who did what when.
    pub schedule: Schedule,
    /// Steps of the scheduler it took.
    pub steps: u64,
    /// Decisions it made.
    pub decisions: u64,
    /// Over time in seconds: the furthest a waiting queue was behind another, in GPU-seconds.
    pub lag: Vec<(f64, f64)>,
    /// The most of it at any event.
    pub gap_max: Duration,
    /// When each request that was promised its deadline as it came was told it would end, in milliseconds.
    pub promised: Vec<Option<u64>>,
}

/// Replays the work through the production scheduler.
pub fn drive(work: &Work, fleet: Fleet, config: Config) -> Result<Driven, DriveError> {
    let drive = Drive {
        work,
        scheduler: Scheduler::new(config.clone()),
        workers: Workers::new(work, fleet, config.lease),
        events: BinaryHeap::new(),
        told: VecDeque::new(),
        now: 0,
        tick_at: None,
        jobs: vec![(Attempt(0), None); work.requests.len()],
        driven: Driven::default(),
    };
    drive.run()
}

struct Drive<'a> {
    work: &'a Work,
    scheduler: Scheduler,
    workers: Workers<'a>,
    events: BinaryHeap<Reverse<(u64, Event)>>,
    /// What the scheduler is to be told at once, in order.
    told: VecDeque<Observation>,
    now: u64,
    /// The next tick that is on its way.
    tick_at: Option<u64>,
    /// What the record says of each job: its attempt, and who has it.
    jobs: Vec<(Attempt, Option<WorkerId>)>,
    driven: Driven,
}

impl Drive<'_> {
    fn run(mut self) -> Result<Driven, DriveError> {
        for model in &self.work.models {
            let seen = ModelSeen { name: model.name.clone(), vram_bytes: fleet::MODEL_BYTES };
            self.told.push_back(Observation::Model(seen));
        }
        for worker in 0..self.workers.len() {
            self.told.push_back(Observation::Claim(self.workers.claim(worker)));
        }
        if let Some(first) = self.work.requests.first() {
            self.events.push(Reverse((first.arrival_ms, Event::Arrival(0))));
        }
        self.settle()?;
        let most = EVENTS_PER_REQUEST_MAX * (self.work.requests.len() as u64 + 1_000);
        while let Some(Reverse((at, event))) = self.events.pop() {
            self.now = at;
            self.happen(event);
            self.settle()?;
            self.note_gap();
            if let Event::Arrival(number) = event {
                let promised = self.scheduler.promise(&job_id(number));
                self.driven.promised.push(promised.map(|promised| promised.ends.0));
            }
            if self.driven.steps > most {
                return Err(DriveError::Stuck);
            }
        }
        self.driven.schedule = self.workers.schedule();
        Ok(self.driven)
    }

    fn note_gap(&mut self) {
        let gap = self.scheduler.fairness_gap();
        self.driven.gap_max = self.driven.gap_max.max(gap);
        let last = self.driven.lag.last().map_or(0.0, |(at, _)| *at);
        let now = self.now as f64 / 1_000.0;
        if now >= last + LAG_EVERY_S {
            self.driven.lag.push((now, gap.as_secs_f64()));
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrival(number) => {
                self.told.push_back(Observation::Job(Box::new(self.seen(number, Place::Queued))));
                if let Some(next) = self.work.requests.get(number + 1) {
                    self.events.push(Reverse((next.arrival_ms, Event::Arrival(number + 1))));
                }
            }
            Event::Tick => {
                if self.tick_at == Some(self.now) {
                    self.tick_at = None;
                    self.told.push_back(Observation::Tick);
                }
            }
            Event::Renew { .. } | Event::Done { .. } | Event::Warmed { .. } => {
                let (seen, next) = self.workers.happen(event, self.now);
                self.told.extend(seen);
                self.events.extend(next.map(Reverse));
            }
        }
    }

    /// Tells what there is to tell, carries out what is decided, and sees to the next tick.
    fn settle(&mut self) -> Result<(), DriveError> {
        loop {
            while let Some(seen) = self.told.pop_front() {
                let decisions = self.scheduler.step(Timestamp(self.now), seen);
                self.driven.steps += 1;
                self.driven.decisions += decisions.len() as u64;
                for decision in decisions {
                    self.carry_out(decision)?;
                }
                if let Some(WarmUp { worker, model, evict, .. }) = self.scheduler.take_warm_up() {
                    let next = self.workers.warm(&worker, &model, &evict, self.now);
                    self.events.extend(next.map(Reverse));
                }
            }
            let Some((due, _)) = self.scheduler.next_deadline() else { return Ok(()) };
            if due.0 > self.now {
                if self.tick_at.is_none_or(|at| due.0 < at) {
                    self.tick_at = Some(due.0);
                    self.events.push(Reverse((due.0, Event::Tick)));
                }
                return Ok(());
            }
            self.told.push_back(Observation::Tick);
        }
    }

    fn carry_out(&mut self, decision: Decision) -> Result<(), DriveError> {
        match decision {
            Decision::Assign { job, attempt, worker, evict, .. } => {
                let number = number(&job)?;
                *self.jobs.get_mut(number).ok_or(DriveError::Unknown)? = (attempt, Some(worker.clone()));
                let next =
                    self.workers.assign(&worker, (number, attempt), &evict, self.now).ok_or(DriveError::Unknown)?;
                self.events.extend(next.map(Reverse));
                self.told.push_back(Observation::Job(Box::new(self.seen(number, Place::Assigned(worker)))));
            }
            Decision::Complete { job, .. } => {
                let seen = self.seen(number(&job)?, Place::Ended);
                self.told.push_back(Observation::Job(Box::new(seen)));
                self.told.push_back(Observation::JobGone(job));
            }
            Decision::Progress { .. } => {}
            Decision::Requeue { .. } | Decision::Fail { .. } | Decision::Cancel { .. } | Decision::Preempt { .. } => {
                return Err(DriveError::Unexpected(decision.name()));
            }
        }
        Ok(())
    }

    /// The job as the record has it.
    fn seen(&self, number: usize, place: Place) -> JobSeen {
        let request = &self.work.requests[number];
        let (queue, model) = (&self.work.queues[request.queue], &self.work.models[request.model].name);
        JobSeen {
            work_steps: request.steps * request.images,
            submitted: Timestamp(request.arrival_ms),
            shape: Shape { pixels: 1 << 18, images: request.images as u16, adapters: request.loras as u16 },
            deadline: Some(Timestamp(request.deadline_ms)),
            place,
            attempt: self.jobs[number].0,
            ..JobSeen::new(job_id(number), queue.as_str(), model.as_str())
        }
    }
}

fn job_id(number: usize) -> JobId {
    JobId(format!("{number:07}"))
}

fn number(job: &JobId) -> Result<usize, DriveError> {
    job.as_str().parse().map_err(|_| DriveError::Unknown)
}
