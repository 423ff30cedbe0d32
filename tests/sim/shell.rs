//! A shell around the scheduler: tells it what is observed, writes its decisions one after the other for each job,
//! answers workers. It holds no rule of its own, so what it checks are the scheduler's promises.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;

use tintype_scheduler::{
    AttemptStanding, ClaimSeen, Decision, FinishedSeen, Observation, Place, RenewedSeen, Scheduler, Snapshot, Verdict,
    WorldSeen,
};
use tintype_types::{Attempt, BootId, FailureReason, JobId, Timestamp, WorkerId};

use crate::knobs::{Bug, Knobs};
use crate::record::{Change, Written, about};
use crate::worker::{Reply, Request, Worker};

/// One start of one program, reached over one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    pub(crate) to: usize,
    pub(crate) boot: u32,
    pub(crate) connection: u64,
}

/// A decision on its way to the record.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) decision: Decision,
    pub(crate) version: u64,
    /// Who is to be told once it is written.
    claim: Option<Line>,
    finish: Option<Line>,
}

/// When an attempt was last known to live, and which start of which worker runs it, where that is known.
type Life = (u64, Option<(WorkerId, u32)>);

/// What the shell wants done.
#[derive(Debug)]
pub(crate) enum Effect {
    Write(Write),
    Reply(Line, Reply),
}

/// The shell of one leader.
pub(crate) struct Shell {
    pub(crate) epoch: u32,
    pub(crate) brain: Scheduler,
    pub(crate) effects: Vec<Effect>,
    /// The first broken promise.
    pub(crate) violation: Option<String>,
    /// What was told and answered, if anyone wants to read it.
    pub(crate) trace: Option<String>,
    lease_ms: u64,
    bug: Option<Bug>,
    echo: bool,
    versions: BTreeMap<JobId, u64>,
    claims: BTreeMap<WorkerId, Line>,
    writes: BTreeMap<JobId, VecDeque<Write>>,
    life: BTreeMap<(JobId, Attempt), Life>,
    /// Attempts somebody was told of.
    told: BTreeSet<(JobId, Attempt)>,
    boots: BTreeMap<WorkerId, u32>,
    reset_at: u64,
    told_cancelled: BTreeSet<JobId>,
    preemptions_max: u32,
    /// How often an attempt of each job was stopped.
    stopped: BTreeMap<JobId, u32>,
}

impl Shell {
    /// A leader that knows nothing yet.
    pub(crate) fn new(epoch: u32, knobs: &Knobs, bug: Option<Bug>, traced: bool) -> Self {
        Self {
            epoch,
            brain: Scheduler::new(knobs.config.clone()),
            effects: Vec::new(),
            violation: None,
            trace: traced.then(String::new),
            lease_ms: knobs.config.lease.as_millis() as u64,
            bug,
            echo: knobs.echo,
            versions: BTreeMap::new(),
            claims: BTreeMap::new(),
            writes: BTreeMap::new(),
            life: BTreeMap::new(),
            told: BTreeSet::new(),
            boots: BTreeMap::new(),
            reset_at: 0,
            told_cancelled: BTreeSet::new(),
            preemptions_max: knobs.config.preemptions_max,
            stopped: BTreeMap::new(),
        }
    }

    /// Tells the scheduler everything.
    pub(crate) fn reset(&mut self, now: u64, mut world: WorldSeen, versions: BTreeMap<JobId, u64>, knobs: &Knobs) {
        if self.bug == Some(Bug::NoReset) && self.epoch > 1 {
            world.jobs.clear();
        }
        self.reset_at = now;
        self.told_cancelled = world.jobs.iter().filter(|job| job.cancelled).map(|job| job.id.clone()).collect();
        self.versions = versions;
        let out = world.jobs.iter().filter(|job| matches!(job.place, Place::Assigned(_)));
        self.life = out.map(|job| ((job.id.clone(), job.attempt), (now, None))).collect();
        self.step(now, Observation::Reset(Box::new(world)), None);
        if self.bug == Some(Bug::NoLeaseOnReset) {
            self.cut_leases(now, knobs);
        }
    }

    /// The clock.
    pub(crate) fn tick(&mut self, now: u64) {
        self.step(now, Observation::Tick, None);
    }

