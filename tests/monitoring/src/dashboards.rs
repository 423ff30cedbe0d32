//! The dashboards, as `dashboards.yaml` has them: titles, words for people, and expressions.

use std::fs;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::folder;

/// One dashboard.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dashboard {
    /// Its name in addresses; also its file's.
    pub uid: String,
    /// Its title.
    pub title: String,
    /// What question it answers.
    pub description: String,
    /// What it shows, from left to right and top to bottom.
    pub panels: Vec<Panel>,
}

/// One panel.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Panel {
    /// Its title.
    pub title: String,
    /// How it is drawn.
    pub kind: Kind,
    /// Grafana's word for the unit.
    pub unit: String,
    /// What the numbers mean to who reads them.
    pub description: String,
    /// What is drawn.
    pub queries: Vec<Query>,
}

/// How a panel is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Lines over time.
    Time,
    /// One number.
    Stat,
    /// A bar a label, over the chosen time.
    Bars,
    /// A row a series.
    Table,
}

/// One expression and what its series are called.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// PromQL, with `$i`, `$ns` and `$__range` in it.
    pub expr: String,
    /// Grafana's legend.
    pub legend: String,
}

impl Query {
    /// As Prometheus takes it: every namespace, and this long for both the rate's window and the chosen time.
    pub fn expression(&self, window: &str) -> String {
        // A namespace is a label of clusters; without one, `.*` matches that it is not there.
        self.expr.replace("$__range", window).replace("$i", window).replace("$ns", ".*")
    }
}

/// Every dashboard, in the order of the file.
///
/// # Errors
/// A file that is not there, or a word in it that is not known.
pub fn dashboards() -> Result<Vec<Dashboard>> {
    let path = folder().join("dashboards.yaml");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    serde_yaml_ng::from_str(&text).with_context(|| format!("reading {}", path.display()))
}
