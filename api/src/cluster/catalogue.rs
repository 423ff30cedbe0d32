//! Models on this machine, as the worker finds them: both take the walk of the `catalogue` crate.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tintype_catalogue::Catalogue;
use tintype_types::ModelCard;

/// Every model under the directories, by name. What looks like a model and cannot be used is logged and left out. Blocks
/// on the disk.
pub(crate) fn scan(directories: &[PathBuf]) -> BTreeMap<String, ModelCard> {
    let found = Catalogue::scan(directories);
    for refused in &found.refused {
        tracing::warn!(error = %refused, "this is not used as a model");
    }
    found.entries().map(|entry| (entry.card.name.clone(), entry.card.clone())).collect()
}
