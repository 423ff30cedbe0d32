//! The transformer of a UNet block (diffusers' `Transformer2DModel`): pixels attend to each other and to the prompt.

use candle_core::{D, Result, Tensor};

use super::BuildError;
use super::adapters::RowAdapters;
use super::attention::{Attention, AttentionShape};
use super::layers::{Conv, ConvShape, GroupNorm, LayerNorm, Linear};
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
    /// Whether the way in and out is a linear layer rather than a 1x1 convolution.
    pub(crate) linear: bool,
}

/// A transformer over the pixels of a feature map.
#[derive(Clone, Debug)]
pub(crate) struct Transformer {
    norm: GroupNorm,
    ends: Ends,
    blocks: Vec<Block>,
}

#[derive(Clone, Debug)]
enum Ends {
    Conv { proj_in: Conv, proj_out: Conv },
    Linear { proj_in: Linear, proj_out: Linear },
}

impl Transformer {
    pub(crate) fn read(w: &Weights, shape: TransformerShape) -> std::result::Result<Self, BuildError> {
        let channels = shape.channels;
        let (inward, outward) = (w.at("proj_in"), w.at("proj_out"));
        let ends = if shape.linear {
            Ends::Linear {
                proj_in: Linear::read(&inward, channels, channels)?,
                proj_out: Linear::read(&outward, channels, channels)?,
            }
        } else {
            let one = ConvShape::one(channels, channels);
            Ends::Conv { proj_in: Conv::read(&inward, one)?, proj_out: Conv::read(&outward, one)? }
        };
        let blocks = (0..shape.layers)
            .map(|layer| Block::read(&w.at("transformer_blocks").at(layer), shape))
            .collect::<std::result::Result<_, _>>()?;
        Ok(Self { norm: GroupNorm::read(&w.at("norm"), shape.groups, channels, GROUP_NORM_EPS)?, ends, blocks })
    }

    /// `contexts` are the prompts, as in [`Conditions`](super::unet::Conditions).
    pub(crate) fn forward(&self, x: &Tensor, contexts: &[Tensor], rows: &RowAdapters) -> Result<Tensor> {
        let (batch, channels, height, width) = x.dims4()?;
        let normed = self.norm.forward(x)?;
        let mut tokens = match &self.ends {
            Ends::Conv { proj_in, .. } => to_tokens(&proj_in.adapted(&normed, rows)?)?,
            Ends::Linear { proj_in, .. } => proj_in.adapted(&to_tokens(&normed)?, rows)?,
        };
        for block in &self.blocks {
            tokens = block.forward(&tokens, contexts, rows)?;
        }
        let to_map = |tokens: &Tensor| tokens.transpose(1, 2)?.reshape((batch, channels, height, width));
        let out = match &self.ends {
            Ends::Conv { proj_out, .. } => proj_out.adapted(&to_map(&tokens)?, rows)?,
            Ends::Linear { proj_out, .. } => to_map(&proj_out.adapted(&tokens, rows)?)?,
        };
        out + x
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

    fn forward(&self, x: &Tensor, contexts: &[Tensor], rows: &RowAdapters) -> Result<Tensor> {
        let normed = self.norm1.forward(x)?;
        let x = (self.attn1.adapted(&normed, &normed, None, rows)? + x)?;
        let x = (self.attend_to(&self.norm2.forward(&x)?, contexts, rows)? + x)?;
        let halves = self.gate.adapted(&self.norm3.forward(&x)?, rows)?.chunk(2, D::Minus1)?;
        // GEGLU with the exact gelu: the tanh form is 1e-4 away from diffusers after one forward pass.
        let gated = (&halves[0] * halves[1].contiguous()?.gelu_erf()?)?;
        self.out.adapted(&gated, rows)? + x
    }

    /// Attention to the prompts, a call for each stretch of samples whose prompts are equally long.
    fn attend_to(&self, x: &Tensor, contexts: &[Tensor], rows: &RowAdapters) -> Result<Tensor> {
        if let [all] = contexts {
            return self.attn2.adapted(x, all, None, rows);
        }
        let mut first = 0;
        let mut parts = Vec::with_capacity(contexts.len());
        for context in contexts {
            let samples = context.dim(0)?;
            let own = rows.within(first..first + samples);
            parts.push(self.attn2.adapted(&x.narrow(0, first, samples)?, context, None, &own)?);
            first += samples;
        }
        Tensor::cat(&parts, 0)
    }
}

/// (batch, channels, height, width) to (batch, pixels, channels).
fn to_tokens(map: &Tensor) -> Result<Tensor> {
    map.flatten_from(2)?.transpose(1, 2)?.contiguous()
}
