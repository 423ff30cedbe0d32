//! How much work is asked of each model, over hours: what decides which copies are worth keeping.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tintype_types::Timestamp;

use crate::config::Config;
use crate::exact::Exact;
use crate::names::{Name, Names};

/// Most models demand is kept for.
const KEPT_MAX: usize = 4_096;
/// What losing the last copy costs beyond the work it would do: the next request of it waits for a load.
const LAST_COPY: f64 = 0.5;

/// Memories after which what was asked is weighed anew, so that weights stay numbers.
const REWEIGH_AFTER: f64 = 20.0;
/// What counts for less than this part of a millisecond is forgotten then.
const FORGOTTEN_MS: f64 = 1e-6;

/// Work asked of each model, older work fading. Instead of letting old work fade, new work is given more weight: only
/// shares are ever asked for, and those need no exponential.
#[derive(Clone, Debug, Default)]
pub(crate) struct Demand {
    models: BTreeMap<Name, f64>,
    total: f64,
    /// Work asked then weighs 1.
    since: Timestamp,
}

/// [`Demand`] with texts for names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SavedDemand {
    models: BTreeMap<String, Exact>,
    total: Exact,
    since: Timestamp,
}

impl Demand {
    /// A job came that asks this work of a model.
    pub(crate) fn add(&mut self, model: Name, work_ms: u32, now: Timestamp, config: &Config) {
        if self.total <= 0.0 {
            self.since = now;
        }
        let mut age = now.since(self.since).as_secs_f64() / config.demand_memory.as_secs_f64().max(1.0);
        if age > REWEIGH_AFTER {
            for value in self.models.values_mut().chain([&mut self.total]) {
                *value *= (-age).exp();
            }
            self.models.retain(|_, value| *value > FORGOTTEN_MS);
            (self.since, age) = (now, 0.0);
        }
        let weight = f64::from(work_ms) * age.exp();
        self.total += weight;
        if let Some(known) = self.models.get_mut(&model) {
            *known += weight;
        } else if self.models.len() < KEPT_MAX {
            self.models.insert(model, weight);
        }
    }

    /// The workers, of `workers`, a model would keep busy were all of them busy.
    pub(crate) fn of(&self, model: Name, workers: usize) -> f64 {
        let Some(known) = self.models.get(&model) else { return 0.0 };
        if self.total <= 0.0 { 0.0 } else { workers as f64 * known / self.total }
    }

    /// Work asked of a model that has not faded yet, in milliseconds.
    pub(crate) fn fresh_ms(&self, model: Name, now: Timestamp, config: &Config) -> f64 {
        let age = now.since(self.since).as_secs_f64() / config.demand_memory.as_secs_f64().max(1.0);
        self.models.get(&model).map_or(0.0, |known| known * (-age).exp())
    }

    /// Models work was asked of.
    pub(crate) fn models(&self) -> impl Iterator<Item = Name> {
        self.models.keys().copied()
    }

    /// All of it, to be kept.
    pub(crate) fn saved(&self, names: &Names) -> SavedDemand {
        let models = self.models.iter().map(|(model, work)| (names.text(*model).to_owned(), Exact(*work)));
        SavedDemand { models: models.collect(), total: Exact(self.total), since: self.since }
    }

    /// What was kept.
    pub(crate) fn restored(saved: SavedDemand, names: &mut Names) -> Self {
        let models = saved.models.into_iter().map(|(model, work)| (names.name(&model), work.0));
        Self { models: models.collect(), total: saved.total.0, since: saved.since }
    }
}

/// What one of `copies` copies is worth, in workers kept busy.
pub(crate) fn worth_of_copy(demand: f64, copies: usize) -> f64 {
    if copies <= 1 { demand * (1.0 + LAST_COPY) } else { demand / copies as f64 }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn demand_is_shared_out_and_fades() {
        let config = Config { demand_memory: Duration::from_secs(100), ..Config::default() };
        let (mut demand, mut names) = (Demand::default(), Names::default());
        let [a, b, none] = ["a", "b", "none"].map(|text| names.name(text));
        demand.add(a, 3_000, Timestamp(0), &config);
        demand.add(b, 1_000, Timestamp(0), &config);
        assert!((demand.of(a, 8) - 6.0).abs() < 1e-9);
        demand.add(b, 1_000, Timestamp(1_000_000), &config);
        assert!(demand.of(a, 8) < 0.01);
        assert!(demand.fresh_ms(a, Timestamp(0), &config) > 2_999.0);
        assert!(demand.fresh_ms(a, Timestamp(1_000_000), &config) < 1.0);
        assert!(demand.of(none, 8).abs() < 1e-9);
    }

    #[test]
    fn the_last_copy_is_worth_most() {
        assert!(worth_of_copy(1.0, 1) > worth_of_copy(1.0, 2));
        assert!(worth_of_copy(1.0, 2) > worth_of_copy(1.0, 3));
    }
}
