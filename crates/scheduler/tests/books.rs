//! The rule and the bound of `docs/fairness.md` by books of their own: kept from what was told and what was decided, never
//! from the scheduler's counters, so that work it forgets to charge, to give back or to let fade is found.
//! `FAIRNESS_CASES=n` runs n schedules.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, RngAlgorithm, TestRng, TestRunner};
use tintype_scheduler::{
    ClaimSeen, Config, Decision, FinishedSeen, JobSeen, Learned, ModelSeen, Observation, Place, QueueSeen, RenewedSeen,
    Scheduler,
};
use tintype_types::worker::{CheckpointLeft, Outcome};
use tintype_types::{Attempt, JobId, QueueKey, Timestamp, WorkerId};

const CASES: u32 = 1_000;
const STEP_MS: u64 = 100;
const LOAD_MS: u64 = 5_000;
const STEPS_MAX: u32 = 90;
/// Levels are counted in parts of a millisecond, so that dividing by the weights used here leaves no rest.
const PARTS: u64 = 1 << 10;
/// What the schedules must have come by, or they have gone tame.
const REACHED: [&str; 7] = ["cold", "decayed", "promise broken", "promised", "refused", "spare", "stopped"];

/// A job of a random schedule: when after the last, whose, of which model, how long.
type Asked = (u64, usize, usize, u32);

#[derive(Clone, Debug)]
struct World {
    budget: Duration,
    half_life: Duration,
    weights: Vec<u32>,
    workers: usize,
    models: usize,
    /// Each with whether it is urgent, whether the first write about it is refused, and whether its worker has no model in
    /// memory any more when it is done.
    jobs: Vec<(Asked, [bool; 3])>,
}

fn world() -> impl Strategy<Value = World> {
    let after = prop::sample::select(vec![0, 0, 0, 500, 500, 5_000, 40_000]);
    let asked = (after, 0..4_usize, 0..4_usize, 1..=STEPS_MAX);
    let job = (asked, [0.15, 0.05, 0.1].map(prop::bool::weighted));
    let weights = prop::collection::vec(prop::sample::select(vec![1_u32, 1, 2, 4, 8]), 4);
    let half_life = prop::sample::select(vec![5, 60, 3_600_u64]).prop_map(Duration::from_secs);
    let jobs = prop::collection::vec(job, 1..80);
    (0..40_u64, half_life, weights, 1..5_usize, 1..=4_usize, jobs).prop_map(
        |(budget, half_life, weights, workers, models, jobs)| World {
            budget: Duration::from_secs(budget),
            half_life,
            weights,
            workers,
            models,
            jobs,
        },
    )
}

/// Where a job stands by the books.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stand {
    /// A write about it is under way.
    Unsettled,
    Ready,
    /// A busy worker's next.
    Promised,
    Out,
}

#[derive(Debug)]
struct Entry {
    queue: QueueKey,
    model: String,
    stand: Stand,
    /// What it was said to run.
    run_ms: u64,
    /// What its queue was charged for it, while that can still be given back.
    charge: u64,
}

#[derive(Debug, Default)]
struct Account {
    weight: u64,
    level: u64,
    idle_since: Option<u64>,
}

/// What every queue was served, kept beside the scheduler.
struct Books {
    budget: u64,
    half_life: Duration,
    accounts: BTreeMap<QueueKey, Account>,
    jobs: BTreeMap<JobId, Entry>,
    /// The highest level a queue was served at: where one starts when no other waits.
    floor: u64,
    charge_max: u64,
    given_back: u64,
    reached: BTreeSet<&'static str>,
    breach: Option<String>,
}

impl Entry {
    fn waits(&self) -> bool {
        matches!(self.stand, Stand::Ready | Stand::Unsettled)
    }
}

impl Books {
    fn levels(&self) -> impl Iterator<Item = (&Account, u64)> {
        let ready: BTreeSet<_> =
            self.jobs.values().filter(|job| job.stand == Stand::Ready).map(|job| &job.queue).collect();
        ready.into_iter().map(|queue| (&self.accounts[queue], self.accounts[queue].level))
    }

    fn least(&self) -> Option<u64> {
        self.levels().map(|(_, level)| level).min()
    }

