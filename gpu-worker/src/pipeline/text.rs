//! The text encoders of one model, and a request's prompts as the vectors the denoiser is steered with.

use std::path::Path;
use std::sync::Arc;

use candle_core::{D, Device, Tensor};
use tintype_types::ModelFamily;

use super::PipelineError;
use super::folder::open;
use crate::models::BuildError;
use crate::models::clip::{ClipConfig, ClipTextModel};
use crate::prompt::PromptEncoder;
use crate::weights::{WeightFile, Weights, read_json};

/// Folders of the first and the second text encoder with their tokenizers.
const PARTS: [(&str, &str); 2] = [("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2")];
/// Layers SDXL leaves off the end of its encoders.
const SDXL_SKIP: usize = 1;

/// One or two text encoders.
#[derive(Debug)]
pub(super) struct TextEncoders {
    encoders: Vec<(PromptEncoder, ClipTextModel)>,
    family: ModelFamily,
    /// Whether no negative prompt means zeros rather than the vectors of an empty text.
    zeros_for_empty: bool,
    /// Channels of the vectors.
    pub(super) width: usize,
    /// Channels of the pooled vector; 0 when there is none.
    pub(super) pooled: usize,
}

/// What the denoiser is told of the prompts, a row for each: the negative prompt's before the prompt's.
#[derive(Clone, Debug)]
pub(super) struct Conditioning {
    /// (rows, tokens, channels).
    pub(super) context: Tensor,
    /// (rows, channels), from SDXL's second encoder.
    pub(super) pooled: Option<Tensor>,
}

/// The fields of `model_index.json` that matter here.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Index {
    force_zeros_for_empty_prompt: bool,
}

/// The folders of a family's text encoders.
pub(super) fn parts(family: ModelFamily) -> &'static [(&'static str, &'static str)] {
    match family {
        ModelFamily::Sd15 | ModelFamily::Sd2 => &PARTS[..1],
        ModelFamily::Sdxl => &PARTS,
    }
}

impl TextEncoders {
    pub(super) fn read(folder: &Path, family: ModelFamily, device: &Device) -> Result<Self, BuildError> {
        let index: Index = read_json(&folder.join("model_index.json"))?;
        let (mut encoders, mut width, mut pooled) = (Vec::new(), 0, 0);
        for (part, tokenizer) in parts(family) {
            let config = ClipConfig::read(&folder.join(part).join("config.json"))?;
            let weights = Weights::new(Arc::new(open(folder, part, "model")?), device.clone());
            let model = ClipTextModel::read(&config, &weights)?;
            width += config.hidden_size;
            pooled = if model.pools() { config.projection_dim } else { 0 };
            encoders.push((PromptEncoder::read(&folder.join(tokenizer), config.max_position_embeddings)?, model));
        }
        Ok(Self { encoders, family, zeros_for_empty: index.force_zeros_for_empty_prompt, width, pooled })
    }

    /// The weight files, for their sizes.
    pub(super) fn files(folder: &Path, family: ModelFamily) -> Result<Vec<WeightFile>, crate::weights::UnreadableFile> {
        parts(family).iter().map(|(part, _)| open(folder, part, "model")).collect()
    }

    /// The prompt's vectors, and the negative prompt's before them when there is one.
    pub(super) fn encode(&self, prompt: &str, negative: Option<&str>) -> Result<Conditioning, PipelineError> {
        let texts: Vec<&str> = negative.into_iter().chain([prompt]).collect();
        let (mut contexts, mut pooled) = (Vec::new(), None);
        for (prompts, model) in &self.encoders {
            let ids = texts
                .iter()
                // The error would quote the prompt, so it is dropped.
                .map(|text| prompts.encode(text).map_err(|_| PipelineError::Unsupported(SPLIT.to_owned())))
                .collect::<Result<Vec<_>, _>>()?;
            match self.family {
                ModelFamily::Sd15 | ModelFamily::Sd2 => contexts.push(model.forward(&ids)?),
                ModelFamily::Sdxl => {
                    let encoded = model.encode(&ids, SDXL_SKIP)?;
                    contexts.push(encoded.hidden);
                    pooled = encoded.pooled;
                }
            }
        }
        let mut conditioning = Conditioning { context: Tensor::cat(&contexts, D::Minus1)?, pooled };
        if self.zeros_for_empty && negative == Some("") {
            conditioning.context = without_first(&conditioning.context)?;
            conditioning.pooled = conditioning.pooled.as_ref().map(without_first).transpose()?;
        }
        Ok(conditioning)
    }
}

const SPLIT: &str = "the model's tokenizer cannot split this prompt; try plainer characters";

/// The same rows, the first of them zeros.
fn without_first(rows: &Tensor) -> candle_core::Result<Tensor> {
    let (first, others) = (rows.narrow(0, 0, 1)?, rows.narrow(0, 1, rows.dim(0)? - 1)?);
    Tensor::cat(&[&first.zeros_like()?, &others], 0)
}
