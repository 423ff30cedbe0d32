//! Where the parts of a model come from: a folder in diffusers' layout, or a single file with, beside it, a folder
//! `NAME.config` in that layout for what such files have not got. Without it, configs are told from the shapes and the
//! tokenizer is CLIP's own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Device;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tintype_types::ModelFamily;

use super::folder::open;
use crate::models::clip::ClipConfig;
use crate::models::infer::{self, Shapes};
use crate::models::unet::UNetConfig;
use crate::models::vae::VaeConfig;
use crate::prompt::{CLIP_TOKENS, Padding, PromptEncoder};
use crate::samplers::ScheduleConfig;
use crate::weights::{Fingerprint, Interrupt, Naming, UnreadableFile, WeightFile, Weights, read_json};

/// Folders of the first and the second text encoder with their tokenizers.
const TEXT: [(&str, &str); 2] = [("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2")];
/// What diffusers calls the weights of UNet and VAE.
const STEM: &str = "diffusion_pytorch_model";
/// Where SD 1.x's text encoder is in a single file, then SD 2.x's, then SDXL's two.
const CLIP: &str = "cond_stage_model.transformer.";
const OPEN_CLIP: &str = "cond_stage_model.model.";
const CLIP_XL: &str = "conditioner.embedders.0.transformer.";
const OPEN_CLIP_XL: &str = "conditioner.embedders.1.model.";
/// What of a single file is read: the networks, not the averages and leftovers of training.
const READ: [&str; 4] = ["model.diffusion_model.", "first_stage_model.", "cond_stage_model.", "conditioner."];

/// The fields of `model_index.json` that matter here.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Index {
    force_zeros_for_empty_prompt: bool,
}

/// A model's files.
pub(super) struct Source {
    /// The folder or the file.
    path: PathBuf,
    /// Where configs and tokenizers are.
    configs: PathBuf,
    family: ModelFamily,
    single: Option<Single>,
    interrupt: Interrupt,
}

struct Single {
    file: Arc<WeightFile>,
    shapes: Shapes,
}

/// One text encoder.
pub(super) struct TextSource {
    pub(super) config: ClipConfig,
    pub(super) weights: Weights,
    pub(super) tokenizer: Vocabulary,
}

/// Where a text encoder's tokens come from.
pub(super) enum Vocabulary {
    /// A tokenizer's folder.
    Folder(PathBuf),
    /// CLIP's own, which ships.
    Clip(Padding),
}

impl Vocabulary {
    pub(super) fn read(&self, positions: usize) -> Result<PromptEncoder, UnreadableFile> {
        match self {
            Self::Folder(folder) => PromptEncoder::read(folder, positions),
            Self::Clip(padding) => PromptEncoder::clip(*padding, positions),
        }
    }
}

impl Source {
    /// Opens a folder or a file.
    pub(super) fn open(path: &Path, family: ModelFamily) -> Result<Self, UnreadableFile> {
        if !path.is_file() {
            let (path, configs) = (path.to_owned(), path.to_owned());
            return Ok(Self { path, configs, family, single: None, interrupt: Interrupt::default() });
        }
        let file = Arc::new(WeightFile::open(path)?);
        let shapes = file.shapes();
        Ok(Self {
            path: path.to_owned(),
            configs: path.with_extension("config"),
            family,
            single: Some(Single { file, shapes }),
            interrupt: Interrupt::default(),
        })
    }

    /// The same, whose weights are read until that is broken off.
    pub(super) fn interrupted_by(self, interrupt: &Interrupt) -> Self {
        Self { interrupt: interrupt.clone(), ..self }
    }

    pub(super) fn unet(&self, device: &Device) -> Result<(UNetConfig, Weights), UnreadableFile> {
        let (path, json) = self.config("unet/config.json", infer::unet)?;
        let config = UNetConfig::parse(&path, json)?;
        let weights = self.weights("unet", STEM, || Naming::UNet(config.ldm()), device)?;
        Ok((config, weights))
    }

    pub(super) fn vae(&self, device: &Device) -> Result<(VaeConfig, Weights), UnreadableFile> {
        let (path, json) = self.config("vae/config.json", infer::vae)?;
        let config = VaeConfig::parse(&path, json)?;
        let weights = self.weights("vae", STEM, || Naming::Vae { blocks: config.block_out_channels.len() }, device)?;
        Ok((config, weights))
    }

    /// The text encoders the family has.
    pub(super) fn text(&self, device: &Device) -> Result<Vec<TextSource>, UnreadableFile> {
        let count = if self.family == ModelFamily::Sdxl { 2 } else { 1 };
        TEXT[..count]
            .iter()
            .zip(self.text_namings())
            .map(|((part, tokenizer), naming)| self.encoder((part, tokenizer), naming, device))
            .collect()
    }

    /// The file of noise levels, and what it says.
    pub(super) fn schedule(&self) -> Result<(PathBuf, ScheduleConfig), UnreadableFile> {
        let (path, json) =
            self.config("scheduler/scheduler_config.json", |shapes, family| Some(infer::schedule(shapes, family)))?;
        let config = serde_json::from_value(json)
            .map_err(|error| UnreadableFile::new(&path, format!("is not the JSON it should be: {error}")))?;
        Ok((path, config))
    }

