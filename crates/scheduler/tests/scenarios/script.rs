//! The line language of scenarios. Each line is a fact, a question, or the clock; `tests/scenarios/README.md` lists
//! them.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

use tintype_scheduler::{
    ClaimSeen, Config, Decision, FinishedSeen, JobSeen, ModelSeen, Observation, Place, PoolSeen, QueueSeen,
    RenewedSeen, Scheduler,
};
use tintype_types::worker::{CheckpointLeft, Outcome};
use tintype_types::{Attempt, BootId, FailureReason, JobId, Output, Timestamp, WorkerId};

use crate::record::{Record, Refused, about};
use crate::tell;

/// A script that ticks more often than this between two lines goes round in circles.
const TICKS_MAX: u32 = 1_000;

/// Runs a script and answers its transcript.
pub(crate) fn run(script: &str) -> Result<String, String> {
    let mut play = Play {
        scheduler: Scheduler::new(Config::default()),
        record: Record::default(),
        now: Timestamp(0),
        held: None,
        transcript: String::new(),
    };
    for (number, line) in script.lines().enumerate() {
        let _ = writeln!(play.transcript, "{line}");
        let words = line.split('#').next().unwrap_or_default();
        play.line(words.trim()).map_err(|error| format!("line {}: cannot read {line:?}: {error}", number + 1))?;
    }
    Ok(play.transcript)
}

struct Play {
    scheduler: Scheduler,
    record: Record,
    now: Timestamp,
    /// Decisions held back, if writes are held.
    held: Option<VecDeque<Decision>>,
    transcript: String,
}

impl Play {
    fn line(&mut self, line: &str) -> Result<(), String> {
        let mut words = Words::new(line);
        match words.next() {
            "" => {}
            "at" => self.advance(words.time()?),
            "budget" => {
                let fairness_budget = Duration::from_millis(words.time()?.0);
                self.scheduler = Scheduler::new(Config { fairness_budget, ..Config::default() });
            }
            "queue" => self.queue(&mut words)?,
            "pool" => {
                let pool = PoolSeen { name: words.next().into(), warm_models: Vec::new(), used_up: None };
                self.record.pools.insert(pool.name.0.clone(), pool.clone());
                self.see(Observation::Pool(pool));
            }
            "model" if words.peek(1) == "gone" => {
                let name = words.next().to_owned();
                self.record.models.remove(&name);
                self.see(Observation::ModelGone(name));
            }
            "model" => {
                let model = ModelSeen { name: words.next().to_owned(), vram_bytes: 0 };
                self.record.models.insert(model.name.clone(), model.clone());
                self.see(Observation::Model(model));
            }
            "job" => self.job(&mut words)?,
            "cancel" => {
                let job = self.record.jobs.get_mut(&JobId::from(words.next())).ok_or("no such job")?;
                job.cancelled = true;
                let seen = Box::new(job.clone());
                self.see(Observation::Job(seen));
            }
            "gone" => {
                let id = JobId::from(words.next());
                self.record.jobs.remove(&id);
                self.see(Observation::JobGone(id));
            }
            "claim" => self.claim(&mut words)?,
            "unclaim" => {
                let (worker, boot_id) = words.worker();
                self.see(Observation::ClaimEnded(worker, boot_id));
            }
            "renew" => self.renew(&mut words)?,
            "finish" => self.finish(&mut words)?,
            "stale" => self.stale(&mut words)?,
            "hold" => self.held = Some(VecDeque::new()),
            "write" => self.write_held(Fate::Done)?,
            "lose" => self.write_held(Fate::Lost)?,
            "lose-answer" => self.write_held(Fate::AnswerLost)?,
            "see" => {
                let job = self.record.jobs.get(&JobId::from(words.next())).ok_or("no such job")?;
                let seen = Box::new(job.clone());
                self.see(Observation::Job(seen));
            }
            "reset" => self.see(Observation::Reset(Box::new(self.record.world()))),
            "restart" => {
                self.scheduler = Scheduler::new(Config::default());
                self.see(Observation::Reset(Box::new(self.record.world())));
            }
            other => self.question(other, &mut words)?,
        }
        words.done()
    }

    fn question(&mut self, asked: &str, words: &mut Words<'_>) -> Result<(), String> {
        match asked {
            "why" => {
                let verdict = tell::verdict(self.scheduler.verdict(&words.next().into()));
                self.say(&verdict);
            }
            "ask" => {
                let (job, attempt) = words.attempt()?;
                let (worker, boot_id) = words.worker();
                let standing = tell::standing(&self.scheduler.attempt(&job, attempt, &worker, &boot_id));
                self.say(&standing);
            }
            "skipped" => {
                let skipped = self.scheduler.skipped(&words.next().into());
                self.say(&format!("{skipped:?}"));
            }
            "deadline" => {
                let deadline = self.scheduler.next_deadline();
                self.say(&deadline.map_or("none".to_owned(), |(at, why)| format!("{} {why}", tell::time(at))));
            }
            other => return Err(format!("no such line as {other:?}")),
        }
        Ok(())
    }

