//! When a job should start and end, by the plan as it stands: jobs before it in line, in their order, each on the lane that
//! has it done first, as if nothing more came. Nothing here changes the state.
//!
//! Fairness between queues and what comes meanwhile move a real start; how far real durations stray from estimated ones
//! is learned ([`crate::cost::Spread`]) and makes the 50th and the 90th percentile.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tintype_types::{JobId, Timestamp};

use crate::cost::Spread;
use crate::index::{Delay, Filed};
use crate::job::{Job, Run, Stand};
use crate::line::{Class, Turn};
use crate::names::{Name, Tag};
use crate::state::Core;

/// Jobs before this one that are laid out one by one; of more, the time is shared out evenly.
const AHEAD_MAX: usize = 20_000;
/// Lanes looked at; with more, a job starts about as soon.
const LANES_MAX: usize = 10_000;

/// When a job should start and end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Estimate {
    /// As likely before as after this it starts, or it started then.
    pub starts_p50: Timestamp,
    /// As likely before as after this it ends.
    pub ends_p50: Timestamp,
    /// Nine times in ten it ends before this.
    pub ends_p90: Timestamp,
    /// Jobs that go before it, on workers it could use.
    pub ahead: u32,
    /// What it runs, in milliseconds.
    pub run_ms: u32,
    /// What loading its model first takes, in milliseconds; 0 where a worker that has it takes the job.
    pub load_ms: u32,
}

/// Lanes by when they are free, and by the model they then have in memory.
#[derive(Default)]
struct Lanes {
    all: BTreeSet<(u64, usize)>,
    warm: BTreeMap<Name, BTreeSet<(u64, usize)>>,
    models: Vec<Vec<Name>>,
}

impl Lanes {
    fn add(&mut self, free_at: u64, models: Vec<Name>) {
        let lane = self.models.len();
        self.models.push(models);
        self.put(lane, free_at);
    }

    fn put(&mut self, lane: usize, free_at: u64) {
        self.all.insert((free_at, lane));
        for model in &self.models[lane] {
            self.warm.entry(*model).or_default().insert((free_at, lane));
        }
    }

    fn take(&mut self, at: (u64, usize)) {
        self.all.remove(&at);
        for model in &self.models[at.1] {
            if let Some(warm) = self.warm.get_mut(model) {
                warm.remove(&at);
            }
        }
    }

    /// Lays a job out: when its lane takes it, and what loading costs there. Warm where that is no later.
    fn lay(&mut self, model: Name, run_ms: u64, load_ms: u64) -> Option<(u64, u64)> {
        let cold = *self.all.first()?;
        let warm = self.warm.get(&model).and_then(BTreeSet::first).copied();
        let (lane, load_ms) = match warm {
            Some(warm) if warm.0 <= cold.0.saturating_add(load_ms) => (warm, 0),
            Some(_) | None => (cold, load_ms),
        };
        self.take(lane);
        if load_ms > 0 {
            self.models[lane.1] = vec![model];
        }
        self.put(lane.1, lane.0.saturating_add(load_ms).saturating_add(run_ms));
        Some((lane.0, load_ms))
    }
}

impl Core {
    /// When a job should start and end.
    pub(crate) fn estimate(&self, id: &JobId) -> Option<Estimate> {
        let tag = self.state.jobs.find(id)?;
        let job = self.state.jobs.get(tag)?;
        let turn = || Turn::of(tag, job.seen.priority, job.when(self.state.now, &self.config));
        match (job.stand(), self.index.filed(tag)?) {
            (Stand::Out(run), _) => Some(self.estimate_running(job, run)),
            (Stand::Waiting, Filed::Promised(worker, _)) => Some(self.estimate_promised(job, worker)),
            (Stand::Waiting, Filed::Ready(class, turn)) => self.plan(class, turn, job.run_ms, self.state.now),
            (Stand::Waiting, Filed::Delayed(Delay::BackingOff)) => {
                let from = job.seen.not_before.unwrap_or_default();
                self.plan(Class::of(&job.seen), turn(), job.run_ms, from)
            }
            (Stand::Waiting, Filed::Delayed(Delay::Unsettled)) => {
                self.plan(Class::of(&job.seen), turn(), job.run_ms, self.state.now)
            }
            // Nobody knows whether an unknown model will ever be told of.
            (Stand::Ended, _)
            | (
                Stand::Waiting,
                Filed::Delayed(Delay::UnknownModel) | Filed::Out { .. } | Filed::Ending | Filed::Ended(_),
            ) => None,
        }
    }

    /// By the steps it reported where there are some, else by what was expected.
    fn estimate_running(&self, job: &Job, run: &Run) -> Estimate {
        let Spread { p50, p90 } = self.state.costs.spread();
        let now = self.state.now;
        let so_far = ms(run.assigned_at, now);
        let expected = ms(run.assigned_at, run.ends_at);
        let total = if run.step > 0 && run.steps > 0 {
            let by_steps = so_far as f64 * f64::from(run.steps) / f64::from(run.step);
            (by_steps, by_steps * (p90 / p50).max(1.0))
        } else {
            (expected as f64 * p50, expected as f64 * p90)
        };
        let end = |total: f64| run.assigned_at.plus(Duration::from_millis(total as u64)).max(now);
        Estimate {
            starts_p50: run.assigned_at,
            ends_p50: end(total.0),
            ends_p90: end(total.1),
            ahead: 0,
            run_ms: job.run_ms,
            load_ms: if run.cold { self.state.costs.load_ms(job.seen.model) } else { 0 },
        }
    }

