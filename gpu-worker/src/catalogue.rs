//! Which models there are: diffusers folders under the models directories, and the names requests know them by.
//!
//! A model that ships with the project and a user's own go through the same code. Nothing is loaded here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tintype_types::{ModelCard, ModelFamily};

use crate::weights::{UnreadableFile, read_json};

/// How deep under a models directory a folder may lie: `owner/name` and one more.
const DEPTH_MAX: usize = 3;
/// Most entries of one directory looked at.
const ENTRIES_MAX: usize = 4_096;
/// Our own file beside `model_index.json`.
const CARD: &str = "tintype.json";
/// The file that makes a folder a diffusers folder.
const INDEX: &str = "model_index.json";

/// A folder that can be loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelFolder {
    /// What requests call it.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
    /// Its architecture.
    pub family: ModelFamily,
    /// Its card, if it carries one.
    pub card: Option<ModelCard>,
}

/// Every model found, by name, and every folder that looked like one and is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalogue {
    models: BTreeMap<String, ModelFolder>,
    /// Folders that were passed over, and why.
    pub refused: Vec<UnreadableFile>,
}

impl Catalogue {
    /// Looks through the directories, in order; the first folder of a name wins. A directory may itself be a model.
    pub fn scan(directories: &[PathBuf]) -> Self {
        let mut found = Self::default();
        for root in directories {
            match std::fs::read_dir(root) {
                Ok(_) => found.walk(root, root, 0),
                Err(error) => found.refused.push(UnreadableFile::new(root, format!("cannot be looked into: {error}"))),
            }
        }
        found
    }

    /// A model by its name.
    pub fn find(&self, name: &str) -> Option<&ModelFolder> {
        self.models.get(name)
    }

    /// Every name, in order.
    pub fn names(&self) -> Vec<String> {
        self.models.keys().cloned().collect()
    }

    /// Every model, in order of name.
    pub fn models(&self) -> impl Iterator<Item = &ModelFolder> {
        self.models.values()
    }

    fn walk(&mut self, root: &Path, folder: &Path, depth: usize) {
        if folder.join(INDEX).is_file() {
            match read_folder(root, folder) {
                Ok(model) => {
                    self.models.entry(model.name.clone()).or_insert(model);
                }
                Err(error) => self.refused.push(error),
            }
            return;
        }
        if depth == DEPTH_MAX {
            return;
        }
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        let mut below: Vec<PathBuf> = entries
            .take(ENTRIES_MAX)
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.is_dir() && !is_hidden(path))
            .collect();
        below.sort();
        for path in below {
            self.walk(root, &path, depth + 1);
        }
    }
}

fn read_folder(root: &Path, folder: &Path) -> Result<ModelFolder, UnreadableFile> {
    let index_file = folder.join(INDEX);
    let index: Index = read_json(&index_file)?;
    let family = match index.class_name.as_str() {
        "StableDiffusionPipeline" => ModelFamily::Sd15,
        "StableDiffusionXLPipeline" => ModelFamily::Sdxl,
        other => {
            let what = format!(
                "is for a {other}; this worker draws with StableDiffusionPipeline and StableDiffusionXLPipeline folders"
            );
            return Err(UnreadableFile::new(index_file, what));
        }
    };
    let card_file = folder.join(CARD);
    let card: Option<ModelCard> = if card_file.is_file() { Some(read_json(&card_file)?) } else { None };
    let name = match &card {
        Some(card) => card.name.clone(),
        None => name_of(root, folder),
    };
    if name.is_empty() {
        return Err(UnreadableFile::new(folder, "has no name; give it one in a tintype.json"));
    }
    let family = card.as_ref().map_or(family, |card| card.family);
    Ok(ModelFolder { name, path: folder.to_owned(), family, card })
}

/// The path under the models directory, or the folder's own name when it is the directory itself.
fn name_of(root: &Path, folder: &Path) -> String {
    let under = folder.strip_prefix(root).unwrap_or(folder);
    let parts: Vec<String> = under.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if !parts.is_empty() {
        return parts.join("/");
    }
    let own = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    own.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

#[derive(Deserialize)]
struct Index {
    #[serde(rename = "_class_name")]
    class_name: String,
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const SD: &str = r#"{"_class_name": "StableDiffusionPipeline"}"#;

    #[test]
    fn folders_are_named_by_card_or_by_place() {
        let root = tempfile::tempdir().unwrap();
        folder(root.path(), "foo", SD);
        folder(root.path(), "a/b", SD);
        folder(root.path(), ".hidden/c", SD);
        fs::create_dir_all(root.path().join("empty")).unwrap();
        let shapes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
        let found = Catalogue::scan(&[root.path().to_owned(), shapes]);
        assert_eq!(found.names(), ["a/b", "foo", "tintype/shapes", "tintype/shapes-xl"]);
        assert_eq!(found.refused, []);
        assert_eq!(found.find("tintype/shapes").unwrap().card.as_ref().unwrap().defaults.width, 64);
    }

    #[test]
    fn a_directory_that_is_a_model_takes_its_own_name() {
        let root = tempfile::tempdir().unwrap();
        folder(root.path(), "mine", SD);
        assert_eq!(Catalogue::scan(&[root.path().join("mine")]).names(), ["mine"]);
    }

    #[test]
    fn what_cannot_be_drawn_is_said_and_passed_over() {
        let root = tempfile::tempdir().unwrap();
        folder(root.path(), "flux", r#"{"_class_name": "FluxPipeline"}"#);
        folder(root.path(), "torn", r#"{"_class"#);
        folder(root.path(), "good", SD);
        let found = Catalogue::scan(&[root.path().to_owned(), root.path().join("nowhere")]);
        assert_eq!(found.names(), ["good"]);
        let said: Vec<String> = found.refused.iter().map(ToString::to_string).collect();
        assert!(
            said[0].contains("FluxPipeline") && said[1].contains("torn") && said[2].contains("nowhere"),
            "{said:?}"
        );
    }

    fn folder(root: &Path, name: &str, index: &str) {
        fs::create_dir_all(root.join(name)).unwrap();
        fs::write(root.join(name).join(INDEX), index).unwrap();
    }
}
