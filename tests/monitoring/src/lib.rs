//! Dashboards and alerts as data. The files are in `charts/tintype/monitoring`; here is what reads them, what writes
//! Grafana's JSON from them, and where the real Prometheus comes from that checks them.

mod alerts;
mod dashboards;
mod grafana;
mod tools;

use std::path::{Path, PathBuf};

pub use alerts::{Alert, alerts};
pub use dashboards::{Dashboard, Kind, Panel, Query, dashboards};
pub use tools::{prometheus, promtool};

/// The root of the checkout.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// Where the alerts and dashboards are.
pub fn folder() -> PathBuf {
    root().join("charts/tintype/monitoring")
}

/// The names of our metrics in an expression, each once.
pub fn metrics(expression: &str) -> Vec<String> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let mut names: Vec<String> = words.filter(|word| word.starts_with("tintype_")).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names
}
