//! The one task that owns the scheduler: takes in observations, worker calls and time, and carries decisions out.
//! Nothing in it waits but the loop itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tintype_scheduler::{
    Decision, Estimate, Explanation, JobSeen, Learned, Observation, Overview, Place, Verdict, WorldSeen,
};
use tintype_store::Store;
use tintype_types::worker::{Claim, ClaimAnswer, Finish, Renew, RenewAnswer};
use tintype_types::{Attempt, BootId, JobId, JobState, Timestamp, WorkerId};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::answer::Refusal;
use crate::bounded::Bounded;
use crate::brain::Brain;
use crate::calls::{self, FinishStanding};
use crate::claims::{ClaimReply, Claims, Gone};
use crate::clock::Clock;
use crate::events::Events;
use crate::finishes::{FinishReply, Finishes, Key};
use crate::metrics::Metrics;
use crate::told;
use crate::traces::Traces;
use crate::workers::{WorkerSeen, Workers};
use crate::writes::Writes;

/// Attempts whose number of pictures is remembered; as many as may be out at a time.
pub(crate) const ASKED_KEPT_MAX: usize = 200_000;
/// Least time between two ticks, so that a deadline that stays in the past cannot keep the loop busy.
const TICK_INTERVAL_MIN: Duration = Duration::from_millis(1);
/// Least time between two looks at who waits for what, for metrics.
const SHOW_EVERY: Duration = Duration::from_secs(1);
/// How old an overview may be. Each tick is a line of the decision log, so not every question brings one.
const OVERVIEW_AGE_MAX: Duration = Duration::from_secs(1);

/// What the actor can be told and asked.
pub(crate) enum Message {
    Observe(Box<Observation>),
    Lead(Box<WorldSeen>, oneshot::Sender<()>),
    StepDown(oneshot::Sender<()>),
    Shutdown(oneshot::Sender<()>),
    Claim { claim: Box<Claim>, serial: u64, reply: ClaimReply },
    Renew { key: Key, renew: Box<Renew>, reply: oneshot::Sender<Result<RenewAnswer, Refusal>> },
    FinishStanding { key: Key, by: (WorkerId, BootId), reply: oneshot::Sender<FinishStanding> },
    Finish { key: Key, finish: Box<Finish>, reply: FinishReply },
    Verdict(JobId, oneshot::Sender<Option<Verdict>>),
    Explain(JobId, oneshot::Sender<Option<Explanation>>),
    Estimate(JobId, oneshot::Sender<Option<Estimate>>),
    Overview(oneshot::Sender<Overview>),
    Learned(usize, oneshot::Sender<Learned>),
    Teach(Box<Learned>, oneshot::Sender<()>),
    Workers(oneshot::Sender<Vec<WorkerSeen>>),
}

/// Everything the actor owns, and what it shares with the routes.
pub(crate) struct Actor {
    pub(crate) brain: Brain,
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) lease: Duration,
    pub(crate) output_ttl: Duration,
    pub(crate) leading: Arc<AtomicBool>,
    pub(crate) gone: Arc<Gone>,
    pub(crate) events: Events,
    pub(crate) metrics: Metrics,
    pub(crate) writes: Writes,
    pub(crate) claims: Claims,
    pub(crate) finishes: Finishes,
    pub(crate) workers: Workers,
    /// How many pictures an attempt that is out was asked for.
    pub(crate) asked: Bounded<JobId, (Attempt, u32)>,
    pub(crate) traces: Traces,
    pub(crate) last_tick: Timestamp,
    /// When it was last shown how things stand, and whether anything has happened since.
    pub(crate) shown_at: Instant,
    pub(crate) unshown: bool,
}

impl Actor {
    /// Runs until it is told to shut down or nobody is left to tell it anything.
    pub(crate) async fn run(mut self, mut inbox: mpsc::Receiver<Message>) {
        let gone = Arc::clone(&self.gone);
        loop {
            self.count(&inbox);
            let wake = self.wake();
            tokio::select! {
                message = inbox.recv() => match message {
                    Some(Message::Shutdown(reply)) => {
                        self.step_down();
                        self.events.close();
                        let _ = reply.send(());
                        return;
                    }
                    Some(message) => self.take(message),
                    None => return,
                },
                done = self.writes.next() => told::written(&mut self, done),
                () = gone.rung() => self.collect_gone(),
                () = sleep_until(wake) => self.tick(),
                () = sleep_until(self.unshown.then_some(self.shown_at + SHOW_EVERY)) => self.show(),
            }
        }
    }

