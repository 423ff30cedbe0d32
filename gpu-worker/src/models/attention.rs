//! Multi-head attention: the projections around the kernel.

use candle_core::{Result, Tensor};

use super::BuildError;
use super::adapters::{NO_ADAPTERS, RowAdapters};
use super::layers::Linear;
use crate::kernels::{self, Precision};
use crate::weights::{UnreadableFile, Weights};

/// Projections of one attention.
#[derive(Clone, Debug)]
pub(crate) struct Attention {
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
    heads: usize,
    precision: Precision,
}

/// Sizes of one attention, and what its projections are called in the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttentionShape {
    /// Channels of queries and of the result.
    pub(crate) channels: usize,
    /// Channels of keys and values.
    pub(crate) context: usize,
    /// Heads.
    pub(crate) heads: usize,
    /// Whether query, key and value have biases.
    pub(crate) biased: bool,
    /// Names of query, key, value and output.
    pub(crate) names: [&'static str; 4],
}

impl Attention {
    pub(crate) fn read(w: &Weights, shape: AttentionShape) -> std::result::Result<Self, BuildError> {
        let AttentionShape { channels, context, heads, biased, names: [q, k, v, out] } = shape;
        check_heads(w, channels, heads)?;
        let read = |name: &str, inner| {
            if biased {
                Linear::read(&w.at(name), inner, channels)
            } else {
                Linear::read_unbiased(&w.at(name), inner, channels)
            }
        };
        Ok(Self {
            to_q: read(q, channels)?,
            to_k: read(k, context)?,
            to_v: read(v, context)?,
            to_out: Linear::read(&w.at(out), channels, channels)?,
            heads,
            precision: w.precision(),
        })
    }

    /// Queries (batch, n, channels), context (batch, m, context channels); `mask` (n, m) is added to the scores.
    pub(crate) fn forward(&self, x: &Tensor, context: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        self.adapted(x, context, mask, &NO_ADAPTERS)
    }

    /// As [`Self::forward`], with what adapters change of its projections.
    pub(crate) fn adapted(
        &self,
        x: &Tensor,
        context: &Tensor,
        mask: Option<&Tensor>,
        rows: &RowAdapters,
    ) -> Result<Tensor> {
        self.to_out.adapted(&self.gather(x, context, mask, rows)?, rows)
    }

    /// As [`Self::adapted`] without a mask, with a tensor of the queries' shape added.
    pub(crate) fn adapted_onto(
        &self,
        x: &Tensor,
        context: &Tensor,
        rest: &Tensor,
        rows: &RowAdapters,
    ) -> Result<Tensor> {
        self.to_out.adapted_onto(&self.gather(x, context, None, rows)?, rest, rows)
    }

    fn gather(&self, x: &Tensor, context: &Tensor, mask: Option<&Tensor>, rows: &RowAdapters) -> Result<Tensor> {
        let q = self.to_q.adapted(x, rows)?;
        let (k, v) = (self.to_k.adapted(context, rows)?, self.to_v.adapted(context, rows)?);
        kernels::attention([&q, &k, &v], self.heads, mask, self.precision)
    }
}

/// Refuses a number of heads that does not divide the channels.
fn check_heads(w: &Weights, channels: usize, heads: usize) -> std::result::Result<(), UnreadableFile> {
    if heads == 0 || !channels.is_multiple_of(heads) {
        return Err(w.unreadable(format!("cannot split {channels} channels into {heads} attention heads")));
    }
    Ok(())
}
