//! What is done to each number for itself: activations, the gate of a feed-forward layer, and pixels repeated.
#![expect(clippy::inline_always, reason = "only inlined code takes on its caller's instructions")]

use std::mem::MaybeUninit;

use candle_core::{D, Result, Tensor, bail};

use super::data::{self, Numbers};
use super::level::{self, Level, Loops};
use super::math::{gelu, swish};
use super::shared::in_chunks;

/// Numbers given to a thread at a time: a quarter of a core's second-level cache, read and written.
const CHUNK: usize = 1 << 15;
/// The scale inside OpenAI's quick gelu.
const QUICK: f32 = 1.702;

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// `x * sigmoid(x)`.
    Silu,
    /// `x * sigmoid(1.702 x)`: OpenAI's CLIP.
    QuickGelu,
    /// Exact gelu, by the error function.
    Gelu,
}

/// Applies a function to each number.
///
/// # Errors
/// A device's own failure.
pub fn apply(x: &Tensor, function: Function) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return match function {
            Function::Silu => x.silu(),
            Function::QuickGelu => x * ((x * f64::from(-QUICK))?.exp()? + 1.0)?.recip()?,
            Function::Gelu => x.gelu_erf(),
        };
    }
    let x = x.contiguous()?;
    let numbers = Numbers::of(&x)?;
    data::tensor(applied(Level::best(), numbers.slice(), function), x.shape())
}

/// The gate of a feed-forward layer: (..., 2 n) to (..., n), the first half times the gelu of the second.
///
/// # Errors
/// An odd last dimension, or a device's own failure.
pub fn geglu(x: &Tensor) -> Result<Tensor> {
    let width = x.dim(D::Minus1)?;
    if !width.is_multiple_of(2) || width == 0 {
        bail!("the halves of {width} numbers");
    }
    if !x.device().is_cpu() {
        let halves = x.chunk(2, D::Minus1)?;
        return &halves[0] * halves[1].contiguous()?.gelu_erf()?;
    }
    let x = x.contiguous()?;
    let numbers = Numbers::of(&x)?;
    let mut shape = x.dims().to_vec();
    shape.pop();
    shape.push(width / 2);
    data::tensor(gated(Level::best(), numbers.slice(), width / 2), shape)
}

fn applied(level: Level, x: &[f32], function: Function) -> Vec<f32> {
    let some = |(index, out): (usize, &mut [MaybeUninit<f32>])| {
        let x = &x[index * CHUNK..][..out.len()];
        level::run(level, Applied { x, function, out });
    };
    #[expect(unsafe_code, reason = "see `in_chunks`")]
    // SAFETY: a function writes a number for each one it reads.
    unsafe {
        in_chunks(x.len(), CHUNK, CHUNK + 1, some)
    }
}

fn gated(level: Level, x: &[f32], width: usize) -> Vec<f32> {
    let size = (CHUNK / width).max(1) * width;
    let some = |(index, out): (usize, &mut [MaybeUninit<f32>])| {
        let x = &x[index * size * 2..][..out.len() * 2];
        level::run(level, Gated { x, width, out });
    };
    #[expect(unsafe_code, reason = "see `in_chunks`")]
    // SAFETY: the gate writes a number for each two it reads, and chunks are whole rows.
    unsafe {
        in_chunks(x.len() / 2, size, CHUNK + 1, some)
    }
}

struct Applied<'a> {
    x: &'a [f32],
    function: Function,
    out: &'a mut [MaybeUninit<f32>],
}

impl Loops for Applied<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Self { x, function, out } = self;
        let pairs = out.iter_mut().zip(x);
        match function {
            Function::Silu => pairs.for_each(|(out, x)| _ = out.write(swish::<FUSED>(*x, 1.0))),
            Function::QuickGelu => pairs.for_each(|(out, x)| _ = out.write(swish::<FUSED>(*x, QUICK))),
            Function::Gelu => pairs.for_each(|(out, x)| _ = out.write(gelu::<FUSED>(*x))),
        }
    }
}

struct Gated<'a> {
    x: &'a [f32],
    width: usize,
    out: &'a mut [MaybeUninit<f32>],
}

impl Loops for Gated<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Self { x, width, out } = self;
        for (x, out) in x.chunks_exact(width * 2).zip(out.chunks_exact_mut(width)) {
            let (value, gate) = x.split_at(width);
            for (out, (value, gate)) in out.iter_mut().zip(value.iter().zip(gate)) {
                out.write(value * gelu::<FUSED>(*gate));
            }
        }
    }
}

