//! Taking in one fact. Facts change the state; what follows from the new state is decided in `cycle`.

use std::time::Duration;

use tintype_types::worker::{Outcome, WarmUpStanding};
use tintype_types::{Attempt, BootId, FailureReason, JobId, Timestamp, WorkerId};

use crate::decision::Decision;
use crate::demand::Demand;
use crate::job::{Assumed, Change, Job, Promise, Stand};
use crate::jobs::Id;
use crate::marks::{Mark, Side, ToldBy};
use crate::names::{Name, Tag};
use crate::observation::{
    ClaimSeen, FinishedSeen, JobSeen, Observation, Place, QueueSeen, Quota, RenewedSeen, WorldSeen,
};
use crate::record::Record;
use crate::state::{Core, Queue, State};
use crate::worker::{Claim, Worker};

/// How often one assignment is sent to a worker that claims as if it had not got it. Beyond it the lease decides.
const TELLINGS_MAX: u32 = 3;

impl Core {
    /// Takes in one fact.
    pub(crate) fn observe(&mut self, seen: Observation, out: &mut Vec<Decision>) {
        match seen {
            Observation::Job(seen) => self.observe_job(*seen, out),
            Observation::JobGone(id) => {
                if let Some(job) = self.state.jobs.find(&id) {
                    self.remove(job);
                }
            }
            Observation::Queue(seen) => self.observe_queue(seen),
            Observation::QueueGone(key) => {
                let key = self.state.names.name(key.as_str());
                self.declare_queue(key, Queue::default());
            }
            Observation::Pool(seen) => {
                self.state.pools.insert(seen.name.clone(), seen);
            }
            Observation::PoolGone(name) => {
                self.state.pools.remove(&name);
            }
            Observation::Model(seen) => {
                let name = self.state.names.name(&seen.name);
                self.state.models.insert(name, seen);
                self.refile_model(name);
            }
            Observation::ModelGone(name) => {
                if let Some(name) = self.state.names.find(&name) {
                    self.state.models.remove(&name);
                    self.refile_model(name);
                }
            }
            Observation::Claim(claim) => self.observe_claim(claim, out),
            Observation::ClaimEnded(worker, boot_id) => {
                if let Some(worker) = self.state.names.find(worker.as_str()) {
                    self.end_claim(worker, Some(&boot_id));
                }
            }
            Observation::Renewed(seen) => self.observe_renewed(&seen, out),
            Observation::Finished(seen) => self.observe_finished(seen, out),
            Observation::WriteFailed { job, attempt } => self.forget_write(&job, attempt),
            Observation::Learned(learned) => self.state.costs.adopt(learned.into_saved(), &mut self.state.names),
            Observation::Tick => {}
            Observation::Reset(world) => self.reset(*world, out),
        }
    }

    fn observe_job(&mut self, seen: JobSeen, out: &mut Vec<Decision>) {
        let State { names, jobs, costs, demand, now, .. } = &mut self.state;
        let (known, ended) = (jobs.find(&seen.id), seen.place == Place::Ended);
        let tag = if let Some(tag) = known {
            if let Some(job) = jobs.get_mut(tag) {
                job.observe(Record::of(&seen, names), *now, &self.config);
            }
            tag
        } else if ended || self.index.live() < self.config.jobs_max {
            let record = Record::of(&seen, names);
            let run_ms = costs.run_ms(Self::run_of(&record, None));
            if seen.place == Place::Queued {
                demand.add(record.model, run_ms, *now, &self.config);
            }
            let promise = Promise::found(&record, run_ms).filter(|_| self.config.deadlines).map(Box::new);
            let tag = jobs.insert(Job { run_ms, promise, ..Job::new(Id::of(&seen.id), record, *now, &self.config) });
            self.fresh = Some(tag);
            tag
        } else {
            self.state.jobs_dropped += 1;
            return;
        };
        self.refile(tag);
        self.tell_if_parked(tag, out);
    }

