//! What work costs, learned from attempts that ended: GPU time of a run by GPU kind, model and shape (a fixed part and a
//! part for each step), and the time a model takes to load. What was never seen is taken from what is most like it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::exact;
use crate::names::{Name, Names};
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
/// Runs after which it is known what their like takes ..
const SURE_AFTER: f64 = 2.5;
/// .. also this part of their number of steps beside it, where all had the same.
const SURE_AROUND: f64 = 0.02;
/// Longest that is believed of anything: a day.
const MS_MAX: f64 = 86_400_000.0;

/// All that was learned.
#[derive(Clone, Debug, Default)]
pub(crate) struct Costs {
    runs: BTreeMap<Key, Line>,
    /// `None` is any model.
    loads: BTreeMap<Option<Name>, Load>,
    /// How real durations compare with estimated ones.
    spread: Spread,
}

/// What runs are alike in: GPU kind, model, shape; `None` is any.
type Key<N = Name> = (Option<N>, Option<N>, Option<Shape>);

/// [`Costs`] with texts for names, in an order that does not depend on what was seen before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SavedCosts {
    runs: Vec<(Key<String>, Line)>,
    loads: Vec<(Option<String>, Load)>,
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
pub(crate) struct RunOf {
    /// The GPU's product; `None` is any.
    pub(crate) kind: Option<Name>,
    pub(crate) model: Name,
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