    /// A watch event.
    pub(crate) fn watched(&mut self, now: u64, change: Change) {
        match change.row {
            None => {
                self.versions.remove(&change.id);
                self.step(now, Observation::JobGone(change.id), None);
            }
            Some(row) => {
                let version = self.versions.entry(change.id).or_default();
                *version = (*version).max(row.version);
                self.see_job(now, row.seen);
            }
        }
    }

    /// A message of a worker.
    pub(crate) fn request(&mut self, now: u64, line: Line, worker: &Worker, request: Request) {
        let boot_id = self.boot_id(worker, line.boot);
        let id = worker.id.clone();
        match request {
            Request::Claim { free } => self.claim(now, line, worker, free),
            Request::Renew { job, attempt, step } => {
                let seen = RenewedSeen {
                    job: job.clone(),
                    attempt,
                    worker: id.clone(),
                    boot_id: boot_id.clone(),
                    step,
                    steps: 0,
                };
                self.step(now, Observation::Renewed(seen), None);
                let reply = match self.brain.attempt(&job, attempt, &id, &boot_id) {
                    AttemptStanding::Current { .. } => {
                        self.life.insert((job, attempt), (now, Some((id, line.boot))));
                        Reply::GoOn
                    }
                    AttemptStanding::CancelRequested { .. } => Reply::Cancel { job, attempt },
                    AttemptStanding::PreemptRequested => Reply::Preempt { job, attempt },
                    AttemptStanding::Ended { .. } | AttemptStanding::Stale => Reply::Stale { job, attempt },
                };
                self.effects.push(Effect::Reply(line, reply));
            }
            Request::Finish { job, attempt, outcome } => {
                if let Some((_, ran)) = self.life.get_mut(&(job.clone(), attempt)) {
                    ran.get_or_insert((id.clone(), line.boot));
                }
                let told = if self.bug == Some(Bug::FinishNotFenced) {
                    self.brain.progress(&job).map_or(attempt, |(current, ..)| current)
                } else {
                    attempt
                };
                let seen = FinishedSeen {
                    job: job.clone(),
                    attempt: told,
                    worker: id.clone(),
                    boot_id: boot_id.clone(),
                    outcome,
                    gpu_ms: 1,
                };
                if self.step(now, Observation::Finished(seen), Some((line, &job, told))) {
                    return;
                }
                let reply = match self.brain.attempt(&job, attempt, &id, &boot_id) {
                    AttemptStanding::Ended { .. } => Reply::Stored { job, attempt },
                    AttemptStanding::Stale => Reply::Stale { job, attempt },
                    AttemptStanding::Current { .. }
                    | AttemptStanding::CancelRequested { .. }
                    | AttemptStanding::PreemptRequested => Reply::Repeat,
                };
                self.effects.push(Effect::Reply(line, reply));
            }
        }
    }

    fn claim(&mut self, now: u64, line: Line, worker: &Worker, free: u64) {
        let (id, boot_id) = (worker.id.clone(), self.boot_id(worker, line.boot));
        self.end_claim(&id);
        self.claims.insert(id.clone(), line);
        self.boots.insert(id.clone(), line.boot);
        let claim = ClaimSeen {
            worker: id.clone(),
            boot_id,
            pool: worker.pool.as_str().into(),
            gpus: Vec::new(),
            resident_models: worker.resident.clone(),
            loadable_models: worker.loadable.clone(),
            free_slots: free as u32,
            warm_up: None,
            unwell: None,
        };
        self.step(now, Observation::Claim(claim.clone()), None);
        if self.bug == Some(Bug::ClaimAnsweredTwice) {
            self.step(now, Observation::Claim(claim), None);
        }
        self.check_restarted(worker, line.boot);
    }

    /// A claim was held long enough.
    pub(crate) fn claim_timeout(&mut self, now: u64, worker: &Worker, line: Line) {
        if self.claims.get(&worker.id).is_some_and(|open| open.connection == line.connection) {
            self.end_claim(&worker.id);
            self.step(now, Observation::ClaimEnded(worker.id.clone(), self.boot_id(worker, line.boot)), None);
        }
    }

