//! Group norm and layer norm in two passes over numbers that are still in the cache, with the activation behind the
//! first done on the way out.
#![expect(clippy::inline_always, reason = "only inlined code takes on its caller's instructions")]

use std::mem::MaybeUninit;

use candle_core::{D, Result, Tensor, bail};

use super::data::{self, Numbers};
use super::level::{self, Level, Loops, fma};
use super::math::swish;
use super::shared::in_chunks;

/// Sums run side by side, so that they keep a vector unit busy and round little.
const LANES: usize = 32;
/// Numbers summed in fp32 before their sum is taken on in double precision: half of a first-level cache.
const CHUNK: usize = 4096;
/// Numbers below which a second thread costs more than it brings.
const PARALLEL_FROM: usize = 1 << 16;
/// Rows of a layer norm given to a thread at a time.
const ROWS: usize = 64;

/// What is done to the numbers a group norm leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Nothing.
    Nothing,
    /// SiLU.
    Silu,
}

/// Sizes and constants of a group norm.
#[derive(Clone, Copy, Debug)]
pub struct GroupNormShape {
    /// Groups the channels are split into.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f64,
    /// What follows.
    pub after: After,
}

/// Normalises groups of the channels of (batch, channels, ...), each sample for itself, then multiplies with `weight`
/// and adds `bias` (channels each).
///
/// # Errors
/// Shapes that do not fit, or a device's own failure.
pub fn group_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, shape: GroupNormShape) -> Result<Tensor> {
    let GroupNormShape { groups, eps, after } = shape;
    let (batch, channels) = (x.dim(0)?, x.dim(1)?);
    if groups == 0
        || !channels.is_multiple_of(groups)
        || weight.elem_count() != channels
        || weight.dims() != bias.dims()
    {
        bail!("a group norm of {groups} groups and {} weights over {:?}", weight.elem_count(), x.dims());
    }
    let pixels = x.elem_count() / (batch * channels).max(1);
    if !x.device().is_cpu() {
        let grouped = x.reshape((batch, groups, channels / groups * pixels))?;
        let per_channel = |tensor: &Tensor| tensor.reshape((1, channels, 1));
        let normed = normalise(&grouped, eps)?.reshape((batch, channels, pixels))?;
        let normed = normed.broadcast_mul(&per_channel(weight)?)?.broadcast_add(&per_channel(bias)?)?;
        return match after {
            After::Nothing => normed.reshape(x.dims()),
            After::Silu => normed.silu()?.reshape(x.dims()),
        };
    }
    let (x, weight, bias) = (x.contiguous()?, weight.contiguous()?, bias.contiguous()?);
    let (numbers, weights, biases) = (Numbers::of(&x)?, Numbers::of(&weight)?, Numbers::of(&bias)?);
    let norm = Norm { level: Level::best(), weight: weights.slice(), bias: biases.slice(), eps, after };
    data::tensor(norm.groups(numbers.slice(), groups, pixels), x.shape())
}

/// Normalises the last dimension, then multiplies with `weight` and adds `bias`.
///
/// # Errors
/// Shapes that do not fit, or a device's own failure.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let width = x.dim(D::Minus1)?;
    if weight.dims() != [width] || bias.dims() != [width] || width == 0 {
        bail!("a layer norm with {:?} weights over {:?}", weight.dims(), x.dims());
    }
    if !x.device().is_cpu() {
        return normalise(x, eps)?.broadcast_mul(weight)?.broadcast_add(bias);
    }
    let (x, weight, bias) = (x.contiguous()?, weight.contiguous()?, bias.contiguous()?);
    let (numbers, weights, biases) = (Numbers::of(&x)?, Numbers::of(&weight)?, Numbers::of(&bias)?);
    let after = After::Nothing;
    let norm = Norm { level: Level::best(), weight: weights.slice(), bias: biases.slice(), eps, after };
    data::tensor(norm.rows(numbers.slice()), x.shape())
}

/// Other devices' way.
fn normalise(x: &Tensor, eps: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    centred.broadcast_div(&(variance + eps)?.sqrt()?)
}

struct Norm<'a> {
    level: Level,
    weight: &'a [f32],
    bias: &'a [f32],
    eps: f64,
    after: After,
}

impl Norm<'_> {
    fn groups(&self, x: &[f32], groups: usize, pixels: usize) -> Vec<f32> {
        let channels = self.weight.len() / groups;
        let size = channels * pixels;
        if size == 0 {
            return Vec::new();
        }
        let one = |(index, out): (usize, &mut [MaybeUninit<f32>])| {
            let first = index % groups * channels;
            let (weight, bias) = (&self.weight[first..][..channels], &self.bias[first..][..channels]);
            let (x, eps, after) = (&x[index * size..][..size], self.eps, self.after);
            level::run(self.level, Group { x, weight, bias, eps, after, out });
        };
        #[expect(unsafe_code, reason = "see `in_chunks`")]
        // SAFETY: a group writes a number for each one it reads.
        unsafe {
            in_chunks(x.len(), size, PARALLEL_FROM, one)
        }
    }

    fn rows(&self, x: &[f32]) -> Vec<f32> {
        let size = ROWS * self.weight.len();
        let some = |(index, out): (usize, &mut [MaybeUninit<f32>])| {
            let x = &x[index * size..][..out.len()];
            level::run(self.level, Rows { x, weight: self.weight, bias: self.bias, eps: self.eps, out });
        };
        #[expect(unsafe_code, reason = "see `in_chunks`")]
        // SAFETY: rows write a number for each one they read.
        unsafe {
            in_chunks(x.len(), size, PARALLEL_FROM, some)
        }
    }
}

