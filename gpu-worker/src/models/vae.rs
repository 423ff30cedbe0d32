//! The decoder of the autoencoder (diffusers' `AutoencoderKL`): latents to pixels.

use std::path::Path;

use candle_core::{Result, Tensor};
use serde::Deserialize;

use super::BuildError;
use super::attention::{Attention, AttentionShape};
use super::layers::{Conv, ConvShape, GroupNorm};
use super::resnet::{Resnet, ResnetShape, Upsample};
use crate::weights::{UnreadableFile, Weights};

/// Epsilon of all its norms.
const EPS: f64 = 1e-6;
/// Most blocks: SD has 4.
const BLOCKS_MAX: usize = 16;

/// The fields of `vae/config.json` that matter to decoding.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct VaeConfig {
    /// Channels of the picture.
    pub out_channels: usize,
    /// Channels of the latent.
    pub latent_channels: usize,
    /// Channels of each block, from the pixels inwards.
    pub block_out_channels: Vec<usize>,
    /// Residual layers of an encoder block; a decoder block has one more.
    pub layers_per_block: usize,
    /// Groups of the norms.
    pub norm_num_groups: usize,
    /// What latents were multiplied with.
    pub scaling_factor: f64,
    /// What was taken from latents before that.
    pub shift_factor: Option<f64>,
    /// Whether a 1x1 convolution stands before the decoder.
    pub use_post_quant_conv: bool,
    /// Whether the middle attends.
    pub mid_block_add_attention: bool,
    up_block_types: Vec<String>,
    latents_mean: Option<serde_json::Value>,
    act_fn: String,
}

impl Default for VaeConfig {
    fn default() -> Self {
        Self {
            out_channels: 3,
            latent_channels: 4,
            block_out_channels: vec![64],
            layers_per_block: 1,
            norm_num_groups: 32,
            scaling_factor: 0.18215,
            shift_factor: None,
            use_post_quant_conv: true,
            mid_block_add_attention: true,
            up_block_types: Vec::new(),
            latents_mean: None,
            act_fn: "silu".to_owned(),
        }
    }
}

impl VaeConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// A file that is missing, is not JSON, or asks for a part this worker has not got.
    pub fn read(path: &Path) -> std::result::Result<Self, UnreadableFile> {
        let config: Self = crate::weights::read_json(path)?;
        let blocks = config.block_out_channels.len();
        let good = [
            ("act_fn", config.act_fn == "silu" || config.act_fn == "swish"),
            ("up_block_types", config.up_block_types.iter().all(|name| name == "UpDecoderBlock2D")),
            ("latents_mean", config.latents_mean.is_none()),
            ("out_channels", config.out_channels == 3),
            ("block_out_channels", (1..=BLOCKS_MAX).contains(&blocks) && !config.block_out_channels.contains(&0)),
            ("latent_channels", config.latent_channels > 0),
            ("scaling_factor", config.scaling_factor.is_normal()),
        ];
        match good.iter().find(|(_, good)| !good) {
            Some((name, _)) => Err(UnreadableFile::new(path, format!("has a {name} this worker does not do"))),
            None => Ok(config),
        }
    }

    /// Pixels to a latent's side.
    pub fn factor(&self) -> usize {
        1 << (self.block_out_channels.len() - 1)
    }
}

/// The decoder.
#[derive(Clone, Debug)]
pub struct VaeDecoder {
    scale: f64,
    shift: f64,
    post_quant: Option<Conv>,
    conv_in: Conv,
    mid: Mid,
    up: Vec<Up>,
    norm_out: GroupNorm,
    conv_out: Conv,
}

impl VaeDecoder {
    /// Reads the weights; the attention's names may be the old ones (`query`) or the new (`to_q`).
    ///
    /// # Errors
    /// A tensor that is missing or of another shape than the config asks for.
    pub fn read(config: &VaeConfig, w: &Weights) -> std::result::Result<Self, BuildError> {
        let decoder = w.at("decoder");
        let channels = &config.block_out_channels;
        let (narrow, wide) = (channels[channels.len() - 1], channels[0]);
        let latent = config.latent_channels;
        let mut up = Vec::with_capacity(channels.len());
        let mut inner = narrow;
        for (index, outer) in channels.iter().rev().copied().enumerate() {
            let last = index + 1 == channels.len();
            up.push(Up::read(config, (inner, outer), last, &decoder.at("up_blocks").at(index))?);
            inner = outer;
        }
        Ok(Self {
            scale: 1.0 / config.scaling_factor,
            shift: config.shift_factor.unwrap_or(0.0),
            post_quant: if config.use_post_quant_conv {
                Some(Conv::read(&w.at("post_quant_conv"), ConvShape::one(latent, latent))?)
            } else {
                None
            },
            conv_in: Conv::read(&decoder.at("conv_in"), ConvShape::three(latent, narrow))?,
            mid: Mid::read(config, narrow, &decoder.at("mid_block"))?,
            up,
            norm_out: GroupNorm::read(&decoder.at("conv_norm_out"), config.norm_num_groups, wide, EPS)?,
            conv_out: Conv::read(&decoder.at("conv_out"), ConvShape::three(wide, config.out_channels))?,
        })
    }

    /// Latents as the sampler leaves them, (batch, channels, height, width), to pixels about -1 to 1.
    ///
    /// # Errors
    /// Shapes that do not fit, or a device's failure.
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        let mut x = latents.affine(self.scale, self.shift)?;
        if let Some(post_quant) = &self.post_quant {
            x = post_quant.forward(&x)?;
        }
        x = self.mid.forward(&self.conv_in.forward(&x)?)?;
        for block in &self.up {
            x = block.forward(x)?;
        }
        self.conv_out.forward(&self.norm_out.forward(&x)?.silu()?)
    }
}

#[derive(Clone, Debug)]
struct Mid {
    first: Resnet,
    attention: Option<(GroupNorm, Attention)>,
    second: Resnet,
}

impl Mid {
    fn read(config: &VaeConfig, channels: usize, w: &Weights) -> std::result::Result<Self, BuildError> {
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

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
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

#[derive(Clone, Debug)]
struct Up {
    resnets: Vec<Resnet>,
    upsample: Option<Upsample>,
}

impl Up {
    fn read(
        config: &VaeConfig,
        (inner, outer): (usize, usize),
        last: bool,
        w: &Weights,
    ) -> std::result::Result<Self, BuildError> {
        let resnets = (0..=config.layers_per_block)
            .map(|layer| {
                let inner = if layer == 0 { inner } else { outer };
                Resnet::read(&w.at("resnets").at(layer), resnet_shape(config, inner, outer))
            })
            .collect::<std::result::Result<_, _>>()?;
        let upsample = if last { None } else { Some(Upsample::read(&w.at("upsamplers.0"), outer)?) };
        Ok(Self { resnets, upsample })
    }

    fn forward(&self, mut x: Tensor) -> Result<Tensor> {
        for resnet in &self.resnets {
            x = resnet.forward(&x, None)?;
        }
        match &self.upsample {
            Some(upsample) => upsample.forward(&x, None),
            None => Ok(x),
        }
    }
}

fn resnet_shape(config: &VaeConfig, inner: usize, outer: usize) -> ResnetShape {
    ResnetShape { inner, outer, time: None, groups: config.norm_num_groups, eps: EPS }
}
