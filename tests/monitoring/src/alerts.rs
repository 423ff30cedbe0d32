//! The alerts, as Prometheus' rule file has them.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::folder;

/// One alert.
#[derive(Clone, Debug, Deserialize)]
pub struct Alert {
    /// Its name.
    pub alert: String,
    /// When it fires.
    pub expr: String,
    /// What it carries to whoever is woken: `severity` at least.
    pub labels: BTreeMap<String, String>,
    /// What is said: `summary`, `description`, `runbook_url`.
    pub annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct File {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Alert>,
}

/// Every alert, in the order of the file.
///
/// # Errors
/// A file that is not there or not a rule file.
pub fn alerts() -> Result<Vec<Alert>> {
    let path = folder().join("alerts.yaml");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let file: File = serde_yaml_ng::from_str(&text).with_context(|| format!("reading {}", path.display()))?;
    Ok(file.groups.into_iter().flat_map(|group| group.rules).collect())
}
