//! Taking in one fact. Facts change the state; what follows from the new state is decided in `cycle`.

use tintype_types::worker::Outcome;
use tintype_types::{Attempt, BootId, FailureReason, JobId, Timestamp, WorkerId};

use crate::decision::Decision;
use crate::demand::Demand;
use crate::job::{Assumed, Change, Job, Stand};
use crate::observation::{ClaimSeen, FinishedSeen, JobSeen, Observation, Place, QueueSeen, RenewedSeen, WorldSeen};
use crate::state::{Core, Queue, State};
use crate::worker::Worker;

/// How often one assignment is sent to a worker that claims as if it had not got it. Beyond it the lease decides.
const TELLINGS_MAX: u32 = 3;

impl Core {
    /// Takes in one fact.
    pub(crate) fn observe(&mut self, seen: Observation, out: &mut Vec<Decision>) {
        match seen {
            Observation::Job(seen) => self.observe_job(*seen, out),
            Observation::JobGone(id) => {
                self.state.jobs.remove(&id);
                self.refile(&id);
            }
            Observation::Queue(seen) => self.observe_queue(seen),
            Observation::QueueGone(key) => self.declare_queue(&key, 1, None, false),
            Observation::Pool(seen) => {
                self.state.pools.insert(seen.name.clone(), seen);
            }
            Observation::PoolGone(name) => {
                self.state.pools.remove(&name);
            }
            Observation::Model(seen) => {
                let name = seen.name.clone();
                self.state.models.insert(name.clone(), seen);
                self.refile_model(&name);
            }
            Observation::ModelGone(name) => {
                self.state.models.remove(&name);
                self.refile_model(&name);
            }
            Observation::Claim(claim) => self.observe_claim(claim, out),
            Observation::ClaimEnded(worker, boot_id) => self.end_claim(&worker, Some(&boot_id)),
            Observation::Renewed(seen) => self.observe_renewed(&seen, out),
            Observation::Finished(seen) => self.observe_finished(seen, out),
            Observation::WriteFailed { job, attempt } => self.forget_write(&job, attempt),
            Observation::Learned(learned) => self.state.costs.adopt(learned.into_costs()),
            Observation::Tick => {}
            Observation::Reset(world) => self.reset(*world, out),
        }
    }

    fn observe_job(&mut self, seen: JobSeen, out: &mut Vec<Decision>) {
        let id = seen.id.clone();
        if let Some(job) = self.state.jobs.get_mut(&id) {
            job.observe(seen, self.state.now, &self.config);
        } else if seen.place == Place::Ended || self.index.live() < self.config.jobs_max {
            let waits = seen.place == Place::Queued;
            let run_ms = self.state.costs.run_ms(Self::run_of(&seen, None));
            if waits {
                self.state.demand.add(&seen.model, run_ms, self.state.now, &self.config);
            }
            let job = Job { run_ms, ..Job::new(seen, self.state.now, &self.config) };
            self.state.jobs.insert(id.clone(), job);
        } else {
            self.state.jobs_dropped += 1;
        }
        self.refile(&id);
        self.tell_if_parked(&id, out);
    }

    /// The record has an assignment we thought was never written (a lost answer, an earlier leader), and its worker
    /// waits for one: it need not wait for its next claim.
    fn tell_if_parked(&mut self, id: &JobId, out: &mut Vec<Decision>) {
        let run = self.state.jobs.get(id).and_then(|job| job.run.as_ref());
        let Some(run) = run.filter(|run| run.tellings == 0 && !run.heard) else { return };
        let worker = self.state.workers.get(&run.worker).filter(|worker| worker.parked);
        if let Some(claim) = worker.map(|worker| worker.claim.clone()) {
            self.observe_claim(claim, out);
        }
    }

    fn observe_queue(&mut self, seen: QueueSeen) {
        self.declare_queue(&seen.key, seen.weight.max(1), seen.running_max, true);
    }