    /// Moves the clock, ticking at every deadline on the way.
    fn advance(&mut self, to: Timestamp) {
        for _ in 0..TICKS_MAX {
            let Some((at, _)) = self.scheduler.next_deadline().filter(|(at, _)| *at <= to) else { break };
            self.now = self.now.max(at);
            self.see(Observation::Tick);
        }
        self.now = to;
        self.see(Observation::Tick);
    }

    /// Tells the scheduler and carries out what it answers.
    fn see(&mut self, seen: Observation) {
        let mut decisions: VecDeque<Decision> = self.scheduler.step(self.now, seen).into();
        while let Some(decision) = decisions.pop_front() {
            self.say(&tell::decision(&decision));
            if let Some(held) = &mut self.held {
                held.push_back(decision);
                continue;
            }
            if let Some(back) = self.carry_out(&decision) {
                decisions.extend(self.scheduler.step(self.now, back));
            }
        }
    }

    fn carry_out(&mut self, decision: &Decision) -> Option<Observation> {
        let (job, attempt) = about(decision);
        match self.record.write(decision) {
            Ok(written) => written.map(|seen| Observation::Job(Box::new(seen))),
            Err(Refused) => Some(Observation::WriteFailed { job: job.clone(), attempt }),
        }
    }

    /// Ends the holding of writes: the same becomes of all.
    fn write_held(&mut self, fate: Fate) -> Result<(), String> {
        for decision in self.held.take().ok_or("writes are not held")? {
            let (job, attempt) = about(&decision);
            let lost = Observation::WriteFailed { job: job.clone(), attempt };
            let back = match fate {
                Fate::Done => self.carry_out(&decision),
                Fate::Lost => Some(lost),
                Fate::AnswerLost => self.carry_out(&decision).map(|_| lost),
            };
            if let Some(back) = back {
                self.see(back);
            }
        }
        Ok(())
    }

    fn queue(&mut self, words: &mut Words<'_>) -> Result<(), String> {
        let mut queue = QueueSeen { key: words.next().into(), weight: 1, running_max: None, ..QueueSeen::default() };
        while let Some(word) = words.more() {
            match word {
                "weight" => queue.weight = words.number()?,
                "quota" => queue.running_max = Some(words.number()?),
                other => return Err(format!("a queue has no {other:?}")),
            }
        }
        self.record.queues.insert(queue.key.0.clone(), queue.clone());
        self.see(Observation::Queue(queue));
        Ok(())
    }

    fn job(&mut self, words: &mut Words<'_>) -> Result<(), String> {
        let mut job = JobSeen { submitted: self.now, ..JobSeen::new(words.next(), "main", "shapes") };
        while let Some(word) = words.more() {
            match word {
                "queue" => job.queue = words.next().into(),
                "priority" => job.priority = words.number()?,
                "model" => words.next().clone_into(&mut job.model),
                "pool" => job.pool = Some(words.next().into()),
                "steps" => job.work_steps = words.number()?,
                "submitted" => job.submitted = words.time()?,
                "deadline" => job.deadline = Some(words.time()?),
                "refuse-late" => job.refuse_late = true,
                other => return Err(format!("a job has no {other:?}")),
            }
        }
        self.record.jobs.insert(job.id.clone(), job.clone());
        self.see(Observation::Job(Box::new(job)));
        Ok(())
    }

    fn claim(&mut self, words: &mut Words<'_>) -> Result<(), String> {
        let (worker, boot_id) = words.worker();
        let mut claim = ClaimSeen {
            worker,
            boot_id,
            pool: "gpus".into(),
            gpus: Vec::new(),
            resident_models: Vec::new(),
            loadable_models: Vec::new(),
            free_slots: 1,
            warm_up: None,
            unwell: None,
        };
        while let Some(word) = words.more() {
            match word {
                "pool" => claim.pool = words.next().into(),
                "resident" => claim.resident_models = words.list(),
                "loadable" => claim.loadable_models = words.list(),
                "slots" => claim.free_slots = words.number()?,
                other => return Err(format!("a claim has no {other:?}")),
            }
        }
        self.see(Observation::Claim(claim));
        Ok(())
    }

