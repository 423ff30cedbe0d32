//! What work costs, learned from attempts that ended: GPU time of a run by GPU kind, model and shape (a fixed part and a
//! part for each step), and the time a model takes to load. What was never seen is taken from what is most like it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::exact;
use crate::observation::Shape;

/// Most things costs are kept for; further ones are served by the coarser ones.
const KEPT_MAX: usize = 4_096;
/// How much an older attempt counts against the one after it: about the last fifty matter.
const FADE: f64 = 0.98;
/// How much of a new load time is believed at once.
const LOAD_NEWS: f64 = 0.3;
/// One step before anything was seen, in milliseconds: a small picture on a small GPU.
const STEP_MS_GUESS: f64 = 400.0;
/// A load before anything was seen.
const LOAD_MS_GUESS: f64 = 20_000.0;
/// Real over estimated duration nine in ten stay under, before anything was seen.
const SPREAD_P90_GUESS: f64 = 1.5;
/// How far one attempt moves a quantile, relative to itself.
const SPREAD_NEWS: f64 = 0.02;
/// Largest real over estimated duration that is believed.
const SPREAD_MAX: f64 = 100.0;
/// Longest that is believed of anything: a day.
const MS_MAX: f64 = 86_400_000.0;

/// All that was learned.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Costs {
    runs: BTreeMap<String, Line>,
    loads: BTreeMap<String, Load>,
    /// How real durations compare with estimated ones.
    #[serde(default)]
    spread: Spread,
}

/// A load time, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Load {
    #[serde(with = "exact")]
    ms: f64,
}

/// The median and the 90th percentile of real over estimated durations, each moved a little by every attempt that ends
/// (Robbins and Monro's stochastic approximation of a quantile).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    #[serde(with = "exact")]
    pub(crate) p50: f64,
    #[serde(with = "exact")]
    pub(crate) p90: f64,
}

impl Default for Spread {
    fn default() -> Self {
        Self { p50: 1.0, p90: SPREAD_P90_GUESS }
    }
}

impl Spread {
    fn learn(&mut self, ratio: f64) {
        let ratio = ratio.clamp(0.0, SPREAD_MAX);
        for (quantile, at) in [(&mut self.p50, 0.5), (&mut self.p90, 0.9)] {
            let below = if ratio < *quantile { 1.0 } else { 0.0 };
            *quantile = (*quantile * (1.0 + SPREAD_NEWS * (at - below))).clamp(1.0 / SPREAD_MAX, SPREAD_MAX);
        }
        self.p90 = self.p90.max(self.p50);
    }
}

/// A straight line through what was seen: least squares, older points fading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Line {
    #[serde(with = "exact")]
    weight: f64,
    #[serde(with = "exact")]
    x: f64,
    #[serde(with = "exact")]
    y: f64,
    #[serde(with = "exact")]
    xx: f64,
    #[serde(with = "exact")]
    xy: f64,
}

/// What a run is looked up by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunOf<'a> {
    /// The GPU's product name; `None` is any.
    pub(crate) kind: Option<&'a str>,
    pub(crate) model: &'a str,
    pub(crate) shape: Shape,
    pub(crate) work_steps: u32,
}

impl Line {
    fn learn(&mut self, x: f64, y: f64) {
        for (sum, new) in
            [(&mut self.weight, 1.0), (&mut self.x, x), (&mut self.y, y), (&mut self.xx, x * x), (&mut self.xy, x * y)]
        {
            *sum = *sum * FADE + new;
        }
    }

    /// The line's value; where all that was seen is one number of steps, time in proportion.
    fn answer(&self, x: f64) -> f64 {
        let (mean_x, mean_y) = (self.x / self.weight, self.y / self.weight);
        let spread = self.xx / self.weight - mean_x * mean_x;
        if spread < 0.5 {
            return (mean_y * x / mean_x.max(1.0)).clamp(1.0, MS_MAX);
        }
        let slope = ((self.xy / self.weight - mean_x * mean_y) / spread).max(0.0);
        (mean_y + slope * (x - mean_x)).clamp(1.0, MS_MAX)
    }
}

