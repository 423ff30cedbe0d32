//! Models loaded ahead of jobs: those that pools want in memory, and, where that is on, those likely to be asked for next.
//!
//! A warm-up takes nothing from anybody. It goes to a worker that runs nothing and says that it takes them, into memory that
//! is free or holds what nobody asks for; the worker goes on asking for work, and a job that comes is drawn first. One that
//! fails is left alone for a while, longer each time.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tintype_types::worker::WarmUpStanding;
use tintype_types::{FailureReason, PoolName, Timestamp, WorkerId};

use crate::config::WarmAhead;
use crate::decision::WarmUp;
use crate::demand::worth_of_copy;
use crate::line::Class;
use crate::marks::{Mark, WarmUpEnd};
use crate::names::{Name, Names};
use crate::place::{Losses, VRAM_FOR_MODELS};
use crate::state::Core;
use crate::worker::Worker;

/// A model is loaded ahead of jobs by forecast when that keeps this many more workers busy than what it replaces.
const WARM_GAIN: f64 = 0.4;
/// A model of which less work than this was asked, as demand fades, may be given up for a warm-up: half a day after a
/// picture of some seconds, a day after a hundred of them.
const ASKED_FOR_MS: f64 = 100.0;
/// Parked workers of a pool looked at for one that could load a model.
const LOOK_MAX: usize = 256;
/// Wait after the first failed warm-up of a model in a pool; it doubles with each.
const BACKOFF_BASE: Duration = Duration::from_secs(10);
/// Longest wait after a failed warm-up.
const BACKOFF_CAP: Duration = Duration::from_mins(10);
/// A load that takes longer than this has failed: jobs for the model are not to wait for it.
const LOAD_TIME_MAX: Duration = Duration::from_mins(10);
/// Failures remembered; beyond it those that may be tried again soonest are forgotten.
const FAILURES_MAX: usize = 1_024;

/// A model a pool wants in memory, and where that stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WarmWish {
    /// The pool.
    pub pool: PoolName,
    /// The model.
    pub model: String,
    /// Where it stands.
    pub standing: WarmStanding,
}

/// Where a model that a pool wants in memory stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "standing", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum WarmStanding {
    /// A worker has it in memory.
    Resident,
    /// A worker loads it.
    Loading {
        /// Which.
        worker: WorkerId,
    },
    /// It could not be loaded, and is tried again later.
    Failed {
        /// How often in a row.
        failures: u32,
        /// Why, the last time.
        reason: FailureReason,
        /// For people.
        message: String,
        /// When it may be tried again.
        retry_at: Timestamp,
    },
    /// No worker of the pool that is there says that it can load it.
    NoWorker,
    /// Every worker that could load it is at work.
    Busy,
    /// The memory of every worker that could load it is full of models that are asked for or wanted warm.
    NoRoom,
}

/// A model that could not be loaded ahead of jobs in a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    count: u32,
    until: Timestamp,
    reason: FailureReason,
    message: String,
}

/// Failures by pool and model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failures(BTreeMap<(Name, Name), Failure>);

impl Failures {
    fn add(&mut self, key: (Name, Name), now: Timestamp, (reason, message): (FailureReason, String)) {
        let count = self.0.get(&key).map_or(0, |before| before.count).saturating_add(1);
        let pause = BACKOFF_BASE.saturating_mul(1 << count.saturating_sub(1).min(16)).min(BACKOFF_CAP);
        self.0.insert(key, Failure { count, until: now.plus(pause), reason, message });
        while self.0.len() > FAILURES_MAX
            && let Some(soonest) =
                self.0.iter().min_by_key(|(key, failure)| (failure.until, **key)).map(|(key, _)| *key)
        {
            self.0.remove(&soonest);
        }
    }

    fn keeps_back(&self, key: (Name, Name), now: Timestamp) -> bool {
        self.0.get(&key).is_some_and(|failure| failure.until > now)
    }

    /// Names that are in use here.
    pub(crate) fn names(&self) -> impl Iterator<Item = Name> {
        self.0.keys().flat_map(|(pool, model)| [*pool, *model])
    }

