//! Two-dimensional convolution on the CPU: a matrix product whose right factor is the picture's windows, packed straight
//! from the picture as the product asks for them; most 3x3 kernels go the shorter way of [`winograd`](super::winograd).
//!
//! Candle's own takes two to six times torch's time: it re-orders the picture number by number, and writes out all
//! windows before it multiplies. Samples of a batch share the packing of the kernel and nothing else, so that a picture
//! does not depend on its neighbours.
#![expect(clippy::inline_always, reason = "only inlined code takes on its caller's instructions")]

use std::ops::Range;

use candle_core::{Result, Tensor, bail};

use super::data::{self, Numbers};
use super::elsewhere::product;
use super::gemm::{Bias, Columns, Part, Product, Samples, parts};
use super::level::{self, Level, Loops};
use super::linear::With;
use super::pack::{Matrix, Order};
use super::precision::Precision;
use super::tile::Line;
use super::winograd::{self, Winograd};

/// How a kernel moves over the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moves {
    /// Pixels from one window to the next.
    pub stride: usize,
    /// Zeros around the picture.
    pub padding: usize,
}

impl Default for Moves {
    /// Pixel by pixel, without zeros.
    fn default() -> Self {
        Self { stride: 1, padding: 0 }
    }
}

/// Convolves `input` (batch, channels, height, width) with `kernel` (out, channels, side, side). The bias may be one for
/// all samples, (out), or one for each, (batch, out).
///
/// # Errors
/// Shapes that do not fit, or a device's own failure.
pub fn conv2d(input: &Tensor, kernel: &Tensor, moves: Moves, with: With<'_>) -> Result<Tensor> {
    let plan = Plan::new(input, kernel, moves)?;
    let shape = [plan.batch, plan.out_channels, plan.out_height, plan.out_width];
    let biases = with.bias.map_or(plan.out_channels, Tensor::elem_count);
    let each_sample = with.bias.is_some_and(|bias| bias.dims() == [plan.batch, plan.out_channels]);
    if biases != plan.out_channels && !each_sample {
        bail!("a bias of {biases} numbers for {:?}", kernel.dims());
    }
    if !input.device().is_cpu() {
        let Moves { stride, padding } = moves;
        let factors = (input, kernel);
        let result = product(factors, with.precision, |input, kernel| input.conv2d(kernel, padding, stride, 1, 1))?;
        return match with.bias.filter(|_| each_sample) {
            Some(bias) => {
                let result = result.broadcast_add(&bias.unsqueeze(2)?.unsqueeze(3)?)?;
                With { bias: None, ..with }.onto(result, 1)
            }
            None => with.onto(result, 1),
        };
    }
    let (bias, rest) = with.checked(biases, &shape)?;
    let (input, kernel) = (input.contiguous()?, kernel.contiguous()?);
    let (input, kernel) = (Numbers::of(&input)?, Numbers::of(&kernel)?);
    let (bias, rest) = (bias.as_ref().map(Numbers::of).transpose()?, rest.as_ref().map(Numbers::of).transpose()?);
    let bias = match bias.as_ref().map(Numbers::slice) {
        None => Bias::None,
        Some(bias) if each_sample => Bias::SampleRows(bias),
        Some(bias) => Bias::Rows(bias),
    };
    let convolution = Convolution {
        level: Level::best(),
        precision: with.precision,
        plan,
        input: input.slice(),
        kernel: kernel.slice(),
    };
    data::tensor(convolution.compute(bias, rest.as_ref().map(Numbers::slice)), shape.to_vec())
}

/// Sizes of one convolution, all in elements.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) batch: usize,
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) out_channels: usize,
    pub(super) kernel_height: usize,
    pub(super) kernel_width: usize,
    pub(super) out_height: usize,
    pub(super) out_width: usize,
    pub(super) stride: usize,
    pub(super) padding: usize,
}

