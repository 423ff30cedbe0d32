//! One seeded world: jobs come, workers and leaders die, messages are lost, and at some moment faults stop. After every
//! event the invariants are checked; in the end every job must have ended.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use tintype_scheduler::{JobSeen, ModelSeen, Place, PoolSeen, QueueSeen, Quota, Scheduler, WorldSeen};
use tintype_types::worker::Outcome;
use tintype_types::{JobId, Timestamp};

use crate::audit::Audit;
use crate::knobs::{Bug, Knobs};
use crate::record::{Change, Record, Written};
use crate::rng::Rng;
use crate::shell::{Effect, Line, Shell, Write};
use crate::worker::{CLAIM_WAIT_MS, Reply, Request, Worker, plan};

/// Once faults stop, every job must end within this.
const CONVERGE_MS: u64 = 2 * 60 * 60 * 1_000;
/// More events at one moment than this is a circle.
const EVENTS_A_MOMENT_MAX: u32 = 20_000;
const MODELS: [&str; 3] = ["shapes", "photos", "inks"];

#[derive(Debug)]
enum Event {
    Submit(u64),
    Cancel(u64),
    Delete(u64),
    Watch { epoch: u32, change: Change },
    AtRecord { epoch: u32, write: Write },
    Answer { epoch: u32, write: Write, answer: Option<Written> },
    AtShell { line: Line, request: Request },
    AtWorker { line: Line, reply: Reply },
    ClaimTimeout { epoch: u32, line: Line },
    Tick { epoch: u32 },
    Wake { worker: usize, boot: u32, token: u64 },
    Crash(usize),
    Restart(usize),
    Pause(usize),
    LeaderDies,
    LeaderStarts,
    Relist,
}

/// A world under way.
pub(crate) struct World {
    now: u64,
    order: u64,
    events: BTreeMap<(u64, u64), Event>,
    rng: Rng,
    pub(crate) knobs: Knobs,
    bug: Option<Bug>,
    pub(crate) record: Record,
    queues: Vec<QueueSeen>,
    shell: Option<Shell>,
    epochs: u32,
    workers: Vec<Worker>,
    /// The token of each worker's latest alarm; earlier ones are void.
    wakes: Vec<u64>,
    /// How much of the record's log was sent to the leader, and when the last of it arrives.
    watched: usize,
    watched_until: u64,
    tick_at: Option<u64>,
    pub(crate) audit: Audit,
    pub(crate) trace: Option<String>,
    pub(crate) events_done: u64,
}

impl World {
    /// The world of a seed.
    pub(crate) fn new(seed: u64, bug: Option<Bug>, traced: bool) -> Self {
        let mut rng = Rng::new(seed);
        let knobs = Knobs::of(&mut rng);
        let mut world = Self {
            now: 1_000,
            order: 0,
            events: BTreeMap::new(),
            bug,
            record: Record::new(bug),
            queues: Vec::new(),
            shell: None,
            epochs: 0,
            workers: Vec::new(),
            wakes: Vec::new(),
            watched: 0,
            watched_until: 0,
            tick_at: None,
            audit: Audit::default(),
            trace: traced.then(String::new),
            events_done: 0,
            rng,
            knobs,
        };
        world.populate();
        world
    }