    /// All of them, to be kept.
    pub(crate) fn saved(&self, names: &Names) -> Vec<(String, String, Failure)> {
        let text = |name: Name| names.text(name).to_owned();
        self.0.iter().map(|((pool, model), failure)| (text(*pool), text(*model), failure.clone())).collect()
    }

    /// What was kept.
    pub(crate) fn restored(saved: Vec<(String, String, Failure)>, names: &mut Names) -> Self {
        let keyed =
            |(pool, model, failure): (String, String, Failure)| ((names.name(&pool), names.name(&model)), failure);
        Self(saved.into_iter().map(keyed).collect())
    }
}

/// What keeps every worker of a pool from loading a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hindrance {
    NoWorker,
    Busy,
    NoRoom,
}

impl Core {
    /// Has a parked worker nobody has work for load a model: one that its pool wants in memory and that nobody there has, or,
    /// at most once in a while as that looks at every model, the one that is shortest of copies.
    pub(crate) fn warm_up(&mut self) -> Option<WarmUp> {
        if self.index.parked.len() == 0 {
            return None;
        }
        let wanted = self.wanted_warm();
        let for_gain = wanted.is_none() && self.config.warm_ahead == WarmAhead::ForGain;
        let (worker, model) = wanted.or_else(|| self.worth_warming())?;
        let state = self.state.workers.get(&worker)?;
        let (evict, may_go) = if for_gain {
            let evict = self.evictions(state, model);
            (evict.clone(), evict)
        } else {
            // The worker knows its memory best, so it is told all that may go.
            (self.spare_for(state, model)?, self.spare(state))
        };
        let boot_id = state.claim.boot_id.clone();
        self.end_claim(worker, None);
        self.hold(worker, model, &evict);
        let now = self.state.now;
        if let Some(state) = self.state.workers.get_mut(&worker) {
            state.warming = Some((model, now));
        }
        let text = |name| self.state.names.text(name).to_owned();
        let evict = may_go.into_iter().map(text).collect();
        Some(WarmUp { worker: text(worker).into(), boot_id, model: text(model), evict })
    }

    /// When a warm-up that failed may be tried again, if a pool still wants it.
    pub(crate) fn warm_retry_at(&self) -> Option<Timestamp> {
        let later = self
            .state
            .unwarmed
            .0
            .iter()
            .filter(|(key, failure)| failure.until > self.state.now && self.wants_warm(key.0, key.1));
        later.map(|(_, failure)| failure.until).min()
    }