impl Plan {
    fn new(input: &Tensor, kernel: &Tensor, moves: Moves) -> Result<Self> {
        let (batch, channels, height, width) = input.dims4()?;
        let (out_channels, kernel_channels, kernel_height, kernel_width) = kernel.dims4()?;
        let Moves { stride, padding } = moves;
        if channels != kernel_channels || stride == 0 || [channels, out_channels, height, width].contains(&0) {
            bail!("conv2d of {channels} channels with a kernel for {kernel_channels}, stride {stride}");
        }
        if height + 2 * padding < kernel_height || width + 2 * padding < kernel_width {
            bail!("conv2d of {height}x{width} with a kernel of {kernel_height}x{kernel_width}");
        }
        if kernel_height * kernel_width == 0 {
            bail!("conv2d with a kernel of no size");
        }
        let out_height = (height + 2 * padding - kernel_height) / stride + 1;
        let out_width = (width + 2 * padding - kernel_width) / stride + 1;
        Ok(Self {
            batch,
            channels,
            height,
            width,
            out_channels,
            kernel_height,
            kernel_width,
            out_height,
            out_width,
            stride,
            padding,
        })
    }

    fn kernel_pixels(&self) -> usize {
        self.kernel_height * self.kernel_width
    }

    /// Whether a window is the pixel that it gives.
    fn is_pointwise(&self) -> bool {
        self.kernel_pixels() == 1 && self.stride == 1 && self.padding == 0
    }
}

struct Convolution<'a> {
    level: Level,
    precision: Precision,
    plan: Plan,
    input: &'a [f32],
    kernel: &'a [f32],
}

impl Convolution<'_> {
    fn compute(&self, bias: Bias<'_>, add: Option<&[f32]>) -> Vec<f32> {
        let Plan { channels, height, width, .. } = self.plan;
        if winograd::suits(&self.plan, self.precision) {
            let Self { level, precision: _, plan, input, kernel } = *self;
            Winograd { level, plan, input, kernel, bias, add }.compute()
        } else if self.plan.is_pointwise() {
            let matrix = Matrix { data: self.input, stride: height * width, order: Order::ByInner };
            let columns = height * width;
            self.product(&Samples { matrix, sample_stride: channels * columns, columns }, bias, add)
        } else {
            self.product(&Windows { plan: self.plan, input: self.input }, bias, add)
        }
    }

    fn product<C: Columns>(&self, right: &C, bias: Bias<'_>, add: Option<&[f32]>) -> Vec<f32> {
        let plan = &self.plan;
        let inner = plan.channels * plan.kernel_pixels();
        let product = Product {
            level: self.level,
            precision: self.precision,
            rows: plan.out_channels,
            inner,
            samples: plan.batch,
            columns: plan.out_height * plan.out_width,
            left: Matrix { data: self.kernel, stride: inner, order: Order::ByLine },
            right,
            bias,
            add,
        };
        product.compute()
    }
}

/// The windows of a picture: a column for each output pixel, an inner index for each (channel, kernel row, kernel
/// column).
struct Windows<'a> {
    plan: Plan,
    input: &'a [f32],
}

/// Neighbouring output pixels that meet neighbouring input pixels at one place of the kernel.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// The first one's column in its line.
    column: usize,
    /// The first input pixel, counted from the start of the first sample's same channel.
    pixel: usize,
    len: usize,
}

impl Columns for Windows<'_> {
    fn pack(&self, level: Level, columns: Range<usize>, inner: Range<usize>, out: &mut [Line]) {
        let runs: Vec<Vec<Run>> = (0..self.plan.kernel_pixels()).map(|place| self.runs(&columns, place)).collect();
        level::run(level, Pack { plan: &self.plan, input: self.input, runs: &runs, inner, out });
    }
}

/// Windows, at some places of the kernel and channels, to lines.
struct Pack<'a> {
    plan: &'a Plan,
    input: &'a [f32],
    /// For each place of the kernel.
    runs: &'a [Vec<Run>],
    inner: Range<usize>,
    out: &'a mut [Line],
}

impl Loops for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Self { plan: Plan { height, width, stride, .. }, input, runs, inner, out } = self;
        for (index, line) in inner.zip(out) {
            let picture = &input[index / runs.len() * height * width..];
            let runs = &runs[index % runs.len()];
            if let ([Run { column, pixel, len }], 1) = (&runs[..], *stride)
                && let Some(window) = pixel.checked_sub(*column).and_then(|start| picture[start..].first_chunk())
            {
                // Most windows: a whole line is copied at once, and what lies outside of the picture blanked.
                line.0 = *window;
                line.0[..*column].fill(0.0);
                line.0[column + len..].fill(0.0);
                continue;
            }
            line.0.fill(0.0);
            for run in runs {
                let (line, from) = (&mut line.0[run.column..][..run.len], &picture[run.pixel..]);
                match stride {
                    1 => line.copy_from_slice(&from[..run.len]),
                    2 => every_second(from, line),
                    _ => line.iter_mut().zip(from.iter().step_by(*stride)).for_each(|(to, from)| *to = *from),
                }
            }
        }
    }
}