    /// The record has an assignment we thought was never written (a lost answer, an earlier leader), and its worker
    /// waits for one: it need not wait for its next claim.
    fn tell_if_parked(&mut self, tag: Tag, out: &mut Vec<Decision>) {
        let run = self.state.jobs.get(tag).and_then(|job| job.run.as_ref());
        let Some(run) = run.filter(|run| run.tellings == 0 && !run.heard) else { return };
        let (name, parked) = (run.worker, self.state.workers.get(&run.worker).filter(|worker| worker.parked));
        if let Some((claim, loads)) = parked.map(|worker| (worker.claim.clone(), worker.warming)) {
            let said = loads.map(|(model, _)| self.state.names.text(model).to_owned());
            let said = said.map(|model| WarmUpStanding::Loading { model });
            self.take_claim(name, claim, said, out);
        }
    }

    fn observe_queue(&mut self, seen: QueueSeen) {
        let names = &mut self.state.names;
        let key = names.name(seen.key.as_str());
        let parent = seen.parent.map(|parent| names.name(parent.as_str()));
        let QueueSeen { weight, running_max, quota, key: _, parent: _ } = seen;
        self.declare_queue(
            key,
            Queue { weight: weight.max(1), running_max, parent, quota, declared: true, ..Queue::default() },
        );
    }

    /// Sets what the record says of a queue; what it was served is ours.
    fn declare_queue(&mut self, key: Name, said: Queue) {
        let queue = self.state.queues.entry(key).or_default();
        let Queue { served, preempted_at, spent, idle_since, .. } = *queue;
        let new = Queue { served, preempted_at, spent, idle_since, ..said };
        let same = *queue == new;
        *queue = new;
        let (running_max, alone) = (queue.running_max, queue.parent.is_none() && queue.quota == Quota::default());
        self.index.tune(key, served, running_max);
        if !same && (!alone || !self.index.tree.is_bare()) {
            self.index.plant(&self.state.queues, self.state.now);
        }
    }

    fn refile_model(&mut self, name: Name) {
        for tag in self.index.waiting_for(name) {
            self.refile(tag);
        }
    }

    fn observe_claim(&mut self, seen: ClaimSeen, out: &mut Vec<Decision>) {
        let worker = self.state.names.name(seen.worker.as_str());
        let said = seen.warm_up.clone();
        let claim = Claim::of(seen, &mut self.state.names);
        self.take_claim(worker, claim, said, out);
    }

    /// A claim is parked; one of a new start of the worker ends what the old one ran; one of a worker that cannot have
    /// got its assignment gets the same assignment again (the record has it already, so writing it again changes
    /// nothing).
    fn take_claim(&mut self, name: Name, claim: Claim, said: Option<WarmUpStanding>, out: &mut Vec<Decision>) {
        let now = self.state.now;
        let known = self.state.workers.get(&name);
        if known.is_some_and(|worker| worker.old_boots.contains(&claim.boot_id)) {
            return;
        }
        if known.is_none() && self.state.workers.len() >= self.config.workers_max {
            return;
        }
        let moved = known.is_some_and(|worker| worker.claim.pool != claim.pool);
        self.end_claim(name, None);
        if moved {
            self.set_holds(name, Vec::new());
        }
        let tag = self.state.names.tag(name);
        let (loaders, fresh) = (&mut self.index.loaders, !self.state.workers.contains_key(&name));
        let worker = self.state.workers.entry(name).or_insert_with(|| Worker::new(tag, claim.clone(), now));
        if fresh || !worker.claim.loads_like(&claim) {
            if !fresh {
                loaders.remove(&worker.claim);
            }
            loaders.add(&claim);
        }
        let (free_slots, resident) = (claim.free_slots, claim.resident.clone());
        worker.update(claim, now);
        let loads = self.warm_up_heard(name, &resident, said);
        // Nobody waits for what an unwell worker holds, nor counts it as a copy.
        let unwell = self.state.workers.get(&name).is_some_and(|worker| worker.claim.unwell.is_some());
        let holds = if unwell { Vec::new() } else { loads.into_iter().chain(resident).collect() };
        self.set_holds(name, holds);
        let (heard, untold) = self.runs_at_claim(name);
        let Some(worker) = self.state.workers.get_mut(&name) else { return };
        worker.idle_since = if heard == 0 && untold.is_empty() { worker.idle_since.or(Some(now)) } else { None };
        worker.slots = worker.slots.max(free_slots.saturating_add(heard));
        let promised = free_slots.saturating_add(heard).saturating_add(untold.len() as u32);
        match untold.first() {
            Some(job) if free_slots > 0 && promised > worker.slots => {
                out.extend(self.tell_again(*job, name));
            }
            // It asks for nothing: it only says that it is there.
            _ if unwell => {}
            _ => {
                worker.parked = true;
                self.index.parked.add(worker.tag, &worker.claim);
            }
        }
    }

