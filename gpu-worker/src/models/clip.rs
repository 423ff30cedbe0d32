//! CLIP's text encoder: token ids in, one vector a token out.

use std::path::Path;

use candle_core::{DType, Result, Tensor};
use serde::Deserialize;

use super::BuildError;
pub use super::activation::Activation;
use super::adapters::{Adapter, RowAdapters};
use super::attention::{Attention, AttentionShape};
use super::layers::{LayerNorm, Linear};
use crate::weights::{Layers, UnreadableFile, Weights};

/// Most tokens known: CLIP knows 49,408.
const VOCABULARY_MAX: usize = 1 << 20;
/// Widest vectors: SDXL's second encoder has 1280, and 5120 inside its feed-forward layers.
const WIDTH_MAX: usize = 1 << 16;
/// Most layers: SDXL's second encoder has 32.
const LAYERS_MAX: usize = 256;
/// Most tokens at a time: CLIP reads 77. Attention's memory grows with the square.
const POSITIONS_MAX: usize = 1_024;

/// The fields of `text_encoder/config.json` that matter to the forward pass.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ClipConfig {
    /// Tokens known.
    pub vocab_size: usize,
    /// Width of the vectors.
    pub hidden_size: usize,
    /// Width inside the feed-forward layers.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Heads of each attention.
    pub num_attention_heads: usize,
    /// Most tokens of a prompt.
    #[serde(default = "ClipConfig::default_positions")]
    pub max_position_embeddings: usize,
    /// Activation of the feed-forward layers.
    #[serde(default = "ClipConfig::default_activation")]
    pub hidden_act: Activation,
    /// Epsilon of the norms.
    #[serde(default = "ClipConfig::default_eps")]
    pub layer_norm_eps: f64,
    /// Width of the pooled vector, in encoders that make one.
    #[serde(default = "ClipConfig::default_projection")]
    pub projection_dim: usize,
    /// The token whose vector is pooled. Files with the old value 2 mean the largest id of a prompt.
    #[serde(default = "ClipConfig::default_end")]
    pub eos_token_id: u32,
}

impl ClipConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// A file that is missing, is not JSON or lacks a field.
    pub fn read(path: &Path) -> std::result::Result<Self, UnreadableFile> {
        Self::parse(path, crate::weights::read_json(path)?)
    }

    /// As [`Self::read`], of what such a file says; `path` is named in errors.
    pub(crate) fn parse(path: &Path, json: serde_json::Value) -> std::result::Result<Self, UnreadableFile> {
        let config: Self = serde_json::from_value(json)
            .map_err(|error| UnreadableFile::new(path, format!("is not the JSON it should be: {error}")))?;
        let bounds = [
            ("vocab_size", config.vocab_size, VOCABULARY_MAX),
            ("hidden_size", config.hidden_size, WIDTH_MAX),
            ("intermediate_size", config.intermediate_size, WIDTH_MAX),
            ("projection_dim", config.projection_dim, WIDTH_MAX),
            ("num_attention_heads", config.num_attention_heads, config.hidden_size),
            ("num_hidden_layers", config.num_hidden_layers, LAYERS_MAX),
            ("max_position_embeddings", config.max_position_embeddings, POSITIONS_MAX),
        ];
        if let Some((name, value, max)) = bounds.iter().find(|(_, value, max)| *value == 0 || value > max) {
            return Err(UnreadableFile::new(path, format!("has a {name} of {value}; 1 to {max} can be")));
        }
        if !(config.layer_norm_eps > 0.0 && config.layer_norm_eps < 1.0) {
            return Err(UnreadableFile::new(path, "has a layer_norm_eps that is not between 0 and 1"));
        }
        Ok(config)
    }

    fn default_positions() -> usize {
        77
    }

    fn default_activation() -> Activation {
        Activation::QuickGelu
    }

    fn default_eps() -> f64 {
        1e-5
    }

    fn default_projection() -> usize {
        512
    }

    fn default_end() -> u32 {
        49_407
    }
}

/// The text encoder.
#[derive(Clone, Debug)]
pub struct ClipTextModel {
    tokens: Tensor,
    positions: Tensor,
    layers: Vec<Layer>,
    last_norm: LayerNorm,
    projection: Option<Linear>,
    end: u32,
    vocab: usize,
    adaptable: Layers,
}

/// The `eos_token_id` written into configs before it was right; it stands for the largest id.
const OLD_END: u32 = 2;

/// What an encoder says of prompts.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// (batch, tokens, width): the vectors of the layer asked for, not through the last norm.
    pub hidden: Tensor,
    /// (batch, projection): one vector a prompt, from encoders that have a projection.
    pub pooled: Option<Tensor>,
}

impl ClipTextModel {
    /// Reads the weights, with or without the `text_model.` before their names.
    ///
    /// # Errors
    /// A tensor that is missing or of another shape than the config asks for.
    pub fn read(config: &ClipConfig, w: &Weights) -> std::result::Result<Self, BuildError> {
        let root = if w.has("text_model.final_layer_norm.weight") { w.at("text_model") } else { w.clone() }.network();
        let width = config.hidden_size;
        let embeddings = root.at("embeddings");
        let layers = (0..config.num_hidden_layers)
            .map(|layer| Layer::read(config, &root.at("encoder.layers").at(layer)))
            .collect::<std::result::Result<_, _>>()?;
        Ok(Self {
            tokens: embeddings.get("token_embedding.weight", &[config.vocab_size, width])?,
            positions: embeddings.get("position_embedding.weight", &[config.max_position_embeddings, width])?,
            layers,
            last_norm: LayerNorm::read(&root.at("final_layer_norm"), width, config.layer_norm_eps)?,
            projection: if w.has("text_projection.weight") {
                Some(Linear::read_unbiased(&w.at("text_projection"), width, config.projection_dim)?)
            } else {
                None
            },
            end: config.eos_token_id,
            vocab: config.vocab_size,
            adaptable: root.layers(),
        })
    }