impl RunOf<'_> {
    /// From the finest to the coarsest.
    fn keys(&self) -> [String; 4] {
        let Shape { pixels, images, adapters } = self.shape;
        let shape = format!("{pixels} {images} {adapters}");
        let model = self.model;
        let fine = self.kind.map(|kind| format!("{kind}|{model}|{shape}")).unwrap_or_default();
        [fine, format!("|{model}|{shape}"), format!("||{shape}"), "||".to_owned()]
    }

    /// What somebody said of the model: better than what is known of others, worse than what was seen of it.
    fn hinted(&self) -> String {
        format!("|{}|", self.model)
    }
}

impl Costs {
    /// GPU time of a run whose model is resident, in milliseconds.
    pub(crate) fn run_ms(&self, of: RunOf<'_>) -> u32 {
        let [fine, model, shape, any] = of.keys();
        let known = [fine, model, of.hinted(), shape, any].into_iter().find_map(|key| self.runs.get(&key));
        let steps = f64::from(of.work_steps.max(1));
        known.map_or(steps * STEP_MS_GUESS, |line| line.answer(steps)).clamp(1.0, MS_MAX) as u32
    }

    /// Time to load a model, in milliseconds.
    pub(crate) fn load_ms(&self, model: &str) -> u32 {
        let known = self.loads.get(model).or_else(|| self.loads.get(""));
        known.map_or(LOAD_MS_GUESS, |load| load.ms).clamp(1.0, MS_MAX) as u32
    }

    /// A run took `gpu_ms` with its model resident.
    pub(crate) fn learn_run(&mut self, of: RunOf<'_>, gpu_ms: u64) {
        let (steps, took) = (f64::from(of.work_steps.max(1)), (gpu_ms as f64).clamp(1.0, MS_MAX));
        for key in of.keys().into_iter().filter(|key| !key.is_empty()) {
            if self.runs.len() < KEPT_MAX || self.runs.contains_key(&key) {
                self.runs.entry(key).or_default().learn(steps, took);
            }
        }
    }

    /// A model took this long to load.
    pub(crate) fn learn_load(&mut self, model: &str, ms: u64) {
        let took = (ms as f64).clamp(1.0, MS_MAX);
        for key in [model, ""] {
            if self.loads.len() < KEPT_MAX || self.loads.contains_key(key) {
                let known = self.loads.entry(key.to_owned()).or_insert(Load { ms: took });
                known.ms += LOAD_NEWS * (took - known.ms);
            }
        }
    }

    /// An attempt took `real_ms` where `estimated_ms` were expected, loading included.
    pub(crate) fn learn_spread(&mut self, estimated_ms: u64, real_ms: u64) {
        if estimated_ms > 0 {
            self.spread.learn(real_ms as f64 / estimated_ms as f64);
        }
    }

    /// How real durations compare with estimated ones.
    pub(crate) fn spread(&self) -> Spread {
        self.spread
    }

    /// Takes over what another learned of things nothing is known of here.
    pub(crate) fn adopt(&mut self, other: Self) {
        let Self { runs, loads, spread } = other;
        if self.runs.is_empty() {
            self.spread = spread;
        }
        for (key, line) in runs {
            let sound = line.weight > 0.0 && line.x >= 0.0 && line.y >= 0.0;
            if !sound || (self.runs.len() >= KEPT_MAX && !self.runs.contains_key(&key)) {
                continue;
            }
            if key.len() > 2 && key.starts_with('|') && key.ends_with('|') {
                // What somebody says, not what was seen: the newest word counts.
                self.runs.insert(key, line);
            } else {
                self.runs.entry(key).or_insert(line);
            }
        }
        for (key, load) in loads {
            if self.loads.len() < KEPT_MAX || self.loads.contains_key(&key) {
                self.loads.entry(key).or_insert(load);
            }
        }
    }

    /// The part of it that says most: the coarse ones, and of the others those most was seen of.
    pub(crate) fn heaviest(&self, most: usize) -> Self {
        let mut by_weight: Vec<_> = self.runs.iter().collect();
        by_weight.sort_by(|(a, x), (b, y)| y.weight.total_cmp(&x.weight).then_with(|| a.cmp(b)));
        let kept = by_weight.into_iter().take(most).map(|(key, line)| (key.clone(), *line));
        let loads = self.loads.iter().take(most).map(|(key, load)| (key.clone(), *load));
        Self { runs: kept.collect(), loads: loads.collect(), spread: self.spread }
    }

