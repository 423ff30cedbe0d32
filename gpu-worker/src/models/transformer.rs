//! The transformer of a UNet block (diffusers' `Transformer2DModel`): pixels attend to each other and to the prompt.

use candle_core::{Result, Tensor};

use super::BuildError;
use super::adapters::RowAdapters;
use super::attention::{Attention, AttentionShape};
use super::layers::{GroupNorm, LayerNorm, Linear};
use crate::kernels;
use crate::weights::Weights;

/// Epsilon of its group norm, whatever the UNet's own is.
const GROUP_NORM_EPS: f64 = 1e-6;
/// Epsilon of its layer norms.
const LAYER_NORM_EPS: f64 = 1e-5;
/// The feed-forward layer is this many times as wide.
const FEED_FORWARD: usize = 4;

/// Sizes of one transformer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TransformerShape {
    pub(crate) channels: usize,
    pub(crate) heads: usize,
    pub(crate) context: usize,
    pub(crate) layers: usize,
    pub(crate) groups: usize,
}

/// A transformer over the pixels of a feature map.
#[derive(Clone, Debug)]
pub(crate) struct Transformer {
    norm: GroupNorm,
    /// In some files a 1x1 convolution, which is the same.
    proj_in: Linear,
    blocks: Vec<Block>,
    proj_out: Linear,
}

impl Transformer {
    pub(crate) fn read(w: &Weights, shape: TransformerShape) -> std::result::Result<Self, BuildError> {
        let channels = shape.channels;
        let blocks = (0..shape.layers)
            .map(|layer| Block::read(&w.at("transformer_blocks").at(layer), shape))
            .collect::<std::result::Result<_, _>>()?;
        Ok(Self {
            norm: GroupNorm::read(&w.at("norm"), shape.groups, channels, GROUP_NORM_EPS)?,
            proj_in: Linear::read(&w.at("proj_in"), channels, channels)?,
            blocks,
            proj_out: Linear::read(&w.at("proj_out"), channels, channels)?,
        })
    }

    /// `contexts` are the prompts, as in [`Conditions`](super::unet::Conditions).
    pub(crate) fn forward(&self, x: &Tensor, contexts: &[Tensor], rows: &RowAdapters) -> Result<Tensor> {
        let mut tokens = self.proj_in.tokens_of(&self.norm.forward(x)?, rows)?;
        for block in &self.blocks {
            tokens = block.forward(tokens, contexts, rows)?;
        }
        self.proj_out.map_onto(&tokens, x, rows)
    }
}

/// Self-attention, attention to the prompt, gated feed-forward; each with a norm before and a way round.
#[derive(Clone, Debug)]
struct Block {
    norm1: LayerNorm,
    attn1: Attention,
    norm2: LayerNorm,
    attn2: Attention,
    norm3: LayerNorm,
    gate: Linear,
    out: Linear,
}

impl Block {
    fn read(w: &Weights, shape: TransformerShape) -> std::result::Result<Self, BuildError> {
        let TransformerShape { channels, heads, context, .. } = shape;
        let names = ["to_q", "to_k", "to_v", "to_out.0"];
        let attention = AttentionShape { channels, context: channels, heads, biased: false, names };
        let inner = channels * FEED_FORWARD;
        let norm = |name: &str| LayerNorm::read(&w.at(name), channels, LAYER_NORM_EPS);
        Ok(Self {
            norm1: norm("norm1")?,
            attn1: Attention::read(&w.at("attn1"), attention)?,
            norm2: norm("norm2")?,
            attn2: Attention::read(&w.at("attn2"), AttentionShape { context, ..attention })?,
            norm3: norm("norm3")?,
            gate: Linear::read(&w.at("ff.net.0.proj"), channels, inner * 2)?,
            out: Linear::read(&w.at("ff.net.2"), inner, channels)?,
        })
    }

    fn forward(&self, x: Tensor, contexts: &[Tensor], rows: &RowAdapters) -> Result<Tensor> {
        let normed = self.norm1.forward(&x)?;
        let x = self.attn1.adapted_onto(&normed, &normed, &x, rows)?;
        let x = self.attend_to(&x, contexts, rows)?;
        // GEGLU with the exact gelu: the tanh form is 1e-4 away from diffusers after one forward pass.
        let gated = kernels::geglu(&self.gate.adapted(&self.norm3.forward(&x)?, rows)?)?;
        self.out.adapted_onto(&gated, &x, rows)
    }

    /// Attention to the prompts, added: a call for each stretch of samples whose prompts are equally long.
    fn attend_to(&self, x: &Tensor, contexts: &[Tensor], rows: &RowAdapters) -> Result<Tensor> {
        let normed = self.norm2.forward(x)?;
        if let [all] = contexts {
            return self.attn2.adapted_onto(&normed, all, x, rows);
        }
        let mut first = 0;
        let mut parts = Vec::with_capacity(contexts.len());
        for context in contexts {
            let samples = context.dim(0)?;
            let part = |tensor: &Tensor| tensor.narrow(0, first, samples);
            let own = rows.within(first..first + samples);
            parts.push(self.attn2.adapted_onto(&part(&normed)?, context, &part(x)?, &own)?);
            first += samples;
        }
        Tensor::cat(&parts, 0)
    }
}
