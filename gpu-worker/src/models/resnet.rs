//! The residual block of UNet and VAE, and the two ways of changing size.

use candle_core::{Result, Tensor};

use super::BuildError;
use super::adapters::{NO_ADAPTERS, RowAdapters};
use super::layers::{Conv, ConvShape, GroupNorm, Linear};
use crate::kernels;
use crate::weights::Weights;

/// Sizes of one residual block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResnetShape {
    pub(crate) inner: usize,
    pub(crate) outer: usize,
    /// Channels of the time embedding; none in the VAE.
    pub(crate) time: Option<usize>,
    pub(crate) groups: usize,
    pub(crate) eps: f64,
}

/// Two convolutions with a way round them.
#[derive(Clone, Debug)]
pub(crate) struct Resnet {
    norm1: GroupNorm,
    conv1: Conv,
    time: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv,
    shortcut: Option<Conv>,
}

impl Resnet {
    pub(crate) fn read(w: &Weights, shape: ResnetShape) -> std::result::Result<Self, BuildError> {
        let ResnetShape { inner, outer, time, groups, eps } = shape;
        Ok(Self {
            norm1: GroupNorm::read(&w.at("norm1"), groups, inner, eps)?,
            conv1: Conv::read(&w.at("conv1"), ConvShape::three(inner, outer))?,
            time: time.map(|time| Linear::read(&w.at("time_emb_proj"), time, outer)).transpose()?,
            norm2: GroupNorm::read(&w.at("norm2"), groups, outer, eps)?,
            conv2: Conv::read(&w.at("conv2"), ConvShape::three(outer, outer))?,
            shortcut: if inner == outer {
                None
            } else {
                Some(Conv::read(&w.at("conv_shortcut"), ConvShape::one(inner, outer))?)
            },
        })
    }

    /// `time` is the time embedding, already through its activation.
    pub(crate) fn forward(&self, x: &Tensor, time: Option<&Tensor>) -> Result<Tensor> {
        self.adapted(x, time, &NO_ADAPTERS)
    }

    /// As [`Self::forward`], with what adapters change of its layers.
    pub(crate) fn adapted(&self, x: &Tensor, time: Option<&Tensor>, rows: &RowAdapters) -> Result<Tensor> {
        let h = self.norm1.forward_silu(x)?;
        let h = match (&self.time, time) {
            (Some(layer), Some(time)) => self.conv1.adapted_shifted(&h, &layer.adapted(time, rows)?, rows)?,
            _ => self.conv1.adapted(&h, rows)?,
        };
        let h = self.norm2.forward_silu(&h)?;
        match &self.shortcut {
            Some(shortcut) => self.conv2.adapted_onto(&h, &shortcut.adapted(x, rows)?, rows),
            None => self.conv2.adapted_onto(&h, x, rows),
        }
    }
}

/// Doubles the size (or reaches a given one) by repeating pixels, then convolves.
#[derive(Clone, Debug)]
pub(crate) struct Upsample(Conv);

impl Upsample {
    pub(crate) fn read(w: &Weights, channels: usize) -> std::result::Result<Self, BuildError> {
        Ok(Self(Conv::read(&w.at("conv"), ConvShape::three(channels, channels))?))
    }

    /// `size` is (height, width); none is twice what it was.
    pub(crate) fn forward(&self, x: &Tensor, size: Option<(usize, usize)>) -> Result<Tensor> {
        self.adapted(x, size, &NO_ADAPTERS)
    }

    /// As [`Self::forward`], with what adapters change of its convolution.
    pub(crate) fn adapted(&self, x: &Tensor, size: Option<(usize, usize)>, rows: &RowAdapters) -> Result<Tensor> {
        let (_, _, height, width) = x.dims4()?;
        let (height, width) = size.unwrap_or((height * 2, width * 2));
        self.0.adapted(&kernels::upsample(x, (height, width))?, rows)
    }
}