    /// What somebody says of a model before any of it was seen: one attempt's worth.
    pub(crate) fn hint(&mut self, model: &str, step_ms: u32, load_ms: u32) {
        if step_ms > 0 {
            let line = self.runs.entry(format!("|{model}|")).or_default();
            line.learn(1.0, f64::from(step_ms));
        }
        if load_ms > 0 {
            self.loads.entry(model.to_owned()).or_insert(Load { ms: f64::from(load_ms) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(model: &str, work_steps: u32) -> RunOf<'_> {
        RunOf { kind: Some("L40S"), model, shape: Shape { pixels: 1 << 18, images: 1, adapters: 0 }, work_steps }
    }

    #[test]
    fn a_fixed_part_and_a_part_for_each_step_are_told_apart() {
        let mut costs = Costs::default();
        for steps in [20, 30, 40, 30] {
            costs.learn_run(of("m", steps), 3_000 + 250 * u64::from(steps));
        }
        assert_eq!(costs.run_ms(of("m", 50)), 15_500);
    }

    #[test]
    fn what_was_never_seen_is_like_what_is_most_like_it() {
        let mut costs = Costs::default();
        assert_eq!(costs.run_ms(of("m", 10)), 4_000);
        costs.learn_run(of("m", 10), 1_000);
        assert_eq!(costs.run_ms(of("other", 10)), 1_000);
        assert_eq!(costs.run_ms(RunOf { kind: None, ..of("m", 20) }), 2_000);
        assert_eq!(costs.load_ms("m"), 20_000);
        costs.learn_load("m", 5_000);
        assert_eq!((costs.load_ms("m"), costs.load_ms("other")), (5_000, 5_000));
        costs.learn_load("m", 15_000);
        assert_eq!(costs.load_ms("m"), 8_000);
    }

    #[test]
    fn what_is_said_of_a_model_counts_until_it_was_seen() {
        let mut costs = Costs::default();
        costs.learn_run(of("other", 10), 1_000);
        costs.hint("m", 300, 7_000);
        assert_eq!((costs.run_ms(of("m", 20)), costs.load_ms("m")), (6_000, 7_000));
        costs.learn_run(of("m", 20), 2_000);
        assert_eq!(costs.run_ms(of("m", 20)), 2_000);
    }

    #[test]
    fn what_is_adopted_never_replaces_what_was_seen_here_and_is_the_same_through_json() {
        let mut before = Costs::default();
        before.learn_run(of("a", 10), 1_001);
        before.learn_run(of("b", 10), 1_003);
        before.learn_load("a", 3_333);
        let json = serde_json::to_string(&before).unwrap();
        let mut after = Costs::default();
        after.adopt(serde_json::from_str(&json).unwrap());
        assert_eq!(after, before);
        let mut used = Costs::default();
        used.learn_run(of("a", 10), 9_000);
        used.adopt(before.clone());
        assert_eq!((used.run_ms(of("a", 10)), used.run_ms(of("b", 10))), (9_000, 1_003));
        assert_eq!(before.heaviest(1).runs.len(), 1);
    }

    #[test]
    fn nine_in_ten_stay_under_the_ninetieth_percentile() {
        let mut costs = Costs::default();
        for round in 0..10_000_u64 {
            costs.learn_spread(1_000, 1_000 + ((round * 2_654_435_761) >> 7) % 1_000);
        }
        let Spread { p50, p90 } = costs.spread();
        assert!((1.4..1.6).contains(&p50) && (1.8..2.0).contains(&p90), "{p50} {p90}");
    }

    #[test]
    fn absurd_numbers_stay_numbers() {
        let mut costs = Costs::default();
        for gpu_ms in [0, u64::MAX, 1] {
            costs.learn_run(of("m", u32::MAX), gpu_ms);
            costs.learn_load("m", gpu_ms);
        }
        assert!(costs.run_ms(of("m", 0)) >= 1 && costs.load_ms("m") >= 1);
        for number in 0..2 * KEPT_MAX {
            costs.learn_load(&number.to_string(), 1);
        }
        assert!(costs.loads.len() <= KEPT_MAX);
    }
}