    fn declare_queue(&mut self, key: &tintype_types::QueueKey, weight: u32, running_max: Option<u32>, declared: bool) {
        let served = self.state.queues.get(key).map_or(0, |queue| queue.served);
        self.state.queues.insert(key.clone(), Queue { weight, running_max, declared, served });
        self.index.tune(key, served, running_max);
    }

    fn refile_model(&mut self, name: &str) {
        for id in self.index.by_model.get(name).cloned().unwrap_or_default() {
            self.refile(&id);
        }
    }

    /// A claim is parked; one of a new start of the worker ends what the old one ran; one of a worker that cannot have
    /// got its assignment gets the same assignment again (the record has it already, so writing it again changes
    /// nothing).
    fn observe_claim(&mut self, claim: ClaimSeen, out: &mut Vec<Decision>) {
        let (id, now) = (claim.worker.clone(), self.state.now);
        let known = self.state.workers.get(&id);
        if known.is_some_and(|worker| worker.old_boots.contains(&claim.boot_id)) {
            return;
        }
        if known.is_none() && self.state.workers.len() >= self.config.workers_max {
            return;
        }
        self.end_claim(&id, None);
        self.let_go(&id);
        let worker = self.state.workers.entry(id.clone()).or_insert_with(|| Worker::new(claim.clone(), now));
        let warmed = worker.warming.take().filter(|(model, _)| claim.resident_models.contains(model));
        worker.update(claim.clone(), now);
        self.index.loaders.add(&claim);
        if let Some((model, since)) = warmed {
            self.state.costs.learn_load(&model, u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX));
        }
        self.set_holds(&id, claim.resident_models.clone());
        let (mut heard, mut untold) = (0_u32, Vec::new());
        for job_id in self.index.runs.get(&id).cloned().unwrap_or_default() {
            let Some(job) = self.state.jobs.get_mut(&job_id) else { continue };
            let Some(run) = &mut job.run else { continue };
            if !run.is_by(&id, &claim.boot_id) {
                run.doomed = true;
                self.refile(&job_id);
            } else if run.heard || run.tellings >= TELLINGS_MAX || job.seen.cancelled {
                heard += 1;
            } else {
                untold.push(job_id);
            }
        }
        let Some(worker) = self.state.workers.get_mut(&id) else { return };
        worker.slots = worker.slots.max(claim.free_slots.saturating_add(heard));
        let promised = claim.free_slots.saturating_add(heard).saturating_add(untold.len() as u32);
        match untold.first() {
            Some(job_id) if claim.free_slots > 0 && promised > worker.slots => {
                out.extend(self.tell_again(job_id, &claim));
            }
            _ => {
                worker.parked = true;
                self.index.parked.add(&claim);
            }
        }
    }

    /// The worker of a job's attempt was not heard of for a lease: nobody is to wait for the models it held.
    pub(crate) fn gone_quiet(&mut self, id: &JobId) {
        let run = self.state.jobs.get(id).and_then(|job| job.run.as_ref());
        if let Some(worker) = run.map(|run| run.worker.clone()) {
            self.set_holds(&worker, Vec::new());
        }
    }

    /// Takes what a worker holds and can load out of the indexes: its new claim may say otherwise, its pool included.
    fn let_go(&mut self, id: &WorkerId) {
        self.set_holds(id, Vec::new());
        if let Some(worker) = self.state.workers.get(id) {
            self.index.loaders.remove(&worker.claim);
        }
    }

    fn tell_again(&mut self, id: &JobId, claim: &ClaimSeen) -> Option<Decision> {
        let lease_end = self.state.now.plus(self.config.lease);
        let job = self.state.jobs.get_mut(id)?;
        let run = job.run.as_mut()?;
        run.boot_id = Some(claim.boot_id.clone());
        run.tellings += 1;
        run.lease_end = lease_end;
        let attempt = run.attempt;
        self.refile(id);
        Some(Decision::Assign {
            job: id.clone(),
            attempt,
            worker: claim.worker.clone(),
            boot_id: claim.boot_id.clone(),
            pool: claim.pool.clone(),
            lease_end,
            evict: Vec::new(),
        })
    }

    /// Unparks a worker's claim, if it is of that start of it.
    pub(crate) fn end_claim(&mut self, worker: &WorkerId, boot_id: Option<&BootId>) {
        if let Some(worker) = self.state.workers.get_mut(worker)
            && worker.parked
            && boot_id.is_none_or(|boot_id| *boot_id == worker.claim.boot_id)
        {
            worker.parked = false;
            self.index.parked.remove(&worker.claim);
        }
    }

    fn observe_renewed(&mut self, seen: &RenewedSeen, out: &mut Vec<Decision>) {
        let (now, interval) = (self.state.now, self.config.progress_interval);
        let Some(job) = self.current(&seen.job, seen.attempt, &seen.worker, &seen.boot_id) else { return };
        let Some(run) = &mut job.run else { return };
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
        if let Some(worker) = self.state.workers.get_mut(&seen.worker) {
            worker.seen_at = now;
        }
        self.refile(&seen.job);
    }

    fn observe_finished(&mut self, seen: FinishedSeen, out: &mut Vec<Decision>) {
        let Some(job) = self.current(&seen.job, seen.attempt, &seen.worker, &seen.boot_id) else { return };
        let cancelled = job.seen.cancelled;
        let asked_to_stop = job.run.as_ref().is_some_and(|run| run.stop.is_some());
        if let Some(worker) = self.state.workers.get_mut(&seen.worker) {
            worker.seen_at = self.state.now;
        }
        match &seen.outcome {
            Outcome::Done { .. } => self.learn(&seen.job, seen.gpu_ms),
            // Nobody is to wait for a worker that shuts down.
            Outcome::Failed { reason: FailureReason::WorkerDrained, .. } => self.set_holds(&seen.worker, Vec::new()),
            Outcome::Preempted { .. } if !asked_to_stop => self.set_holds(&seen.worker, Vec::new()),
            Outcome::Failed { .. } | Outcome::Preempted { .. } => {}
        }
        match seen.outcome {
            Outcome::Done { outputs } if !cancelled => {
                self.assume(&seen.job, seen.attempt, Change::Ended { complete: true, reported: true });
                out.push(Decision::Complete {
                    job: seen.job,
                    attempt: seen.attempt,
                    worker: seen.worker,
                    outputs,
                    gpu_ms: seen.gpu_ms,
                });
            }
            Outcome::Failed { reason, message, retryable: false } if !cancelled => {
                out.extend(self.fail(&seen.job, reason, message, true));
            }
            Outcome::Failed { reason, message, retryable: true } => {
                out.extend(self.end_attempt(&seen.job, reason, message, true));
            }
            Outcome::Preempted { checkpoint } => {
                let message = match checkpoint {
                    Some(left) => {
                        format!("stopped for a more urgent job, {} steps done; it goes on from there", left.step)
                    }
                    None => "stopped for a more urgent job before a step was done".to_owned(),
                };
                out.extend(self.end_attempt(&seen.job, FailureReason::Preempted, message, true));
            }
            Outcome::Done { .. } | Outcome::Failed { retryable: false, .. } => {
                out.extend(self.end_attempt(&seen.job, FailureReason::Cancelled, String::new(), true));
            }
        }
    }

    /// What an attempt took teaches what the next one takes: a warm one the run, a cold one the load. Only first attempts
    /// count: a later one may have gone on from a checkpoint.
    fn learn(&mut self, id: &JobId, gpu_ms: u64) {
        let State { jobs, workers, costs, now, .. } = &mut self.state;
        let Some(job) = jobs.get(id) else { return };
        let Some(run) = job.run.as_ref().filter(|run| run.charge > 0 && run.attempt == Attempt(1)) else { return };
        let of = Self::run_of(&job.seen, workers.get(&run.worker).and_then(Worker::kind));
        let ms = |from: Timestamp, to: Timestamp| u64::try_from(to.since(from).as_millis()).unwrap_or(u64::MAX);
        costs.learn_spread(ms(run.assigned_at, run.ends_at), ms(run.assigned_at, *now));
        if run.cold {
            let load_ms = gpu_ms.saturating_sub(u64::from(costs.run_ms(of)));
            costs.learn_load(&job.seen.model, load_ms);
        } else {
            costs.learn_run(of, gpu_ms);
        }
    }

    /// The job, if this attempt of this start of this worker is the current one. Hearing of it proves the assignment
    /// was written, as workers are told only after.
    fn current(&mut self, id: &JobId, attempt: Attempt, worker: &WorkerId, boot_id: &BootId) -> Option<&mut Job> {
        let job = self.state.jobs.get_mut(id)?;
        let run = job.run.as_mut().filter(|run| run.attempt == attempt && run.is_by(worker, boot_id))?;
        // Also while its end is being written: should that fail, the worker is there to repeat it.
        run.lease_end = self.state.now.plus(self.config.lease);
        run.heard = true;
        run.boot_id = Some(boot_id.clone());
        job.confirm_assigned();
        match job.stand() {
            Stand::Out(_) => Some(job),
            Stand::Waiting | Stand::Ended => None,
        }
    }

    /// Believes in a decision until its write is seen, refused, or not heard of for a whole lease.
    pub(crate) fn assume(&mut self, id: &JobId, attempt: Attempt, change: Change) {
        let until = self.state.now.plus(self.config.lease);
        if let Some(job) = self.state.jobs.get_mut(id) {
            job.assumed = Some(Assumed { attempt, change, until });
        }
        self.refile(id);
    }

    fn forget_write(&mut self, id: &JobId, attempt: Attempt) {
        let about = |job: &Job| job.assumed.as_ref().is_some_and(|assumed| assumed.attempt == attempt);
        if self.state.jobs.get(id).is_some_and(about) {
            self.forget_assumed(id);
        }
    }

    /// Drops a job's assumption and gives back what was charged for it.
    pub(crate) fn forget_assumed(&mut self, id: &JobId) {
        let held_until = self.state.now.plus(self.config.write_retry);
        let Some(job) = self.state.jobs.get_mut(id) else { return };
        let run = job.run.as_ref().map(|run| run.worker.clone());
        let charge = job.forget_assumed(held_until);
        let never_given = run.filter(|_| job.run.is_none());
        let queue = job.seen.queue.clone();
        self.unserve(&queue, charge);
        if let Some(worker) = never_given {
            let claimed = self.state.workers.get(&worker).map(|worker| worker.claim.resident_models.clone());
            self.set_holds(&worker, claimed.unwrap_or_default());
        }
        self.refile(id);
    }

    /// Replaces all that the record holds. Parked claims and what queues were served are ours, and stay.
    fn reset(&mut self, world: WorldSeen, out: &mut Vec<Decision>) {
        let WorldSeen { jobs, queues, pools, models } = world;
        for id in std::mem::take(&mut self.state.jobs).keys() {
            self.refile(id);
        }
        for (key, queue) in std::mem::take(&mut self.state.queues) {
            self.state.queues.insert(key.clone(), Queue { served: queue.served, ..Queue::default() });
            self.index.tune(&key, queue.served, None);
        }
        // What is listed is asked for again; what had ended by then is not.
        self.state.demand = Demand::default();
        self.state.pools = pools.into_iter().map(|pool| (pool.name.clone(), pool)).collect();
        self.state.models = models.into_iter().map(|model| (model.name.clone(), model)).collect();
        for seen in queues {
            self.observe_queue(seen);
        }
        for seen in jobs {
            self.observe_job(seen, out);
        }
    }
}