    /// Of the attempts out with a worker that claims: how many it was heard to run, and those it cannot have got. Those
    /// of an earlier start of it are lost.
    fn runs_at_claim(&mut self, name: Name) -> (u32, Vec<Tag>) {
        let (mut heard, mut untold) = (0_u32, Vec::new());
        let Some(boot_id) = self.state.workers.get(&name).map(|worker| worker.claim.boot_id.clone()) else {
            return (heard, untold);
        };
        for tag in self.index.runs_of(name).collect::<Vec<_>>() {
            let Some(job) = self.state.jobs.get_mut(tag) else { continue };
            let Some(run) = &mut job.run else { continue };
            if !run.is_by(name, &boot_id) {
                run.doomed = true;
                self.refile(tag);
            } else if run.heard || run.tellings >= TELLINGS_MAX || job.seen.cancelled {
                heard += 1;
            } else {
                untold.push(tag);
            }
        }
        (heard, untold)
    }

    /// The worker of a job's attempt was not heard of for a lease: nobody is to wait for the models it held.
    pub(crate) fn gone_quiet(&mut self, job: Tag) {
        let run = self.state.jobs.get(job).and_then(|job| job.run.as_ref());
        if let Some(worker) = run.map(|run| run.worker) {
            self.set_holds(worker, Vec::new());
        }
    }

    fn tell_again(&mut self, tag: Tag, worker: Name) -> Option<Decision> {
        let lease_end = self.state.now.plus(self.config.lease);
        let claim = &self.state.workers.get(&worker)?.claim;
        let (boot_id, pool) = (claim.boot_id.clone(), self.state.names.text(claim.pool).into());
        let job = self.state.jobs.get_mut(tag)?;
        let run = job.run.as_mut()?;
        run.boot_id = Some(boot_id.clone());
        run.tellings += 1;
        run.lease_end = lease_end;
        let (id, attempt) = (job.id.job_id(), run.attempt);
        let promised = job.promise.as_ref().map(|promise| promise.ends);
        self.refile(tag);
        let worker = self.state.names.text(worker).into();
        Some(Decision::Assign { job: id, attempt, worker, boot_id, pool, lease_end, evict: Vec::new(), promised })
    }

    /// Unparks a worker's claim, if it is of that start of it.
    pub(crate) fn end_claim(&mut self, worker: Name, boot_id: Option<&BootId>) {
        if let Some(worker) = self.state.workers.get_mut(&worker)
            && worker.parked
            && boot_id.is_none_or(|boot_id| *boot_id == worker.claim.boot_id)
        {
            worker.parked = false;
            self.index.parked.remove(worker.tag, &worker.claim);
        }
    }

    fn observe_renewed(&mut self, seen: &RenewedSeen, out: &mut Vec<Decision>) {
        let (now, interval) = (self.state.now, self.config.progress_interval);
        let Some((tag, worker)) = self.current(&seen.job, seen.attempt, (&seen.worker, &seen.boot_id)) else { return };
        let Some(run) = self.state.jobs.get_mut(tag).and_then(|job| job.run.as_mut()) else { return };
        let moved = (run.step, run.steps) != (seen.step, seen.steps);
        (run.step, run.steps) = (seen.step, seen.steps);
        if moved && run.stop.is_none() && now.since(run.progress_at) >= interval {
            run.progress_at = now;
            out.push(Decision::Progress {
                job: seen.job.clone(),
                attempt: seen.attempt,
                step: seen.step,
                steps: seen.steps,
            });
        }
        if let Some(worker) = self.state.workers.get_mut(&worker) {
            worker.seen_at = now;
        }
        self.refile(tag);
    }

