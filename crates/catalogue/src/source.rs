//! Models that lie elsewhere: their cards say where, file by file, and what each file's SHA-256 is.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tintype_types::ModelKind;

use crate::{Layout, Refused};

/// Most files of one model that are fetched.
const FILES_MAX: usize = 64;
/// Characters of a SHA-256 in hex.
const SHA256_CHARS: usize = 64;
/// The file that a folder of this kind has at least, for the walk and the loader to know it by.
const INDEX: &str = "model_index.json";
const CONFIG: &str = "config.json";

/// Where a model can be had that only its card lies here of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// One file without a path, or those of a folder.
    files: Vec<SourceFile>,
    layout: Layout,
}

/// Where one file of it can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path in the model's folder; none in a model of one file.
    path: PathBuf,
    /// An `http` or `https` URL.
    pub url: String,
    /// Its SHA-256, in lower-case hex.
    pub sha256: String,
}

/// A text for the only file, or one for each file by its path in the model's folder.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Each {
    One(String),
    Named(BTreeMap<String, String>),
}

impl Default for Each {
    fn default() -> Self {
        Self::Named(BTreeMap::new())
    }
}

impl Source {
    /// Reads what a card says of sources and hashes.
    ///
    /// # Errors
    /// A source that is no URL, a file without a hash, a path that leads out of the folder, or a kind of model that does not
    /// come this way.
    pub(crate) fn read(card: &Path, kind: ModelKind, urls: &Each, digests: &Each) -> Result<Self, Refused> {
        let refused = |what: &str| Err(Refused::new(card, what));
        let (files, layout) = match (urls, digests) {
            (Each::One(url), Each::One(sha256)) => {
                (vec![SourceFile::read(card, PathBuf::new(), url, sha256)?], Layout::File)
            }
            (Each::One(_), Each::Named(_)) => {
                return refused("gives a source without the file's sha256; add it, as what comes must be known");
            }
            (Each::Named(urls), Each::Named(digests)) => {
                let file = |(path, url): (&String, &String)| {
                    if path.is_empty() {
                        return Err(Refused::new(card, "gives a source of a file without a name"));
                    }
                    let Some(sha256) = digests.get(path) else {
                        let what =
                            format!("gives a source of {path} without its sha256; add it, as what comes must be known");
                        return Err(Refused::new(card, what));
                    };
                    SourceFile::read(card, PathBuf::from(path), url, sha256)
                };
                (urls.iter().map(file).collect::<Result<Vec<_>, _>>()?, Layout::Folder)
            }
            (Each::Named(_), Each::One(_)) => return refused("gives one sha256 for many files; name each file"),
        };
        if files.len() > FILES_MAX {
            return Err(Refused::new(card, format!("names {} files; at most {FILES_MAX} are fetched", files.len())));
        }
        let source = Self { files, layout };
        match (kind, layout) {
            (ModelKind::Controlnet, Layout::File) => {
                refused("gives one source for a ControlNet, which is two files; name config.json and its weights")
            }
            (ModelKind::Lora, Layout::Folder) => refused("names the files of a LoRA, which is one; give one source"),
            (ModelKind::Controlnet, Layout::Folder) if !source.has(CONFIG) => {
                refused("gives no source of the ControlNet's config.json")
            }
            (ModelKind::Checkpoint, Layout::Folder) if !source.has(INDEX) => {
                refused("gives no source of the folder's model_index.json")
            }
            (ModelKind::Controlnet | ModelKind::Checkpoint, Layout::Folder)
            | (ModelKind::Lora | ModelKind::Checkpoint, Layout::File) => Ok(source),
        }
    }

    /// Whether it is one file or a folder of them.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Where the model lies once it was fetched into a folder. The name says what is in it: no two models share one.
    pub fn cached_in(&self, folder: &Path) -> PathBuf {
        match (&self.files[..], self.layout) {
            ([file], Layout::File) => folder.join(format!("{}.safetensors", file.sha256)),
            (files, _) => {
                let mut hash = Sha256::new();
                for SourceFile { path, sha256, .. } in files {
                    hash.update(path.as_os_str().as_encoded_bytes());
                    hash.update([0]);
                    hash.update(sha256);
                }
                folder.join(hex::encode(hash.finalize()))
            }
        }
    }

    /// Each of its files, and where it lies once it was fetched.
    pub fn files_in(&self, folder: &Path) -> Vec<(&SourceFile, PathBuf)> {
        let model = self.cached_in(folder);
        let place = |file: &SourceFile| match self.layout {
            Layout::File => model.clone(),
            Layout::Folder => model.join(&file.path),
        };
        self.files.iter().map(|file| (file, place(file))).collect()
    }

    fn has(&self, name: &str) -> bool {
        self.files.iter().any(|file| file.path == Path::new(name))
    }
}

impl SourceFile {
    fn read(card: &Path, path: PathBuf, url: &str, sha256: &str) -> Result<Self, Refused> {
        if !(url.starts_with("http://") || url.starts_with("https://")) {
            return Err(Refused::new(card, "gives a source that is no http or https URL"));
        }
        if !is_inside(&path) || !is_sha256(sha256) {
            return Err(Refused::new(card, format!("gives {} a place or a sha256 that is none", path.display())));
        }
        Ok(Self { path, url: url.to_owned(), sha256: sha256.to_ascii_lowercase() })
    }
}

/// Whether a path stays in the folder it is counted from.
pub(crate) fn is_inside(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_)))
}

pub(crate) fn is_sha256(text: &str) -> bool {
    text.len() == SHA256_CHARS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
