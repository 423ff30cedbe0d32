//! The denoiser of Stable Diffusion 1.x and XL (diffusers' `UNet2DConditionModel`), with a timestep, adapters and
//! ControlNets for each sample.

use std::ops::Range;

use candle_core::{Result, Tensor};

use super::BuildError;
use super::adapters::{NO_ADAPTERS, RowAdapters};
use super::layers::{Conv, ConvShape, GroupNorm};
use super::unet_blocks::{Told, UpBlock};
pub use super::unet_config::{AddedConfig, SIZES, UNetConfig};
use super::unet_encoder::{Beside, Descent, Encoder};
use crate::weights::{Layers, LdmUNet, Weights};

/// What steers the denoiser, for each sample of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Conditions<'a> {
    /// The prompts, (samples, tokens, channels) each: samples that follow each other and have as many tokens are one
    /// tensor, and the tensors' samples are the batch's in order. Padding to one length would change what a sample sees.
    pub contexts: &'a [Tensor],
    /// What SDXL is told beside them.
    pub added: Option<Added<'a>>,
}

/// SDXL's conditions beside the prompt.
#[derive(Clone, Copy, Debug)]
pub struct Added<'a> {
    /// The pooled prompts: (batch, pooled channels).
    pub pooled: &'a Tensor,
    /// In pixels, for each sample: original height and width, top and left crop, target height and width.
    pub sizes: &'a [[f32; SIZES]],
}

impl<'a> From<&'a Tensor> for Conditions<'a> {
    fn from(context: &'a Tensor) -> Self {
        Self { contexts: std::slice::from_ref(context), added: None }
    }
}

/// What a forward pass may have beside its conditions.
#[derive(Clone, Copy, Debug)]
pub struct Extras<'a> {
    /// Which adapters change which rows.
    pub adapters: &'a RowAdapters,
    /// What ControlNets add for which rows.
    pub controls: &'a [(Range<usize>, Residuals)],
}

impl Default for Extras<'_> {
    fn default() -> Self {
        Self { adapters: &NO_ADAPTERS, controls: &[] }
    }
}

/// What ControlNets add to what the UNet hands from its way down to its way up, for some rows.
#[derive(Clone, Debug)]
pub struct Residuals {
    /// One for the first layer and for each layer of each block, in order.
    pub down: Vec<Tensor>,
    /// One for the middle.
    pub mid: Tensor,
}

impl Residuals {
    /// Those of one more ControlNet added.
    ///
    /// # Errors
    /// Residuals of another shape.
    pub fn plus(self, other: &Self) -> Result<Self> {
        if self.down.len() != other.down.len() {
            candle_core::bail!("two ControlNets of different models cannot work together");
        }
        let down = self.down.iter().zip(&other.down).map(|(a, b)| a + b).collect::<Result<_>>()?;
        Ok(Self { down, mid: (self.mid + &other.mid)? })
    }
}

/// The denoiser.
#[derive(Clone, Debug)]
pub struct UNet {
    encoder: Encoder,
    up: Vec<UpBlock>,
    norm_out: GroupNorm,
    conv_out: Conv,
    adaptable: Layers,
}

impl UNet {
    /// Reads the weights.
    ///
    /// # Errors
    /// A tensor that is missing or of another shape than the config asks for.
    pub fn read(config: &UNetConfig, w: &Weights) -> std::result::Result<Self, BuildError> {
        let (w, first) = (w.network(), config.blocks[0].channels);
        let up = (0..config.blocks.len())
            .map(|index| UpBlock::read(config, index, &w.at("up_blocks").at(index)))
            .collect::<std::result::Result<_, _>>()?;
        Ok(Self {
            encoder: Encoder::read(config, &w)?,
            up,
            norm_out: GroupNorm::read(&w.at("conv_norm_out"), config.groups, first, config.eps)?,
            conv_out: Conv::read(&w.at("conv_out"), ConvShape::three(first, config.out_channels))?,
            adaptable: w.layers(),
        })
    }

    /// What it is, but for its weights.
    pub fn config(&self) -> &UNetConfig {
        &self.encoder.config
    }

    /// The layers adapters may change.
    pub fn adaptable(&self) -> &Layers {
        &self.adaptable
    }

    /// How the old code numbers its blocks.
    pub fn ldm(&self) -> LdmUNet {
        self.encoder.config.ldm()
    }

    /// Latents (batch, channels, height, width), one timestep for each of them, and what steers them; the answer has the
    /// shape of the latents.
    ///
    /// # Errors
    /// Shapes that do not fit, or a device's failure.
    pub fn forward<'a>(
        &self,
        latents: &Tensor,
        timesteps: &[f32],
        conditions: impl Into<Conditions<'a>>,
    ) -> Result<Tensor> {
        self.forward_with(latents, timesteps, conditions, Extras::default())
    }

    /// As [`Self::forward`], with adapters and ControlNets. Rows without them come out as if they were alone.
    ///
    /// # Errors
    /// As [`Self::forward`], and rows or residuals that do not fit.
    pub fn forward_with<'a>(
        &self,
        latents: &Tensor,
        timesteps: &[f32],
        conditions: impl Into<Conditions<'a>>,
        extras: Extras<'_>,
    ) -> Result<Tensor> {
        let (conditions, rows) = (conditions.into(), extras.adapters);
        let Descent { mid: mut x, mut skips, time } =
            self.encoder.forward(latents, timesteps, conditions, Beside { rows, hint: None })?;
        for (rows, Residuals { down, mid }) in extras.controls {
            if down.len() != skips.len() {
                candle_core::bail!("this ControlNet has {} residuals and the UNet takes {}", down.len(), skips.len());
            }
            for (skip, residual) in skips.iter_mut().zip(down) {
                *skip = add_rows(skip, rows, residual)?;
            }
            x = add_rows(&x, rows, mid)?;
        }
        let told = Told { time: &time, contexts: conditions.contexts, rows };
        for block in &self.up {
            x = block.forward(x, told, &mut skips)?;
        }
        self.conv_out.adapted(&self.norm_out.forward_silu(&x)?, rows)
    }
}

/// A copy with something added to some of its rows.
fn add_rows(x: &Tensor, rows: &Range<usize>, change: &Tensor) -> Result<Tensor> {
    let changed = (x.narrow(0, rows.start, rows.len())? + change)?;
    if changed.dims() == x.dims() {
        return Ok(changed);
    }
    let copy = x.copy()?;
    copy.slice_set(&changed, 0, rows.start)?;
    Ok(copy)
}