    fn observe_finished(&mut self, seen: FinishedSeen, out: &mut Vec<Decision>) {
        let Some((tag, worker)) = self.current(&seen.job, seen.attempt, (&seen.worker, &seen.boot_id)) else { return };
        let Some(job) = self.state.jobs.get(tag) else { return };
        let cancelled = job.seen.cancelled;
        let asked_to_stop = job.run.as_ref().is_some_and(|run| run.stop.is_some());
        if let Some(worker) = self.state.workers.get_mut(&worker) {
            worker.seen_at = self.state.now;
        }
        match &seen.outcome {
            Outcome::Done { .. } => self.learn(tag, seen.gpu_ms),
            // Nobody is to wait for a worker that shuts down.
            Outcome::Failed { reason: FailureReason::WorkerDrained, .. } => self.set_holds(worker, Vec::new()),
            Outcome::Preempted { .. } if !asked_to_stop => self.set_holds(worker, Vec::new()),
            Outcome::Failed { .. } | Outcome::Preempted { .. } => {}
        }
        match seen.outcome {
            Outcome::Done { outputs } if !cancelled => {
                self.mark_end(tag);
                self.count_promise(tag);
                self.assume(tag, seen.attempt, Change::Ended { complete: true, reported: true });
                out.push(Decision::Complete {
                    job: seen.job,
                    attempt: seen.attempt,
                    worker: seen.worker,
                    outputs,
                    gpu_ms: seen.gpu_ms,
                });
            }
            Outcome::Failed { reason, message, retryable: false } if !cancelled => {
                out.extend(self.fail(tag, reason, message, true));
            }
            Outcome::Failed { reason, message, retryable: true } => {
                out.extend(self.end_attempt(tag, reason, message, true));
            }
            Outcome::Preempted { checkpoint } => {
                if checkpoint.is_some() {
                    self.stopped(tag);
                }
                let message = match checkpoint {
                    Some(left) => {
                        format!("stopped for a more urgent job, {} steps done; it goes on from there", left.step)
                    }
                    None => "stopped for a more urgent job before a step was done".to_owned(),
                };
                out.extend(self.end_attempt(tag, FailureReason::Preempted, message, true));
            }
            Outcome::Done { .. } | Outcome::Failed { retryable: false, .. } => {
                out.extend(self.end_attempt(tag, FailureReason::Cancelled, String::new(), true));
            }
        }
    }

    /// How far off it was what was said of a job's end. Only first attempts count: a later one may have gone on from a checkpoint.
    fn mark_end(&mut self, tag: Tag) {
        let Some(job) = self.state.jobs.get(tag) else { return };
        let Some(run) = job.run.as_ref().filter(|run| run.attempt == Attempt(1)) else { return };
        let estimate = (run.ends_at > run.assigned_at).then_some((ToldBy::Estimate, run.ends_at));
        let promise = job.promise.as_ref().map(|promise| (ToldBy::Promise, promise.ends));
        let now = self.state.now;
        for (by, said) in estimate.into_iter().chain(promise) {
            let side = if now > said { Side::Late } else { Side::Early };
            let off = Duration::from_millis(now.0.abs_diff(said.0));
            self.marks.push(Mark::Told { by, off, side });
        }
    }

    /// What an attempt took teaches what the next one takes: a warm one the run, a cold one the load. Only first attempts
    /// count: a later one may have gone on from a checkpoint. One that was found in the record says nothing, as nobody knows
    /// when it began or what it had to load.
    fn learn(&mut self, tag: Tag, gpu_ms: u64) {
        let State { jobs, workers, costs, now, .. } = &mut self.state;
        let Some(job) = jobs.get(tag) else { return };
        let Some(run) = job.run.as_ref().filter(|run| run.ends_at > run.assigned_at && run.attempt == Attempt(1))
        else {
            return;
        };
        let of = Self::run_of(&job.seen, workers.get(&run.worker).and_then(|worker| worker.claim.kind));
        let ms = |from: Timestamp, to: Timestamp| u64::try_from(to.since(from).as_millis()).unwrap_or(u64::MAX);
        costs.learn_spread(ms(run.assigned_at, run.ends_at), ms(run.assigned_at, *now));
        if run.cold {
            let load_ms = gpu_ms.saturating_sub(u64::from(costs.run_ms(of)));
            costs.learn_load(job.seen.model, load_ms);
        } else {
            costs.learn_run(of, gpu_ms);
        }
    }