    fn nothing_waits(&self, queue: &QueueKey) -> bool {
        !self.jobs.values().any(|job| job.queue == *queue && job.waits())
    }

    /// A job waits. The first of its queue to do so finds it no lower than the others, and what it was served beyond them
    /// halved for each half-life it was idle.
    fn waits(&mut self, id: &JobId, stand: Stand, now: u64) {
        let queue = self.jobs[id].queue.clone();
        if self.nothing_waits(&queue) {
            let floor = self.least().unwrap_or(self.floor);
            let account = self.accounts.get_mut(&queue).expect("declared");
            let idle = Duration::from_millis(account.idle_since.take().map_or(0, |since| now - since));
            let kept = (-idle.as_secs_f64() / self.half_life.as_secs_f64()).exp2();
            let ahead = account.level.saturating_sub(floor);
            account.level = floor + (ahead as f64 * kept) as u64;
            if ahead > 0 && kept < 0.5 {
                self.reached.insert("decayed");
            }
        }
        self.jobs.get_mut(id).expect("told").stand = stand;
    }

    /// A job waits no more.
    fn leaves(&mut self, id: &JobId, stand: Stand, now: u64) {
        self.jobs.get_mut(id).expect("told").stand = stand;
        let queue = self.jobs[id].queue.clone();
        if self.nothing_waits(&queue) {
            self.accounts.get_mut(&queue).expect("declared").idle_since.get_or_insert(now);
        }
    }

    fn within(&self, queue: &QueueKey) -> bool {
        self.least().is_none_or(|least| self.accounts[queue].level <= least + self.budget)
    }

    fn charge(&mut self, id: &JobId, gpu_ms: u64) {
        let entry = self.jobs.get_mut(id).expect("told");
        let account = self.accounts.get_mut(&entry.queue).expect("declared");
        entry.charge = gpu_ms * PARTS / account.weight;
        self.floor = self.floor.max(account.level);
        self.charge_max = self.charge_max.max(entry.charge);
        account.level += entry.charge;
    }

    /// Of each `of` parts of what was charged for a job, so many are given back.
    fn give_back(&mut self, id: &JobId, parts: u64, of: u64) {
        let entry = self.jobs.get_mut(id).expect("told");
        let back = entry.charge * parts / of;
        entry.charge -= back;
        let account = self.accounts.get_mut(&entry.queue).expect("declared");
        // It may have faded since.
        account.level = account.level.saturating_sub(back);
        self.given_back += back;
    }

    fn promise(&mut self, id: &JobId, now: u64) {
        self.reached.insert("promised");
        if !self.within(&self.jobs[id].queue) {
            self.breach = Some(format!("{id} was promised a worker beyond the budget"));
        }
        self.charge(id, self.jobs[id].run_ms);
        self.leaves(id, Stand::Promised, now);
    }

    fn assign(&mut self, id: &JobId, resident: &BTreeSet<String>, now: u64) {
        let job = &self.jobs[id];
        let cold = !resident.contains(&job.model);
        if job.stand == Stand::Promised {
            return self.leaves(id, Stand::Out, now);
        }
        if self.within(&job.queue) {
            let load_ms = if cold { LOAD_MS } else { 0 };
            self.reached.extend(cold.then_some("cold"));
            self.charge(id, job.run_ms + load_ms);
        } else {
            // Only time nobody within the budget wants is free.
            let wanted = |other: &Entry| {
                other.stand == Stand::Ready && resident.contains(&other.model) && self.within(&other.queue)
            };
            if cold || self.jobs.values().any(wanted) {
                self.breach = Some(format!("{id} was given a worker a queue within the budget could have had"));
            }
            self.reached.insert("spare");
            self.jobs.get_mut(id).expect("told").charge = 0;
        }
        self.leaves(id, Stand::Out, now);
    }

