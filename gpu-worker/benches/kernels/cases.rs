//! The table of kernels, at the shapes of Stable Diffusion 1.5 and XL and of the VAE.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use serde_json::json;
use tintype_worker::kernels::{self, After, Function, GroupNormShape, Moves, Precision, With};

use super::Options;
use super::clock::Clock;
use super::report::{Figure, Goal};
use super::torch::Torch;

/// The most that ours may take of torch's time.
const GOAL: Goal = Goal::AtMost(1.0);
/// Groups of every norm here.
const GROUPS: usize = 32;

/// One operation and its sizes.
#[derive(Clone, Copy, Debug)]
enum Case {
    /// Channels in and out, side of the picture, side of the kernel, stride.
    Conv([usize; 5]),
    /// Rows, channels in and out.
    Linear([usize; 3]),
    /// Heads, queries, keys, width of a head.
    Attention([usize; 4]),
    /// Channels and side.
    GroupNorm([usize; 2]),
    GroupNormSilu([usize; 2]),
    /// Rows and channels.
    LayerNorm([usize; 2]),
    /// Channels and side.
    Silu([usize; 2]),
    /// Rows and channels.
    Geglu([usize; 2]),
}

const CASES: &[Case] = &[
    Case::Conv([320, 320, 64, 3, 1]),
    Case::Conv([640, 640, 32, 3, 1]),
    Case::Conv([1280, 1280, 16, 3, 1]),
    Case::Conv([1280, 1280, 8, 3, 1]),
    Case::Conv([960, 320, 64, 3, 1]),
    Case::Conv([2560, 1280, 16, 3, 1]),
    Case::Conv([512, 512, 64, 3, 1]),
    Case::Conv([128, 128, 256, 3, 1]),
    Case::Conv([320, 320, 64, 3, 2]),
    Case::Conv([320, 320, 64, 1, 1]),
    Case::Conv([4, 320, 64, 3, 1]),
    Case::Linear([4096, 320, 2560]),
    Case::Linear([1024, 640, 5120]),
    Case::Linear([4096, 320, 320]),
    Case::Attention([8, 4096, 4096, 40]),
    Case::Attention([8, 1024, 1024, 80]),
    Case::Attention([10, 4096, 4096, 64]),
    Case::Attention([8, 4096, 77, 40]),
    Case::GroupNorm([320, 64]),
    Case::GroupNormSilu([320, 64]),
    Case::LayerNorm([4096, 320]),
    Case::Silu([320, 64]),
    Case::Geglu([4096, 1280]),
];

/// Measures all of them.
pub(crate) fn run(options: &Options, clock: Clock, torch: &mut Torch) -> Result<()> {
    for (case, precision) in all() {
        let name = case.name(precision);
        if !name.contains(&options.only) {
            continue;
        }
        let work = case.ours(precision)?;
        work()?;
        let (mut ours, mut theirs) = (f64::INFINITY, None::<f64>);
        for _ in 0..options.runs {
            let (time, made) = clock.time(&work);
            made?;
            ours = ours.min(time);
            let (op, sizes) = case.theirs();
            if let Some(time) = torch.time(op, &precision.to_string(), &sizes)? {
                theirs = Some(theirs.map_or(time, |least| least.min(time)));
            }
        }
        Figure { name: &name, value: ours, unit: clock.unit(), anchor: theirs, goal: GOAL }.print();
    }
    Ok(())
}

/// All in fp32, and where this processor does bf16 those it makes a difference to.
fn all() -> impl Iterator<Item = (Case, Precision)> {
    let short = Precision::Bf16.checked().ok();
    let multiplies = |case: &&Case| matches!(case, Case::Conv(_) | Case::Linear(_));
    let shortened = short.into_iter().flat_map(move |short| CASES.iter().filter(multiplies).map(move |c| (*c, short)));
    CASES.iter().map(|case| (*case, Precision::F32)).chain(shortened)
}

type Work = Box<dyn Fn() -> Result<Tensor>>;