    fn renew(&mut self, words: &mut Words<'_>) -> Result<(), String> {
        let (job, attempt) = words.attempt()?;
        let (worker, boot_id) = words.worker();
        let (mut step, mut steps) = (0, 0);
        while let Some(word) = words.more() {
            match word {
                "step" => step = words.number()?,
                "of" => steps = words.number()?,
                other => return Err(format!("a renewal has no {other:?}")),
            }
        }
        self.see(Observation::Renewed(RenewedSeen { job, attempt, worker, boot_id, step, steps }));
        Ok(())
    }

    fn finish(&mut self, words: &mut Words<'_>) -> Result<(), String> {
        let (job, attempt) = words.attempt()?;
        let (worker, boot_id) = words.worker();
        let outcome = match words.next() {
            "done" => {
                let key = format!("jobs/{job}/{attempt}/0.png");
                let output = Output { key, sha256: "0".repeat(64), bytes: 1, width: 64, height: 64, seed: 7 };
                Outcome::Done { outputs: vec![output] }
            }
            "failed" => {
                let name = words.next();
                let reason = FailureReason::ALL.into_iter().find(|reason| reason.as_str() == name);
                let reason = reason.ok_or_else(|| format!("no such reason as {name:?}"))?;
                let retryable = words.more() != Some("for-good");
                Outcome::Failed { reason, message: "as the worker says".to_owned(), retryable }
            }
            "preempted" => {
                let step = words.number()?;
                Outcome::Preempted { checkpoint: Some(CheckpointLeft { step, bytes: 1, sha256: "0".repeat(64) }) }
            }
            other => return Err(format!("an attempt does not end {other:?}")),
        };
        self.see(Observation::Finished(FinishedSeen { job, attempt, worker, boot_id, outcome, gpu_ms: 900 }));
        Ok(())
    }

    /// A late observation: the job as it once was.
    fn stale(&mut self, words: &mut Words<'_>) -> Result<(), String> {
        let (id, attempt) = words.attempt()?;
        let place = match words.next() {
            "queued" => Place::Queued,
            "assigned" => Place::Assigned(words.next().into()),
            other => return Err(format!("a job is not {other:?}")),
        };
        let now = self.record.jobs.get(&id).ok_or("no such job")?;
        let seen = JobSeen { attempt, place, cancelled: false, ..now.clone() };
        self.see(Observation::Job(Box::new(seen)));
        Ok(())
    }

    fn say(&mut self, text: &str) {
        let _ = writeln!(self.transcript, "    {:>7}  {text}", tell::time(self.now));
    }
}

/// What becomes of writes that were held back.
#[derive(Clone, Copy)]
enum Fate {
    Done,
    Lost,
    AnswerLost,
}

/// The words of a line, taken one by one.
struct Words<'a> {
    words: VecDeque<&'a str>,
}

impl<'a> Words<'a> {
    fn new(line: &'a str) -> Self {
        Self { words: line.split_whitespace().collect() }
    }

    fn next(&mut self) -> &'a str {
        self.more().unwrap_or_default()
    }

    fn more(&mut self) -> Option<&'a str> {
        self.words.pop_front()
    }

    fn peek(&self, ahead: usize) -> &'a str {
        self.words.get(ahead).copied().unwrap_or_default()
    }

    fn number<T: std::str::FromStr>(&mut self) -> Result<T, String> {
        let word = self.next();
        word.parse().map_err(|_| format!("{word:?} is not a number"))
    }

    /// `90s` or `1500ms`.
    fn time(&mut self) -> Result<Timestamp, String> {
        let word = self.next();
        let (digits, unit) = match word.strip_suffix("ms") {
            Some(digits) => (digits, 1),
            None => (word.trim_end_matches('s'), 1_000),
        };
        let number: u64 = digits.parse().map_err(|_| format!("{word:?} is not a time"))?;
        Ok(Timestamp(number * unit))
    }

    fn list(&mut self) -> Vec<String> {
        self.next().split(',').map(str::to_owned).collect()
    }

    /// `w1` is the first start of worker w1, `w1@2` the second.
    fn worker(&mut self) -> (WorkerId, BootId) {
        let word = self.next();
        let (worker, boot) = word.split_once('@').unwrap_or((word, "1"));
        (worker.into(), BootId(format!("boot {boot}")))
    }

    /// `a/2` is the second attempt of job a.
    fn attempt(&mut self) -> Result<(JobId, Attempt), String> {
        let word = self.next();
        let (job, attempt) = word.split_once('/').ok_or_else(|| format!("{word:?} names no attempt"))?;
        let attempt = attempt.parse().map_err(|_| format!("{word:?} names no attempt"))?;
        Ok((job.into(), Attempt(attempt)))
    }

    fn done(&self) -> Result<(), String> {
        self.words.front().map_or(Ok(()), |word| Err(format!("nothing to do with {word:?}")))
    }
}