    /// The bound: between any two queues with ready jobs, and of each from what is fair.
    fn hold(&mut self) {
        let bound = self.budget + self.charge_max + self.given_back;
        let levels: Vec<_> = self.levels().map(|(account, level)| (account.weight, level)).collect();
        let (least, most) = (levels.iter().map(|of| of.1).min(), levels.iter().map(|of| of.1).max());
        let (Some(least), Some(most)) = (least, most) else { return };
        let served: u64 = levels.iter().map(|(weight, level)| weight * level).sum();
        let fair = served / levels.iter().map(|(weight, _)| weight).sum::<u64>();
        let lag = levels.iter().map(|(_, level)| fair.saturating_sub(*level)).max().unwrap_or_default();
        if most - least > bound || lag > bound {
            let [gap, lag, bound] = [most - least, lag, bound].map(|parts| parts / PARTS);
            self.breach = Some(format!("{gap} ms apart and {lag} ms behind, of {bound} ms"));
        }
    }
}

/// What a busy worker runs.
struct Run {
    job: JobId,
    /// When its first step began.
    steps_from: u64,
    steps: u64,
    gpu_ms: u64,
    /// Steps after which it stops to make way.
    stops_at: Option<u64>,
}

/// A fleet around a scheduler, and the books.
struct Play {
    scheduler: Scheduler,
    books: Books,
    now: u64,
    /// When each busy worker ends, with what.
    busy: BTreeMap<(u64, WorkerId), Run>,
    resident: BTreeMap<WorkerId, BTreeSet<String>>,
    jobs: BTreeMap<JobId, JobSeen>,
    steps_left: BTreeMap<JobId, u64>,
    refused: BTreeSet<JobId>,
    forgets: BTreeSet<JobId>,
    done: usize,
}

impl Play {
    fn tell(&mut self, seen: Observation) {
        let queued = if let Observation::Job(job) = &seen { Some(job) } else { None };
        let queued = queued.filter(|job| job.place == Place::Queued).map(|job| job.id.clone());
        let fresh = queued.as_ref().filter(|id| !self.books.jobs.contains_key(*id)).cloned();
        if let (Observation::Job(job), Some(id)) = (&seen, &fresh) {
            let (queue, model) = (job.queue.clone(), job.model.clone());
            self.books.jobs.insert(id.clone(), Entry { queue, model, stand: Stand::Out, run_ms: 0, charge: 0 });
        }
        if let Some(id) = &queued {
            self.books.waits(id, Stand::Ready, self.now);
        }
        let refused = if let Observation::WriteFailed { job, .. } = &seen { Some(job.clone()) } else { None };
        if let Some(id) = &refused {
            self.books.give_back(id, 1, 1);
        }
        let decided = self.scheduler.step(Timestamp(self.now), seen);
        if let Some(id) = &queued {
            let told = self.scheduler.estimate(id).expect("every worker can run it");
            self.books.jobs.get_mut(id).expect("told").run_ms = u64::from(told.run_ms);
        }
        self.note_broken(&decided);
        if let Some(id) = &refused {
            // Its worker never had it, and so has not the model it was to load: who was promised the worker for that has
            // waited again before this one does.
            self.books.waits(id, Stand::Unsettled, self.now);
        }
        for decision in &decided {
            match decision {
                Decision::Assign { job, worker, .. } => self.books.assign(job, &self.resident[worker], self.now),
                Decision::Requeue { job, .. } => self.books.waits(job, Stand::Unsettled, self.now),
                Decision::Progress { .. }
                | Decision::Fail { .. }
                | Decision::Complete { .. }
                | Decision::Cancel { .. }
                | Decision::Preempt { .. } => {}
            }
        }
        if let Some(id) = fresh.filter(|id| self.books.jobs[id].stand == Stand::Ready)
            && self.scheduler.promise(&id).is_some()
        {
            self.books.promise(&id, self.now);
        }
        self.books.hold();
        for decision in decided {
            self.carry_out(decision);
        }
    }

    /// A job that was promised a worker and is not any more waits again, and its queue has its charge back.
    fn note_broken(&mut self, decided: &[Decision]) {
        let assigned_without = |id: &JobId| {
            decided.iter().any(|of| matches!(of, Decision::Assign { job, promised: None, .. } if job == id))
        };
        let promised = self.books.jobs.iter().filter(|(_, job)| job.stand == Stand::Promised).map(|(id, _)| id);
        let broken: Vec<_> =
            promised.filter(|id| self.scheduler.promise(id).is_none() || assigned_without(id)).cloned().collect();
        for id in broken {
            self.books.reached.insert("promise broken");
            self.books.give_back(&id, 1, 1);
            self.books.waits(&id, Stand::Ready, self.now);
        }
    }