impl Case {
    fn name(self, precision: Precision) -> String {
        let name = match self {
            Self::Conv([inner, outer, side, kernel, stride]) => {
                format!("conv {kernel}x{kernel} stride {stride} {inner} to {outer} at {side}")
            }
            Self::Linear([rows, inner, outer]) => format!("linear {rows} rows {inner} to {outer}"),
            Self::Attention([heads, queries, keys, width]) => {
                format!("attention {heads} heads of {width}, {queries} queries, {keys} keys")
            }
            Self::GroupNorm([channels, side]) => format!("group norm {channels} at {side}"),
            Self::GroupNormSilu([channels, side]) => format!("group norm and silu {channels} at {side}"),
            Self::LayerNorm([rows, width]) => format!("layer norm {rows} rows of {width}"),
            Self::Silu([channels, side]) => format!("silu {channels} at {side}"),
            Self::Geglu([rows, width]) => format!("geglu {rows} rows of {width}"),
        };
        format!("{precision} {name}")
    }

    /// Torch's name of it and its sizes there.
    fn theirs(self) -> (&'static str, serde_json::Value) {
        match self {
            Self::Conv([inner, outer, side, kernel, stride]) => {
                ("conv", json!([1, inner, outer, side, kernel, stride]))
            }
            Self::Linear(sizes) => ("linear", json!(sizes)),
            Self::Attention([heads, queries, keys, width]) => ("attention", json!([1, heads, queries, keys, width])),
            Self::GroupNorm([channels, side]) => ("group_norm", json!([1, channels, side, GROUPS])),
            Self::GroupNormSilu([channels, side]) => ("group_norm_silu", json!([1, channels, side, GROUPS])),
            Self::LayerNorm(sizes) => ("layer_norm", json!(sizes)),
            Self::Silu([channels, side]) => ("silu", json!([1, channels, side])),
            Self::Geglu(sizes) => ("geglu", json!(sizes)),
        }
    }

    /// Ours, with operands of random numbers.
    fn ours(self, precision: Precision) -> Result<Work> {
        Ok(match self {
            Self::Conv([inner, outer, side, kernel, stride]) => {
                let (x, w) = (random(&[1, inner, side, side])?, random(&[outer, inner, kernel, kernel])?);
                let (b, moves) = (random(&[outer])?, Moves { stride, padding: kernel / 2 });
                Box::new(move || Ok(kernels::conv2d(&x, &w, moves, With { bias: Some(&b), rest: None, precision })?))
            }
            Self::Linear([rows, inner, outer]) => {
                let (x, w, b) = (random(&[rows, inner])?, random(&[outer, inner])?, random(&[outer])?);
                Box::new(move || Ok(kernels::linear(&x, &w, With { bias: Some(&b), rest: None, precision })?))
            }
            Self::Attention([heads, queries, keys, width]) => {
                let q = random(&[1, queries, heads * width])?;
                let (k, v) = (random(&[1, keys, heads * width])?, random(&[1, keys, heads * width])?);
                Box::new(move || Ok(kernels::attention([&q, &k, &v], heads, None, precision)?))
            }
            Self::GroupNorm([channels, side]) => group_norm(channels, side, After::Nothing)?,
            Self::GroupNormSilu([channels, side]) => group_norm(channels, side, After::Silu)?,
            Self::LayerNorm([rows, width]) => {
                let (x, w) = (random(&[rows, width])?, random(&[width])?);
                Box::new(move || Ok(kernels::layer_norm(&x, &w, &w, 1e-5)?))
            }
            Self::Silu([channels, side]) => {
                let x = random(&[1, channels, side, side])?;
                Box::new(move || Ok(kernels::apply(&x, Function::Silu)?))
            }
            Self::Geglu([rows, width]) => {
                let x = random(&[rows, 2 * width])?;
                Box::new(move || Ok(kernels::geglu(&x)?))
            }
        })
    }
}

fn group_norm(channels: usize, side: usize, after: After) -> Result<Work> {
    let (x, w) = (random(&[1, channels, side, side])?, random(&[channels])?);
    let shape = GroupNormShape { groups: GROUPS, eps: 1e-5, after };
    Ok(Box::new(move || Ok(kernels::group_norm(&x, &w, &w, shape)?)))
}

fn random(shape: &[usize]) -> Result<Tensor> {
    Ok(Tensor::randn(0.0_f32, 1.0, shape, &Device::Cpu)?.to_dtype(DType::F32)?)
}
