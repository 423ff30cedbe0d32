//! What work costs, learned from attempts that ended: GPU time of a run by GPU kind, model and shape (a fixed part and a
//! part for each step), and the time a model takes to load. What was never seen is taken from what is most like it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
/// Longest that is believed of anything: a day.
const MS_MAX: f64 = 86_400_000.0;

/// All that was learned.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Costs {
    runs: BTreeMap<String, Line>,
    loads: BTreeMap<String, f64>,
}

/// A straight line through what was seen: least squares, older points fading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Line {
    weight: f64,
    x: f64,
    y: f64,
    xx: f64,
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
}

impl Costs {
    /// GPU time of a run whose model is resident, in milliseconds.
    pub(crate) fn run_ms(&self, of: RunOf<'_>) -> u32 {
        let known = of.keys().into_iter().find_map(|key| self.runs.get(&key));
        let steps = f64::from(of.work_steps.max(1));
        known.map_or(steps * STEP_MS_GUESS, |line| line.answer(steps)).clamp(1.0, MS_MAX) as u32
    }

    /// Time to load a model, in milliseconds.
    pub(crate) fn load_ms(&self, model: &str) -> u32 {
        let known = self.loads.get(model).or_else(|| self.loads.get(""));
        known.copied().unwrap_or(LOAD_MS_GUESS).clamp(1.0, MS_MAX) as u32
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
                let known = self.loads.entry(key.to_owned()).or_insert(took);
                *known += LOAD_NEWS * (took - *known);
            }
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
