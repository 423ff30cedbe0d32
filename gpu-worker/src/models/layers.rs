//! The small layers every network here is made of. Sizes are checked against the file when a layer is read.

use candle_core::{Result, Tensor};

use super::BuildError;
use super::adapters::{Layer, RowAdapters, Way};
use crate::kernels::{self, After, GroupNormShape, Moves, Precision, With};
use crate::weights::{LayerName, LayerShape, Weights};

/// `x W^T + b` over the last dimension.
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    /// (out, in), as stored.
    weight: Tensor,
    bias: Option<Tensor>,
    precision: Precision,
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
        let (weight, precision) = (w.get("weight", &[outer, inner])?, w.precision());
        Ok(Self { weight: precision.kept(weight)?, bias: None, precision, name })
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        kernels::linear(x, &self.weight, self.with(None))
    }

    /// As [`Self::forward`], with what adapters change of it for the rows, which are the first dimension.
    pub(crate) fn adapted(&self, x: &Tensor, rows: &RowAdapters) -> Result<Tensor> {
        rows.apply(Layer { name: &self.name, way: Way::Linear, weight: &self.weight, with: self.with(None) }, x)
    }

    /// The same with a tensor of the answer's shape added.
    pub(crate) fn adapted_onto(&self, x: &Tensor, rest: &Tensor, rows: &RowAdapters) -> Result<Tensor> {
        rows.apply(Layer { name: &self.name, way: Way::Linear, weight: &self.weight, with: self.with(Some(rest)) }, x)
    }

    /// Over the channels of a map (batch, channels, height, width), giving tokens (batch, pixels, channels).
    pub(crate) fn tokens_of(&self, map: &Tensor, rows: &RowAdapters) -> Result<Tensor> {
        rows.apply(Layer { name: &self.name, way: Way::MapToTokens, weight: &self.weight, with: self.with(None) }, map)
    }

    /// Of tokens (batch, pixels, channels), giving a map with `rest`, which has its shape, added.
    pub(crate) fn map_onto(&self, tokens: &Tensor, rest: &Tensor, rows: &RowAdapters) -> Result<Tensor> {
        rows.apply(
            Layer { name: &self.name, way: Way::TokensToMap, weight: &self.weight, with: self.with(Some(rest)) },
            tokens,
        )
    }

    fn with<'a>(&'a self, rest: Option<&'a Tensor>) -> With<'a> {
        With { bias: self.bias.as_ref(), rest, precision: self.precision }
    }
}

/// A convolution with bias, square kernel.
#[derive(Clone, Debug)]
pub(crate) struct Conv {
    weight: Tensor,
    bias: Tensor,
    moves: Moves,
    precision: Precision,
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
        let weight = w.precision().kept(w.get("weight", &[outer, inner, side, side])?)?;
        let (bias, name) = (w.get("bias", &[outer])?, w.note_layer(LayerShape { inner, outer, side }));
        Ok(Self { weight, bias, moves: Moves { stride, padding }, precision: w.precision(), name })
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        kernels::conv2d(x, &self.weight, self.moves, self.with(&self.bias, None))
    }

    /// As [`Self::forward`], with what adapters change of it for the rows.
    pub(crate) fn adapted(&self, x: &Tensor, rows: &RowAdapters) -> Result<Tensor> {
        rows.apply(
            Layer {
                name: &self.name,
                way: Way::Conv(self.moves),
                weight: &self.weight,
                with: self.with(&self.bias, None),
            },
            x,
        )
    }

    /// The same with a number for each (sample, channel) added.
    pub(crate) fn adapted_shifted(&self, x: &Tensor, shift: &Tensor, rows: &RowAdapters) -> Result<Tensor> {
        let bias = shift.broadcast_add(&self.bias)?;
        rows.apply(
            Layer { name: &self.name, way: Way::Conv(self.moves), weight: &self.weight, with: self.with(&bias, None) },
            x,
        )
    }

    /// The same with a tensor of the answer's shape added.
    pub(crate) fn adapted_onto(&self, x: &Tensor, rest: &Tensor, rows: &RowAdapters) -> Result<Tensor> {
        rows.apply(
            Layer {
                name: &self.name,
                way: Way::Conv(self.moves),
                weight: &self.weight,
                with: self.with(&self.bias, Some(rest)),
            },
            x,
        )
    }

    fn with<'a>(&self, bias: &'a Tensor, rest: Option<&'a Tensor>) -> With<'a> {
        With { bias: Some(bias), rest, precision: self.precision }
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
        let (weight, bias) = (w.get("weight", &[channels])?, w.get("bias", &[channels])?);
        Ok(Self { weight, bias, groups, eps })
    }

    /// Over (batch, channels, ...), whatever follows the channels.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.then(x, After::Nothing)
    }

    /// The norm, and SiLU of it.
    pub(crate) fn forward_silu(&self, x: &Tensor) -> Result<Tensor> {
        self.then(x, After::Silu)
    }

    fn then(&self, x: &Tensor, after: After) -> Result<Tensor> {
        let shape = GroupNormShape { groups: self.groups, eps: self.eps, after };
        kernels::group_norm(x, &self.weight, &self.bias, shape)
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
        kernels::layer_norm(x, &self.weight, &self.bias, self.eps)
    }
}
