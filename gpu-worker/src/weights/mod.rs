//! Weights on disk: safetensors files, read tensor by tensor and checked before they are believed.
//!
//! A file is a user's: it may be cut short, of another model, or hostile. Whatever is wrong with it ends as an
//! [`UnreadableFile`] that names it; nothing here panics and nothing is allocated on a header's word alone.

mod digest;
mod file;
mod fingerprint;
mod header;
mod interrupt;
mod json;
mod layers;
mod ldm;
mod lora;
mod lora_names;
mod naming;
mod numbers;
mod view;

pub use digest::Digests;
pub use file::WeightFile;
pub use fingerprint::Fingerprint;
pub use interrupt::Interrupt;
pub use json::{read_bytes, read_json};
pub use layers::{LayerName, LayerShape, Layers};
pub use ldm::LdmUNet;
pub use lora::{Delta, Deltas, Lora};
pub use lora_names::{Network, Part};
pub use naming::{Naming, Piece, Stored};
pub use view::Weights;

use std::path::{Path, PathBuf};

/// A model's file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} {what}", file.display())]
pub struct UnreadableFile {
    /// The file, or the folder when a file is missing from it.
    pub file: PathBuf,
    /// What is wrong with it and, where there is one, the way out.
    pub what: String,
}

impl UnreadableFile {
    /// Says what is wrong with a file.
    pub fn new(file: impl AsRef<Path>, what: impl Into<String>) -> Self {
        Self { file: file.as_ref().to_owned(), what: what.into() }
    }
}
