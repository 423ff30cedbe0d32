//! The blocks of the UNet: down, middle and up.

use candle_core::{Result, Tensor};

use super::BuildError;
use super::adapters::RowAdapters;
use super::layers::{Conv, ConvShape};
use super::resnet::{Resnet, ResnetShape, Upsample};
use super::transformer::{Transformer, TransformerShape};
use super::unet_config::{BlockConfig, UNetConfig};
use crate::weights::Weights;

/// What every block is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told<'a> {
    /// The time embedding, through its activation.
    pub(super) time: &'a Tensor,
    /// The prompts, as in [`Conditions`](super::unet::Conditions).
    pub(super) contexts: &'a [Tensor],
    /// Which adapters change which rows.
    pub(super) rows: &'a RowAdapters,
}

/// A residual layer and, in blocks that attend, the transformer behind it.
#[derive(Clone, Debug)]
struct Stage {
    resnet: Resnet,
    transformer: Option<Transformer>,
}

impl Stage {
    fn forward(&self, x: &Tensor, told: Told<'_>) -> Result<Tensor> {
        let x = self.resnet.adapted(x, Some(told.time), told.rows)?;
        match &self.transformer {
            Some(transformer) => transformer.forward(&x, told.contexts, told.rows),
            None => Ok(x),
        }
    }
}

/// A block on the way down.
#[derive(Clone, Debug)]
pub(super) struct DownBlock {
    stages: Vec<Stage>,
    downsample: Option<Conv>,
}

impl DownBlock {
    /// `index` counts from the wide end; `inner` is what the block before gives.
    pub(super) fn read(
        config: &UNetConfig,
        index: usize,
        inner: usize,
        w: &Weights,
    ) -> std::result::Result<Self, BuildError> {
        let block = config.blocks[index];
        let stages = (0..block.layers)
            .map(|layer| {
                let inner = if layer == 0 { inner } else { block.channels };
                stage(config, block, block.down_attends, inner, (w, layer))
            })
            .collect::<std::result::Result<_, _>>()?;
        let halving = ConvShape { stride: 2, ..ConvShape::three(block.channels, block.channels) };
        let downsample = if index + 1 == config.blocks.len() {
            None
        } else {
            Some(Conv::read(&w.at("downsamplers.0.conv"), halving)?)
        };
        Ok(Self { stages, downsample })
    }

    /// Pushes what the way up will need onto `skips`.
    pub(super) fn forward(&self, mut x: Tensor, told: Told<'_>, skips: &mut Vec<Tensor>) -> Result<Tensor> {
        for stage in &self.stages {
            x = stage.forward(&x, told)?;
            skips.push(x.clone());
        }
        if let Some(downsample) = &self.downsample {
            x = downsample.adapted(&x, told.rows)?;
            skips.push(x.clone());
        }
        Ok(x)
    }
}

/// The block in the middle.
#[derive(Clone, Debug)]
pub(super) struct MidBlock {
    first: Stage,
    second: Resnet,
}

impl MidBlock {
    pub(super) fn read(config: &UNetConfig, w: &Weights) -> std::result::Result<Self, BuildError> {
        let block = config.blocks[config.blocks.len() - 1];
        let first = stage(config, block, true, block.channels, (w, 0))?;
        let second = Resnet::read(&w.at("resnets.1"), resnet_shape(config, block.channels, block.channels))?;
        Ok(Self { first, second })
    }

    pub(super) fn forward(&self, x: &Tensor, told: Told<'_>) -> Result<Tensor> {
        self.second.adapted(&self.first.forward(x, told)?, Some(told.time), told.rows)
    }
}

/// A block on the way up.
#[derive(Clone, Debug)]
pub(super) struct UpBlock {
    stages: Vec<Stage>,
    upsample: Option<Upsample>,
}

impl UpBlock {
    /// `index` counts from the narrow end.
    pub(super) fn read(config: &UNetConfig, index: usize, w: &Weights) -> std::result::Result<Self, BuildError> {
        let last = config.blocks.len() - 1;
        let block = config.blocks[last - index];
        let below = config.blocks[last.min(last + 1 - index)].channels;
        let above = config.blocks[(last - index).saturating_sub(1)].channels;
        let stages = (0..=block.layers)
            .map(|layer| {
                let from_below = if layer == 0 { below } else { block.channels };
                let from_skip = if layer == block.layers { above } else { block.channels };
                stage(config, block, config.up_attends[index], from_below + from_skip, (w, layer))
            })
            .collect::<std::result::Result<_, _>>()?;
        let upsample = if index == last { None } else { Some(Upsample::read(&w.at("upsamplers.0"), block.channels)?) };
        Ok(Self { stages, upsample })
    }

    pub(super) fn forward(&self, mut x: Tensor, told: Told<'_>, skips: &mut Vec<Tensor>) -> Result<Tensor> {
        for stage in &self.stages {
            if let Some(skip) = skips.pop() {
                x = Tensor::cat(&[&x, &skip], 1)?;
            }
            x = stage.forward(&x, told)?;
        }
        if let Some(upsample) = &self.upsample {
            // The next skip's size, which is twice this one's unless an odd size was halved on the way down.
            let size = skips.last().map(Tensor::dims4).transpose()?.map(|(_, _, height, width)| (height, width));
            x = upsample.adapted(&x, size, told.rows)?;
        }
        Ok(x)
    }
}

fn stage(
    config: &UNetConfig,
    block: BlockConfig,
    attends: bool,
    inner: usize,
    (w, layer): (&Weights, usize),
) -> std::result::Result<Stage, BuildError> {
    let resnet = Resnet::read(&w.at("resnets").at(layer), resnet_shape(config, inner, block.channels))?;
    let shape = TransformerShape {
        channels: block.channels,
        heads: block.heads,
        context: block.context,
        layers: block.transformer_layers,
        groups: config.groups,
    };
    let transformer = if attends { Some(Transformer::read(&w.at("attentions").at(layer), shape)?) } else { None };
    Ok(Stage { resnet, transformer })
}

fn resnet_shape(config: &UNetConfig, inner: usize, outer: usize) -> ResnetShape {
    ResnetShape { inner, outer, time: Some(config.time_channels), groups: config.groups, eps: config.eps }
}