    fn carry_out(&mut self, decision: Decision) {
        match decision {
            Decision::Assign { job, worker, .. } if self.refused.remove(&job) => {
                self.books.reached.insert("refused");
                let attempt = self.jobs[&job].attempt.next();
                self.tell(Observation::WriteFailed { job: job.clone(), attempt });
                self.tell(Observation::Job(Box::new(self.jobs[&job].clone())));
                self.claim(worker);
            }
            Decision::Assign { job, attempt, worker, .. } => {
                let row = self.jobs.get_mut(&job).expect("told");
                (row.place, row.attempt) = (Place::Assigned(worker.clone()), attempt);
                let seen = row.clone();
                let cold = self.resident.get_mut(&worker).expect("it claimed").insert(seen.model.clone());
                let (steps, load_ms) = (self.steps_left[&job], if cold { LOAD_MS } else { 0 });
                let steps_from = self.now + load_ms;
                let run = Run { job, steps_from, steps, gpu_ms: load_ms + steps * STEP_MS, stops_at: None };
                self.busy.insert((steps_from + steps * STEP_MS, worker), run);
                self.tell(Observation::Job(Box::new(seen)));
            }
            Decision::Requeue { job, .. } => {
                let row = self.jobs.get_mut(&job).expect("told");
                row.place = Place::Queued;
                let seen = row.clone();
                self.tell(Observation::Job(Box::new(seen)));
            }
            Decision::Preempt { job, .. } => self.stop(&job),
            Decision::Progress { .. } | Decision::Fail { .. } | Decision::Complete { .. } | Decision::Cancel { .. } => {
            }
        }
    }

    /// A worker stops between two steps, unless it is at its last.
    fn stop(&mut self, job: &JobId) {
        let Some(key) = self.busy.iter().find(|(_, run)| run.job == *job).map(|(key, _)| key.clone()) else { return };
        let run = &self.busy[&key];
        let step = self.now.saturating_sub(run.steps_from) / STEP_MS + 1;
        if step < run.steps {
            let run = self.busy.remove(&key).expect("found above");
            let at = run.steps_from + step * STEP_MS;
            self.busy.insert((at, key.1), Run { stops_at: Some(step), ..run });
        }
    }

    fn claim(&mut self, worker: WorkerId) {
        let resident_models = self.resident.entry(worker.clone()).or_default().iter().cloned().collect();
        self.tell(Observation::Claim(ClaimSeen {
            worker,
            boot_id: "1".into(),
            pool: "p".into(),
            gpus: Vec::new(),
            resident_models,
            loadable_models: Vec::new(),
            free_slots: 1,
            warm_up: None,
            unwell: None,
        }));
    }

    /// Lets workers end until this moment.
    fn until(&mut self, at: u64) {
        while let Some(end) = self.busy.first_entry().filter(|end| end.key().0 <= at) {
            let ((end, worker), run) = end.remove_entry();
            self.now = end;
            // What the clock brings comes before what the worker says.
            self.tell(Observation::Tick);
            self.end(worker.clone(), run);
            self.claim(worker);
        }
        self.now = self.now.max(at);
        self.tell(Observation::Tick);
    }

    fn end(&mut self, worker: WorkerId, run: Run) {
        let (attempt, boot_id) = (self.jobs[&run.job].attempt, "1".into());
        let Run { job, steps, gpu_ms, stops_at, .. } = run;
        let outcome = if let Some(step) = stops_at {
            self.books.reached.insert("stopped");
            self.steps_left.insert(job.clone(), steps - step);
            let (done, of) = (step as u32, steps as u32);
            let (worker, boot_id) = (worker.clone(), "1".into());
            let seen = RenewedSeen { job: job.clone(), attempt, worker, boot_id, step: done, steps: of };
            self.tell(Observation::Renewed(seen));
            self.books.give_back(&job, steps - step, steps);
            Outcome::Preempted { checkpoint: Some(CheckpointLeft { step: done, bytes: 1, sha256: "0".repeat(64) }) }
        } else {
            self.done += 1;
            Outcome::Done { outputs: Vec::new() }
        };
        let ended = stops_at.is_none();
        self.tell(Observation::Finished(FinishedSeen {
            job: job.clone(),
            attempt,
            worker: worker.clone(),
            boot_id,
            outcome,
            gpu_ms,
        }));
        if ended {
            if self.forgets.contains(&job) {
                self.resident.remove(&worker);
            }
            self.books.jobs.remove(&job);
            self.tell(Observation::JobGone(job));
        }
    }
}

