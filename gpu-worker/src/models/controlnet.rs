//! ControlNets (Zhang et al., 2023; diffusers' `ControlNetModel`): a copy of the UNet's way down that also sees a hint
//! picture, and says what to add to what the UNet hands from its way down to its way up.

use std::path::Path;

use candle_core::{Result, Tensor};
use serde::Deserialize;

use super::BuildError;
use super::adapters::NO_ADAPTERS;
use super::layers::{Conv, ConvShape};
use super::unet::{Conditions, Residuals};
use super::unet_config::UNetConfig;
use super::unet_encoder::{Beside, Descent, Encoder};
use crate::weights::{UnreadableFile, Weights};

/// Most layers of the hint's own embedding; published ones have 4.
const HINT_LAYERS_MAX: usize = 8;
/// Widest of them; published ones have 256.
const HINT_CHANNELS_MAX: usize = 4_096;
/// Channels of a hint picture.
const HINT_CHANNELS: usize = 3;

/// What a ControlNet is, but for its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlNetConfig {
    /// Its way down, which must be the UNet's.
    pub encoder: UNetConfig,
    hint_channels: Vec<usize>,
    /// Whether the hint's colours are read from blue to red.
    bgr: bool,
}

/// The fields of its `config.json` that a UNet's has not got.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct Raw {
    #[serde(rename = "_class_name")]
    class_name: String,
    conditioning_channels: usize,
    conditioning_embedding_out_channels: Vec<usize>,
    controlnet_conditioning_channel_order: String,
    global_pool_conditions: bool,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            class_name: CLASS.to_owned(),
            conditioning_channels: HINT_CHANNELS,
            conditioning_embedding_out_channels: vec![16, 32, 96, 256],
            controlnet_conditioning_channel_order: "rgb".to_owned(),
            global_pool_conditions: false,
        }
    }
}

const CLASS: &str = "ControlNetModel";

impl ControlNetConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// A file that is missing, is not JSON, contradicts itself, or asks for a part this worker has not got.
    pub fn read(path: &Path) -> std::result::Result<Self, UnreadableFile> {
        let raw: Raw = crate::weights::read_json(path)?;
        let encoder = UNetConfig::read_encoder(path)?;
        let wrong = |what: String| Err(UnreadableFile::new(path, what));
        if raw.class_name != CLASS {
            return wrong(format!("is of a {}; this worker follows a plain {CLASS}", raw.class_name));
        }
        if raw.global_pool_conditions {
            return wrong("sets global_pool_conditions: ControlNets that look at a whole picture are not done".into());
        }
        let bgr = match raw.controlnet_conditioning_channel_order.as_str() {
            "rgb" => false,
            "bgr" => true,
            other => return wrong(format!("reads its hint's colours as {other}; rgb and bgr are known")),
        };
        let hint_channels = raw.conditioning_embedding_out_channels;
        let good = (1..=HINT_LAYERS_MAX).contains(&hint_channels.len())
            && hint_channels.iter().all(|size| (1..=HINT_CHANNELS_MAX).contains(size))
            && raw.conditioning_channels == HINT_CHANNELS;
        if !good {
            return wrong("has a conditioning embedding this worker does not do".to_owned());
        }
        Ok(Self { encoder, hint_channels, bgr })
    }

    /// Pixels of the hint to a latent's side.
    pub fn factor(&self) -> usize {
        1 << (self.hint_channels.len() - 1)
    }

    /// Whether it was made for this UNet; says why not.
    ///
    /// # Errors
    /// What differs.
    pub fn fits(&self, unet: &UNetConfig) -> std::result::Result<(), String> {
        let own = &self.encoder;
        let sides = |config: &UNetConfig| config.blocks.iter().map(|b| (b.channels, b.layers)).collect::<Vec<_>>();
        if own.context_channels() != unet.context_channels() {
            let (reads, gives) = (own.context_channels(), unet.context_channels());
            return Err(format!("reads prompts of {reads} channels, and this model's have {gives}"));
        }
        if own.added != unet.added {
            return Err("is of Stable Diffusion XL and the model is not, or the reverse".to_owned());
        }
        if sides(own) != sides(unet) || own.in_channels > unet.in_channels {
            return Err("has other blocks than the model's UNet".to_owned());
        }
        Ok(())
    }
}

