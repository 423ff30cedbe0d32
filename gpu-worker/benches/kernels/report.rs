//! Figures as JSON lines.

use serde_json::json;

/// Digits of a figure that say something.
const DIGITS: i32 = 4;

/// What a figure is to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    /// It is told and not judged.
    None,
    /// `ratio` (or, without an anchor, `value`) is no more than this.
    AtMost(f64),
    /// It is no less.
    AtLeast(f64),
}

/// One figure, in the unit it names.
#[derive(Clone, Debug)]
pub(crate) struct Figure<'a> {
    pub(crate) name: &'a str,
    pub(crate) value: f64,
    pub(crate) unit: &'a str,
    /// What it is held against.
    pub(crate) anchor: Option<f64>,
    pub(crate) goal: Goal,
}

impl Figure<'_> {
    /// Prints it.
    pub(crate) fn print(&self) {
        let ratio = self.anchor.map(|anchor| self.value / anchor);
        let held = if self.anchor.is_some() { ratio } else { Some(self.value) };
        let (goal, ok) = match self.goal {
            Goal::None => (None, None),
            Goal::AtMost(goal) => (Some(goal), held.map(|held| held <= goal)),
            Goal::AtLeast(goal) => (Some(goal), held.map(|held| held >= goal)),
        };
        println!(
            "{}",
            json!({
                "name": self.name,
                "value": rounded(self.value),
                "unit": self.unit,
                "anchor": self.anchor.map(rounded),
                "ratio": ratio.map(rounded),
                "goal": goal,
                "ok": ok,
            })
        );
    }
}

/// To a few digits, however small the number is.
fn rounded(number: f64) -> f64 {
    if number == 0.0 || !number.is_finite() {
        return number;
    }
    let scale = 10.0_f64.powi((DIGITS - 1 - number.abs().log10().floor() as i32).max(0));
    (number * scale).round() / scale
}
