//! CLIP's text encoder: token ids in, one vector a token out.

use std::path::Path;

use candle_core::{DType, Result, Tensor};
use serde::Deserialize;

use super::BuildError;
pub use super::activation::Activation;
use super::attention::{Attention, AttentionShape};
use super::layers::{LayerNorm, Linear};
use crate::weights::{UnreadableFile, Weights};

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
}

impl ClipConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// A file that is missing, is not JSON or lacks a field.
    pub fn read(path: &Path) -> std::result::Result<Self, UnreadableFile> {
        let config: Self = crate::weights::read_json(path)?;
        let sizes = [config.vocab_size, config.hidden_size, config.intermediate_size, config.max_position_embeddings];
        if sizes.contains(&0) {
            return Err(UnreadableFile::new(path, "has a size of 0"));
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
}

/// The text encoder.
#[derive(Clone, Debug)]
pub struct ClipTextModel {
    tokens: Tensor,
    positions: Tensor,
    layers: Vec<Layer>,
    last_norm: LayerNorm,
    vocab: usize,
}

impl ClipTextModel {
    /// Reads the weights, with or without the `text_model.` before their names.
    ///
    /// # Errors
    /// A tensor that is missing or of another shape than the config asks for.
    pub fn read(config: &ClipConfig, w: &Weights) -> std::result::Result<Self, BuildError> {
        let root = if w.has("text_model.final_layer_norm.weight") { w.at("text_model") } else { w.clone() };
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
            vocab: config.vocab_size,
        })
    }

    /// Encodes prompts of one length: (batch, tokens) ids to (batch, tokens, width), the last layer after its norm.
    ///
    /// # Errors
    /// More tokens than there are positions, an id outside the vocabulary, or a device's failure.
    pub fn forward(&self, ids: &[Vec<u32>]) -> Result<Tensor> {
        let (batch, length) = (ids.len(), ids.first().map_or(0, Vec::len));
        let flat: Vec<u32> = ids.iter().flatten().copied().collect();
        if flat.iter().any(|id| *id as usize >= self.vocab) {
            candle_core::bail!("the tokenizer makes ids that this text encoder does not know");
        }
        let flat = Tensor::from_vec(flat, batch * length, self.tokens.device())?;
        let embedded = self.tokens.index_select(&flat, 0)?.reshape((batch, length, ()))?;
        let mut x = embedded.broadcast_add(&self.positions.narrow(0, 0, length)?)?;
        let mask = causal_mask(length, &x)?;
        for layer in &self.layers {
            x = layer.forward(&x, &mask)?;
        }
        self.last_norm.forward(&x)
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

    fn forward(&self, x: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let normed = self.norm1.forward(x)?;
        let x = (self.attention.forward(&normed, &normed, Some(mask))? + x)?;
        let inner = self.activation.apply(&self.fc1.forward(&self.norm2.forward(&x)?)?)?;
        self.fc2.forward(&inner)? + x
    }
}

/// A token sees itself and those before it.
fn causal_mask(length: usize, like: &Tensor) -> Result<Tensor> {
    let values: Vec<f32> = (0..length)
        .flat_map(|row| (0..length).map(move |column| if column > row { f32::NEG_INFINITY } else { 0.0 }))
        .collect();
    Tensor::from_vec(values, (length, length), like.device())?.to_dtype(DType::F32)
}
