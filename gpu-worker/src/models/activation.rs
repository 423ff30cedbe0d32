//! Activations by the names configs use.

use candle_core::{Result, Tensor};
use serde::Deserialize;

use crate::kernels::{self, Function};

/// An activation of CLIP's feed-forward layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x * sigmoid(1.702 x)`: OpenAI's CLIP.
    QuickGelu,
    /// Exact gelu, by erf.
    Gelu,
}

impl Activation {
    /// Applies it to each element.
    pub(crate) fn apply(self, x: &Tensor) -> Result<Tensor> {
        let function = match self {
            Self::QuickGelu => Function::QuickGelu,
            Self::Gelu => Function::Gelu,
        };
        kernels::apply(x, function)
    }
}
