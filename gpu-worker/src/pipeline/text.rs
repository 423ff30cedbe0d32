//! The text encoders of one model, and a request's prompts as the vectors the denoiser is steered with.

use std::sync::Arc;

use candle_core::{D, Device, Tensor};
use sha2::{Digest as _, Sha256};
use tintype_types::ModelFamily;

use super::PipelineError;
use super::addons::{Beside, UsedLora};
use super::prompts::{Key, Prompts};
use super::source::{Source, TextSource};
use crate::models::BuildError;
use crate::models::adapters::Adapter;
use crate::models::clip::ClipTextModel;
use crate::prompt::{Chunk, PromptEncoder};
use crate::weights::{Fingerprint, Layers, Part};

/// What LoRAs call the text encoders.
const TEXT_PARTS: [Part; 2] = [Part::Text, Part::Text2];
/// Layers SDXL leaves off the end of its encoders.
const SDXL_SKIP: usize = 1;
/// A mean this near to 0 cannot be restored by a factor.
const MEAN_MIN: f32 = 1e-6;

/// One or two text encoders.
#[derive(Debug)]
pub(crate) struct TextEncoders {
    encoders: Vec<(PromptEncoder, ClipTextModel)>,
    family: ModelFamily,
    /// Whether no negative prompt means zeros rather than the vectors of an empty text.
    zeros_for_empty: bool,
    /// Channels of the vectors.
    pub(super) width: usize,
    /// Channels of the pooled vector; 0 when there is none.
    pub(super) pooled: usize,
    /// What tells this model's weights from others'.
    pub(super) fingerprint: Fingerprint,
    /// Vectors made lately, of all models.
    kept: Arc<Prompts>,
}

/// What the denoiser is told of the prompts, a row for each: the negative prompt's before the prompt's.
#[derive(Clone, Debug)]
pub(crate) struct Conditioning {
    /// (rows, tokens, channels).
    pub(crate) context: Tensor,
    /// (rows, channels), from SDXL's second encoder.
    pub(crate) pooled: Option<Tensor>,
}

impl Conditioning {
    /// Memory it takes, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        let bytes = |tensor: &Tensor| tensor.elem_count() as u64 * tensor.dtype().size_in_bytes() as u64;
        bytes(&self.context) + self.pooled.as_ref().map_or(0, bytes)
    }
}

impl TextEncoders {
    pub(super) fn read(source: &Source, kept: Arc<Prompts>, device: &Device) -> Result<Self, BuildError> {
        let family = source.family();
        let (mut encoders, mut width, mut pooled) = (Vec::new(), 0, 0);
        for TextSource { config, weights, tokenizer } in source.text(device)? {
            let model = ClipTextModel::read(&config, &weights)?;
            width += config.hidden_size;
            pooled = if model.pools() { config.projection_dim } else { 0 };
            encoders.push((tokenizer.read(config.max_position_embeddings)?, model));
        }
        let (zeros_for_empty, fingerprint) = (source.zeros_for_empty()?, source.fingerprint()?);
        Ok(Self { encoders, family, zeros_for_empty, width, pooled, fingerprint, kept })
    }

    /// The layers LoRAs may change, of each encoder.
    pub(super) fn adaptable(&self) -> impl Iterator<Item = (Part, &Layers)> {
        TEXT_PARTS.into_iter().zip(self.encoders.iter().map(|(_, model)| model.adaptable()))
    }

    /// The prompt's vectors, and the negative prompt's before them when there is one. `skip` layers are left off the
    /// end of each encoder, beyond those the family leaves off anyway.
    pub(crate) fn encode(
        &self,
        prompt: &str,
        negative: Option<&str>,
        skip: usize,
        beside: &Beside,
    ) -> Result<Conditioning, PipelineError> {
        let key = self.key(prompt, negative, skip, beside);
        if let Some(known) = self.kept.find(&key) {
            return Ok(known);
        }
        let made = self.make(prompt, negative, skip, beside)?;
        self.kept.keep(key, &made);
        Ok(made)
    }

    fn key(&self, prompt: &str, negative: Option<&str>, skip: usize, beside: &Beside) -> Key {
        let mut hash = Sha256::new();
        hash.update(self.fingerprint);
        for text in [Some(prompt), negative] {
            // Lengths, so that no two pairs of texts run together to the same bytes.
            hash.update(text.map_or(u64::MAX, |text| text.len() as u64).to_le_bytes());
            hash.update(text.unwrap_or_default());
        }
        hash.update((skip as u64).to_le_bytes());
        let reads = |used: &&UsedLora| TEXT_PARTS.iter().any(|part| used.lora.part(*part).is_some());
        for used in beside.loras.iter().filter(reads) {
            hash.update(used.lora.fingerprint());
            hash.update(used.weight.to_le_bytes());
        }
        hash.finalize().into()
    }

