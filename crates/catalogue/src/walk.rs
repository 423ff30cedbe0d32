//! The walk itself: folders in order of name, bounded in depth and breadth.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tintype_types::ModelKind;

use crate::card::{self, CARD, CardFile};
use crate::header::{self, Contents};
use crate::{Catalogue, Entry, Layout, Refused, Seen, family, hub};

/// How deep under a models directory a model may lie: `owner/name` and one more.
const DEPTH_MAX: usize = 3;
/// Most entries of one directory looked at.
const ENTRIES_MAX: usize = 4_096;
/// The file that makes a folder a diffusers folder.
const INDEX: &str = "model_index.json";
/// A ControlNet's config.
const CONFIG: &str = "config.json";
/// How a single file's name ends.
const EXTENSION: &str = "safetensors";
/// How the folder of a single file's configs and tokenizer ends, beside the file.
const CONFIGS: &str = "config";
/// What diffusers calls the file of a folder that holds one LoRA.
const LORA_FILE: &str = "pytorch_lora_weights";

pub(crate) fn walk(directories: &[PathBuf], seen: &BTreeMap<PathBuf, Seen>) -> Catalogue {
    let mut walk = Walk { found: Catalogue::default(), before: seen };
    for root in directories {
        match std::fs::read_dir(root) {
            Ok(_) => walk.folder(root, &name_of_root(root), 0),
            Err(error) => {
                walk.found.refused.push(Refused::new(root, format!("cannot be looked into: {error}")));
            }
        }
    }
    walk.found
}

struct Walk<'a> {
    found: Catalogue,
    before: &'a BTreeMap<PathBuf, Seen>,
}

/// What a model in this place is called without a card: its place under the models directory.
#[derive(Clone, Debug)]
struct Place {
    /// Parts from the models directory down; none at the directory itself.
    parts: Vec<String>,
    /// The directory's own name, for a directory that is itself a model.
    root: String,
}

impl Place {
    fn below(&self, part: &str) -> Self {
        Self { parts: self.parts.iter().cloned().chain([part.to_owned()]).collect(), root: self.root.clone() }
    }

    fn name(&self) -> String {
        if self.parts.is_empty() { self.root.clone() } else { self.parts.join("/") }
    }
}