    /// The record answered a write; `None` is no answer.
    pub(crate) fn written(&mut self, now: u64, write: Write, answer: Option<Written>) {
        let (id, attempt) = about(&write.decision);
        let (id, done) = (id.clone(), matches!(answer, Some(Written::Done(_))));
        if let Some(line) = write.claim.filter(|_| self.bug != Some(Bug::ToldBeforeWritten)) {
            let reply = if done { Reply::Assigned { job: id.clone(), attempt } } else { Reply::Nothing };
            if done {
                self.told.insert((id.clone(), attempt));
            }
            self.effects.push(Effect::Reply(line, reply));
        }
        if let Some(line) = write.finish.filter(|_| self.bug != Some(Bug::AnsweredBeforeWritten)) {
            let job = id.clone();
            let reply = match answer {
                Some(Written::Done(_)) => Reply::Stored { job, attempt },
                Some(Written::NotFound) => Reply::Stale { job, attempt },
                Some(Written::Refused) | None => Reply::Repeat,
            };
            self.effects.push(Effect::Reply(line, reply));
        }
        match answer {
            Some(Written::Done(row)) => {
                let version = self.versions.entry(id.clone()).or_default();
                *version = (*version).max(row.version);
                for next in self.writes.get_mut(&id).into_iter().flatten() {
                    if next.version == write.version {
                        next.version = row.version;
                    }
                }
                if self.echo {
                    self.see_job(now, row.seen);
                }
            }
            Some(Written::NotFound) => {
                self.step(now, Observation::JobGone(id.clone()), None);
            }
            Some(Written::Refused) | None => {
                self.step(now, Observation::WriteFailed { job: id.clone(), attempt }, None);
            }
        }
        if let Some(queue) = self.writes.get_mut(&id) {
            queue.pop_front();
            if queue.is_empty() {
                self.writes.remove(&id);
            }
        }
        self.send_first(&id);
    }

    fn see_job(&mut self, now: u64, mut seen: tintype_scheduler::JobSeen) {
        if self.bug == Some(Bug::CancelNotTold) {
            seen.cancelled = false;
        } else if seen.cancelled {
            self.told_cancelled.insert(seen.id.clone());
        }
        if let Place::Assigned(_) = seen.place {
            self.life.entry((seen.id.clone(), seen.attempt)).or_insert((now, None));
        }
        self.step(now, Observation::Job(Box::new(seen)), None);
    }

    /// Tells the scheduler. Answers whether a decision ended the attempt that the finish on this line is about.
    fn step(&mut self, now: u64, seen: Observation, finish: Option<(Line, &JobId, Attempt)>) -> bool {
        if let Some(trace) = &mut self.trace {
            let _ = writeln!(trace, "{now} {seen:?}");
        }
        let decisions = self.brain.step(Timestamp(now), seen);
        let mut answered = false;
        for mut decision in decisions {
            if let Some(trace) = &mut self.trace {
                let _ = writeln!(trace, "{now}   {decision:?}");
            }
            self.check_decision(now, &decision);
            // The version the decision was made from, not the one there is when its turn to be written comes.
            let version = self.versions.get(about(&decision).0).copied().unwrap_or_default();
            let mut write = Write { decision: decision.clone(), version, claim: None, finish: None };
            match &mut decision {
                Decision::Cancel { .. } | Decision::Preempt { .. } => continue,
                Decision::Assign { job, attempt, worker, .. } => {
                    write.claim = self.claims.remove(worker);
                    if let (Some(line), true) = (write.claim, self.bug == Some(Bug::ToldBeforeWritten)) {
                        self.effects.push(Effect::Reply(line, Reply::Assigned { job: job.clone(), attempt: *attempt }));
                    }
                    if self.bug == Some(Bug::AttemptNotRaised) && attempt.0 > 1 {
                        attempt.0 -= 1;
                        write.decision = decision.clone();
                    }
                }
                Decision::Requeue { .. } | Decision::Fail { .. } | Decision::Complete { .. } => {
                    let (job, attempt) = about(&decision);
                    write.finish = finish.filter(|(_, of, at)| *of == job && *at == attempt).map(|(line, ..)| line);
                    if let Some(line) = write.finish {
                        answered = true;
                        if self.bug == Some(Bug::AnsweredBeforeWritten) {
                            let job = job.clone();
                            self.effects.push(Effect::Reply(line, Reply::Stored { job, attempt }));
                        }
                    }
                }
                Decision::Progress { .. } => {}
            }
            let id = about(&write.decision).0.clone();
            let queue = self.writes.entry(id.clone()).or_default();
            queue.push_back(write);
            if queue.len() == 1 {
                self.send_first(&id);
            }
        }
        answered
    }