/// Makes maps (batch, channels, height, width) larger by repeating the nearest pixel above and to the left.
///
/// # Errors
/// A size of 0, or a device's own failure.
pub fn upsample(x: &Tensor, (height, width): (usize, usize)) -> Result<Tensor> {
    let (batch, channels, from_height, from_width) = x.dims4()?;
    if [height, width, from_height, from_width].contains(&0) {
        bail!("{from_height}x{from_width} made {height}x{width}");
    }
    if !x.device().is_cpu() {
        return x.upsample_nearest2d(height, width);
    }
    let x = x.contiguous()?;
    let numbers = Numbers::of(&x)?;
    let columns: Vec<usize> = (0..width).map(|column| column * from_width / width).collect();
    let mut out = vec![0.0; batch * channels * height * width];
    let maps = numbers.slice().chunks_exact(from_height * from_width);
    for (map, out) in maps.zip(out.chunks_exact_mut(height * width)) {
        for (row, line) in out.chunks_exact_mut(width).enumerate() {
            let from = &map[row * from_height / height * from_width..][..from_width];
            for (pixel, column) in line.iter_mut().zip(&columns) {
                *pixel = from[*column];
            }
        }
    }
    data::tensor(out, (batch, channels, height, width))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::testing::{assert_close, bits, in_pool, numbers};

    const FUNCTIONS: [Function; 3] = [Function::Silu, Function::QuickGelu, Function::Gelu];

    #[test]
    fn every_function_and_level_agrees_with_candle() {
        for count in [1, 17, 1000] {
            let x: Vec<f32> = numbers(count, 1).into_iter().map(|x| x * 4.0).collect();
            let tensor = Tensor::from_slice(&x, count, &Device::Cpu).unwrap();
            for (function, level) in FUNCTIONS.iter().flat_map(|f| Level::all().iter().map(move |l| (*f, *l))) {
                let plain = match function {
                    Function::Silu => tensor.silu(),
                    Function::QuickGelu => {
                        &tensor * ((&tensor * -1.702).unwrap().exp().unwrap() + 1.0).unwrap().recip()
                    }
                    Function::Gelu => tensor.gelu_erf(),
                };
                let plain = plain.unwrap().to_vec1::<f32>().unwrap();
                assert_close(&format!("{function:?} {level:?}"), &applied(level, &x, function), &plain, 1e-6);
            }
        }
    }

    #[test]
    fn the_gate_agrees_with_candle() {
        for (rows, width) in [(1, 1), (3, 5), (200, 384)] {
            let x = numbers(rows * width * 2, 1);
            let tensor = Tensor::from_slice(&x, (rows, width * 2), &Device::Cpu).unwrap();
            let halves = tensor.chunk(2, D::Minus1).unwrap();
            let plain = (&halves[0] * halves[1].contiguous().unwrap().gelu_erf().unwrap()).unwrap();
            let plain = plain.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            for level in Level::all() {
                assert_close(&format!("{level:?}"), &gated(*level, &x, width), &plain, 1e-6);
            }
            let public = geglu(&tensor).unwrap();
            assert_eq!(public.dims(), [rows, width]);
        }
        assert!(geglu(&Tensor::zeros((2, 3), candle_core::DType::F32, &Device::Cpu).unwrap()).is_err());
    }

    #[test]
    fn numbers_have_the_same_bits_in_every_batch_and_on_any_number_of_threads() {
        let x = numbers(4 * 64 * 640, 1);
        for level in Level::all() {
            let all = (bits(&applied(*level, &x, Function::Gelu)), bits(&gated(*level, &x, 320)));
            for (batch, threads) in [(1, 1), (1, 2), (2, 1), (3, 2), (4, 2)] {
                let some = &x[..batch * 64 * 640];
                let (one, two) = in_pool(threads, || (applied(*level, some, Function::Gelu), gated(*level, some, 320)));
                assert!(bits(&one) == all.0[..one.len()] && bits(&two) == all.1[..two.len()], "{batch} on {threads}");
            }
        }
    }

    #[test]
    fn pixels_are_repeated_as_candle_repeats_them() {
        let x = Tensor::from_vec(numbers(2 * 3 * 5 * 7, 1), (2, 3, 5, 7), &Device::Cpu).unwrap();
        for size in [(10, 14), (9, 13), (5, 7), (3, 4)] {
            let ours = upsample(&x, size).unwrap();
            let plain = x.upsample_nearest2d(size.0, size.1).unwrap();
            assert_eq!(ours.dims(), plain.dims());
            let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(bits(&flat(&ours)), bits(&flat(&plain)), "{size:?}");
        }
        assert!(upsample(&x, (0, 3)).is_err());
    }
}