fn name_of_root(root: &Path) -> Place {
    let own = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    let root = own.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Place { parts: Vec::new(), root }
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path, place: &Place, depth: usize) {
        if let Some(repository) = hub::repository(folder) {
            match repository {
                Ok(hub::Repository { name, snapshot }) => {
                    let place = Place { parts: vec![name], root: String::new() };
                    self.folder(&snapshot, &place, DEPTH_MAX);
                }
                Err(refused) => self.found.refused.push(refused),
            }
            return;
        }
        if let Some(model) = folder_model(folder, place) {
            self.add(model);
            return;
        }
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        let mut paths: Vec<PathBuf> = entries
            .take(ENTRIES_MAX)
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| !is_hidden(path))
            .collect();
        paths.sort();
        let files: Vec<&PathBuf> = paths
            .iter()
            .filter(|path| path.extension().is_some_and(|end| end == EXTENSION) && path.is_file())
            .collect();
        for file in &files {
            self.file(file, place, files.len() == 1 && depth > 0);
        }
        for card in paths.iter().filter(|path| path.is_file()) {
            self.elsewhere(card);
        }
        for path in paths.iter().filter(|path| depth < DEPTH_MAX && path.is_dir()) {
            if let Some(part) = path.file_name() {
                self.folder(path, &place.below(&part.to_string_lossy()), depth + 1);
            }
        }
    }

    /// A card beside which nothing lies, and which says where its model can be had.
    fn elsewhere(&mut self, card_file: &Path) {
        let name = card_file.file_name().unwrap_or_default().to_string_lossy();
        let Some(stem) = name.strip_suffix(CARD).and_then(|stem| stem.strip_suffix('.')) else { return };
        let path = card_file.with_file_name(format!("{stem}.{EXTENSION}"));
        if path.is_file() {
            return;
        }
        let model = CardFile::read(card_file).and_then(|card| {
            let Some(card) = card else { return Ok(None) };
            let Some(source) = card.source(card_file)? else { return Ok(None) };
            let (layout, digests) = (source.layout(), BTreeMap::new());
            Ok(Some(Entry { card: card.card, path, layout, digests, source: Some(source) }))
        });
        if let Some(model) = model.transpose() {
            self.add(model);
        }
    }

    /// A single file: a checkpoint or a LoRA. The only file of a folder is named by the folder and may have its card
    /// there.
    fn file(&mut self, file: &Path, place: &Place, only: bool) {
        let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let folder = file.parent().unwrap_or(file);
        let beside = folder.join(format!("{stem}.{CARD}"));
        let card_file = if only && !beside.is_file() { folder.join(CARD) } else { beside };
        let said = self.contents(file);
        let model = CardFile::read(&card_file).and_then(|card| {
            let (card, digests) = match (card, said) {
                (Some(card), _) => {
                    let digests = card.digests(&card_file, folder, Some(file))?;
                    (card.card, digests)
                }
                (None, Ok(Contents { kind, family, bytes: _ })) => {
                    let named = only || stem == LORA_FILE;
                    let name = if named { place.name() } else { place.below(&stem).name() };
                    (card::plain(kind, family, name), BTreeMap::new())
                }
                (None, Err(what)) => return Err(Refused::new(file, what)),
            };
            card::check_name(file, &card.name)?;
            if card.kind == ModelKind::Controlnet {
                return Err(Refused::new(
                    file,
                    format!("is a ControlNet without its {CONFIG}; put both into a folder"),
                ));
            }
            Ok(Entry { card, path: file.to_owned(), layout: Layout::File, digests, source: None })
        });
        self.add(model);
    }

    /// What a file's header says, read again only if the file has changed.
    fn contents(&mut self, file: &Path) -> Result<Contents, String> {
        let metadata = std::fs::metadata(file).map_err(|error| format!("cannot be read: {error}"))?;
        let (bytes, modified) = (metadata.len(), metadata.modified().ok());
        let known = self.before.get(file).filter(|seen| (seen.bytes, seen.modified) == (bytes, modified));
        let said = known.map_or_else(|| header::look(file), |seen| seen.said.clone());
        self.found.seen.insert(file.to_owned(), Seen { bytes, modified, said: said.clone() });
        said
    }

    fn add(&mut self, model: Result<Entry, Refused>) {
        match model {
            Ok(model) => {
                self.found.models.entry(model.card.name.clone()).or_insert(model);
            }
            Err(refused) => self.found.refused.push(refused),
        }
    }
}

/// The model a folder is, if it is one.
fn folder_model(folder: &Path, place: &Place) -> Option<Result<Entry, Refused>> {
    let (index, config) = (folder.join(INDEX), folder.join(CONFIG));
    let (kind, family) = if index.is_file() {
        (ModelKind::Checkpoint, family::of_checkpoint(folder, &index))
    } else {
        (ModelKind::Controlnet, Ok(family::of_controlnet(&config)?))
    };
    Some(family.and_then(|family| {
        let card_file = folder.join(CARD);
        let (card, digests) = match CardFile::read(&card_file)? {
            Some(card) => {
                let digests = card.digests(&card_file, folder, None)?;
                (card.card, digests)
            }
            None => (card::plain(kind, family, place.name()), BTreeMap::new()),
        };
        if card.kind != kind {
            return Err(Refused::new(card_file, format!("says it is a {:?}, and its files are a {kind:?}", card.kind)));
        }
        card::check_name(folder, &card.name)?;
        Ok(Entry { card, path: folder.to_owned(), layout: Layout::Folder, digests, source: None })
    }))
}

/// Hidden, or the configs that belong to a single file.
fn is_hidden(path: &Path) -> bool {
    let configs = path.extension().is_some_and(|end| end == CONFIGS);
    configs || path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}