/// What a ControlNet follows, and how strongly.
#[derive(Clone, Copy, Debug)]
pub struct Followed<'a> {
    /// The hint as [`ControlNet::embed_hint`] gives it, for all rows.
    pub hint: &'a Tensor,
    /// 1 as it was trained, 0 not at all.
    pub weight: f64,
}

/// A ControlNet.
#[derive(Clone, Debug)]
pub struct ControlNet {
    config: ControlNetConfig,
    encoder: Encoder,
    /// All but the last are followed by an activation.
    hint: Vec<Conv>,
    /// A 1x1 convolution for each residual.
    down: Vec<Conv>,
    mid: Conv,
}

impl ControlNet {
    /// Reads the weights.
    ///
    /// # Errors
    /// A tensor that is missing or of another shape than the config asks for.
    pub fn read(config: &ControlNetConfig, w: &Weights) -> std::result::Result<Self, BuildError> {
        let blocks = &config.encoder.blocks;
        let mut sizes = vec![blocks[0].channels];
        for (index, block) in blocks.iter().enumerate() {
            let halved = usize::from(index + 1 < blocks.len());
            sizes.extend(std::iter::repeat_n(block.channels, block.layers + halved));
        }
        let outputs = w.at("controlnet_down_blocks");
        let down = sizes
            .iter()
            .enumerate()
            .map(|(index, size)| Conv::read(&outputs.at(index), ConvShape::one(*size, *size)))
            .collect::<std::result::Result<_, _>>()?;
        let narrow = blocks[blocks.len() - 1].channels;
        Ok(Self {
            config: config.clone(),
            encoder: Encoder::read(&config.encoder, w)?,
            hint: read_hint(config, &w.at("controlnet_cond_embedding"))?,
            down,
            mid: Conv::read(&w.at("controlnet_mid_block"), ConvShape::one(narrow, narrow))?,
        })
    }

    /// What it is, but for its weights.
    pub fn config(&self) -> &ControlNetConfig {
        &self.config
    }

    /// A hint (1, 3, height, width) of 0 to 1, at the size of the picture, to what is added to the latents' first layer.
    /// It is the same at every step.
    ///
    /// # Errors
    /// Shapes that do not fit, or a device's failure.
    pub fn embed_hint(&self, hint: &Tensor) -> Result<Tensor> {
        let mut x = if self.config.bgr { hint.flip(&[1])? } else { hint.clone() };
        for (index, layer) in self.hint.iter().enumerate() {
            x = layer.forward(&x)?;
            if index + 1 < self.hint.len() {
                x = x.silu()?;
            }
        }
        Ok(x)
    }

    /// What to add for these latents. Takes what the UNet takes, and what to follow.
    ///
    /// # Errors
    /// Shapes that do not fit, or a device's failure.
    pub fn forward<'a>(
        &self,
        latents: &Tensor,
        timesteps: &[f32],
        conditions: impl Into<Conditions<'a>>,
        followed: Followed<'_>,
    ) -> Result<Residuals> {
        let Followed { hint, weight } = followed;
        let beside = Beside { rows: &NO_ADAPTERS, hint: Some(hint) };
        let Descent { mid, skips, .. } = self.encoder.forward(latents, timesteps, conditions.into(), beside)?;
        let out = |layer: &Conv, x: &Tensor| layer.forward(x)? * weight;
        let down = self.down.iter().zip(&skips).map(|(layer, x)| out(layer, x)).collect::<Result<_>>()?;
        Ok(Residuals { down, mid: out(&self.mid, &mid)? })
    }
}

/// Convolutions from the picture to the latents' size, halving it between each two widths.
fn read_hint(config: &ControlNetConfig, w: &Weights) -> std::result::Result<Vec<Conv>, BuildError> {
    let channels = &config.hint_channels;
    let mut layers = vec![Conv::read(&w.at("conv_in"), ConvShape::three(HINT_CHANNELS, channels[0]))?];
    for (index, pair) in channels.windows(2).enumerate() {
        let (same, halving) = (w.at("blocks").at(2 * index), w.at("blocks").at(2 * index + 1));
        layers.push(Conv::read(&same, ConvShape::three(pair[0], pair[0]))?);
        layers.push(Conv::read(&halving, ConvShape { stride: 2, ..ConvShape::three(pair[0], pair[1]) })?);
    }
    let (last, first) = (channels[channels.len() - 1], config.encoder.blocks[0].channels);
    layers.push(Conv::read(&w.at("conv_out"), ConvShape::three(last, first))?);
    Ok(layers)
}
