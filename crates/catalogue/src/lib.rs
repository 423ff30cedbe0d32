//! Which models lie under the models directories, and the names requests know them by: one walk for the worker, which
//! loads them, and the API, which lists them. It reads names, configs and headers; it must not read weights.
//!
//! What is found, by what marks it:
//!
//! | on disk | it is |
//! |---|---|
//! | a folder with `model_index.json` | a checkpoint in diffusers' layout |
//! | a folder with a ControlNet's `config.json` | a ControlNet |
//! | a `.safetensors` file | a checkpoint or a LoRA, as its header says |
//! | a folder `models--owner--name` with `snapshots/` | a hub cache; what its revision holds |
//! | a `NAME.tintype.json` with a `source` | a model whose file or files are yet to be fetched |
//!
//! A `tintype.json` in the folder (`NAME.tintype.json` beside a file) is the model's card and says the rest.

mod card;
mod family;
mod header;
mod hub;
mod source;
mod walk;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tintype_types::{ModelCard, ModelKind};

pub use family::of_configs;
pub use header::{Contents, HEADER_BYTES_MAX, contents_of};
pub use source::{Source, SourceFile};

/// Something under a models directory that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} {what}", file.display())]
pub struct Refused {
    /// The file or folder.
    pub file: PathBuf,
    /// What is wrong with it and, where there is one, the way out.
    pub what: String,
}

impl Refused {
    fn new(file: impl AsRef<Path>, what: impl Into<String>) -> Self {
        Self { file: file.as_ref().to_owned(), what: what.into() }
    }
}

/// How the files of a model lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A folder of parts in diffusers' layout.
    Folder,
    /// One `.safetensors` file.
    File,
}

/// A model that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its card; made from what its files say where it carries none.
    pub card: ModelCard,
    /// The folder or the file.
    pub path: PathBuf,
    /// Which of the two.
    pub layout: Layout,
    /// SHA-256 its files must have, in lower-case hex, for those its card gives one for.
    pub digests: BTreeMap<PathBuf, String>,
    /// Where its files can be had; nothing where they lie here.
    pub source: Option<Source>,
}

/// Every model found, by name, and everything that looked like one and is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalogue {
    models: BTreeMap<String, Entry>,
    /// What was passed over, and why.
    pub refused: Vec<Refused>,
    /// What the headers of single files said, so that they are not read again until they change.
    seen: BTreeMap<PathBuf, Seen>,
}

/// A header read before.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    bytes: u64,
    modified: Option<SystemTime>,
    said: Result<Contents, String>,
}

impl Catalogue {
    /// Looks through the directories, in order; the first model of a name wins. A directory may itself be a model. Blocks
    /// on the disk.
    pub fn scan(directories: &[PathBuf]) -> Self {
        Self::default().rescan(directories)
    }

    /// Looks again, without reading headers of files that have not changed since.
    #[must_use]
    pub fn rescan(&self, directories: &[PathBuf]) -> Self {
        walk::walk(directories, &self.seen)
    }

    /// The same with the files of sources where they lie once they were fetched into this folder; without a folder, without
    /// what has a source.
    #[must_use]
    pub fn cached_in(mut self, folder: Option<&Path>) -> Self {
        self.models.retain(|_, entry| entry.source.is_none() || folder.is_some());
        for entry in self.models.values_mut() {
            if let (Some(source), Some(folder)) = (&entry.source, folder) {
                entry.path = source.cached_in(folder);
                // They are hashed before they lie there.
                entry.digests = BTreeMap::new();
            }
        }
        self
    }

    /// A model by its kind and name.
    pub fn find(&self, kind: ModelKind, name: &str) -> Option<&Entry> {
        self.models.get(name).filter(|entry| entry.card.kind == kind)
    }

    /// A checkpoint by its name.
    pub fn checkpoint(&self, name: &str) -> Option<&Entry> {
        self.find(ModelKind::Checkpoint, name)
    }

    /// The names of a kind, in order.
    pub fn names(&self, kind: ModelKind) -> Vec<String> {
        self.entries().filter(|entry| entry.card.kind == kind).map(|entry| entry.card.name.clone()).collect()
    }

    /// Every model, in order of name.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.models.values()
    }
}