/// One group of one sample.
struct Group<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    eps: f64,
    after: After,
    out: &'a mut [MaybeUninit<f32>],
}

impl Loops for Group<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Self { x, weight, bias, eps, after, out } = self;
        let (mean, scale) = moments::<FUSED>(x, eps);
        let pixels = x.len() / weight.len();
        let lines = x.chunks_exact(pixels).zip(out.chunks_exact_mut(pixels));
        for ((x, out), (weight, bias)) in lines.zip(weight.iter().zip(bias)) {
            let factor = weight * scale;
            match after {
                After::Nothing => each(x, out, |x| fma::<FUSED>(x - mean, factor, *bias)),
                After::Silu => each(x, out, |x| swish::<FUSED>(fma::<FUSED>(x - mean, factor, *bias), 1.0)),
            }
        }
    }
}

/// Rows of a layer norm.
struct Rows<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    eps: f64,
    out: &'a mut [MaybeUninit<f32>],
}

impl Loops for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Self { x, weight, bias, eps, out } = self;
        for (x, out) in x.chunks_exact(weight.len()).zip(out.chunks_exact_mut(weight.len())) {
            let (mean, scale) = moments::<FUSED>(x, eps);
            for ((out, x), (weight, bias)) in out.iter_mut().zip(x).zip(weight.iter().zip(bias)) {
                out.write(fma::<FUSED>((x - mean) * scale, *weight, *bias));
            }
        }
    }
}

#[inline(always)]
fn each(x: &[f32], out: &mut [MaybeUninit<f32>], made: impl Fn(f32) -> f32) {
    for (out, x) in out.iter_mut().zip(x) {
        out.write(made(*x));
    }
}

/// The mean, and what to multiply the distance from it with. Chunk by chunk, so that the second look at a number finds it
/// in the first-level cache; means and squared distances of chunks are joined as Chan, Golub and LeVeque (1979) do.
#[inline(always)]
fn moments<const FUSED: bool>(x: &[f32], eps: f64) -> (f32, f32) {
    let (first, others) = x.split_at(x.len().min(CHUNK));
    // Most layers' rows are one chunk, and what joins chunks takes as long as a short row does.
    let (mut count, (mut mean, mut squares)) = (first.len() as f64, own_moments::<FUSED>(first));
    for chunk in others.chunks(CHUNK) {
        let len = chunk.len() as f64;
        let ((own, own_squares), all) = (own_moments::<FUSED>(chunk), count + len);
        let apart = own - mean;
        squares += own_squares + apart * apart * count * len / all;
        mean += apart * len / all;
        count = all;
    }
    (mean as f32, (1.0 / (squares / count + eps).sqrt()) as f32)
}

/// A chunk's mean, and the sum of its squared distances from it.
#[inline(always)]
fn own_moments<const FUSED: bool>(chunk: &[f32]) -> (f64, f64) {
    let mean = total(chunk, |x, sum| sum + x) / chunk.len() as f64;
    let centre = mean as f32;
    (mean, total(chunk, |x, sum| fma::<FUSED>(x - centre, x - centre, sum)))
}

/// A sum over the numbers of a chunk: `add` puts one to a running sum.
#[inline(always)]
fn total(chunk: &[f32], add: impl Fn(f32, f32) -> f32) -> f64 {
    let mut sums = [0.0; LANES];
    let (whole, rest) = chunk.as_chunks::<LANES>();
    for numbers in whole {
        for (sum, number) in sums.iter_mut().zip(numbers) {
            *sum = add(*number, *sum);
        }
    }
    for (sum, number) in sums.iter_mut().zip(rest) {
        *sum = add(*number, *sum);
    }
    joined(&sums)
}