    /// Runs to the end. The error says what was violated.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        let (mut moment, mut at_moment) = (0, 0_u32);
        let end = self.knobs.calm_at_ms + CONVERGE_MS;
        while let Some(((at, _), event)) = self.events.pop_first() {
            at_moment = if at == moment { at_moment + 1 } else { 0 };
            moment = at;
            if at_moment > EVENTS_A_MOMENT_MAX {
                return Err(format!("more than {EVENTS_A_MOMENT_MAX} events at {at} ms"));
            }
            self.now = self.now.max(at);
            self.events_done += 1;
            if let Some(trace) = &mut self.trace {
                let _ = writeln!(trace, "{at} {event:?}");
            }
            self.happen(event);
            self.carry_out();
            self.send_watch();
            self.plan_tick();
            self.check()?;
            if self.now > self.knobs.calm_at_ms && self.all_ended() {
                return self.audit.check_end(&self.record);
            }
            if self.now > end {
                break;
            }
        }
        Err(self.unfinished())
    }

    fn populate(&mut self) {
        let knobs = self.knobs.clone();
        for number in 0..knobs.workers {
            let any = number == 0 || self.rng.percent(60);
            let loadable = if any { Vec::new() } else { vec![(*self.rng.pick(&MODELS)).to_owned()] };
            let resident = if self.rng.percent(50) { vec![MODELS[0].to_owned()] } else { Vec::new() };
            self.workers.push(Worker {
                id: format!("w{number}").into(),
                pool: if number == 0 || self.rng.percent(70) { "small" } else { "large" }.to_owned(),
                loadable,
                resident,
                slots: self.rng.range(1, knobs.slots_max),
                boot: 1,
                alive: true,
                paused_until: 0,
                tasks: Vec::new(),
                claim: None,
                claim_after: 0,
            });
            self.wakes.push(0);
            let at = self.rng.range(1_000, 5_000);
            self.wake(number as usize, at);
        }
        for name in ["a", "b", "c"] {
            let running_max = knobs.quota.then(|| self.rng.range(1, 3) as u32);
            // From the lease, so that old seeds stay the worlds they were: parts of "a" that borrow, keep and take back.
            let part = knobs.quota && name != "a" && knobs.config.lease.as_secs().is_multiple_of(2);
            let borrow = part.then_some(1);
            self.queues.push(QueueSeen {
                key: name.into(),
                weight: self.rng.range(1, 4) as u32,
                running_max,
                parent: part.then(|| "a".into()),
                quota: Quota { borrow, ..Quota::default() },
            });
        }
        for job in 0..knobs.jobs {
            let at = self.rng.range(1_000, knobs.calm_at_ms);
            self.at(at, Event::Submit(job));
            if self.rng.percent(knobs.cancel) {
                let later = at + self.rng.range(0, 40_000);
                self.at(later, Event::Cancel(job));
            }
            if self.rng.percent(knobs.delete) {
                let later = at + self.rng.range(0, 60_000);
                self.at(later, Event::Delete(job));
            }
        }
        self.at(1_000, Event::LeaderStarts);
        for _ in 0..knobs.leader_deaths {
            self.fault(Event::LeaderDies);
        }
        for _ in 0..knobs.relists {
            self.fault(Event::Relist);
        }
        for _ in 0..knobs.crashes {
            let worker = self.rng.range(0, knobs.workers - 1) as usize;
            self.fault(Event::Crash(worker));
        }
        for _ in 0..knobs.pauses {
            let worker = self.rng.range(0, knobs.workers - 1) as usize;
            self.fault(Event::Pause(worker));
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Submit(job) => self.submit(job),
            Event::Cancel(job) => {
                if let Some(row) = self.record.rows.get(&job_id(job)) {
                    let seen = JobSeen { cancelled: true, ..row.seen.clone() };
                    if seen.place != Place::Ended {
                        self.record.put(self.now, seen);
                    }
                }
            }
            Event::Delete(job) => self.record.delete(self.now, &job_id(job)),
            Event::Watch { epoch, change } => {
                let now = self.now;
                if let Some(shell) = self.shell.as_mut().filter(|shell| shell.epoch == epoch) {
                    shell.watched(now, change);
                }
            }
            Event::AtRecord { epoch, write } => self.write_record(epoch, write),
            Event::Answer { epoch, write, answer } => {
                let now = self.now;
                if let Some(shell) = self.shell.as_mut().filter(|shell| shell.epoch == epoch) {
                    shell.written(now, write, answer);
                }
            }
            Event::AtShell { line, request } => self.at_shell(line, request),
            Event::AtWorker { line, reply } => self.at_worker(line, reply),
            Event::ClaimTimeout { epoch, line } => {
                let now = self.now;
                let worker = &self.workers[line.to];
                if let Some(shell) = self.shell.as_mut().filter(|shell| shell.epoch == epoch) {
                    shell.claim_timeout(now, worker, line);
                }
            }
            Event::Tick { epoch } => {
                self.tick_at = None;
                let now = self.now;
                if let Some(shell) = self.shell.as_mut().filter(|shell| shell.epoch == epoch) {
                    shell.tick(now);
                }
            }
            Event::Wake { worker, boot, token } => self.wake_worker(worker, boot, token),
            Event::Crash(worker) => {
                if self.workers[worker].alive {
                    self.workers[worker].crash();
                    let later = self.now + self.rng.range(100, 50_000);
                    self.at(later, Event::Restart(worker));
                }
            }
            Event::Restart(worker) => {
                self.workers[worker].alive = true;
                self.wake(worker, self.now + 1);
            }
            Event::Pause(worker) => self.workers[worker].paused_until = self.now + self.rng.range(1_000, 90_000),
            Event::LeaderDies => {
                if self.shell.take().is_some() {
                    let later = self.now + self.rng.range(100, 20_000);
                    self.at(later, Event::LeaderStarts);
                }
            }
            Event::LeaderStarts => self.start_leader(),
            Event::Relist => self.list(),
        }
    }

    fn submit(&mut self, job: u64) {
        let ghost = self.rng.percent(3);
        let (queue, priority) =
            (*self.rng.pick(&["a", "b", "c", "undeclared"]), if self.rng.percent(20) { 5 } else { 0 });
        let model = if ghost { "ghost" } else { *self.rng.pick(&MODELS) };
        let seen = JobSeen {
            priority,
            pool: self.rng.percent(30).then(|| "small".into()),
            work_steps: self.rng.range(1, 50) as u32,
            submitted: Timestamp(self.now),
            // From the number, not from chance, so that old seeds stay the worlds they were.
            deadline: job.is_multiple_of(3).then_some(Timestamp(self.now + 20_000 * (job % 5))),
            refuse_late: job.is_multiple_of(6),
            ..JobSeen::new(job_id(job), queue, model)
        };
        self.record.put(self.now, seen);
    }

    fn start_leader(&mut self) {
        self.epochs += 1;
        self.shell = Some(Shell::new(self.epochs, &self.knobs, self.bug, self.trace.is_some()));
        self.tick_at = None;
        self.list();
    }

    /// Lists the record, perhaps as it was a moment ago, and watches from there.
    fn list(&mut self) {
        let behind = if self.now < self.knobs.calm_at_ms { self.knobs.list_behind_ms } else { 0 };
        let as_of = self.now.saturating_sub(behind);
        let changes = self.record.log.partition_point(|change| change.at_ms <= as_of);
        let rows = self.record.list_at(changes);
        let world = WorldSeen {
            jobs: rows.iter().map(|row| row.seen.clone()).collect(),
            queues: self.queues.clone(),
            pools: vec![PoolSeen { name: "small".into(), warm_models: Vec::new(), used_up: None }],
            models: MODELS.iter().map(|name| ModelSeen { name: (*name).to_owned(), vram_bytes: 0 }).collect(),
        };
        let versions = rows.iter().map(|row| (row.seen.id.clone(), row.version)).collect();
        self.watched = changes;
        self.watched_until = self.now;
        let (now, knobs) = (self.now, self.knobs.clone());
        if let Some(shell) = &mut self.shell {
            shell.reset(now, world, versions, &knobs);
        }
    }

    fn write_record(&mut self, epoch: u32, write: Write) {
        let calm = self.now > self.knobs.calm_at_ms;
        let fails = !calm && self.rng.percent(self.knobs.refuse);
        let lost = !calm && self.rng.percent(self.knobs.lose_ack);
        let answer = if fails {
            None
        } else {
            let done = self.record.write(self.now, write.version, &write.decision);
            if lost { None } else { Some(done) }
        };
        let later = self.later();
        self.at(later, Event::Answer { epoch, write, answer });
    }

    fn at_shell(&mut self, line: Line, request: Request) {
        let worker = &self.workers[line.to];
        let Some(shell) = &mut self.shell else { return };
        if worker.boot != line.boot {
            return;
        }
        let claims = matches!(request, Request::Claim { .. });
        shell.request(self.now, line, worker, request);
        let epoch = shell.epoch;
        if claims {
            self.at(self.now + CLAIM_WAIT_MS, Event::ClaimTimeout { epoch, line });
        }
        if self.rng.percent(2) {
            // A scheduler restored from its snapshot goes on as if nothing had been.
            if let Some(shell) = &mut self.shell {
                let restored = Scheduler::restore(self.knobs.config.clone(), shell.brain.snapshot());
                shell.brain = restored;
            }
        }
    }

    fn at_worker(&mut self, line: Line, reply: Reply) {
        let (now, renew_ms) = (self.now, self.renew_ms());
        let worker = &mut self.workers[line.to];
        if !worker.alive || worker.boot != line.boot {
            return;
        }
        if worker.paused_until > now {
            let later = worker.paused_until;
            self.at(later, Event::AtWorker { line, reply });
            return;
        }
        let asked = worker.claim.is_some_and(|(connection, _)| connection == line.connection);
        match reply {
            Reply::Assigned { job, attempt } if asked => {
                worker.claim = None;
                let fails = if now < self.knobs.calm_at_ms { self.knobs.fail } else { 0 };
                let plan = plan(&mut self.rng, fails, &job, attempt);
                let done = matches!(plan.1, Outcome::Done { .. });
                if worker.start((&job, attempt), now, renew_ms, plan) {
                    self.audit.started(&job, attempt, worker, done);
                }
            }
            Reply::Nothing if asked => {
                worker.claim = None;
                worker.claim_after = now + 200;
            }
            Reply::Assigned { .. } | Reply::Nothing | Reply::GoOn | Reply::Repeat => {}
            Reply::Cancel { job, attempt } => worker.cancel_task(&job, attempt, now),
            Reply::Preempt { job, attempt } => {
                worker.preempt_task(&job, attempt, now);
                self.audit.reach("preempted");
            }
            Reply::Stored { job, attempt } => {
                self.audit.stored(&job, attempt, line, &self.record);
                worker.drop_task(&job, attempt);
            }
            Reply::Stale { job, attempt } => worker.drop_task(&job, attempt),
        }
        self.wake(line.to, now + 1);
    }

    fn wake_worker(&mut self, index: usize, boot: u32, token: u64) {
        let (now, renew_ms) = (self.now, self.renew_ms());
        let worker = &mut self.workers[index];
        if !worker.alive || worker.boot != boot || self.wakes[index] != token {
            return;
        }
        if worker.paused_until > now {
            let later = worker.paused_until;
            self.wake(index, later);
            return;
        }
        for request in worker.act(now, renew_ms) {
            self.order += 1;
            let line = Line { to: index, boot, connection: self.order };
            if matches!(request, Request::Claim { .. }) {
                self.workers[index].claimed(line.connection, now);
            }
            if !self.dropped() {
                let later = self.later();
                self.at(later, Event::AtShell { line, request });
            }
        }
        let later = self.workers[index].next_act(now);
        self.wake(index, later);
    }

    /// Sends what the shell wants sent.
    fn carry_out(&mut self) {
        let Some(shell) = &mut self.shell else { return };
        if let (Some(trace), Some(told)) = (&mut self.trace, &mut shell.trace) {
            trace.push_str(&std::mem::take(told));
        }
        let epoch = shell.epoch;
        for effect in std::mem::take(&mut shell.effects) {
            let later = self.later();
            match effect {
                Effect::Write(write) => self.at(later, Event::AtRecord { epoch, write }),
                Effect::Reply(line, reply) => {
                    if !self.dropped() {
                        self.at(later, Event::AtWorker { line, reply });
                    }
                }
            }
        }
    }

    /// Sends the leader what changed in the record: in order, late, and some of it again.
    fn send_watch(&mut self) {
        let news = self.record.log[self.audit.logged..].to_vec();
        for change in &news {
            self.audit.changed(change, self.bug);
        }
        let Some(epoch) = self.shell.as_ref().map(|shell| shell.epoch) else { return };
        let news = self.record.log[self.watched..].to_vec();
        for change in news {
            let calm = self.now > self.knobs.calm_at_ms;
            if self.bug == Some(Bug::WatchLosesEvents) && self.rng.percent(5) {
                continue;
            }
            let stale = !calm && self.rng.percent(self.knobs.stale);
            if stale && change.row.is_some() {
                let later = self.now + self.rng.range(1, 20_000);
                self.at(later, Event::Watch { epoch, change: change.clone() });
            }
            let delay = self.rng.range(1, self.knobs.watch_ms);
            self.watched_until = self.watched_until.max(self.now + delay);
            self.at(self.watched_until, Event::Watch { epoch, change });
        }
        self.watched = self.record.log.len();
    }

    /// Ticks no later than the scheduler asks for.
    fn plan_tick(&mut self) {
        let Some(shell) = &self.shell else { return };
        let Some((at, _)) = shell.brain.next_deadline() else { return };
        let at = at.0.max(self.now);
        if self.tick_at.is_none_or(|planned| planned > at) {
            self.tick_at = Some(at);
            let epoch = shell.epoch;
            self.at(at, Event::Tick { epoch });
        }
    }

    fn check(&self) -> Result<(), String> {
        let violation = self.shell.as_ref().and_then(|shell| shell.violation.as_ref());
        match violation.or(self.audit.violation.as_ref()) {
            Some(violation) => Err(format!("{} ms: {violation}", self.now)),
            None => Ok(()),
        }
    }

    fn all_ended(&self) -> bool {
        self.record.rows.values().all(|row| row.seen.place == Place::Ended)
    }

    fn unfinished(&self) -> String {
        let mut text = String::from("jobs that never end:");
        for (id, row) in self.record.rows.iter().filter(|(_, row)| row.seen.place != Place::Ended) {
            let verdict = self.shell.as_ref().map(|shell| shell.brain.verdict(id));
            let _ = write!(text, "\n  {id} is {:?} at {}, {verdict:?}", row.seen.place, row.seen.attempt);
        }
        text
    }

    fn wake(&mut self, worker: usize, at: u64) {
        self.order += 1;
        let token = self.order;
        self.wakes[worker] = token;
        let boot = self.workers[worker].boot;
        self.at(at, Event::Wake { worker, boot, token });
    }

    fn at(&mut self, at: u64, event: Event) {
        self.order += 1;
        self.events.insert((at.max(self.now), self.order), event);
    }

    fn fault(&mut self, event: Event) {
        let at = self.rng.range(2_000, self.knobs.calm_at_ms);
        self.at(at, event);
    }

    fn later(&mut self) -> u64 {
        self.now + self.rng.range(1, self.knobs.latency_ms)
    }

    fn dropped(&mut self) -> bool {
        self.now < self.knobs.calm_at_ms && self.rng.percent(self.knobs.drop)
    }

    fn renew_ms(&self) -> u64 {
        self.knobs.config.lease.as_millis() as u64 / 3
    }
}

fn job_id(number: u64) -> JobId {
    format!("j{number:02}").into()
}