    fn take(&mut self, message: Message) {
        // An asker that went away is no concern of ours: unsent answers are dropped here and in `calls`.
        match message {
            Message::Observe(seen) => self.observe(*seen),
            Message::Lead(world, reply) => {
                self.observe_all(world);
                self.leading.store(true, Ordering::Release);
                let _ = reply.send(());
            }
            Message::StepDown(reply) | Message::Shutdown(reply) => {
                self.step_down();
                let _ = reply.send(());
            }
            Message::Claim { claim, serial, reply } => calls::claim(self, *claim, serial, reply),
            Message::Renew { key, renew, reply } => {
                let answer = calls::renew(self, key, *renew);
                let _ = reply.send(answer);
            }
            Message::FinishStanding { key, by, reply } => {
                let _ = reply.send(calls::finish_standing(self, &key, &by));
            }
            Message::Finish { key, finish, reply } => calls::finish(self, key, *finish, reply),
            Message::Verdict(job, reply) => {
                let _ = reply.send(self.brain.verdict(&job));
            }
            Message::Explain(job, reply) => {
                let _ = reply.send(self.brain.explain(&job));
            }
            Message::Estimate(job, reply) => {
                let _ = reply.send(self.brain.estimate(&job));
            }
            Message::Overview(reply) => {
                self.catch_up();
                let _ = reply.send(self.brain.overview());
            }
            Message::Learned(most, reply) => {
                let _ = reply.send(self.brain.learned(most));
            }
            Message::Teach(learned, reply) => {
                self.teach(learned);
                let _ = reply.send(());
            }
            Message::Workers(reply) => {
                let _ = reply.send(self.workers.list(self.clock.now()));
            }
        }
    }

    pub(crate) fn is_leading(&self) -> bool {
        self.leading.load(Ordering::Acquire)
    }

    /// Tells the scheduler and carries out what it answers.
    pub(crate) fn step(&mut self, seen: Observation) {
        let decisions = self.decide(seen);
        self.carry_out(decisions);
    }

    /// Tells the scheduler one fact, and counts what it takes.
    pub(crate) fn decide(&mut self, seen: Observation) -> Vec<Decision> {
        let began = Instant::now();
        let decisions = self.brain.step(self.clock.now(), seen);
        self.metrics.scheduling.decided(&decisions, began.elapsed());
        self.unshown = true;
        decisions
    }

    pub(crate) fn carry_out(&mut self, decisions: Vec<Decision>) {
        for decision in decisions {
            match &decision {
                // The scheduler keeps these two and answers the next renew with them.
                Decision::Cancel { .. } | Decision::Preempt { .. } => {}
                Decision::Assign { worker, boot_id, .. } => {
                    self.claims.promise(worker, boot_id);
                    self.writes.push(decision);
                }
                Decision::Progress { .. }
                | Decision::Requeue { .. }
                | Decision::Fail { .. }
                | Decision::Complete { .. } => self.writes.push(decision),
            }
        }
        if let Some(warm_up) = self.brain.take_warm_up() {
            told::warm_up(self, warm_up);
        }
        for mark in self.brain.take_marks() {
            self.metrics.scheduling.count(&mark);
        }
    }

    /// Facts from the shell. Who does not lead drops them: it is told everything when it begins to lead.
    fn observe(&mut self, seen: Observation) {
        if !self.is_leading() {
            return;
        }
        match seen {
            Observation::Reset(world) => self.observe_all(world),
            Observation::Job(seen) => {
                self.tell_of(&seen);
                self.step(Observation::Job(seen));
            }
            Observation::JobGone(job) => {
                self.events.forget(&job);
                self.asked.remove(&job);
                self.step(Observation::JobGone(job));
            }
            seen @ (Observation::Queue(_)
            | Observation::QueueGone(_)
            | Observation::Pool(_)
            | Observation::PoolGone(_)
            | Observation::Model(_)
            | Observation::ModelGone(_)
            | Observation::Claim(_)
            | Observation::ClaimEnded(..)
            | Observation::Renewed(_)
            | Observation::Finished(_)
            | Observation::WriteFailed { .. }
            | Observation::Learned(_)
            | Observation::Tick) => self.step(seen),
        }
    }

