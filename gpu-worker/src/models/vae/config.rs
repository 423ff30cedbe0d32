//! `vae/config.json` as diffusers writes it, checked for what this autoencoder does.

use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::super::unet_config::LATENT_CHANNELS_MAX;
use crate::weights::UnreadableFile;

/// Most blocks: SD has 4.
const BLOCKS_MAX: usize = 16;
/// Most layers of a block: SD has 2.
const LAYERS_MAX: usize = 64;
/// Widest layer, and most groups of a norm: SD has 512 and 32.
const CHANNELS_MAX: usize = 1 << 16;
/// Largest picture trained on, in pixels: SDXL has 1024.
const SAMPLE_SIDE_MAX: usize = 1 << 14;

/// The fields of `vae/config.json` that matter here. `force_upcast` asks for fp32, which this always computes in.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct VaeConfig {
    /// Channels of the picture going in.
    pub in_channels: usize,
    /// Channels of the picture coming out.
    pub out_channels: usize,
    /// Channels of the latent.
    pub latent_channels: usize,
    /// Channels of each block, from the pixels inwards.
    pub block_out_channels: Vec<usize>,
    /// Side of the pictures it was trained on, in pixels.
    pub sample_size: Side,
    /// Residual layers of an encoder block; a decoder block has one more.
    pub layers_per_block: usize,
    /// Groups of the norms.
    pub norm_num_groups: usize,
    /// What latents were multiplied with.
    pub scaling_factor: f64,
    /// What was taken from latents before that.
    pub shift_factor: Option<f64>,
    /// Whether a 1x1 convolution stands behind the encoder.
    pub use_quant_conv: bool,
    /// Whether a 1x1 convolution stands before the decoder.
    pub use_post_quant_conv: bool,
    /// Whether the middle attends.
    pub mid_block_add_attention: bool,
    down_block_types: Vec<String>,
    up_block_types: Vec<String>,
    latents_mean: Option<IgnoredAny>,
    act_fn: String,
}

impl Default for VaeConfig {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            sample_size: Side::Square(32),
            latent_channels: 4,
            block_out_channels: vec![64],
            layers_per_block: 1,
            norm_num_groups: 32,
            scaling_factor: 0.18215,
            shift_factor: None,
            use_quant_conv: true,
            use_post_quant_conv: true,
            mid_block_add_attention: true,
            down_block_types: Vec::new(),
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
    pub fn read(path: &Path) -> Result<Self, UnreadableFile> {
        Self::parse(path, crate::weights::read_json(path)?)
    }

    /// As [`Self::read`], of what such a file says; `path` is named in errors.
    pub(crate) fn parse(path: &Path, json: serde_json::Value) -> Result<Self, UnreadableFile> {
        let config: Self = serde_json::from_value(json)
            .map_err(|error| UnreadableFile::new(path, format!("is not the JSON it should be: {error}")))?;
        let blocks = config.block_out_channels.len();
        let good = [
            ("act_fn", config.act_fn == "silu" || config.act_fn == "swish"),
            ("up_block_types", config.up_block_types.iter().all(|name| name == "UpDecoderBlock2D")),
            ("down_block_types", config.down_block_types.iter().all(|name| name == "DownEncoderBlock2D")),
            ("latents_mean", config.latents_mean.is_none()),
            ("in_channels", config.in_channels == 3),
            ("out_channels", config.out_channels == 3),
            ("sample_size", (1..=SAMPLE_SIDE_MAX).contains(&config.sample_size.largest())),
            (
                "block_out_channels",
                (1..=BLOCKS_MAX).contains(&blocks)
                    && config.block_out_channels.iter().all(|channels| (1..=CHANNELS_MAX).contains(channels)),
            ),
            ("layers_per_block", (1..=LAYERS_MAX).contains(&config.layers_per_block)),
            ("norm_num_groups", (1..=CHANNELS_MAX).contains(&config.norm_num_groups)),
            ("latent_channels", (1..=LATENT_CHANNELS_MAX).contains(&config.latent_channels)),
            ("scaling_factor", config.scaling_factor.is_normal() && (1.0 / config.scaling_factor).is_normal()),
            ("shift_factor", config.shift_factor.is_none_or(f64::is_finite)),
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

/// A picture's size: a number for both sides, or one for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Side {
    /// Both sides.
    Square(usize),
    /// Height and width.
    Both([usize; 2]),
}

impl Side {
    /// The longer side.
    pub fn largest(self) -> usize {
        match self {
            Self::Square(side) => side,
            Self::Both([height, width]) => height.max(width),
        }
    }
}