    fn send_first(&mut self, id: &JobId) {
        if let Some(write) = self.writes.get(id).and_then(VecDeque::front) {
            self.effects.push(Effect::Write(write.clone()));
        }
    }

    fn boot_id(&self, worker: &Worker, boot: u32) -> BootId {
        if self.bug == Some(Bug::BootIdIgnored) { BootId(worker.id.0.clone()) } else { worker.boot_id_of(boot) }
    }

    fn end_claim(&mut self, worker: &WorkerId) {
        if let Some(line) = self.claims.remove(worker) {
            self.effects.push(Effect::Reply(line, Reply::Nothing));
        }
    }

    /// What no decision may be.
    fn check_decision(&mut self, now: u64, decision: &Decision) {
        match decision {
            Decision::Assign { job, attempt, worker, .. } => {
                let Some(line) = self.claims.get(worker) else {
                    self.violate(format!("{job}/{attempt} was assigned to {worker}, which has no open claim"));
                    return;
                };
                let again =
                    self.life.insert((job.clone(), *attempt), (now, Some((worker.clone(), line.boot)))).is_some();
                if !again && self.told_cancelled.contains(job) {
                    self.violate(format!("{job}/{attempt} was assigned after it was cancelled"));
                }
            }
            Decision::Requeue { job, attempt, reason: FailureReason::WorkerLost, message, .. } => {
                let (heard, ran) = self.life.get(&(job.clone(), *attempt)).cloned().unwrap_or((self.reset_at, None));
                let newer = |(worker, boot): (WorkerId, u32)| self.boots.get(&worker).is_some_and(|now| *now > boot);
                let restarted = ran.is_some_and(newer);
                let lease_over = now >= heard + self.lease_ms;
                let fair = lease_over || (restarted && message.contains("restarted"));
                if !fair {
                    self.violate(format!("{job}/{attempt} was called lost {} ms after it was heard of", now - heard));
                }
            }
            Decision::Preempt { job, attempt } => {
                let current = self.brain.progress(job).is_some_and(|(current, ..)| current == *attempt);
                let times = self.stopped.entry(job.clone()).or_default();
                *times += 1;
                if !current || *times > self.preemptions_max {
                    self.violate(format!("{job}/{attempt} was stopped, which is not out or was stopped too often"));
                }
            }
            Decision::Requeue { .. }
            | Decision::Progress { .. }
            | Decision::Fail { .. }
            | Decision::Complete { .. }
            | Decision::Cancel { .. } => {}
        }
    }

    /// Once a new start of a worker has claimed, nothing an earlier one ran may be current.
    fn check_restarted(&mut self, worker: &Worker, boot: u32) {
        let mut old = Vec::new();
        for ((job, attempt), (_, ran)) in &self.life {
            match ran {
                // Of an attempt nobody was told of, the next start of its worker may yet be told.
                _ if !self.told.contains(&(job.clone(), *attempt)) => {}
                Some((id, ran)) if *id == worker.id && *ran < boot => old.push((job.clone(), *attempt, *ran)),
                Some(_) | None => {}
            }
        }
        for (job, attempt, ran) in old {
            let boot_id = self.boot_id(worker, ran);
            // An end it reported itself may still be on its way to the record: then it is not running any more.
            let running = |verdict| matches!(verdict, Verdict::Running { attempt: current, .. } if current == attempt);
            if self.brain.verdict(&job).is_some_and(running)
                && matches!(
                    self.brain.attempt(&job, attempt, &worker.id, &boot_id),
                    AttemptStanding::Current { .. } | AttemptStanding::CancelRequested { .. }
                )
            {
                self.violate(format!("{job}/{attempt} is still current after {} restarted", worker.id));
            }
        }
    }

    fn violate(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    fn cut_leases(&mut self, now: u64, knobs: &Knobs) {
        let mut json = serde_json::to_value(self.brain.snapshot()).expect("a snapshot is JSON");
        for job in json["jobs"].as_object_mut().into_iter().flat_map(serde_json::Map::values_mut) {
            if job["run"].is_object() {
                job["run"]["lease_end"] = now.into();
            }
        }
        let snapshot: Snapshot = serde_json::from_value(json).expect("it was a snapshot a moment ago");
        self.brain = Scheduler::restore(knobs.config.clone(), snapshot);
    }
}
