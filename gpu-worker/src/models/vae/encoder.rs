//! The encoder: pixels to the distribution of latents.

use candle_core::{Result, Tensor};

use super::parts::{EPS, Mid, resnet_shape};
use super::tiles::Tiles;
use super::{VaeConfig, WHOLE_MAX};
use crate::models::BuildError;
use crate::models::layers::{Conv, ConvShape, GroupNorm};
use crate::models::resnet::Resnet;
use crate::weights::Weights;

/// Bounds of the logarithm of the variance, as diffusers has them.
const LOG_VARIANCE: (f64, f64) = (-30.0, 20.0);

/// The encoder.
#[derive(Clone, Debug)]
pub struct VaeEncoder {
    scale: f64,
    shift: f64,
    factor: usize,
    conv_in: Conv,
    down: Vec<Down>,
    mid: Mid,
    norm_out: GroupNorm,
    conv_out: Conv,
    quant: Option<Conv>,
    tiles: Tiles,
}

impl VaeEncoder {
    /// Reads the weights.
    ///
    /// # Errors
    /// A tensor that is missing or of another shape than the config asks for.
    pub fn read(config: &VaeConfig, w: &Weights) -> std::result::Result<Self, BuildError> {
        let encoder = w.at("encoder");
        let channels = &config.block_out_channels;
        let (wide, narrow) = (channels[0], channels[channels.len() - 1]);
        let both = 2 * config.latent_channels;
        let mut down = Vec::with_capacity(channels.len());
        let mut inner = wide;
        for (index, outer) in channels.iter().copied().enumerate() {
            let last = index + 1 == channels.len();
            down.push(Down::read(config, (inner, outer), last, &encoder.at("down_blocks").at(index))?);
            inner = outer;
        }
        Ok(Self {
            scale: config.scaling_factor,
            shift: config.shift_factor.unwrap_or(0.0),
            factor: config.factor(),
            conv_in: Conv::read(&encoder.at("conv_in"), ConvShape::three(config.in_channels, wide))?,
            down,
            mid: Mid::read(config, narrow, &encoder.at("mid_block"))?,
            norm_out: GroupNorm::read(&encoder.at("conv_norm_out"), config.norm_num_groups, narrow, EPS)?,
            conv_out: Conv::read(&encoder.at("conv_out"), ConvShape::three(narrow, both))?,
            quant: if config.use_quant_conv {
                Some(Conv::read(&w.at("quant_conv"), ConvShape::one(both, both))?)
            } else {
                None
            },
            tiles: Tiles::of(config),
        })
    }

    /// Pixels of -1 to 1, (batch, 3, height, width), to where their latents lie. Each sample for itself; one whose latent
    /// is larger than [`WHOLE_MAX`] in tiles.
    ///
    /// # Errors
    /// Sides that are no multiples of the autoencoder's factor, or a device's failure.
    pub fn encode(&self, pixels: &Tensor) -> Result<Posterior> {
        let (batch, _, height, width) = pixels.dims4()?;
        if (height / self.factor) * (width / self.factor) > WHOLE_MAX {
            return self.encode_in_tiles(pixels, self.tiles);
        }
        let samples: Vec<Tensor> =
            (0..batch).map(|sample| self.whole(&pixels.narrow(0, sample, 1)?)).collect::<Result<_>>()?;
        self.posterior(&Tensor::cat(&samples, 0)?)
    }

    /// As [`Self::encode`], in tiles of this size.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_in_tiles(&self, pixels: &Tensor, tiles: Tiles) -> Result<Posterior> {
        self.posterior(&tiles.over_pixels().each_sample(pixels, |tile| self.whole(tile))?)
    }

    fn whole(&self, pixels: &Tensor) -> Result<Tensor> {
        let (_, _, height, width) = pixels.dims4()?;
        if height % self.factor != 0 || width % self.factor != 0 {
            candle_core::bail!("a picture's sides must be multiples of {} to be encoded", self.factor);
        }
        let mut x = self.conv_in.forward(pixels)?;
        for block in &self.down {
            x = block.forward(x)?;
        }
        x = self.conv_out.forward(&self.norm_out.forward_silu(&self.mid.forward(&x)?)?)?;
        match &self.quant {
            Some(quant) => quant.forward(&x),
            None => Ok(x),
        }
    }

    fn posterior(&self, moments: &Tensor) -> Result<Posterior> {
        let channels = moments.dim(1)? / 2;
        let (mean, log_variance) = (moments.narrow(1, 0, channels)?, moments.narrow(1, channels, channels)?);
        let deviation = (log_variance.clamp(LOG_VARIANCE.0, LOG_VARIANCE.1)? * 0.5)?.exp()?;
        Ok(Posterior { mean: mean.contiguous()?, deviation, scale: self.scale, shift: self.shift })
    }
}

/// Where the latents of a picture lie: a normal distribution for each value.
#[derive(Clone, Debug)]
pub struct Posterior {
    mean: Tensor,
    deviation: Tensor,
    scale: f64,
    shift: f64,
}

impl Posterior {
    /// Shape of the latents: (batch, channels, height, width).
    pub fn dims(&self) -> &[usize] {
        self.mean.dims()
    }

    /// The likeliest latents, as samplers want them.
    ///
    /// # Errors
    /// A device's failure.
    pub fn mode(&self) -> Result<Tensor> {
        self.scaled(&self.mean)
    }

    /// Latents drawn with these unit normal numbers, one for each value.
    ///
    /// # Errors
    /// Another count of numbers than of values, or a device's failure.
    pub fn sample(&self, noise: Vec<f32>) -> Result<Tensor> {
        let noise = Tensor::from_vec(noise, self.mean.shape(), self.mean.device())?;
        self.scaled(&(&self.mean + (&self.deviation * noise)?)?)
    }

    fn scaled(&self, latents: &Tensor) -> Result<Tensor> {
        latents.affine(self.scale, -self.shift * self.scale)
    }
}

#[derive(Clone, Debug)]
struct Down {
    resnets: Vec<Resnet>,
    downsample: Option<Conv>,
}

impl Down {
    fn read(
        config: &VaeConfig,
        (inner, outer): (usize, usize),
        last: bool,
        w: &Weights,
    ) -> std::result::Result<Self, BuildError> {
        let resnets = (0..config.layers_per_block)
            .map(|layer| {
                let inner = if layer == 0 { inner } else { outer };
                Resnet::read(&w.at("resnets").at(layer), resnet_shape(config, inner, outer))
            })
            .collect::<std::result::Result<_, _>>()?;
        let halve = ConvShape { inner: outer, outer, side: 3, stride: 2, padding: 0 };
        let downsample = if last { None } else { Some(Conv::read(&w.at("downsamplers.0.conv"), halve)?) };
        Ok(Self { resnets, downsample })
    }

    fn forward(&self, mut x: Tensor) -> Result<Tensor> {
        for resnet in &self.resnets {
            x = resnet.forward(&x, None)?;
        }
        match &self.downsample {
            // One more row below and one more column to the right, and none on the other sides.
            Some(conv) => conv.forward(&x.pad_with_zeros(2, 0, 1)?.pad_with_zeros(3, 0, 1)?),
            None => Ok(x),
        }
    }
}
