//! The half of the UNet on the way down, with the time embedding and the middle: a UNet and a ControlNet each have one.

use candle_core::{Result, Tensor};

use super::BuildError;
use super::adapters::RowAdapters;
use super::layers::{Conv, ConvShape, Linear};
use super::unet::{Added, Conditions};
use super::unet_blocks::{DownBlock, MidBlock, Told};
use super::unet_config::{AddedConfig, SIZES, UNetConfig};
use crate::weights::Weights;

/// Longest period of the time embedding's sines.
const PERIOD_MAX: f32 = 10_000.0;

/// The way down.
#[derive(Clone, Debug)]
pub(super) struct Encoder {
    pub(super) config: UNetConfig,
    time1: Linear,
    time2: Linear,
    added: Option<(Linear, Linear)>,
    conv_in: Conv,
    down: Vec<DownBlock>,
    mid: MidBlock,
}

/// What it may be given beside latents and conditions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beside<'a> {
    /// Which adapters change which rows.
    pub(super) rows: &'a RowAdapters,
    /// A ControlNet's embedded hint, for all rows, which is added to what the first layer makes of the latents.
    pub(super) hint: Option<&'a Tensor>,
}

/// Where it has come to.
#[derive(Clone, Debug)]
pub(super) struct Descent {
    /// What the middle makes.
    pub(super) mid: Tensor,
    /// What the way up will need, the last first to be taken.
    pub(super) skips: Vec<Tensor>,
    /// The time embedding, through its activation: (batch, channels).
    pub(super) time: Tensor,
}

impl Encoder {
    pub(super) fn read(config: &UNetConfig, w: &Weights) -> std::result::Result<Self, BuildError> {
        let first = config.blocks[0].channels;
        let mut down = Vec::with_capacity(config.blocks.len());
        let mut inner = first;
        for (index, block) in config.blocks.iter().enumerate() {
            down.push(DownBlock::read(config, index, inner, &w.at("down_blocks").at(index))?);
            inner = block.channels;
        }
        Ok(Self {
            time1: Linear::read(&w.at("time_embedding.linear_1"), first, config.time_channels)?,
            time2: Linear::read(&w.at("time_embedding.linear_2"), config.time_channels, config.time_channels)?,
            added: config.added.map(|added| read_added(added, config, w)).transpose()?,
            conv_in: Conv::read(&w.at("conv_in"), ConvShape::three(config.in_channels, first))?,
            down,
            mid: MidBlock::read(config, &w.at("mid_block"))?,
            config: config.clone(),
        })
    }

    pub(super) fn forward(
        &self,
        latents: &Tensor,
        timesteps: &[f32],
        conditions: Conditions<'_>,
        beside: Beside<'_>,
    ) -> Result<Descent> {
        let Beside { rows, hint } = beside;
        let Conditions { contexts, added } = conditions;
        let time = self.embed(timesteps, added, latents, rows)?;
        let latents = if self.config.center_input { ((latents * 2.0)? - 1.0)? } else { latents.clone() };
        let mut x = self.conv_in.adapted(&latents, rows)?;
        if let Some(hint) = hint {
            x = x.broadcast_add(hint)?;
        }
        let told = Told { time: &time, contexts, rows };
        let mut skips = vec![x.clone()];
        for block in &self.down {
            x = block.forward(x, told, &mut skips)?;
        }
        let mid = self.mid.forward(&x, told)?;
        Ok(Descent { mid, skips, time })
    }

    /// The time embedding, through the activation that every residual layer would apply to it anyway.
    fn embed(&self, timesteps: &[f32], added: Option<Added<'_>>, like: &Tensor, rows: &RowAdapters) -> Result<Tensor> {
        let sines = self.sines(timesteps, self.config.blocks[0].channels, like)?;
        let mut time = self.time2.adapted(&self.time1.adapted(&sines, rows)?.silu()?, rows)?;
        match (&self.added, self.config.added, added) {
            (Some((first, second)), Some(config), Some(added)) => {
                let sizes = self.sines(added.sizes.as_flattened(), config.number, like)?;
                let sizes = sizes.reshape((added.sizes.len(), SIZES * config.number))?;
                let joined = Tensor::cat(&[added.pooled, &sizes], 1)?;
                time = (time + second.adapted(&first.adapted(&joined, rows)?.silu()?, rows)?)?;
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
