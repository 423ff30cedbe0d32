//! A tiny decoder for previews (diffusers' `AutoencoderTiny`, known as TAESD): latents to pixels in a hundredth of the
//! autoencoder's work.

use std::path::Path;

use candle_core::{Result, Tensor};
use serde::Deserialize;

use super::BuildError;
use super::layers::{Conv, ConvShape};
use crate::kernels::{self, Moves, With};
use crate::weights::{UnreadableFile, Weights};

/// Most blocks: published ones have 4.
const BLOCKS_MAX: usize = 16;
/// Widest layer and longest block: published ones have 64 and 3.
const SIZE_MAX: usize = 1 << 10;
/// Latents are squeezed softly into three times -1 to 1.
const SQUEEZE: f64 = 3.0;

/// The fields of its `config.json` that matter to decoding.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct TinyConfig {
    /// Channels of the latent.
    pub latent_channels: usize,
    /// Channels of each block, from the latent outwards.
    pub decoder_block_out_channels: Vec<usize>,
    /// Residual layers of each block.
    pub num_decoder_blocks: Vec<usize>,
    /// What latents were multiplied with, beside what the large autoencoder does.
    pub scaling_factor: f64,
    out_channels: usize,
    act_fn: String,
    upsample_fn: String,
    upsampling_scaling_factor: usize,
}

impl Default for TinyConfig {
    fn default() -> Self {
        Self {
            latent_channels: 4,
            decoder_block_out_channels: vec![64; 4],
            num_decoder_blocks: vec![3, 3, 3, 1],
            scaling_factor: 1.0,
            out_channels: 3,
            act_fn: "relu".to_owned(),
            upsample_fn: "nearest".to_owned(),
            upsampling_scaling_factor: 2,
        }
    }
}

impl TinyConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// A file that is missing, is not JSON, or asks for a part this worker has not got.
    pub fn read(path: &Path) -> std::result::Result<Self, UnreadableFile> {
        let config: Self = crate::weights::read_json(path)?;
        let (channels, blocks) = (&config.decoder_block_out_channels, &config.num_decoder_blocks);
        let bounded = |sizes: &[usize]| sizes.iter().all(|size| (1..=SIZE_MAX).contains(size));
        let even = channels.windows(2).all(|pair| pair[0] == pair[1]);
        let good = [
            ("act_fn", config.act_fn == "relu"),
            ("upsample_fn", config.upsample_fn == "nearest"),
            ("upsampling_scaling_factor", config.upsampling_scaling_factor == 2),
            ("out_channels", config.out_channels == 3),
            ("latent_channels", bounded(&[config.latent_channels])),
            ("decoder_block_out_channels", (1..=BLOCKS_MAX).contains(&channels.len()) && bounded(channels) && even),
            ("num_decoder_blocks", blocks.len() == channels.len() && bounded(blocks)),
            ("scaling_factor", config.scaling_factor.is_normal()),
        ];
        match good.iter().find(|(_, good)| !good) {
            Some((name, _)) => Err(UnreadableFile::new(path, format!("has a {name} this worker does not do"))),
            None => Ok(config),
        }
    }
}

/// The decoder.
#[derive(Clone, Debug)]
pub struct TinyDecoder {
    scale: f64,
    conv_in: Conv,
    blocks: Vec<Block>,
    conv_out: Conv,
}

/// Residual layers; then twice the size and a convolution without bias, but for the last.
#[derive(Clone, Debug)]
struct Block {
    residual: Vec<[Conv; 3]>,
    grow: Option<Tensor>,
}

impl TinyDecoder {
    /// Reads the weights, which are numbered through all layers, those without weights included.
    ///
    /// # Errors
    /// A tensor that is missing or of another shape than the config asks for.
    pub fn read(config: &TinyConfig, w: &Weights) -> std::result::Result<Self, BuildError> {
        let layers = w.at("decoder.layers");
        let channels = &config.decoder_block_out_channels;
        // The first convolution and its activation.
        let mut place = 2;
        let mut blocks = Vec::with_capacity(channels.len());
        for (index, (wide, count)) in channels.iter().copied().zip(&config.num_decoder_blocks).enumerate() {
            let mut residual = Vec::with_capacity(*count);
            for _ in 0..*count {
                let conv = layers.at(place).at("conv");
                let read = |layer: usize| Conv::read(&conv.at(layer), ConvShape::three(wide, wide));
                residual.push([read(0)?, read(2)?, read(4)?]);
                place += 1;
            }
            let last = index + 1 == channels.len();
            // The enlarging has a number too.
            let grow = if last { None } else { Some(layers.at(place + 1).get("weight", &[wide, wide, 3, 3])?) };
            place += if last { 0 } else { 2 };
            blocks.push(Block { residual, grow });
        }
        let (first, last) = (channels[0], channels[channels.len() - 1]);
        Ok(Self {
            scale: 1.0 / config.scaling_factor,
            conv_in: Conv::read(&layers.at(0), ConvShape::three(config.latent_channels, first))?,
            blocks,
            conv_out: Conv::read(&layers.at(place), ConvShape::three(last, 3))?,
        })
    }

    /// Latents as samplers hold them, (batch, channels, height, width), to pixels about -1 to 1.
    ///
    /// # Errors
    /// Shapes that do not fit, or a device's failure.
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        let squeezed = ((latents * (self.scale / SQUEEZE))?.tanh()? * SQUEEZE)?;
        let mut x = self.conv_in.forward(&squeezed)?.relu()?;
        for Block { residual, grow } in &self.blocks {
            for [first, second, third] in residual {
                let inner = second.forward(&first.forward(&x)?.relu()?)?.relu()?;
                x = (third.forward(&inner)? + x)?.relu()?;
            }
            if let Some(weight) = grow {
                let (_, _, height, width) = x.dims4()?;
                let moves = Moves { stride: 1, padding: 1 };
                let wide = x.upsample_nearest2d(2 * height, 2 * width)?;
                x = kernels::conv2d(&wide, weight, moves, With::bias(None))?;
            }
        }
        self.conv_out.forward(&x)?.affine(2.0, -1.0)
    }
}