    /// Whether no negative prompt means zeros rather than the vectors of an empty text: so it is with SDXL.
    pub(super) fn zeros_for_empty(&self) -> Result<bool, UnreadableFile> {
        let index = self.configs.join("model_index.json");
        if self.single.is_some() && !index.is_file() {
            return Ok(self.family == ModelFamily::Sdxl);
        }
        read_json(&index).map(|index: Index| index.force_zeros_for_empty_prompt)
    }

    /// Memory the weights will take, in bytes, from the headers alone.
    pub(super) fn bytes(&self) -> Result<u64, UnreadableFile> {
        if let Some(Single { shapes, .. }) = &self.single {
            let read = |name: &str| READ.iter().any(|start| name.starts_with(start));
            let numbers =
                shapes.iter().filter(|(name, _)| read(name)).map(|(_, shape)| shape.iter().product::<usize>() as u64);
            return Ok(numbers.sum::<u64>().saturating_mul(4));
        }
        self.parts().try_fold(0, |sum: u64, file| Ok(sum.saturating_add(file?.fp32_bytes())))
    }

    /// What tells these weights from others.
    pub(super) fn fingerprint(&self) -> Result<Fingerprint, UnreadableFile> {
        if let Some(Single { file, .. }) = &self.single {
            return file.fingerprint();
        }
        let hash = self.parts().try_fold(Sha256::new(), |hash, file| Ok(hash.chain_update(file?.fingerprint()?)))?;
        Ok(hash.finalize().into())
    }

    pub(super) fn family(&self) -> ModelFamily {
        self.family
    }

    /// The weight files of a folder.
    fn parts(&self) -> impl Iterator<Item = Result<WeightFile, UnreadableFile>> {
        let count = if self.family == ModelFamily::Sdxl { 2 } else { 1 };
        let text = TEXT[..count].iter().map(|(part, _)| open(&self.path, part, "model"));
        text.chain(["unet", "vae"].into_iter().map(|part| open(&self.path, part, STEM)))
    }

    fn encoder(
        &self,
        (part, tokenizer): (&str, &str),
        naming: Naming,
        device: &Device,
    ) -> Result<TextSource, UnreadableFile> {
        let (path, json) = self.config(&format!("{part}/config.json"), |shapes, family| match &naming {
            Naming::OpenClip { prefix } => infer::open_clip(shapes, prefix, family),
            Naming::Clip { prefix } => infer::clip(shapes, prefix),
            Naming::Diffusers | Naming::UNet(_) | Naming::Vae { .. } => None,
        })?;
        let config = ClipConfig::parse(&path, json)?;
        let folder = self.configs.join(tokenizer);
        let tokenizer = if self.single.is_none() || folder.is_dir() {
            Vocabulary::Folder(folder)
        } else if config.vocab_size == CLIP_TOKENS {
            Vocabulary::Clip(match naming {
                Naming::OpenClip { .. } => Padding::Exclamation,
                Naming::Clip { .. } | Naming::Diffusers | Naming::UNet(_) | Naming::Vae { .. } => Padding::End,
            })
        } else {
            let what = format!(
                "comes without a tokenizer and knows {} tokens, where CLIP's own has {CLIP_TOKENS}; put the one it was \
                 trained with into {}",
                config.vocab_size,
                folder.display()
            );
            return Err(UnreadableFile::new(&self.path, what));
        };
        Ok(TextSource { config, weights: self.weights(part, "model", || naming.clone(), device)?, tokenizer })
    }

    /// How each text encoder is named in a single file.
    fn text_namings(&self) -> [Naming; 2] {
        match self.family {
            ModelFamily::Sd15 => [Naming::Clip { prefix: CLIP }, Naming::Diffusers],
            ModelFamily::Sd2 => [Naming::OpenClip { prefix: OPEN_CLIP }, Naming::Diffusers],
            ModelFamily::Sdxl => [Naming::Clip { prefix: CLIP_XL }, Naming::OpenClip { prefix: OPEN_CLIP_XL }],
        }
    }

    /// A config: the file where there is one, else what a single file's shapes say.
    fn config(
        &self,
        name: &str,
        infer: impl Fn(&Shapes, ModelFamily) -> Option<Value>,
    ) -> Result<(PathBuf, Value), UnreadableFile> {
        let path = self.configs.join(name);
        match &self.single {
            Some(Single { shapes, .. }) if !path.is_file() => {
                let json = infer(shapes, self.family).ok_or_else(|| {
                    UnreadableFile::new(
                        &self.path,
                        format!("lacks tensors that tell what {name} would say: it is no whole model"),
                    )
                })?;
                Ok((self.path.clone(), json))
            }
            Some(_) | None => Ok((path.clone(), read_json(&path)?)),
        }
    }

    fn weights(
        &self,
        part: &str,
        stem: &str,
        naming: impl Fn() -> Naming,
        device: &Device,
    ) -> Result<Weights, UnreadableFile> {
        let weights = match &self.single {
            Some(Single { file, .. }) => Weights::named(Arc::clone(file), device.clone(), naming()),
            None => Weights::new(Arc::new(open(&self.path, part, stem)?), device.clone()),
        };
        Ok(weights.interrupted_by(self.interrupt.clone()))
    }
}
