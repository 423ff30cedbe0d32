//! The simulated workers: each keeps models, runs one request at a time, renews at a third of its lease and claims again
//! when it is free.

use std::time::Duration;

use tintype_scheduler::{ClaimSeen, FinishedSeen, Observation, RenewedSeen};
use tintype_types::worker::{Gpu, Outcome, WarmUpStanding};
use tintype_types::{Attempt, JobId, WorkerId};

use crate::{Doing, Fleet, RESIDENT_MODELS, Row, Schedule, Work};

/// Memory a model takes, and a GPU has: room for [`RESIDENT_MODELS`] and no more.
pub(crate) const MODEL_BYTES: u64 = 10 << 30;
const GPU_BYTES: u64 = RESIDENT_MODELS as u64 * MODEL_BYTES + (3 << 30);

/// Something that happens at a moment. At the same moment workers come before arrivals, so that a GPU that frees up is
/// seen free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// A worker ends what it was given as its `turn`-th task.
    Done { worker: usize, turn: u32 },
    /// A worker reports that it goes on.
    Renew { worker: usize, turn: u32 },
    /// A worker has the model it was told to load.
    Warmed { worker: usize, turn: u32 },
    /// A request arrives.
    Arrival(usize),
    /// The scheduler asked to be called.
    Tick,
}

/// All workers.
pub(crate) struct Workers<'a> {
    work: &'a Work,
    all: Vec<Worker>,
    renew_ms: u64,
    rows: Vec<Row>,
}

#[derive(Clone, Debug, Default)]
struct Worker {
    /// Most recently used first.
    resident: Vec<usize>,
    /// Counts what it was given, so that what was planned for an earlier task is void.
    turn: u32,
    task: Option<Task>,
}

/// What a worker does now.
#[derive(Clone, Copy, Debug)]
struct Task {
    request: usize,
    attempt: Attempt,
    given_ms: u64,
    /// When the model is in memory and steps begin.
    runs_ms: u64,
    done_ms: u64,
}