/// Every second number, from the first on: eight at a time, which the compiler makes shuffles of registers of.
#[inline(always)]
fn every_second(from: &[f32], to: &mut [f32]) {
    let (blocks, rest) = to.as_chunks_mut::<8>();
    let done = blocks.len();
    for (to, from) in blocks.iter_mut().zip(from.chunks(16)) {
        match from.first_chunk::<16>() {
            Some(from) => *to = std::array::from_fn(|index| from[2 * index]),
            // The picture's very last numbers.
            None => to.iter_mut().zip(from.iter().step_by(2)).for_each(|(to, from)| *to = *from),
        }
    }
    let from = from.get(16 * done..).unwrap_or_default();
    rest.iter_mut().zip(from.iter().step_by(2)).for_each(|(to, from)| *to = *from);
}

impl Windows<'_> {
    /// What output pixels `columns` meet at one place of the kernel; those that meet none are left out.
    fn runs(&self, columns: &Range<usize>, place: usize) -> Vec<Run> {
        let mut runs = Vec::new();
        for part in parts(columns.clone(), self.plan.out_height * self.plan.out_width) {
            self.runs_of_sample(&part, place, &mut runs);
        }
        runs
    }

    fn runs_of_sample(&self, part: &Part, place: usize, runs: &mut Vec<Run>) {
        let Plan { channels, height, width, out_width, stride, padding, .. } = self.plan;
        let sample = part.sample * channels * height * width;
        let (ky, kx) = (place / self.plan.kernel_width, place % self.plan.kernel_width);
        let mut start = part.inside.start;
        while start < part.inside.end {
            let (row, first) = (start / out_width, start % out_width);
            let end = part.inside.end.min(start - first + out_width);
            let last = end - (start - first);
            // Output pixels x whose x * stride + kx - padding lies in the picture.
            let inside =
                padding.saturating_sub(kx).div_ceil(stride)..(width + padding).saturating_sub(kx).div_ceil(stride);
            let (from, to) = (first.max(inside.start), last.min(inside.end));
            if let Some(y) = (row * stride + ky).checked_sub(padding).filter(|y| *y < height && from < to) {
                let pixel = sample + y * width + from * stride + kx - padding;
                let column = part.place + start - part.inside.start + from - first;
                runs.push(Run { column, pixel, len: to - from });
            }
            start = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::testing::{assert_close, bits, in_pool, numbers};

    #[test]
    fn every_shape_and_level_agrees_with_the_plain_convolution() {
        let cases = [
            (1, 4, 8, 8, 48, 3, 1, 1),
            (2, 3, 5, 7, 6, 3, 1, 1),
            (2, 3, 8, 6, 5, 3, 2, 1),
            (1, 5, 1, 1, 7, 3, 1, 1),
            (3, 6, 4, 4, 2, 1, 1, 0),
            (1, 2, 9, 9, 3, 1, 2, 0),
            (2, 3, 64, 64, 9, 3, 2, 1),
            (2, 3, 31, 33, 9, 3, 2, 1),
            (1, 2, 20, 40, 4, 3, 2, 0),
            (1, 2, 9, 9, 3, 3, 1, 0),
            (1, 2, 9, 40, 3, 5, 1, 3),
            (1, 3, 7, 9, 4, 3, 3, 2),
            (1, 64, 96, 80, 3, 3, 1, 1),
        ];
        for (batch, channels, height, width, out, side, stride, padding) in cases {
            let input = random(&[batch, channels, height, width], 1);
            let kernel = random(&[out, channels, side, side], 2);
            let plain = flat(&input.conv2d(&kernel, padding, stride, 1, 1).unwrap());
            let plan = Plan::new(&input, &kernel, Moves { stride, padding }).unwrap();
            let (input, kernel) = (flat(&input), flat(&kernel));
            for level in Level::all() {
                let ours =
                    Convolution { level: *level, precision: Precision::F32, plan, input: &input, kernel: &kernel }
                        .compute(Bias::None, None);
                let name = format!("{level:?} {batch}x{channels}x{height}x{width} with {side}, stride {stride}");
                assert_close(&name, &ours, &plain, 1e-5);
            }
        }
    }

    #[test]
    fn a_sample_has_the_same_bits_in_every_batch_and_on_any_number_of_threads() {
        let kernel = numbers(64 * 48 * 9, 5);
        let ways = Level::all().iter().flat_map(|l| [(*l, Precision::F32), (*l, Precision::Bf16)]);
        for (side, (level, precision)) in [8, 17, 64].into_iter().flat_map(|side| ways.clone().map(move |w| (side, w)))
        {
            let input = numbers(4 * 48 * side * side, 3);
            let convolve = |batch: usize, threads: usize| {
                let shaped = random(&[batch, 48, side, side], 3);
                let plan = Plan::new(&shaped, &random(&[64, 48, 3, 3], 5), Moves { stride: 1, padding: 1 }).unwrap();
                let convolution = Convolution { level, precision, plan, input: &input, kernel: &kernel };
                in_pool(threads, || bits(&convolution.compute(Bias::None, None)))
            };
            let all = convolve(4, 1);
            for (batch, threads) in [(1, 1), (1, 2), (2, 2), (3, 1), (4, 2)] {
                assert!(convolve(batch, threads) == all[..batch * 64 * side * side], "{batch} on {threads}");
            }
        }
    }

    #[test]
    fn in_bf16_only_the_factors_are_rounded() {
        let (input, kernel) = (random(&[2, 20, 9, 40], 1), random(&[11, 20, 3, 3], 2));
        let moves = Moves { stride: 1, padding: 1 };
        let short = |tensor: &Tensor| tensor.to_dtype(DType::BF16).unwrap().to_dtype(DType::F32).unwrap();
        let expected = conv2d(&short(&input), &short(&kernel), moves, With::default()).unwrap();
        let ours = conv2d(&input, &kernel, moves, With { precision: Precision::Bf16, ..With::default() }).unwrap();
        assert_close("bf16", &flat(&ours), &flat(&expected), 1e-5);
    }

    #[test]
    fn biases_and_a_tensor_are_added() {
        let (input, kernel) = (random(&[2, 3, 4, 5], 1), random(&[6, 3, 3, 3], 2));
        let (one, each, rest) = (random(&[6], 3), random(&[2, 6], 4), random(&[2, 6, 4, 5], 5));
        let moves = Moves { stride: 1, padding: 1 };
        let plain = input.conv2d(&kernel, 1, 1, 1, 1).unwrap();
        for (bias, shape) in [(&one, (1, 6, 1, 1)), (&each, (2, 6, 1, 1))] {
            let expected = plain.broadcast_add(&bias.reshape(shape).unwrap()).unwrap();
            let expected = (expected + &rest).unwrap();
            let ours = conv2d(&input, &kernel, moves, With { bias: Some(bias), rest: Some(&rest), ..With::default() })
                .unwrap();
            assert_close("biased", &flat(&ours), &flat(&expected), 1e-5);
        }
        for wrong in [random(&[5], 1), random(&[6, 2], 1)] {
            assert!(conv2d(&input, &kernel, moves, With::bias(Some(&wrong))).is_err());
        }
        assert!(conv2d(&input, &kernel, moves, With { rest: Some(&input), ..With::default() }).is_err());
    }

    #[test]
    fn channels_that_do_not_fit_are_an_error() {
        let moves = |padding| Moves { stride: 1, padding };
        let no = With::default();
        assert!(conv2d(&random(&[1, 3, 8, 8], 1), &random(&[2, 4, 3, 3], 2), moves(1), no).is_err());
        assert!(conv2d(&random(&[1, 3, 2, 2], 1), &random(&[2, 3, 3, 3], 2), moves(0), no).is_err());
    }

    fn random(shape: &[usize], seed: u64) -> Tensor {
        Tensor::from_vec(numbers(shape.iter().product(), seed), shape, &Device::Cpu).unwrap()
    }

    fn flat(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }
}
