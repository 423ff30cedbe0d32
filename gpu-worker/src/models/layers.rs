//! The small layers every network here is made of. Sizes are checked against the file when a layer is read.

use candle_core::{D, Result, Tensor};

use super::BuildError;
use super::adapters::RowAdapters;
use crate::kernels;
use crate::weights::{LayerName, LayerShape, Weights};

/// `x W^T + b` over the last dimension.
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    /// (out, in), as stored.
    weight: Tensor,
    bias: Option<Tensor>,
    name: LayerName,
}

impl Linear {
    /// Reads a layer that has a bias.
    pub(crate) fn read(w: &Weights, inner: usize, outer: usize) -> std::result::Result<Self, BuildError> {
        let mut layer = Self::read_unbiased(w, inner, outer)?;
        layer.bias = Some(w.get("bias", &[outer])?);
        Ok(layer)
    }

    /// Reads a layer that has no bias.
    pub(crate) fn read_unbiased(w: &Weights, inner: usize, outer: usize) -> std::result::Result<Self, BuildError> {
        let name = w.note_layer(LayerShape { inner, outer, side: 1 });
        Ok(Self { weight: w.get("weight", &[outer, inner])?, bias: None, name })
    }

    /// As [`Self::forward`], with what adapters change of it for the rows, which are the first dimension.
    pub(crate) fn adapted(&self, x: &Tensor, rows: &RowAdapters) -> Result<Tensor> {
        rows.change_linear(&self.name, x, self.forward(x)?)
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = kernels::matmul_t(x, &self.weight)?;
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }
}

/// A convolution with bias, square kernel.
#[derive(Clone, Debug)]
pub(crate) struct Conv {
    weight: Tensor,
    /// Shaped (1, out, 1, 1).
    bias: Tensor,
    stride: usize,
    padding: usize,
    name: LayerName,
}

/// What a convolution is but for its weights.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConvShape {
    pub(crate) inner: usize,
    pub(crate) outer: usize,
    pub(crate) side: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
}

impl ConvShape {
    /// A 3x3 convolution that keeps the size.
    pub(crate) fn three(inner: usize, outer: usize) -> Self {
        Self { inner, outer, side: 3, stride: 1, padding: 1 }
    }

    /// A 1x1 convolution.
    pub(crate) fn one(inner: usize, outer: usize) -> Self {
        Self { inner, outer, side: 1, stride: 1, padding: 0 }
    }
}

impl Conv {
    pub(crate) fn read(w: &Weights, shape: ConvShape) -> std::result::Result<Self, BuildError> {
        let ConvShape { inner, outer, side, stride, padding } = shape;
        let weight = w.get("weight", &[outer, inner, side, side])?;
        let bias = w.get("bias", &[outer])?.reshape((1, outer, 1, 1))?;
        Ok(Self { weight, bias, stride, padding, name: w.note_layer(LayerShape { inner, outer, side }) })
    }

    /// As [`Self::forward`], with what adapters change of it for the rows.
    pub(crate) fn adapted(&self, x: &Tensor, rows: &RowAdapters) -> Result<Tensor> {
        rows.change_conv(&self.name, x, self.forward(x)?, (self.stride, self.padding))
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        kernels::conv2d(x, &self.weight, self.stride, self.padding)?.broadcast_add(&self.bias)
    }
}

/// Normalises groups of channels, each sample for itself.
#[derive(Clone, Debug)]
pub(crate) struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    groups: usize,
    eps: f64,
}

impl GroupNorm {
    pub(crate) fn read(w: &Weights, groups: usize, channels: usize, eps: f64) -> std::result::Result<Self, BuildError> {
        if groups == 0 || !channels.is_multiple_of(groups) {
            return Err(w.unreadable(format!("cannot have {channels} channels in {groups} norm groups")).into());
        }
        let weight = w.get("weight", &[channels])?.reshape((1, channels, 1))?;
        let bias = w.get("bias", &[channels])?.reshape((1, channels, 1))?;
        Ok(Self { weight, bias, groups, eps })
    }

    /// Over (batch, channels, ...), whatever follows the channels.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let dims = x.dims().to_vec();
        let (batch, channels) = (x.dim(0)?, x.dim(1)?);
        let grouped = x.reshape((batch, self.groups, x.elem_count() / (batch * self.groups)))?;
        normalise(&grouped, self.eps)?
            .reshape((batch, channels, ()))?
            .broadcast_mul(&self.weight)?
            .broadcast_add(&self.bias)?
            .reshape(dims)
    }
}

/// Normalises the last dimension.
#[derive(Clone, Debug)]
pub(crate) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    pub(crate) fn read(w: &Weights, size: usize, eps: f64) -> std::result::Result<Self, BuildError> {
        Ok(Self { weight: w.get("weight", &[size])?, bias: w.get("bias", &[size])?, eps })
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        normalise(x, self.eps)?.broadcast_mul(&self.weight)?.broadcast_add(&self.bias)
    }
}

/// Softmax over the last dimension.
pub(crate) fn softmax(x: &Tensor) -> Result<Tensor> {
    let raised = x.broadcast_sub(&x.max_keepdim(D::Minus1)?)?.exp()?;
    let sum = raised.sum_keepdim(D::Minus1)?;
    raised.broadcast_div(&sum)
}

fn normalise(x: &Tensor, eps: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    centred.broadcast_div(&(variance + eps)?.sqrt()?)
}
