//! Two-dimensional convolution on the CPU: rows of the picture copied side by side (im2col), then one matrix product.
//!
//! Candle's own takes two to six times torch's time (it re-orders the picture number by number); whole-row copies and
//! the `gemm` crate come out level with torch. Samples of a batch are convolved one by one, so that a picture does not
//! depend on its neighbours.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

/// Columns are built for as many output rows at a time as fit here: about half of a core's second-level cache.
const COLUMN_BYTES: usize = 1 << 20;

/// Convolves `input` (batch, channels, height, width) with `kernel` (out, channels, side, side). No bias.
///
/// # Errors
/// Shapes that do not fit, or a device's own failure.
pub fn conv2d(input: &Tensor, kernel: &Tensor, stride: usize, padding: usize) -> Result<Tensor> {
    if !input.device().is_cpu() {
        return input.conv2d(kernel, padding, stride, 1, 1);
    }
    input.contiguous()?.apply_op2_no_bwd(&kernel.contiguous()?, &Im2col { stride, padding })
}

struct Im2col {
    stride: usize,
    padding: usize,
}

/// Sizes of one convolution, all in elements.
#[derive(Clone, Copy)]
struct Plan {
    batch: usize,
    channels: usize,
    height: usize,
    width: usize,
    out_channels: usize,
    kernel_height: usize,
    kernel_width: usize,
    out_height: usize,
    out_width: usize,
    stride: usize,
    padding: usize,
}

impl CustomOp2 for Im2col {
    fn name(&self) -> &'static str {
        "im2col-conv2d"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let plan = self.plan(l1, l2)?;
        let (Some((start, end)), Some((kernel_start, kernel_end))) = (l1.contiguous_offsets(), l2.contiguous_offsets())
        else {
            bail!("conv2d wants contiguous tensors");
        };
        let input = &s1.as_slice::<f32>()?[start..end];
        let kernel = &s2.as_slice::<f32>()?[kernel_start..kernel_end];
        let out = convolve(&plan, input, kernel);
        let shape = Shape::from((plan.batch, plan.out_channels, plan.out_height, plan.out_width));
        Ok((CpuStorage::F32(out), shape))
    }
}