    /// What was learned is taken in whether this leads or not: it is wanted before the first job is seen.
    fn teach(&mut self, learned: Box<Learned>) {
        let decisions = self.brain.step(self.clock.now(), Observation::Learned(learned));
        if self.is_leading() {
            self.carry_out(decisions);
        }
    }

    fn observe_all(&mut self, world: Box<WorldSeen>) {
        for job in &world.jobs {
            self.tell_of(job);
        }
        self.step(Observation::Reset(world));
    }

    /// Tells the watchers what the record says of a job.
    fn tell_of(&mut self, seen: &JobSeen) {
        let state = match &seen.place {
            Place::Queued => JobState::Queued,
            Place::Assigned(_) => JobState::Assigned,
            Place::Ended => return told::ended(self, &(seen.id.clone(), seen.attempt)),
        };
        self.events.publish(told::bare_event(seen.id.clone(), state, seen.attempt));
    }

    fn tick(&mut self) {
        let now = self.clock.now();
        self.last_tick = now;
        if self.is_leading() {
            self.step(Observation::Tick);
        }
        while let Some(parked) = self.claims.take_due(now) {
            let Claim { worker, boot_id, .. } = parked.claim;
            let skipped = self.brain.skipped(&worker);
            self.metrics.claims.with_label_values(&["empty"]).inc();
            let _ = parked.reply.send(Ok(ClaimAnswer { skipped, ..ClaimAnswer::default() }));
            self.step(Observation::ClaimEnded(worker, boot_id));
        }
    }

    /// Where nothing happens and nothing is due, the scheduler is not told the time; what it says of how things stand, as how
    /// long a worker has been idle, would be of long ago. A tick that is due may also wait behind the question.
    fn catch_up(&mut self) {
        if self.is_leading() && self.clock.now().since(self.last_tick) >= OVERVIEW_AGE_MAX {
            self.tick();
        }
    }

    fn collect_gone(&mut self) {
        for (worker, serial) in self.gone.collect() {
            if let Some(parked) = self.claims.take_serial(&worker, serial) {
                self.metrics.claims.with_label_values(&["gone"]).inc();
                self.step(Observation::ClaimEnded(worker, parked.claim.boot_id));
            }
        }
    }

    /// Answers everybody that waits, and neither decides nor writes from now on.
    fn step_down(&mut self) {
        self.leading.store(false, Ordering::Release);
        for parked in self.claims.drain() {
            self.metrics.claims.with_label_values(&["empty"]).inc();
            let _ = parked.reply.send(Ok(ClaimAnswer::default()));
            let ended = Observation::ClaimEnded(parked.claim.worker, parked.claim.boot_id);
            // What is decided from here on is dropped: whoever leads next decides anew.
            drop(self.brain.step(self.clock.now(), ended));
        }
        self.finishes.abandon();
        self.writes.abandon();
        self.asked.clear();
        self.traces.forget();
        self.events.reset();
    }

    /// When the loop must wake up by itself.
    fn wake(&self) -> Option<Instant> {
        let brain = self.brain.next_deadline().filter(|_| self.is_leading());
        let brain = brain.map(|(at, _)| at.max(self.last_tick.plus(TICK_INTERVAL_MIN)));
        let wake = brain.into_iter().chain(self.claims.next_deadline()).min();
        wake.map(|at| self.clock.instant(at))
    }

    /// Shows how things stand. That looks at every line of every queue, so it is not done after each step.
    fn show(&mut self) {
        self.metrics.scheduling.show(&self.brain);
        (self.shown_at, self.unshown) = (Instant::now(), false);
    }

    fn count(&self, inbox: &mpsc::Receiver<Message>) {
        self.metrics.queue_depth.set(inbox.len() as i64);
        self.metrics.parked_claims.set(self.claims.len() as i64);
        self.metrics.queued_writes.set(self.writes.len() as i64);
        self.metrics.running_attempts.set(self.events.running());
    }
}

impl Drop for Actor {
    /// However the actor ends, by a panic as well: nobody must believe that it still leads, and no stream waits on.
    fn drop(&mut self) {
        self.leading.store(false, Ordering::Release);
        self.events.close();
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
