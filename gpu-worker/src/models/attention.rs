//! Multi-head attention, exact, in slices of queries so that memory stays bounded.

use candle_core::{Result, Tensor};

use super::BuildError;
use super::adapters::{NO_ADAPTERS, RowAdapters};
use super::layers::{Linear, softmax};
use crate::kernels;
use crate::weights::{UnreadableFile, Weights};

/// Scores held at a time, in numbers: 64 MiB of fp32.
const SCORES_MAX: usize = 16 << 20;

/// Projections of one attention.
#[derive(Clone, Debug)]
pub(crate) struct Attention {
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
    heads: usize,
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
        let (batch, count, channels) = x.dims3()?;
        let width = channels / self.heads;
        let scale = 1.0 / (width as f64).sqrt();
        let q = (self.split(&self.to_q.adapted(x, rows)?, width)? * scale)?;
        let k = self.split(&self.to_k.adapted(context, rows)?, width)?;
        let v = self.split(&self.to_v.adapted(context, rows)?, width)?;
        let per_query = batch * self.heads * k.dim(2)?;
        let slice = (SCORES_MAX / per_query.max(1)).clamp(1, count);
        let mut parts = Vec::with_capacity(count.div_ceil(slice));
        for start in (0..count).step_by(slice) {
            let len = slice.min(count - start);
            let mut scores = kernels::matmul_t(&q.narrow(2, start, len)?, &k)?;
            if let Some(mask) = mask {
                scores = scores.broadcast_add(&mask.narrow(0, start, len)?)?;
            }
            parts.push(kernels::matmul(&softmax(&scores)?, &v)?);
        }
        let joined = Tensor::cat(&parts, 2)?.transpose(1, 2)?.reshape((batch, count, channels))?;
        self.to_out.adapted(&joined, rows)
    }

    fn split(&self, x: &Tensor, width: usize) -> Result<Tensor> {
        let (batch, count, _) = x.dims3()?;
        x.reshape((batch, count, self.heads, width))?.transpose(1, 2)?.contiguous()
    }
}

/// Refuses a number of heads that does not divide the channels.
fn check_heads(w: &Weights, channels: usize, heads: usize) -> std::result::Result<(), UnreadableFile> {
    if heads == 0 || !channels.is_multiple_of(heads) {
        return Err(w.unreadable(format!("cannot split {channels} channels into {heads} attention heads")));
    }
    Ok(())
}
