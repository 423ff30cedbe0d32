//! Figures as JSON lines.

use serde_json::json;

/// One figure, in the unit it names.
#[derive(Clone, Debug)]
pub(crate) struct Figure<'a> {
    pub(crate) name: &'a str,
    pub(crate) value: f64,
    pub(crate) unit: &'a str,
    /// What it is held against.
    pub(crate) anchor: Option<f64>,
    /// The most `ratio` (or, without an anchor, `value`) may be.
    pub(crate) goal: Option<f64>,
}

impl Figure<'_> {
    /// Prints it.
    pub(crate) fn print(&self) {
        let ratio = self.anchor.map(|anchor| self.value / anchor);
        let held = if self.anchor.is_some() { ratio } else { Some(self.value) };
        let ok = self.goal.and_then(|goal| held.map(|held| held <= goal));
        let round = |number: f64| (number * 1e3).round() / 1e3;
        println!(
            "{}",
            json!({
                "name": self.name,
                "value": round(self.value),
                "unit": self.unit,
                "anchor": self.anchor.map(round),
                "ratio": ratio.map(round),
                "goal": self.goal,
                "ok": ok,
            })
        );
    }
}