impl<'a> Workers<'a> {
    /// Workers with nothing in memory.
    pub(crate) fn new(work: &'a Work, fleet: Fleet, lease: Duration) -> Self {
        let renew_ms = (lease.as_millis() as u64 / 3).max(1);
        Self { work, all: vec![Worker::default(); fleet.gpus.max(1)], renew_ms, rows: Vec::new() }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// What was done, in the order it was begun on each.
    pub(crate) fn schedule(&mut self) -> Schedule {
        let mut rows = std::mem::take(&mut self.rows);
        rows.sort_by_key(|row| (row.start_ms, row.worker));
        Schedule { rows }
    }

    /// The claim of a free worker.
    pub(crate) fn claim(&self, worker: usize) -> ClaimSeen {
        let name = |model: &usize| self.work.models[*model].name.clone();
        ClaimSeen {
            worker: name_of(worker),
            boot_id: "1".into(),
            pool: "gpus".into(),
            gpus: vec![Gpu {
                uuid: format!("GPU-{worker:04}"),
                name: "simulated".to_owned(),
                vram_total_bytes: GPU_BYTES,
                vram_free_bytes: GPU_BYTES - self.all[worker].resident.len() as u64 * MODEL_BYTES,
                ..Gpu::default()
            }],
            resident_models: self.all[worker].resident.iter().map(name).collect(),
            loadable_models: Vec::new(),
            free_slots: u32::from(self.all[worker].task.is_none()),
            warm_up: Some(WarmUpStanding::Ready),
            unwell: None,
        }
    }

    /// A free worker takes a request's attempt, and what happens next; `None` if there is no such worker or it is busy.
    pub(crate) fn assign(
        &mut self,
        name: &WorkerId,
        (request, attempt): (usize, Attempt),
        evict: &[String],
        now: u64,
    ) -> Option<[(u64, Event); 2]> {
        let worker = self.free(name)?;
        let asked = self.work.requests.get(request)?;
        let runs_ms = self.load(worker, (asked.model, Some(request)), evict, now);
        let done_ms = runs_ms + asked.service_ms();
        let state = &mut self.all[worker];
        state.turn += 1;
        state.task = Some(Task { request, attempt, given_ms: now, runs_ms, done_ms });
        let turn = state.turn;
        Some([(done_ms, Event::Done { worker, turn }), (now + self.renew_ms, Event::Renew { worker, turn })])
    }

    /// A free worker loads a model ahead of requests, and when it has it.
    pub(crate) fn warm(&mut self, name: &WorkerId, model: &str, evict: &[String], now: u64) -> Option<(u64, Event)> {
        let worker = self.free(name)?;
        let model = self.work.models.iter().position(|known| known.name == model)?;
        let done_ms = self.load(worker, (model, None), evict, now);
        let state = &mut self.all[worker];
        state.turn += 1;
        Some((done_ms, Event::Warmed { worker, turn: state.turn }))
    }

    fn free(&self, name: &WorkerId) -> Option<usize> {
        let worker = number_of(name).filter(|worker| *worker < self.all.len())?;
        self.all[worker].task.is_none().then_some(worker)
    }

    /// Brings a model into memory for a request or none; answers when it is there. If there is no room a model goes: one
    /// the scheduler named, else the least recently used.
    fn load(&mut self, worker: usize, (model, request): (usize, Option<usize>), evict: &[String], now: u64) -> u64 {
        let resident = &mut self.all[worker].resident;
        if let Some(place) = resident.iter().position(|resident| *resident == model) {
            resident.remove(place);
            resident.insert(0, model);
            return now;
        }
        let named = resident.iter().rposition(|resident| evict.contains(&self.work.models[*resident].name));
        let full = resident.len() >= RESIDENT_MODELS;
        let evicts = full.then(|| resident.remove(named.unwrap_or(resident.len() - 1)));
        resident.insert(0, model);
        let end_ms = now + self.work.models[model].load_ms;
        self.rows.push(Row { worker, model, start_ms: now, end_ms, doing: Doing::Load { request, evicts } });
        end_ms
    }

    /// A worker renews or is done.
    pub(crate) fn happen(&mut self, event: Event, now: u64) -> (Vec<Observation>, Option<(u64, Event)>) {
        let (Event::Done { worker, turn } | Event::Renew { worker, turn } | Event::Warmed { worker, turn }) = event
        else {
            return (Vec::new(), None);
        };
        let state = &mut self.all[worker];
        if matches!(event, Event::Warmed { .. }) && state.turn == turn {
            return (vec![Observation::Claim(self.claim(worker))], None);
        }
        let Some(task) = state.task.filter(|_| state.turn == turn) else { return (Vec::new(), None) };
        let request = &self.work.requests[task.request];
        let (job, id) = (JobId(format!("{:07}", task.request)), name_of(worker));
        if matches!(event, Event::Renew { .. }) {
            let step = (now.saturating_sub(task.runs_ms + request.fixed_ms) / request.step_ms) as u32;
            let renewed = RenewedSeen {
                job,
                attempt: task.attempt,
                worker: id,
                boot_id: "1".into(),
                step: step.min(request.steps) * request.images,
                steps: request.steps * request.images,
            };
            return (vec![Observation::Renewed(renewed)], Some((now + self.renew_ms, event)));
        }
        state.task = None;
        let doing = Doing::Run { request: task.request, from: 0, to: request.steps };
        self.rows.push(Row { worker, model: request.model, start_ms: task.runs_ms, end_ms: task.done_ms, doing });
        let finished = FinishedSeen {
            job,
            attempt: task.attempt,
            worker: id,
            boot_id: "1".into(),
            outcome: Outcome::Done { outputs: Vec::new() },
            gpu_ms: now - task.given_ms,
        };
        (vec![Observation::Finished(finished), Observation::Claim(self.claim(worker))], None)
    }
}

fn name_of(worker: usize) -> WorkerId {
    WorkerId(format!("{worker:05}"))
}

fn number_of(name: &WorkerId) -> Option<usize> {
    name.as_str().parse().ok()
}
