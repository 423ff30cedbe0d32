//! The decoder: latents to pixels.

use candle_core::{Result, Tensor};

use super::parts::{EPS, Mid, resnet_shape};
use super::tiles::Tiles;
use super::{VaeConfig, WHOLE_MAX};
use crate::models::BuildError;
use crate::models::layers::{Conv, ConvShape, GroupNorm};
use crate::models::resnet::{Resnet, Upsample};
use crate::weights::Weights;

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
    tiles: Tiles,
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
            tiles: Tiles::of(config),
        })
    }

    /// Latents as the sampler leaves them, (batch, channels, height, width), to pixels about -1 to 1. Each sample for itself;
    /// one larger than [`WHOLE_MAX`] in tiles.
    ///
    /// # Errors
    /// Shapes that do not fit, or a device's failure.
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        let (batch, _, height, width) = latents.dims4()?;
        if height * width > WHOLE_MAX {
            return self.decode_in_tiles(latents, self.tiles);
        }
        let samples: Vec<Tensor> =
            (0..batch).map(|sample| self.whole(&latents.narrow(0, sample, 1)?)).collect::<Result<_>>()?;
        Tensor::cat(&samples, 0)
    }

    /// As [`Self::decode`], in tiles of this size. A tile sees nothing of its neighbours, so the picture differs a little
    /// from one decoded whole.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_in_tiles(&self, latents: &Tensor, tiles: Tiles) -> Result<Tensor> {
        tiles.over_latents().each_sample(latents, |tile| self.whole(tile))
    }

    fn whole(&self, latents: &Tensor) -> Result<Tensor> {
        let mut x = latents.affine(self.scale, self.shift)?;
        if let Some(post_quant) = &self.post_quant {
            x = post_quant.forward(&x)?;
        }
        x = self.mid.forward(&self.conv_in.forward(&x)?)?;
        for block in &self.up {
            x = block.forward(x)?;
        }
        self.conv_out.forward(&self.norm_out.forward_silu(&x)?)
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