    /// Encodes prompts of one length: (batch, tokens) ids to (batch, tokens, width), the last layer after its norm.
    ///
    /// # Errors
    /// More tokens than there are positions, an id outside the vocabulary, or a device's failure.
    pub fn forward(&self, ids: &[Vec<u32>]) -> Result<Tensor> {
        self.norm(&self.encode(ids, 0)?.hidden)
    }

    /// The vectors as the `skip`-th layer from the end leaves them (0 is the last), and the pooled vector, which is
    /// always the last layer's. `skip` past the first layer gives the embeddings.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn encode(&self, ids: &[Vec<u32>], skip: usize) -> Result<Encoded> {
        self.encode_with(ids, skip, &[])
    }

    /// As [`Self::encode`], with adapters, the same for all prompts.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn encode_with(&self, ids: &[Vec<u32>], skip: usize, adapters: &[Adapter]) -> Result<Encoded> {
        let rows = RowAdapters::all(ids.len(), adapters);
        let kept = self.layers.len().saturating_sub(skip);
        let mut x = self.embed(ids)?;
        let mask = causal_mask(x.dim(1)?, &x)?;
        let mut hidden = x.clone();
        let needed = if self.projection.is_some() { self.layers.len() } else { kept };
        for (index, layer) in self.layers[..needed].iter().enumerate() {
            x = layer.forward(&x, &mask, &rows)?;
            if index + 1 == kept {
                hidden = x.clone();
            }
        }
        let pooled = match &self.projection {
            Some(projection) => Some(projection.forward(&self.pool(&self.norm(&x)?, ids)?)?),
            None => None,
        };
        Ok(Encoded { hidden, pooled })
    }

    /// The norm behind the last layer, which Stable Diffusion 1.x also puts behind an earlier one.
    ///
    /// # Errors
    /// A width that is not the encoder's, or a device's failure.
    pub fn norm(&self, hidden: &Tensor) -> Result<Tensor> {
        self.last_norm.forward(hidden)
    }

    /// The layers adapters may change, named from the inside of `text_model`.
    pub fn adaptable(&self) -> &Layers {
        &self.adaptable
    }

    /// Layers that could be left off the end.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Whether it makes a pooled vector.
    pub fn pools(&self) -> bool {
        self.projection.is_some()
    }

    fn embed(&self, ids: &[Vec<u32>]) -> Result<Tensor> {
        let (batch, length) = (ids.len(), ids.first().map_or(0, Vec::len));
        let flat: Vec<u32> = ids.iter().flatten().copied().collect();
        if flat.iter().any(|id| *id as usize >= self.vocab) {
            candle_core::bail!("the tokenizer makes ids that this text encoder does not know");
        }
        let flat = Tensor::from_vec(flat, batch * length, self.tokens.device())?;
        let embedded = self.tokens.index_select(&flat, 0)?.reshape((batch, length, ()))?;
        embedded.broadcast_add(&self.positions.narrow(0, 0, length)?)
    }

    /// Each prompt's vector at its end token: (batch, tokens, width) to (batch, width).
    fn pool(&self, last: &Tensor, ids: &[Vec<u32>]) -> Result<Tensor> {
        let rows = ids
            .iter()
            .enumerate()
            .map(|(row, ids)| {
                let end = if self.end == OLD_END { ids.iter().copied().max().unwrap_or(0) } else { self.end };
                let place = ids.iter().position(|id| *id == end).unwrap_or(0);
                last.get(row)?.narrow(0, place, 1)
            })
            .collect::<Result<Vec<_>>>()?;
        Tensor::cat(&rows, 0)
    }
}

#[derive(Clone, Debug)]
struct Layer {
    norm1: LayerNorm,
    attention: Attention,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    activation: Activation,
}

impl Layer {
    fn read(config: &ClipConfig, w: &Weights) -> std::result::Result<Self, BuildError> {
        let (width, inner, eps) = (config.hidden_size, config.intermediate_size, config.layer_norm_eps);
        let attention = AttentionShape {
            channels: width,
            context: width,
            heads: config.num_attention_heads,
            biased: true,
            names: ["q_proj", "k_proj", "v_proj", "out_proj"],
        };
        Ok(Self {
            norm1: LayerNorm::read(&w.at("layer_norm1"), width, eps)?,
            attention: Attention::read(&w.at("self_attn"), attention)?,
            norm2: LayerNorm::read(&w.at("layer_norm2"), width, eps)?,
            fc1: Linear::read(&w.at("mlp.fc1"), width, inner)?,
            fc2: Linear::read(&w.at("mlp.fc2"), inner, width)?,
            activation: config.hidden_act,
        })
    }

    fn forward(&self, x: &Tensor, mask: &Tensor, rows: &RowAdapters) -> Result<Tensor> {
        let normed = self.norm1.forward(x)?;
        let x = (self.attention.adapted(&normed, &normed, Some(mask), rows)? + x)?;
        let inner = self.activation.apply(&self.fc1.adapted(&self.norm2.forward(&x)?, rows)?)?;
        self.fc2.adapted(&inner, rows)? + x
    }
}

/// A token sees itself and those before it.
fn causal_mask(length: usize, like: &Tensor) -> Result<Tensor> {
    let values: Vec<f32> = (0..length)
        .flat_map(|row| (0..length).map(move |column| if column > row { f32::NEG_INFINITY } else { 0.0 }))
        .collect();
    Tensor::from_vec(values, (length, length), like.device())?.to_dtype(DType::F32)
}
