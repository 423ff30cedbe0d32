//! The denoiser of Stable Diffusion 1.x and XL (diffusers' `UNet2DConditionModel`), with a timestep for each sample.

use candle_core::{Result, Tensor};

use super::BuildError;
use super::layers::{Conv, ConvShape, GroupNorm, Linear};
use super::unet_blocks::{DownBlock, MidBlock, UpBlock};
pub use super::unet_config::{AddedConfig, SIZES, UNetConfig};
use crate::weights::Weights;

/// Longest period of the time embedding's sines.
const PERIOD_MAX: f32 = 10_000.0;

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

/// The denoiser.
#[derive(Clone, Debug)]
pub struct UNet {
    config: UNetConfig,
    time1: Linear,
    time2: Linear,
    added: Option<(Linear, Linear)>,
    conv_in: Conv,
    down: Vec<DownBlock>,
    mid: MidBlock,
    up: Vec<UpBlock>,
    norm_out: GroupNorm,
    conv_out: Conv,
}

impl UNet {
    /// Reads the weights.
    ///
    /// # Errors
    /// A tensor that is missing or of another shape than the config asks for.
    pub fn read(config: &UNetConfig, w: &Weights) -> std::result::Result<Self, BuildError> {
        let first = config.blocks[0].channels;
        let mut down = Vec::with_capacity(config.blocks.len());
        let mut inner = first;
        for (index, block) in config.blocks.iter().enumerate() {
            down.push(DownBlock::read(config, index, inner, &w.at("down_blocks").at(index))?);
            inner = block.channels;
        }
        let up = (0..config.blocks.len())
            .map(|index| UpBlock::read(config, index, &w.at("up_blocks").at(index)))
            .collect::<std::result::Result<_, _>>()?;
        Ok(Self {
            time1: Linear::read(&w.at("time_embedding.linear_1"), first, config.time_channels)?,
            time2: Linear::read(&w.at("time_embedding.linear_2"), config.time_channels, config.time_channels)?,
            added: config.added.map(|added| read_added(added, config, w)).transpose()?,
            conv_in: Conv::read(&w.at("conv_in"), ConvShape::three(config.in_channels, first))?,
            down,
            mid: MidBlock::read(config, &w.at("mid_block"))?,
            up,
            norm_out: GroupNorm::read(&w.at("conv_norm_out"), config.groups, first, config.eps)?,
            conv_out: Conv::read(&w.at("conv_out"), ConvShape::three(first, config.out_channels))?,
            config: config.clone(),
        })
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
        let Conditions { contexts, added } = conditions.into();
        let time = self.embed(timesteps, added, latents)?;
        let latents = if self.config.center_input { ((latents * 2.0)? - 1.0)? } else { latents.clone() };
        let mut x = self.conv_in.forward(&latents)?;
        let mut skips = vec![x.clone()];
        for block in &self.down {
            x = block.forward(x, &time, contexts, &mut skips)?;
        }
        x = self.mid.forward(&x, &time, contexts)?;
        for block in &self.up {
            x = block.forward(x, &time, contexts, &mut skips)?;
        }
        self.conv_out.forward(&self.norm_out.forward(&x)?.silu()?)
    }

    /// The time embedding, through the activation that every residual layer would apply to it anyway.
    fn embed(&self, timesteps: &[f32], added: Option<Added<'_>>, like: &Tensor) -> Result<Tensor> {
        let sines = self.sines(timesteps, self.config.blocks[0].channels, like)?;
        let mut time = self.time2.forward(&self.time1.forward(&sines)?.silu()?)?;
        match (&self.added, self.config.added, added) {
            (Some((first, second)), Some(config), Some(added)) => {
                let sizes = self.sines(added.sizes.as_flattened(), config.number, like)?;
                let sizes = sizes.reshape((added.sizes.len(), SIZES * config.number))?;
                let joined = Tensor::cat(&[added.pooled, &sizes], 1)?;
                time = (time + second.forward(&first.forward(&joined)?.silu()?)?)?;
            }
            (None, _, None) => {}
            _ => candle_core::bail!("this UNet and what it was told do not fit: one is of SDXL and the other is not"),
        }
        time.silu()
    }

    /// A row of sines for each number.
    fn sines(&self, numbers: &[f32], width: usize, like: &Tensor) -> Result<Tensor> {
        let sines = timestep_sines(numbers, width, self.config.cosine_first, self.config.freq_shift as f32);
        Tensor::from_vec(sines, (numbers.len(), width), like.device())
    }
}

fn read_added(
    added: AddedConfig,
    config: &UNetConfig,
    w: &Weights,
) -> std::result::Result<(Linear, Linear), BuildError> {
    let (w, outer) = (w.at("add_embedding"), config.time_channels);
    let first = Linear::read(&w.at("linear_1"), added.pooled + SIZES * added.number, outer)?;
    Ok((first, Linear::read(&w.at("linear_2"), outer, outer)?))
}

/// Sines and cosines of falling frequency, a row for each timestep, as diffusers' `get_timestep_embedding` makes them.
fn timestep_sines(timesteps: &[f32], width: usize, cosine_first: bool, shift: f32) -> Vec<f32> {
    let half = width / 2;
    let mut rows = Vec::with_capacity(timesteps.len() * width);
    for timestep in timesteps {
        let angle = |index: usize| timestep * (-PERIOD_MAX.ln() * index as f32 / (half as f32 - shift)).exp();
        let (sines, cosines) = ((0..half).map(|i| angle(i).sin()), (0..half).map(|i| angle(i).cos()));
        if cosine_first {
            rows.extend(cosines.chain(sines));
        } else {
            rows.extend(sines.chain(cosines));
        }
        rows.extend(std::iter::repeat_n(0.0, width % 2));
    }
    rows
}