/// The lanes' sum in double precision, halves added to halves: a sum one by one would wait for each addition, which for
/// a row of a layer norm takes longer than the row.
#[inline(always)]
fn joined(sums: &[f32; LANES]) -> f64 {
    let mut sums = sums.map(f64::from);
    let mut count = LANES;
    while count > 1 {
        count /= 2;
        for lane in 0..count {
            sums[lane] += sums[lane + count];
        }
    }
    sums[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, bits, in_pool, numbers};

    #[test]
    fn every_level_agrees_with_double_precision() {
        for (batch, channels, groups, pixels) in [(1, 4, 2, 1), (2, 6, 3, 35), (3, 32, 32, 64), (1, 10, 1, 1000)] {
            let x: Vec<f32> = numbers(batch * channels * pixels, 1).into_iter().map(|x| x * 3.0 + 20.0).collect();
            let (weight, bias) = (numbers(channels, 2), numbers(channels, 3));
            for (level, after) in Level::all().iter().flat_map(|l| [(*l, After::Nothing), (*l, After::Silu)]) {
                let size = channels / groups * pixels;
                let mut expected = reference(&x, size, 1e-5);
                for (index, number) in expected.iter_mut().enumerate() {
                    let channel = index / pixels % channels;
                    *number = *number * f64::from(weight[channel]) + f64::from(bias[channel]);
                    if after == After::Silu {
                        *number /= 1.0 + (-*number).exp();
                    }
                }
                let norm = Norm { level, weight: &weight, bias: &bias, eps: 1e-5, after };
                let expected: Vec<f32> = expected.into_iter().map(|number| number as f32).collect();
                assert_close(&format!("{level:?}"), &norm.groups(&x, groups, pixels), &expected, 5e-6);
            }
        }
    }

    #[test]
    fn rows_agree_with_double_precision() {
        for (rows, width) in [(1, 1), (3, 7), (130, 96), (2, 320)] {
            let x: Vec<f32> = numbers(rows * width, 1).into_iter().map(|x| x * 3.0 - 20.0).collect();
            let (weight, bias) = (numbers(width, 2), numbers(width, 3));
            let normed = reference(&x, width, 1e-3);
            let scaled = |(index, number): (usize, &f64)| {
                (number * f64::from(weight[index % width]) + f64::from(bias[index % width])) as f32
            };
            let expected: Vec<f32> = normed.iter().enumerate().map(scaled).collect();
            for level in Level::all() {
                let norm = Norm { level: *level, weight: &weight, bias: &bias, eps: 1e-3, after: After::Nothing };
                assert_close(&format!("{level:?}"), &norm.rows(&x), &expected, 5e-6);
            }
        }
    }

    #[test]
    fn a_sample_has_the_same_bits_in_every_batch_and_on_any_number_of_threads() {
        let (channels, pixels) = (64, 1024);
        let x = numbers(4 * channels * pixels, 1);
        let (weight, bias) = (numbers(channels, 2), numbers(channels, 3));
        for level in Level::all() {
            let norm = Norm { level: *level, weight: &weight, bias: &bias, eps: 1e-5, after: After::Silu };
            let (groups, rows) = (bits(&norm.groups(&x, 8, pixels)), bits(&norm.rows(&x)));
            for (batch, threads) in [(1, 1), (1, 2), (2, 2), (3, 1), (4, 2)] {
                let some = &x[..batch * channels * pixels];
                let (part, part_rows) = in_pool(threads, || (norm.groups(some, 8, pixels), norm.rows(some)));
                assert!(bits(&part) == groups[..some.len()], "{batch} on {threads}");
                assert!(bits(&part_rows) == rows[..some.len()], "{batch} on {threads}");
            }
        }
    }

    #[test]
    fn the_public_ways_take_odd_layouts_and_refuse_wrong_sizes() {
        let x = data::tensor(numbers(2 * 6 * 4, 1), (2, 4, 6)).unwrap();
        let turned = x.transpose(1, 2).unwrap();
        let weight = data::tensor(numbers(6, 2), 6).unwrap();
        let shape = GroupNormShape { groups: 3, eps: 1e-5, after: After::Nothing };
        let flat = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let ours = flat(group_norm(&turned, &weight, &weight, shape).unwrap());
        let straight = flat(group_norm(&turned.contiguous().unwrap(), &weight, &weight, shape).unwrap());
        assert_eq!(bits(&ours), bits(&straight));
        assert!(group_norm(&x, &weight, &weight, shape).is_err(), "four channels, six weights");
        assert!(group_norm(&turned, &weight, &weight, GroupNormShape { groups: 4, ..shape }).is_err());
        assert!(layer_norm(&turned, &weight, &weight, 1e-5).is_err(), "rows of four, six weights");
        let other = normalise(&x, 1e-5).unwrap().broadcast_mul(&weight).unwrap().broadcast_add(&weight).unwrap();
        assert_close("plain", &flat(layer_norm(&x, &weight, &weight, 1e-5).unwrap()), &flat(other), 5e-6);
    }

    fn reference(x: &[f32], size: usize, eps: f64) -> Vec<f64> {
        let one = |x: &[f32]| {
            let mean = x.iter().map(|x| f64::from(*x)).sum::<f64>() / size as f64;
            let variance = x.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / size as f64;
            x.iter().map(|x| (f64::from(*x) - mean) / (variance + eps).sqrt()).collect::<Vec<_>>()
        };
        x.chunks(size).flat_map(one).collect()
    }
}
