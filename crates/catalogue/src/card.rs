//! `tintype.json`: what a model says of itself, and what is taken for granted of one that says nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tintype_types::{ModelCard, ModelDefaults, ModelFamily, ModelKind, Sampler};

use crate::source::{Each, is_inside, is_sha256};
use crate::{Refused, Source};

/// The card's file in a folder, and the last part of its name beside a single file.
pub(crate) const CARD: &str = "tintype.json";
/// Longest card or config read.
const JSON_BYTES_MAX: u64 = 1 << 20;
/// Longest name, as in requests.
const NAME_BYTES_MAX: usize = 253;

/// What requests for a Stable Diffusion 1.5 model without a card get: what it was trained at, and its authors' guidance.
const SD15_DEFAULTS: ModelDefaults =
    ModelDefaults { width: 512, height: 512, steps: 20, guidance_scale: 7.5, sampler: Sampler::Dpmpp2mKarras };
/// The same for Stable Diffusion 2.x at 768 pixels, the usual one.
const SD2_DEFAULTS: ModelDefaults = ModelDefaults { width: 768, height: 768, ..SD15_DEFAULTS };
/// The same for Stable Diffusion XL.
const SDXL_DEFAULTS: ModelDefaults =
    ModelDefaults { width: 1_024, height: 1_024, steps: 30, guidance_scale: 5.0, sampler: Sampler::Dpmpp2mKarras };

/// A card as it is written.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct CardFile {
    #[serde(flatten)]
    pub(crate) card: ModelCard,
    /// The SHA-256 of files, by their path in the folder; or of the file the card stands beside, as a text.
    #[serde(default)]
    sha256: Each,
    /// Where the file can be had that the card stands beside, or those of the folder it stands for, by their path there.
    #[serde(default)]
    source: Option<Each>,
}

impl CardFile {
    /// Reads a card, if there is one.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, Refused> {
        if !path.is_file() {
            return Ok(None);
        }
        let card: Self = read_json(path)?;
        check_name(path, &card.card.name)?;
        Ok(Some(card))
    }

    /// Where the files of this card can be had, if the card says.
    pub(crate) fn source(&self, card: &Path) -> Result<Option<Source>, Refused> {
        let read = |urls| Source::read(card, self.card.kind, urls, &self.sha256);
        self.source.as_ref().map(read).transpose()
    }

    /// The SHA-256 of each file under `folder`, or of `file`, the only one.
    pub(crate) fn digests(
        &self,
        card: &Path,
        folder: &Path,
        file: Option<&Path>,
    ) -> Result<BTreeMap<PathBuf, String>, Refused> {
        let listed: Vec<(PathBuf, &String)> = match (&self.sha256, file) {
            (Each::One(digest), Some(file)) => vec![(file.to_owned(), digest)],
            (Each::One(_), None) => {
                return Err(Refused::new(card, "gives one sha256 for many files; name each file"));
            }
            (Each::Named(digests), _) => digests.iter().map(|(name, digest)| (folder.join(name), digest)).collect(),
        };
        let mut checked = BTreeMap::new();
        for (path, digest) in listed {
            let inside = path.strip_prefix(folder).is_ok_and(is_inside);
            if !inside || !is_sha256(digest) {
                return Err(Refused::new(card, format!("gives {} a sha256 that is none", path.display())));
            }
            checked.insert(path, digest.to_ascii_lowercase());
        }
        Ok(checked)
    }
}

/// The card of a model that carries none.
pub(crate) fn plain(kind: ModelKind, family: ModelFamily, name: String) -> ModelCard {
    let defaults = match family {
        ModelFamily::Sd15 => SD15_DEFAULTS,
        ModelFamily::Sd2 => SD2_DEFAULTS,
        ModelFamily::Sdxl => SDXL_DEFAULTS,
    };
    ModelCard { name, kind, family, defaults, licence: String::new(), description: String::new(), vram_bytes: 0 }
}

pub(crate) fn check_name(at: &Path, name: &str) -> Result<(), Refused> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        let what = format!("has a name of {} bytes; give it one of 1 to {NAME_BYTES_MAX} in a {CARD}", name.len());
        return Err(Refused::new(at, what));
    }
    Ok(())
}

/// Reads a small JSON file.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, Refused> {
    let wrong = |error: std::io::Error| Refused::new(path, format!("cannot be read: {error}"));
    let bytes = std::fs::metadata(path).map_err(wrong)?.len();
    if bytes > JSON_BYTES_MAX {
        return Err(Refused::new(path, format!("has {bytes} bytes; at most {JSON_BYTES_MAX} are read")));
    }
    let text = std::fs::read(path).map_err(wrong)?;
    serde_json::from_slice(&text).map_err(|error| Refused::new(path, format!("is not what it should be: {error}")))
}