fn play(world: &World) -> Play {
    // Longer than any run, so that no renewal is needed.
    let lease = Duration::from_hours(1);
    let (fairness_budget, usage_half_life) = (world.budget, world.half_life);
    let preempt_interval = Duration::from_secs(1);
    let config = Config { fairness_budget, usage_half_life, lease, preempt_interval, ..Config::default() };
    let mut play = Play {
        scheduler: Scheduler::new(config),
        books: Books {
            budget: world.budget.as_millis() as u64 * PARTS,
            half_life: world.half_life,
            accounts: BTreeMap::new(),
            jobs: BTreeMap::new(),
            floor: 0,
            charge_max: 0,
            given_back: 0,
            reached: BTreeSet::new(),
            breach: None,
        },
        now: 0,
        busy: BTreeMap::new(),
        resident: BTreeMap::new(),
        jobs: BTreeMap::new(),
        steps_left: BTreeMap::new(),
        refused: BTreeSet::new(),
        forgets: BTreeSet::new(),
        done: 0,
    };
    // What everything costs is known from the start, and so it is.
    let mut learned = Learned::default();
    for model in 0..world.models {
        learned.hint(&format!("m{model}"), STEP_MS as u32, LOAD_MS as u32);
        play.tell(Observation::Model(ModelSeen { name: format!("m{model}"), vram_bytes: 0 }));
    }
    play.tell(Observation::Learned(Box::new(learned)));
    for (number, weight) in world.weights.iter().enumerate() {
        let key: QueueKey = format!("q{number}").into();
        play.books.accounts.insert(key.clone(), Account { weight: u64::from(*weight), ..Account::default() });
        play.tell(Observation::Queue(QueueSeen { key, weight: *weight, ..QueueSeen::default() }));
    }
    for worker in 0..world.workers {
        play.claim(format!("w{worker}").into());
    }
    let mut at = 0;
    for (number, ((after, queue, model, work_steps), [urgent, refused, forgets])) in world.jobs.iter().enumerate() {
        at += after;
        play.until(at);
        let model = format!("m{}", model % world.models);
        let seen = JobSeen {
            work_steps: *work_steps,
            submitted: Timestamp(at),
            priority: if *urgent { 5 } else { 0 },
            deadline: work_steps.is_multiple_of(2).then_some(Timestamp(at + 40_000)),
            attempt: Attempt(0),
            ..JobSeen::new(format!("j{number:03}"), format!("q{queue}"), model)
        };
        play.jobs.insert(seen.id.clone(), seen.clone());
        play.steps_left.insert(seen.id.clone(), u64::from(*work_steps));
        play.refused.extend(refused.then(|| seen.id.clone()));
        play.forgets.extend(forgets.then(|| seen.id.clone()));
        play.tell(Observation::Job(Box::new(seen)));
    }
    play.until(at + 3_000_000);
    play
}

#[test]
fn by_books_of_their_own_queues_stay_within_the_budget_and_one_charge() {
    let reached = RefCell::new(BTreeSet::new());
    let config = Cases { cases: cases(), failure_persistence: None, ..Cases::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let outcome = runner.run(&world(), |world| {
        let play = play(&world);
        reached.borrow_mut().extend(play.books.reached);
        prop_assert_eq!(play.books.breach, None);
        prop_assert_eq!(play.done, world.jobs.len(), "every job runs in the end");
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(reached.into_inner(), BTreeSet::from(REACHED));
}

fn cases() -> u32 {
    std::env::var("FAIRNESS_CASES").map_or(CASES, |text| text.parse().expect("FAIRNESS_CASES is a number"))
}