impl Im2col {
    fn plan(&self, input: &Layout, kernel: &Layout) -> Result<Plan> {
        let (batch, channels, height, width) = input.shape().dims4()?;
        let (out_channels, kernel_channels, kernel_height, kernel_width) = kernel.shape().dims4()?;
        let (stride, padding) = (self.stride, self.padding);
        if channels != kernel_channels || stride == 0 || [channels, out_channels, height, width].contains(&0) {
            bail!("conv2d of {channels} channels with a kernel for {kernel_channels}, stride {stride}");
        }
        if height + 2 * padding < kernel_height || width + 2 * padding < kernel_width {
            bail!("conv2d of {height}x{width} with a kernel of {kernel_height}x{kernel_width}");
        }
        let out_height = (height + 2 * padding - kernel_height) / stride + 1;
        let out_width = (width + 2 * padding - kernel_width) / stride + 1;
        Ok(Plan {
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
}

fn convolve(plan: &Plan, input: &[f32], kernel: &[f32]) -> Vec<f32> {
    let taps = plan.channels * plan.kernel_height * plan.kernel_width;
    let (in_pixels, out_pixels) = (plan.height * plan.width, plan.out_height * plan.out_width);
    let mut out = vec![0.0; plan.batch * plan.out_channels * out_pixels];
    let pointwise = plan.kernel_height == 1 && plan.kernel_width == 1 && plan.stride == 1 && plan.padding == 0;
    let rows_at_once = (COLUMN_BYTES / 4 / (taps * plan.out_width).max(1)).clamp(1, plan.out_height);
    let mut columns = if pointwise { Vec::new() } else { vec![0.0; taps * rows_at_once * plan.out_width] };
    let in_sizes = plan.channels * in_pixels;
    for (sample, out) in input.chunks_exact(in_sizes).zip(out.chunks_exact_mut(plan.out_channels * out_pixels)) {
        if pointwise {
            product((kernel, taps), (sample, out_pixels), (out, out_pixels));
            continue;
        }
        for first_row in (0..plan.out_height).step_by(rows_at_once) {
            let rows = first_row..(first_row + rows_at_once).min(plan.out_height);
            let pixels = rows.len() * plan.out_width;
            let columns = &mut columns[..taps * pixels];
            fill_columns(plan, sample, rows, columns);
            product((kernel, taps), (columns, pixels), (&mut out[first_row * plan.out_width..], out_pixels));
        }
    }
    out
}

/// Writes, for each (channel, kernel row, kernel column), the input pixel each output pixel meets there.
fn fill_columns(plan: &Plan, sample: &[f32], rows: std::ops::Range<usize>, columns: &mut [f32]) {
    let Plan { height, width, out_width, stride, padding, .. } = *plan;
    let kernel_pixels = plan.kernel_height * plan.kernel_width;
    for (tap, column) in columns.chunks_exact_mut(rows.len() * out_width).enumerate() {
        let picture = &sample[tap / kernel_pixels * height * width..][..height * width];
        let (ky, kx) = (tap % kernel_pixels / plan.kernel_width, tap % plan.kernel_width);
        for (row, line) in rows.clone().zip(column.chunks_exact_mut(out_width)) {
            match (row * stride + ky).checked_sub(padding).filter(|y| *y < height) {
                None => line.fill(0.0),
                Some(y) => copy_line(&picture[y * width..][..width], kx, plan, line),
            }
        }
    }
}

/// One line of a column: the input line, moved by where the kernel column stands, with zeros beyond its ends.
fn copy_line(source: &[f32], kx: usize, plan: &Plan, line: &mut [f32]) {
    let (stride, padding) = (plan.stride, plan.padding);
    if stride > 1 {
        for (x, value) in line.iter_mut().enumerate() {
            let at = (x * stride + kx).checked_sub(padding);
            *value = at.and_then(|at| source.get(at)).copied().unwrap_or(0.0);
        }
        return;
    }
    let (before, skip) = (padding.saturating_sub(kx).min(line.len()), kx.saturating_sub(padding));
    let copied = source.len().saturating_sub(skip).min(line.len() - before);
    line[..before].fill(0.0);
    line[before..before + copied].copy_from_slice(&source[skip..skip + copied]);
    line[before + copied..].fill(0.0);
}

/// `out[o][p] = sum over k of kernel[o][k] * columns[k][p]`; lines of `out` lie `out_stride` apart, its last may be
/// shorter.
fn product(
    (kernel, taps): (&[f32], usize),
    (columns, pixels): (&[f32], usize),
    (out, out_stride): (&mut [f32], usize),
) {
    let out_channels = kernel.len() / taps;
    assert!(columns.len() >= taps * pixels, "columns hold a value for each tap and pixel");
    assert!(out.len() >= (out_channels - 1) * out_stride + pixels, "out holds a line for each output channel");
    let parallelism = super::matmul::threads(out_channels * taps * pixels);
    #[expect(unsafe_code, reason = "gemm's only entry takes raw pointers; both lengths are asserted above")]
    // SAFETY: the three slices cover every element the strides reach, and `out` overlaps neither input.
    unsafe {
        gemm::gemm(
            out_channels,
            pixels,
            taps,
            out.as_mut_ptr(),
            1,
            out_stride as isize,
            false,
            kernel.as_ptr(),
            1,
            taps as isize,
            columns.as_ptr(),
            1,
            pixels as isize,
            0.0_f32,
            1.0_f32,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::conv2d;
    use crate::rng::Mt19937;

    #[test]
    fn every_shape_agrees_with_the_plain_convolution() {
        let cases = [
            (1, 4, 8, 8, 48, 3, 1, 1),
            (2, 3, 5, 7, 6, 3, 1, 1),
            (2, 3, 8, 6, 5, 3, 2, 1),
            (1, 5, 1, 1, 7, 3, 1, 1),
            (3, 6, 4, 4, 2, 1, 1, 0),
            (1, 2, 9, 9, 3, 1, 2, 0),
            (1, 2, 9, 9, 3, 3, 1, 0),
            (1, 64, 96, 80, 3, 3, 1, 1),
        ];
        for (batch, channels, height, width, out, side, stride, padding) in cases {
            let input = random(&[batch, channels, height, width], 1);
            let kernel = random(&[out, channels, side, side], 2);
            let ours = conv2d(&input, &kernel, stride, padding).unwrap();
            let plain = input.conv2d(&kernel, padding, stride, 1, 1).unwrap();
            assert_eq!(ours.dims(), plain.dims());
            let off = (ours - plain).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap();
            let off = off.to_scalar::<f32>().unwrap();
            assert!(off < 1e-4, "{batch}x{channels}x{height}x{width} with {side}, stride {stride}: off by {off}");
        }
    }

    #[test]
    fn a_sample_does_not_depend_on_its_neighbours() {
        let (one, two) = (random(&[1, 48, 8, 8], 3), random(&[1, 48, 8, 8], 4));
        let kernel = random(&[64, 48, 3, 3], 5);
        let alone = conv2d(&one, &kernel, 1, 1).unwrap();
        let both = conv2d(&Tensor::cat(&[&one, &two], 0).unwrap(), &kernel, 1, 1).unwrap();
        let first = both.narrow(0, 0, 1).unwrap();
        assert_eq!(bits(&alone), bits(&first));
    }

    #[test]
    fn channels_that_do_not_fit_are_an_error() {
        assert!(conv2d(&random(&[1, 3, 8, 8], 1), &random(&[2, 4, 3, 3], 2), 1, 1).is_err());
        assert!(conv2d(&random(&[1, 3, 2, 2], 1), &random(&[2, 3, 3, 3], 2), 1, 0).is_err());
    }

    fn random(shape: &[usize], seed: u64) -> Tensor {
        let values = Mt19937::new(seed).randn(shape.iter().product());
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    fn bits(tensor: &Tensor) -> Vec<u32> {
        tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
    }
}