    /// The job, if this attempt of this start of this worker is the current one. Hearing of it proves the assignment
    /// was written, as workers are told only after.
    fn current(&mut self, id: &JobId, attempt: Attempt, by: (&WorkerId, &BootId)) -> Option<(Tag, Name)> {
        let State { names, jobs, now, .. } = &mut self.state;
        let (tag, worker) = (jobs.find(id)?, names.find(by.0.as_str())?);
        let job = jobs.get_mut(tag)?;
        let run = job.run.as_mut().filter(|run| run.attempt == attempt && run.is_by(worker, by.1))?;
        // Also while its end is being written: should that fail, the worker is there to repeat it.
        run.lease_end = now.plus(self.config.lease);
        run.heard = true;
        run.boot_id = Some(by.1.clone());
        job.confirm_assigned();
        match job.stand() {
            Stand::Out(_) => Some((tag, worker)),
            Stand::Waiting | Stand::Ended => None,
        }
    }

    /// Believes in a decision until its write is seen, refused, or not heard of for a whole lease.
    pub(crate) fn assume(&mut self, tag: Tag, attempt: Attempt, change: Change) {
        let until = self.state.now.plus(self.config.lease);
        if let Some(job) = self.state.jobs.get_mut(tag) {
            job.assumed = Some(Assumed { attempt, change, until });
        }
        self.refile(tag);
    }

    fn forget_write(&mut self, id: &JobId, attempt: Attempt) {
        let Some(tag) = self.state.jobs.find(id) else { return };
        let about = |job: &Job| job.assumed.as_ref().is_some_and(|assumed| assumed.attempt == attempt);
        if self.state.jobs.get(tag).is_some_and(about) {
            self.forget_assumed(tag);
        }
    }

    /// Drops a job's assumption and gives back what was charged for it.
    pub(crate) fn forget_assumed(&mut self, tag: Tag) {
        let held_until = self.state.now.plus(self.config.write_retry);
        let Some(job) = self.state.jobs.get_mut(tag) else { return };
        let run = job.run.as_ref().map(|run| run.worker);
        let charge = job.forget_assumed(held_until);
        let never_given = run.filter(|_| job.run.is_none());
        let queue = job.seen.queue;
        self.unserve(queue, charge);
        if let Some(worker) = never_given {
            let claimed = self.state.workers.get(&worker).map(|worker| worker.claim.resident.clone());
            self.set_holds(worker, claimed.unwrap_or_default());
        }
        self.refile(tag);
    }

    /// Replaces all that the record holds. Parked claims and what queues were served are ours, and stay.
    fn reset(&mut self, world: WorldSeen, out: &mut Vec<Decision>) {
        let WorldSeen { jobs, queues, pools, models } = world;
        let known: Vec<Tag> = self.state.jobs.iter().map(|(tag, _)| tag).collect();
        for tag in known {
            self.take_back(tag);
            self.index.refile(tag, None);
        }
        self.state.jobs.clear();
        for (key, queue) in &mut self.state.queues {
            let Queue { served, preempted_at, spent, idle_since, .. } = *queue;
            *queue = Queue { served, preempted_at, spent, idle_since, ..Queue::default() };
            self.index.tune(*key, queue.served, None);
        }
        self.index.plant(&self.state.queues, self.state.now);
        // What is listed is asked for again; what had ended by then is not.
        self.state.demand = Demand::default();
        self.state.pools = pools.into_iter().map(|pool| (pool.name.clone(), pool)).collect();
        let names = &mut self.state.names;
        self.state.models = models.into_iter().map(|model| (names.name(&model.name), model)).collect();
        for seen in queues {
            self.observe_queue(seen);
        }
        for seen in jobs {
            self.observe_job(seen, out);
        }
        // What is listed came some time ago.
        self.fresh = None;
    }
}
