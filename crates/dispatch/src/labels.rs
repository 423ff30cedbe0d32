//! Names that people choose, as labels of metrics: so many are told apart, and what comes later is `other`.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// The names of one label that were seen first. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Labels(Arc<Mutex<BTreeSet<String>>>);

impl Labels {
    /// Names that are told apart.
    pub const NAMES_MAX: usize = 64;
    /// What is said of a name beyond that.
    pub const OTHER: &'static str = "other";

    /// The name itself, or that it is one of too many.
    pub fn label(&self, name: &str) -> String {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(name) || known.len() < Self::NAMES_MAX {
            known.insert(name.to_owned());
            return name.to_owned();
        }
        Self::OTHER.to_owned()
    }
}