    /// A worker claims: what became of what it was told to load. Answers what it still loads.
    pub(crate) fn warm_up_heard(
        &mut self,
        name: Name,
        resident: &[Name],
        said: Option<WarmUpStanding>,
    ) -> Option<Name> {
        let now = self.state.now;
        let worker = self.state.workers.get_mut(&name)?;
        let (model, since) = worker.warming.take()?;
        let key = (worker.claim.pool, model);
        let took = now.since(since);
        let said = said.unwrap_or(WarmUpStanding::Ready);
        let about = |said: &str| self.state.names.find(said) == Some(model);
        let end = if resident.contains(&model) {
            self.state.costs.learn_load(model, u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
            self.state.unwarmed.0.remove(&key);
            WarmUpEnd::Loaded
        } else {
            match said {
                WarmUpStanding::Loading { model: said } if about(&said) && took < LOAD_TIME_MAX => {
                    worker.warming = Some((model, since));
                    return Some(model);
                }
                WarmUpStanding::Loading { model: said } if about(&said) => {
                    let message = format!("loading it takes longer than {} s", LOAD_TIME_MAX.as_secs());
                    self.state.unwarmed.add(key, now, (FailureReason::Internal, message));
                    WarmUpEnd::Failed
                }
                WarmUpStanding::Failed { model: said, reason, message } if about(&said) => {
                    self.state.unwarmed.add(key, now, (reason, message));
                    WarmUpEnd::Failed
                }
                // A job came first, or it was never heard of: it is wanted as before.
                WarmUpStanding::Ready
                | WarmUpStanding::Loading { .. }
                | WarmUpStanding::Failed { .. }
                | WarmUpStanding::Superseded { .. } => WarmUpEnd::Superseded,
            }
        };
        self.mark(Mark::WarmUp { end });
        None
    }

    /// Where the models that pools want in memory stand, by pool and in the order each names them.
    pub(crate) fn warm_wishes(&self) -> Vec<WarmWish> {
        let of = |pool: &crate::observation::PoolSeen| {
            let wish = |model: &String| WarmWish {
                pool: pool.name.clone(),
                model: model.clone(),
                standing: self.warm_standing(pool.name.as_str(), model),
            };
            pool.warm_models.iter().map(wish).collect::<Vec<_>>()
        };
        self.state.pools.values().flat_map(of).collect()
    }

    fn warm_standing(&self, pool: &str, model: &str) -> WarmStanding {
        let names = &self.state.names;
        let (Some(pool), Some(model)) = (names.find(pool), names.find(model)) else { return WarmStanding::NoWorker };
        let here = || self.state.workers.values().filter(|worker| worker.claim.pool == pool);
        if here().any(|worker| worker.claim.resident.contains(&model)) {
            return WarmStanding::Resident;
        }
        let loads = |worker: &&Worker| worker.holds.contains(&model);
        if let Some(worker) = here().find(loads) {
            return WarmStanding::Loading { worker: names.text(worker.tag.name()).into() };
        }
        if let Some(Failure { count, until, reason, message }) = self.state.unwarmed.0.get(&(pool, model)) {
            let (failures, reason, message, retry_at) = (*count, *reason, message.clone(), *until);
            return WarmStanding::Failed { failures, reason, message, retry_at };
        }
        match self.warm_place(pool, model) {
            Err(Hindrance::NoWorker) => WarmStanding::NoWorker,
            Err(Hindrance::NoRoom) => WarmStanding::NoRoom,
            // One that could is about to be told.
            Ok(_) | Err(Hindrance::Busy) => WarmStanding::Busy,
        }
    }

    fn wants_warm(&self, pool: Name, model: Name) -> bool {
        let (pool, model) = (self.state.names.text(pool), self.state.names.text(model));
        let pool = self.state.pools.get(&PoolName::from(pool));
        pool.is_some_and(|pool| pool.warm_models.iter().any(|warm| warm == model))
    }

    /// A model that a pool wants in memory, that nobody there holds or loads, and a worker for it.
    fn wanted_warm(&self) -> Option<(Name, Name)> {
        let names = &self.state.names;
        let wishes = self.state.pools.values().filter(|pool| pool.used_up.is_none()).flat_map(|pool| {
            let name = names.find(pool.name.as_str());
            pool.warm_models.iter().filter_map(move |model| Some((name?, names.find(model)?)))
        });
        let mut unmet = wishes.filter(|(pool, model)| {
            self.index.holders.count(*model, Some(*pool)) == 0
                && !self.state.unwarmed.keeps_back((*pool, *model), self.state.now)
        });
        unmet.find_map(|(pool, model)| Some((self.warm_place(pool, model).ok()?, model)))
    }

    fn worth_warming(&mut self) -> Option<(Name, Name)> {
        let (now, due) = (self.state.now, self.state.warmed_at.plus(self.config.warm_interval));
        if self.config.warm_ahead == WarmAhead::Never || now < due {
            return None;
        }
        self.state.warmed_at = now;
        let gain = |model| {
            let demand = self.state.demand.of(model, self.state.workers.len());
            worth_of_copy(demand, self.index.holders.count(model, None) + 1)
        };
        let text = |name| self.state.names.text(name);
        let known = self.state.demand.models().filter(|model| self.state.models.contains_key(model));
        let gains = known.map(|model| (gain(model), model));
        let (most, model) = gains.max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| text(a.1).cmp(text(b.1))))?;
        let (loss, worker) = self.least_loss(&mut Losses::new(), Class { pool: None, model })?;
        let state = self.state.workers.get(&worker)?;
        let kept_back = self.state.unwarmed.keeps_back((state.claim.pool, model), now);
        if most - loss <= WARM_GAIN || kept_back || !self.takes_warm_ups(state) {
            return None;
        }
        match self.config.warm_ahead {
            WarmAhead::Never => None,
            WarmAhead::ForGain => Some((worker, model)),
            WarmAhead::IntoSpare => self.spare_for(state, model).map(|_| (worker, model)),
        }
    }

    /// The worker of a pool that loses least by loading a model, among those that run nothing.
    fn warm_place(&self, pool: Name, model: Name) -> Result<Name, Hindrance> {
        let able = |worker: &&Worker| worker.claim.takes_warm_ups && worker.can_load(model);
        let here = self.index.parked.workers(Some(pool)).take(LOOK_MAX);
        let here = here.filter_map(|tag| self.state.workers.get(&tag.name())).filter(able);
        let mut hindrance = Hindrance::NoWorker;
        let mut best: Option<(usize, Name)> = None;
        for worker in here {
            if !self.takes_warm_ups(worker) {
                hindrance = Hindrance::Busy;
                continue;
            }
            match self.spare_for(worker, model) {
                // The emptiest, that others have room as well.
                Some(gone) => {
                    let rank = (gone.len() * LOOK_MAX + worker.holds.len(), worker.tag.name());
                    if best.is_none_or(|best| rank < best) {
                        best = Some(rank);
                    }
                }
                None if hindrance == Hindrance::NoWorker => hindrance = Hindrance::NoRoom,
                None => {}
            }
        }
        if best.is_none() && hindrance == Hindrance::NoWorker {
            let at_work = |worker: &Worker| worker.claim.pool == pool && !worker.parked && able(&worker);
            if self.state.workers.values().any(at_work) {
                return Err(Hindrance::Busy);
            }
        }
        best.map(|(_, worker)| worker).ok_or(hindrance)
    }

    /// Whether a worker that waits for work could be told to load something: it runs nothing and loads nothing.
    fn takes_warm_ups(&self, worker: &Worker) -> bool {
        worker.claim.takes_warm_ups && worker.warming.is_none() && !self.index.runs_any(worker.tag.name())
    }

    /// What goes when a worker loads one more model ahead of jobs: of what nobody asks for, those worth least, until it fits.
    /// `None` where it does not fit. Where sizes are not known the worker judges, and gives up none but those either.
    fn spare_for(&self, worker: &Worker, model: Name) -> Option<Vec<Name>> {
        let size = |name: &Name| self.state.models.get(name).map(|seen| seen.vram_bytes).filter(|bytes| *bytes > 0);
        let memory: u64 = worker.claim.gpus.iter().map(|gpu| gpu.vram_total_bytes).sum();
        let held: Option<u64> = worker.holds.iter().map(size).sum();
        let (Some(wanted), Some(held)) = (size(&model), held) else { return Some(Vec::new()) };
        if memory == 0 {
            return Some(Vec::new());
        }
        let room = (memory as f64 * VRAM_FOR_MODELS) as u64;
        let (mut filled, mut gone) = (held.saturating_add(wanted), Vec::new());
        let mut spare = self.spare(worker).into_iter();
        while filled > room {
            let name = spare.next()?;
            filled = filled.saturating_sub(size(&name).unwrap_or_default());
            gone.push(name);
        }
        Some(gone)
    }

    /// Models of a worker that nobody asks for and no pool of it wants in memory, those worth least first.
    fn spare(&self, worker: &Worker) -> Vec<Name> {
        let asked_for = |model: Name| {
            self.index.backlog_ms(model) > 0
                || self.state.demand.fresh_ms(model, self.state.now, &self.config) >= ASKED_FOR_MS
                || self.wants_warm(worker.claim.pool, model)
        };
        let mut spare: Vec<Name> = worker.holds.iter().copied().filter(|model| !asked_for(*model)).collect();
        let text = |name| self.state.names.text(name);
        spare.sort_by(|a, b| self.worth(*a).total_cmp(&self.worth(*b)).then_with(|| text(*a).cmp(text(*b))));
        spare
    }
}