    fn make(
        &self,
        prompt: &str,
        negative: Option<&str>,
        skip: usize,
        beside: &Beside,
    ) -> Result<Conditioning, PipelineError> {
        let texts: Vec<&str> = negative.into_iter().chain([prompt]).collect();
        let mut split = Vec::with_capacity(self.encoders.len());
        for (prompts, _) in &self.encoders {
            // The error would quote the prompt, so it is dropped.
            let chunks = |text: &&str| prompts.chunks(text).map_err(|_| PipelineError::Unsupported(SPLIT.to_owned()));
            split.push(texts.iter().map(chunks).collect::<Result<Vec<_>, _>>()?);
        }
        // Both prompts, and both encoders, must come to one length.
        let count = split.iter().flatten().map(Vec::len).max().unwrap_or(1);
        let (mut contexts, mut pooled) = (Vec::new(), None);
        for (((prompts, model), part), texts) in self.encoders.iter().zip(TEXT_PARTS).zip(split) {
            let rows: Vec<Vec<Chunk>> = texts
                .into_iter()
                .map(|mut chunks| {
                    chunks.resize_with(count, || prompts.empty());
                    chunks
                })
                .collect();
            let (context, vector) = self.read_chunks(model, &rows, (skip, &beside.adapters(part)))?;
            contexts.push(context);
            pooled = vector;
        }
        let mut conditioning = Conditioning { context: Tensor::cat(&contexts, D::Minus1)?, pooled };
        if self.zeros_for_empty && negative == Some("") {
            conditioning.context = without_first(&conditioning.context)?;
            conditioning.pooled = conditioning.pooled.as_ref().map(without_first).transpose()?;
        }
        Ok(conditioning)
    }

    /// Chunks of each row, as many in each, to (rows, tokens, width) and the first chunks' pooled vectors.
    fn read_chunks(
        &self,
        model: &ClipTextModel,
        rows: &[Vec<Chunk>],
        (skip, adapters): (usize, &[Adapter]),
    ) -> candle_core::Result<(Tensor, Option<Tensor>)> {
        let count = rows.first().map_or(1, Vec::len);
        let chunks: Vec<&Chunk> = rows.iter().flatten().collect();
        let ids: Vec<Vec<u32>> = chunks.iter().map(|chunk| chunk.ids.clone()).collect();
        let (hidden, pooled) = match self.family {
            ModelFamily::Sd15 | ModelFamily::Sd2 => {
                (model.norm(&model.encode_with(&ids, skip, adapters)?.hidden)?, None)
            }
            ModelFamily::Sdxl => {
                let encoded = model.encode_with(&ids, skip + SDXL_SKIP, adapters)?;
                (encoded.hidden, encoded.pooled)
            }
        };
        let weighted = chunks
            .iter()
            .enumerate()
            .map(|(place, chunk)| emphasise(&hidden.get(place)?, &chunk.weights))
            .collect::<candle_core::Result<Vec<_>>>()?;
        let (_, _, width) = hidden.dims3()?;
        let context = Tensor::stack(&weighted, 0)?.reshape((rows.len(), (), width))?;
        let first = |pooled: Tensor| -> candle_core::Result<Tensor> {
            let channels = pooled.dim(1)?;
            pooled.reshape((rows.len(), count, channels))?.narrow(1, 0, 1)?.squeeze(1)?.contiguous()
        };
        Ok((context, pooled.map(first).transpose()?))
    }
}

/// Multiplies each token's vector by its weight and brings the mean back to what it was, as A1111 does.
fn emphasise(vectors: &Tensor, weights: &[f32]) -> candle_core::Result<Tensor> {
    if weights.iter().all(|weight| weight.to_bits() == 1.0_f32.to_bits()) {
        return Ok(vectors.clone());
    }
    let weights = Tensor::from_slice(weights, (weights.len(), 1), vectors.device())?;
    let weighted = vectors.broadcast_mul(&weights)?;
    let mean = |tensor: &Tensor| -> candle_core::Result<f32> { tensor.mean_all()?.to_scalar() };
    let (before, after) = (mean(vectors)?, mean(&weighted)?);
    if after.abs() < MEAN_MIN { Ok(weighted) } else { weighted * f64::from(before / after) }
}

const SPLIT: &str = "the model's tokenizer cannot split this prompt; try plainer characters";

/// The same rows, the first of them zeros.
fn without_first(rows: &Tensor) -> candle_core::Result<Tensor> {
    let (first, others) = (rows.narrow(0, 0, 1)?, rows.narrow(0, 1, rows.dim(0)? - 1)?);
    Tensor::cat(&[&first.zeros_like()?, &others], 0)
}
