//! How much work is asked of each model, over hours: what decides which copies are worth keeping.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tintype_types::Timestamp;

use crate::config::Config;
use crate::exact;

/// Most models demand is kept for.
const KEPT_MAX: usize = 4_096;
/// What losing the last copy costs beyond the work it would do: the next request of it waits for a load.
const LAST_COPY: f64 = 0.5;

/// Work asked of each model, older work fading.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Demand {
    models: BTreeMap<String, Faded>,
    total: Faded,
}

/// A sum whose parts fade.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Faded {
    #[serde(with = "exact")]
    value: f64,
    at: Timestamp,
}

impl Faded {
    fn at(self, now: Timestamp, config: &Config) -> f64 {
        let age = now.since(self.at).as_secs_f64() / config.demand_memory.as_secs_f64().max(1.0);
        self.value * (-age).exp()
    }

    fn add(&mut self, work_ms: u32, now: Timestamp, config: &Config) {
        *self = Self { value: self.at(now, config) + f64::from(work_ms), at: now };
    }
}

impl Demand {
    /// A job came that asks this work of a model.
    pub(crate) fn add(&mut self, model: &str, work_ms: u32, now: Timestamp, config: &Config) {
        self.total.add(work_ms, now, config);
        if let Some(known) = self.models.get_mut(model) {
            known.add(work_ms, now, config);
        } else if self.models.len() < KEPT_MAX {
            self.models.entry(model.to_owned()).or_default().add(work_ms, now, config);
        }
    }

    /// The workers, of `workers`, a model would keep busy were all of them busy.
    pub(crate) fn of(&self, model: &str, workers: usize, now: Timestamp, config: &Config) -> f64 {
        let Some(known) = self.models.get(model) else { return 0.0 };
        let total = self.total.at(now, config);
        if total <= 0.0 { 0.0 } else { workers as f64 * known.at(now, config) / total }
    }

    /// Models work was asked of.
    pub(crate) fn models(&self) -> impl Iterator<Item = &String> {
        self.models.keys()
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
        let mut demand = Demand::default();
        demand.add("a", 3_000, Timestamp(0), &config);
        demand.add("b", 1_000, Timestamp(0), &config);
        assert!((demand.of("a", 8, Timestamp(0), &config) - 6.0).abs() < 1e-9);
        demand.add("b", 1_000, Timestamp(1_000_000), &config);
        assert!(demand.of("a", 8, Timestamp(1_000_000), &config) < 0.01);
        assert!(demand.of("none", 8, Timestamp(0), &config).abs() < 1e-9);
    }

    #[test]
    fn the_last_copy_is_worth_most() {
        assert!(worth_of_copy(1.0, 1) > worth_of_copy(1.0, 2));
        assert!(worth_of_copy(1.0, 2) > worth_of_copy(1.0, 3));
    }
}