    /// Whether its value at `x` is more than a guess.
    fn covers(&self, x: f64) -> bool {
        let mean_x = self.x / self.weight;
        self.xx / self.weight - mean_x * mean_x >= 0.5 || (x - mean_x).abs() <= SURE_AROUND * mean_x
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

impl RunOf {
    /// From the finest to the coarsest; of a kind nobody knows there is none finer than of any.
    fn keys(self) -> impl Iterator<Item = Key> {
        let (model, shape) = (Some(self.model), Some(self.shape));
        let all = [(self.kind, model, shape), (None, model, shape), (None, None, shape), (None, None, None)];
        all.into_iter().skip(usize::from(self.kind.is_none()))
    }

    /// The same, and what somebody said of the model: better than what is known of others, worse than what was seen of
    /// it.
    fn lookups(self) -> impl Iterator<Item = Key> {
        let seen = self.keys().filter(|(_, model, _)| model.is_some());
        let others = self.keys().filter(|(_, model, _)| model.is_none());
        seen.chain([(None, Some(self.model), None)]).chain(others)
    }
}

impl Costs {
    /// GPU time of a run whose model is resident, in milliseconds.
    pub(crate) fn run_ms(&self, of: RunOf) -> u32 {
        let known = of.lookups().find_map(|key| self.runs.get(&key));
        let steps = f64::from(of.work_steps.max(1));
        known.map_or(steps * STEP_MS_GUESS, |line| line.answer(steps)).clamp(1.0, MS_MAX) as u32
    }

    /// Whether what a run takes is known of its like, not only of what is most like it.
    pub(crate) fn sure_of(&self, of: RunOf) -> bool {
        let line = self.runs.get(&(None, Some(of.model), Some(of.shape)));
        line.is_some_and(|line| line.weight >= SURE_AFTER && line.covers(f64::from(of.work_steps.max(1))))
    }

    /// Whether what loading a model takes was seen.
    pub(crate) fn sure_of_load(&self, model: Name) -> bool {
        self.loads.contains_key(&Some(model))
    }

    /// Shapes with fewer pixels, and alike otherwise, that runs of a model were seen in.
    pub(crate) fn smaller(&self, model: Name, than: Shape) -> impl Iterator<Item = Shape> {
        let (first, last) = ((None, Some(model), None), (None, Some(model), Some(than)));
        let shapes = self.runs.range(first..last).rev().filter_map(|((_, _, shape), _)| *shape);
        shapes.filter(move |shape| (shape.images, shape.adapters) == (than.images, than.adapters))
    }

    /// Time to load a model, in milliseconds.
    pub(crate) fn load_ms(&self, model: Name) -> u32 {
        let known = self.loads.get(&Some(model)).or_else(|| self.loads.get(&None));
        known.map_or(LOAD_MS_GUESS, |load| load.ms).clamp(1.0, MS_MAX) as u32
    }

    /// A run took `gpu_ms` with its model resident.
    pub(crate) fn learn_run(&mut self, of: RunOf, gpu_ms: u64) {
        let (steps, took) = (f64::from(of.work_steps.max(1)), (gpu_ms as f64).clamp(1.0, MS_MAX));
        for key in of.keys() {
            if self.runs.len() < KEPT_MAX || self.runs.contains_key(&key) {
                self.runs.entry(key).or_default().learn(steps, took);
            }
        }
    }

    /// A model took this long to load.
    pub(crate) fn learn_load(&mut self, model: Name, ms: u64) {
        let took = (ms as f64).clamp(1.0, MS_MAX);
        for key in [Some(model), None] {
            if self.loads.len() < KEPT_MAX || self.loads.contains_key(&key) {
                let known = self.loads.entry(key).or_insert(Load { ms: took });
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
    pub(crate) fn adopt(&mut self, other: SavedCosts, names: &mut Names) {
        let SavedCosts { runs, loads, spread } = other;
        if self.runs.is_empty() {
            self.spread = spread;
        }
        let mut name = |text: Option<String>| text.map(|text| names.name(&text));
        for ((kind, model, shape), line) in runs {
            let sound = line.weight > 0.0 && line.x >= 0.0 && line.y >= 0.0;
            let key = (name(kind), name(model), shape);
            if !sound || (self.runs.len() >= KEPT_MAX && !self.runs.contains_key(&key)) {
                continue;
            }
            if matches!(key, (None, Some(_), None)) {
                // What somebody says, not what was seen: the newest word counts.
                self.runs.insert(key, line);
            } else {
                self.runs.entry(key).or_insert(line);
            }
        }
        for (model, load) in loads {
            let key = name(model);
            if self.loads.len() < KEPT_MAX || self.loads.contains_key(&key) {
                self.loads.entry(key).or_insert(load);
            }
        }
    }

    /// The part of it that says most: of runs those most was seen of.
    pub(crate) fn heaviest(&self, names: &Names, most: usize) -> SavedCosts {
        let mut saved = self.saved(names);
        saved.runs.sort_by(|(a, x), (b, y)| y.weight.total_cmp(&x.weight).then_with(|| a.cmp(b)));
        saved.runs.truncate(most);
        saved.loads.truncate(most);
        saved
    }

    /// Names in use here.
    pub(crate) fn names(&self) -> impl Iterator<Item = Name> {
        let runs = self.runs.keys().flat_map(|(kind, model, _)| [*kind, *model]);
        runs.chain(self.loads.keys().copied()).flatten()
    }

    /// All that was learned, to be kept.
    pub(crate) fn saved(&self, names: &Names) -> SavedCosts {
        let text = |name: &Option<Name>| name.map(|name| names.text(name).to_owned());
        let runs = self.runs.iter().map(|((kind, model, shape), line)| ((text(kind), text(model), *shape), *line));
        let mut saved = SavedCosts {
            runs: runs.collect(),
            loads: self.loads.iter().map(|(model, load)| (text(model), *load)).collect(),
            spread: self.spread,
        };
        saved.runs.sort_by(|a, b| a.0.cmp(&b.0));
        saved.loads.sort_by(|a, b| a.0.cmp(&b.0));
        saved
    }

    /// What was kept.
    pub(crate) fn of(saved: SavedCosts, names: &mut Names) -> Self {
        let mut name = |text: Option<String>| text.map(|text| names.name(&text));
        Self {
            runs: saved
                .runs
                .into_iter()
                .map(|((kind, model, shape), line)| ((name(kind), name(model), shape), line))
                .collect(),
            loads: saved.loads.into_iter().map(|(model, load)| (name(model), load)).collect(),
            spread: saved.spread,
        }
    }
}

impl SavedCosts {
    /// What somebody says of a model before any of it was seen: one attempt's worth.
    pub(crate) fn hint(&mut self, model: &str, step_ms: u32, load_ms: u32) {
        let model = Some(model.to_owned());
        if step_ms > 0 {
            let key = (None, model.clone(), None);
            let known = self.runs.iter().position(|(known, _)| *known == key);
            let place = known.unwrap_or_else(|| {
                self.runs.push((key, Line::default()));
                self.runs.len() - 1
            });
            self.runs[place].1.learn(1.0, f64::from(step_ms));
        }
        if load_ms > 0 && !self.loads.iter().any(|(known, _)| *known == model) {
            self.loads.push((model, Load { ms: f64::from(load_ms) }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let mut names = Names::default();
        let _ = ["L40S", "m", "other"].map(|text| names.name(text));
        names
    }

    fn name(text: &str) -> Name {
        names().find(text).expect("one of those above")
    }

    fn of(model: &str, work_steps: u32) -> RunOf {
        RunOf {
            kind: Some(name("L40S")),
            model: name(model),
            shape: Shape { pixels: 1 << 18, images: 1, adapters: 0 },
            work_steps,
        }
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
        assert_eq!(costs.load_ms(name("m")), 20_000);
        costs.learn_load(name("m"), 5_000);
        assert_eq!((costs.load_ms(name("m")), costs.load_ms(name("other"))), (5_000, 5_000));
        costs.learn_load(name("m"), 15_000);
        assert_eq!(costs.load_ms(name("m")), 8_000);
    }

    #[test]
    fn what_is_said_of_a_model_counts_until_it_was_seen() {
        let (mut costs, mut said, mut names) = (Costs::default(), SavedCosts::default(), names());
        costs.learn_run(of("other", 10), 1_000);
        said.hint("m", 300, 7_000);
        costs.adopt(said, &mut names);
        assert_eq!((costs.run_ms(of("m", 20)), costs.load_ms(name("m"))), (6_000, 7_000));
        costs.learn_run(of("m", 20), 2_000);
        assert_eq!(costs.run_ms(of("m", 20)), 2_000);
    }

    #[test]
    fn what_is_adopted_never_replaces_what_was_seen_here_and_is_the_same_through_json() {
        let (mut before, mut names) = (Costs::default(), names());
        before.learn_run(of("m", 10), 1_001);
        before.learn_run(of("other", 10), 1_003);
        before.learn_load(name("m"), 3_333);
        let json = serde_json::to_string(&before.saved(&names)).unwrap();
        let mut after = Costs::default();
        after.adopt(serde_json::from_str(&json).unwrap(), &mut names);
        assert_eq!(after.saved(&names), before.saved(&names));
        let mut used = Costs::default();
        used.learn_run(of("m", 10), 9_000);
        used.adopt(before.saved(&names), &mut names);
        assert_eq!((used.run_ms(of("m", 10)), used.run_ms(of("other", 10))), (9_000, 1_003));
        assert_eq!(before.heaviest(&names, 1).runs.len(), 1);
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
            costs.learn_load(name("m"), gpu_ms);
        }
        assert!(costs.run_ms(of("m", 0)) >= 1 && costs.load_ms(name("m")) >= 1);
        let mut names = Names::default();
        for number in 0..2 * KEPT_MAX {
            costs.learn_load(names.name(&number.to_string()), 1);
        }
        assert!(costs.loads.len() <= KEPT_MAX);
    }
}