    /// It takes its worker when what runs there ends.
    fn estimate_promised(&self, job: &Job, worker: Tag) -> Estimate {
        let Spread { p50, p90 } = self.state.costs.spread();
        let (now, run_ms) = (self.state.now, u64::from(job.run_ms));
        let runs = self.index.runs_of(worker.name());
        let ends = runs.filter_map(|tag| Some(self.state.jobs.get(tag)?.run.as_ref()?.ends_at));
        let wait_ms = ends.max().map_or(0, |ends| ms(now, ends));
        let after = |ms: u64, times: f64| now.plus(Duration::from_millis((ms as f64 * times) as u64));
        Estimate {
            starts_p50: after(wait_ms, p50),
            ends_p50: after(wait_ms + run_ms, p50),
            ends_p90: after(wait_ms + run_ms, p90),
            ahead: 0,
            run_ms: job.run_ms,
            load_ms: 0,
        }
    }

    /// When a job of this class at this place in line, that runs this long, should start and end.
    pub(crate) fn plan(&self, class: Class, turn: Turn, run_ms: u32, not_before: Timestamp) -> Option<Estimate> {
        let now = self.state.now;
        let mut lanes = self.lanes(class);
        let count = lanes.models.len();
        let before = self.before(class, turn);
        let (laid, rest) = before.split_at(before.len().min(AHEAD_MAX));
        for (other, _) in laid {
            let Some(other) = self.state.jobs.get(*other) else { continue };
            let load_ms = u64::from(self.state.costs.load_ms(other.seen.model));
            lanes.lay(other.seen.model, u64::from(other.run_ms), load_ms)?;
        }
        let shared: u64 = rest.iter().map(|(_, run_ms)| u64::from(*run_ms)).sum();
        let load_ms = u64::from(self.state.costs.load_ms(class.model));
        let (start, load_ms) = lanes.lay(class.model, u64::from(run_ms), load_ms)?;
        let wait_ms = start.saturating_sub(now.0).saturating_add(shared / count.max(1) as u64);
        let wait_ms = wait_ms.max(not_before.0.saturating_sub(now.0));
        let Spread { p50, p90 } = self.state.costs.spread();
        let after = |ms: u64, times: f64| now.plus(Duration::from_millis((ms as f64 * times) as u64));
        let whole = wait_ms.saturating_add(load_ms).saturating_add(u64::from(run_ms));
        Some(Estimate {
            starts_p50: after(wait_ms, p50).max(not_before),
            ends_p50: after(whole, p50),
            ends_p90: after(whole, p90),
            ahead: u32::try_from(before.len()).unwrap_or(u32::MAX),
            run_ms,
            load_ms: load_ms as u32,
        })
    }

    /// What could run jobs of the class: each slot of a worker, free when what it runs should have ended.
    fn lanes(&self, class: Class) -> Lanes {
        let (mut lanes, now) = (Lanes::default(), self.state.now);
        let able = |worker: &&crate::worker::Worker| worker.in_pool(class) && worker.can_load(class.model);
        for worker in self.state.workers.values().filter(able) {
            let runs = self.index.runs_of(worker.tag.name());
            let ends = runs.filter_map(|id| Some(self.state.jobs.get(id)?.run.as_ref()?.ends_at.max(now).0));
            let ends: Vec<u64> = ends.collect();
            let slots = (worker.slots.max(1) as usize).max(ends.len());
            let promised = self.index.promised.get(&worker.tag).and_then(|(tag, _)| self.state.jobs.get(*tag));
            let promised_ms = promised.map_or(0, |job| u64::from(job.run_ms));
            for slot in 0..slots.min(LANES_MAX - lanes.models.len()) {
                let free_at = ends.get(slot).copied().unwrap_or(now.0).saturating_add(promised_ms);
                lanes.add(free_at, worker.holds.clone());
            }
        }
        lanes
    }

    /// Ready jobs before a turn that compete for the class's workers, in their order, with what each runs.
    fn before(&self, class: Class, turn: Turn) -> Vec<(Tag, u32)> {
        let shares = |other: &Class| other.pool.is_none() || class.pool.is_none() || other.pool == class.pool;
        let lines = self.index.lines.before(turn).filter(|(other, _)| shares(other));
        let mut turns: Vec<Turn> = lines.map(|(_, turn)| turn).filter(|before| before.job != turn.job).collect();
        turns.sort_unstable();
        let run_ms = |tag: Tag| self.state.jobs.get(tag).map_or(0, |job| job.run_ms);
        turns.into_iter().map(|turn| (turn.job, run_ms(turn.job))).collect()
    }
}

fn ms(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.since(from).as_millis()).unwrap_or(u64::MAX)
}
