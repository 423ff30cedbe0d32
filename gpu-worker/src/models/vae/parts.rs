//! What encoder and decoder have in common.

use candle_core::Result;
use candle_core::Tensor;

use super::VaeConfig;
use crate::models::BuildError;
use crate::models::attention::{Attention, AttentionShape};
use crate::models::layers::GroupNorm;
use crate::models::resnet::{Resnet, ResnetShape};
use crate::weights::Weights;

/// Epsilon of all norms.
pub(super) const EPS: f64 = 1e-6;

/// The block in the middle, with its attention.
#[derive(Clone, Debug)]
pub(super) struct Mid {
    first: Resnet,
    attention: Option<(GroupNorm, Attention)>,
    second: Resnet,
}

impl Mid {
    pub(super) fn read(config: &VaeConfig, channels: usize, w: &Weights) -> std::result::Result<Self, BuildError> {
        let shape = resnet_shape(config, channels, channels);
        let place = w.at("attentions.0");
        let attention = if config.mid_block_add_attention {
            let names = if place.has("to_q.weight") {
                ["to_q", "to_k", "to_v", "to_out.0"]
            } else {
                ["query", "key", "value", "proj_attn"]
            };
            let shape = AttentionShape { channels, context: channels, heads: 1, biased: true, names };
            let norm = GroupNorm::read(&place.at("group_norm"), config.norm_num_groups, channels, EPS)?;
            Some((norm, Attention::read(&place, shape)?))
        } else {
            None
        };
        let first = Resnet::read(&w.at("resnets.0"), shape)?;
        Ok(Self { first, attention, second: Resnet::read(&w.at("resnets.1"), shape)? })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = self.first.forward(x, None)?;
        if let Some((norm, attention)) = &self.attention {
            let (batch, channels, height, width) = x.dims4()?;
            let tokens = norm.forward(&x)?.flatten_from(2)?.transpose(1, 2)?.contiguous()?;
            let seen = attention.forward(&tokens, &tokens, None)?;
            x = (seen.transpose(1, 2)?.reshape((batch, channels, height, width))? + x)?;
        }
        self.second.forward(&x, None)
    }
}

pub(super) fn resnet_shape(config: &VaeConfig, inner: usize, outer: usize) -> ResnetShape {
    ResnetShape { inner, outer, time: None, groups: config.norm_num_groups, eps: EPS }
}
