//! Models on this machine: diffusers folders under the models directories, named as the worker names them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tintype_types::{ModelCard, ModelDefaults, ModelFamily, ModelKind, Sampler};

/// How deep under a models directory a folder may lie: `owner/name` and one more.
const DEPTH_MAX: usize = 3;
/// Most entries of one directory looked at.
const ENTRIES_MAX: usize = 4_096;
/// Our own file beside `model_index.json`.
const CARD: &str = "tintype.json";
/// The file that makes a folder a diffusers folder.
const INDEX: &str = "model_index.json";
/// What requests for a Stable Diffusion 1.5 model without a card get: what it was trained at, and its authors' guidance.
const SD15_DEFAULTS: ModelDefaults =
    ModelDefaults { width: 512, height: 512, steps: 20, guidance_scale: 7.5, sampler: Sampler::Dpmpp2mKarras };

/// The same for Stable Diffusion XL.
const SDXL_DEFAULTS: ModelDefaults =
    ModelDefaults { width: 1_024, height: 1_024, steps: 30, guidance_scale: 5.0, sampler: Sampler::Dpmpp2mKarras };

/// Every model under the directories, by name. The first folder of a name wins. A folder that looks like a model and
/// cannot be used is logged and left out. Blocks on the disk.
pub(crate) fn scan(directories: &[PathBuf]) -> BTreeMap<String, ModelCard> {
    let mut found = BTreeMap::new();
    for root in directories {
        walk(root, root, 0, &mut found);
    }
    found
}

fn walk(root: &Path, folder: &Path, depth: usize, found: &mut BTreeMap<String, ModelCard>) {
    if folder.join(INDEX).is_file() {
        match read_folder(root, folder) {
            Ok(card) => {
                found.entry(card.name.clone()).or_insert(card);
            }
            Err(why) => tracing::warn!(folder = %folder.display(), "this model is left out: {why}"),
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
        .filter(|path| path.is_dir() && !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')))
        .collect();
    below.sort();
    for path in below {
        walk(root, &path, depth + 1, found);
    }
}

#[derive(Deserialize)]
struct Index {
    #[serde(rename = "_class_name")]
    class_name: String,
}

fn read_folder(root: &Path, folder: &Path) -> Result<ModelCard, String> {
    let index: Index = read_json(&folder.join(INDEX))?;
    let (family, defaults) = match index.class_name.as_str() {
        "StableDiffusionPipeline" => (ModelFamily::Sd15, SD15_DEFAULTS),
        "StableDiffusionXLPipeline" => (ModelFamily::Sdxl, SDXL_DEFAULTS),
        other => {
            return Err(format!(
                "it is for a {other}; workers draw with StableDiffusionPipeline and StableDiffusionXLPipeline folders"
            ));
        }
    };
    let card_file = folder.join(CARD);
    let card: ModelCard = if card_file.is_file() {
        read_json(&card_file)?
    } else {
        ModelCard {
            name: name_of(root, folder),
            kind: ModelKind::Checkpoint,
            family,
            defaults,
            licence: String::new(),
            description: String::new(),
            vram_bytes: 0,
        }
    };
    if card.name.is_empty() || card.name.len() > 253 {
        return Err("its name must have 1 to 253 characters; give it one in a tintype.json".to_owned());
    }
    Ok(card)
}

fn read_json<T: serde::de::DeserializeOwned>(file: &Path) -> Result<T, String> {
    let text = std::fs::read(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    serde_json::from_slice(&text).map_err(|error| format!("{} is not what it should be: {error}", file.display()))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn model(root: &Path, path: &str, class_name: &str, card: Option<&str>) {
        let folder = root.join(path);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(INDEX), format!("{{\"_class_name\": \"{class_name}\"}}")).unwrap();
        if let Some(card) = card {
            std::fs::write(folder.join(CARD), card).unwrap();
        }
    }

    #[test]
    fn folders_are_named_by_their_card_or_their_path() {
        let root = tempfile::tempdir().unwrap();
        let card = r#"{"name":"tintype/shapes","family":"sd15","licence":"CC0-1.0",
            "defaults":{"width":64,"height":64,"steps":20,"guidanceScale":3.0,"sampler":"dpmpp-2m-karras"}}"#;
        model(root.path(), "shapes", "StableDiffusionPipeline", Some(card));
        model(root.path(), "owner/mine", "StableDiffusionPipeline", None);
        model(root.path(), "xl", "StableDiffusionXLPipeline", None);
        model(root.path(), "other", "FluxPipeline", None);
        model(root.path(), "damaged", "StableDiffusionPipeline", Some("{"));
        model(root.path(), ".hidden", "StableDiffusionPipeline", None);
        let found = scan(&[root.path().to_owned(), root.path().join("nowhere")]);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["owner/mine", "tintype/shapes", "xl"]);
        assert_eq!(found["tintype/shapes"].defaults.width, 64);
        assert_eq!(found["owner/mine"].defaults.width, 512);
        assert_eq!((found["xl"].family, found["xl"].defaults.width), (ModelFamily::Sdxl, 1_024));
        assert_eq!(scan(&[root.path().join("owner/mine")]).keys().collect::<Vec<_>>(), ["mine"]);
    }
}
