//! One step of a whole UNet of Stable Diffusion 1.5's config and random weights, at 512x512, the same weights as torch's:
//! how long it takes, how far the answers are apart, what memory it needs, and what four pictures gain from sharing it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use candle_core::{Device, Tensor};
use serde_json::json;
use tintype_worker::kernels::Precision;
use tintype_worker::models::unet::{UNet, UNetConfig};
use tintype_worker::weights::{WeightFile, Weights};

use super::Options;
use super::clock::Clock;
use super::report::Figure;
use super::torch::Torch;

/// Rows of a step with guidance.
const BATCH: usize = 2;
/// Side of the latents of 512 pixels.
const SIDE: usize = 64;
/// Tokens of a prompt.
const TOKENS: usize = 77;
/// Width of the prompt's vectors.
const CONTEXT: usize = 768;
/// Pictures that share a step.
const PICTURES: usize = 4;
const NAME: &str = "unet step";

/// Measures it, where torch is there to make the weights.
pub(crate) fn run(options: &Options, clock: Clock, torch: &mut Torch) -> Result<()> {
    if !NAME.contains(&options.only) && !options.only.contains(NAME) {
        return Ok(());
    }
    if !torch.is_here() {
        eprintln!("no UNet: its random weights are made by torch");
        return Ok(());
    }
    let folder = tempfile::tempdir().context("cannot make a folder for the weights")?;
    let sizes = json!([config(), folder.path(), BATCH, SIDE, TOKENS]);
    // The first request makes the weights and the case.
    let mut theirs = torch.time("unet", "f32", &sizes)?;
    let unet = read(folder.path(), Precision::F32)?;
    let case = Arc::new(WeightFile::open(&folder.path().join("case.safetensors"))?);
    let x = case.tensor("x", &[BATCH, 4, SIDE, SIDE], &Device::Cpu)?;
    let timesteps: Vec<f32> = case.tensor("t", &[BATCH], &Device::Cpu)?.to_vec1()?;
    let context = case.tensor("context", &[BATCH, TOKENS, CONTEXT], &Device::Cpu)?;
    let before = resident_bytes("VmRSS:")?;
    let mut ours = f64::INFINITY;
    for run in 0..options.unet_runs.max(1) {
        if run > 0
            && let (Some(least), Some(time)) = (theirs, torch.time("unet", "f32", &sizes)?)
        {
            theirs = Some(least.min(time));
        }
        let (time, y) = clock.time(|| unet.forward(&x, &timesteps, &context));
        ours = ours.min(time);
        if run == 0 {
            let off = apart(&y?, &case.tensor("y", &[BATCH, 4, SIDE, SIDE], &Device::Cpu)?)?;
            figure("unet step, largest difference from torch", f64::from(off), "of the largest value", 1e-5);
            let peak = resident_bytes("VmHWM:")?.saturating_sub(before);
            figure("unet step, peak memory over weights", peak as f64 / 1e6, "MB", 300.0);
        }
    }
    let name = "unet step, SD 1.5 at 512x512 with guidance, fp32";
    Figure { name, value: ours, unit: clock.unit(), anchor: theirs, goal: Some(1.0) }.print();
    share(&unet, clock)?;
    // One at a time: each is 3.4 GB.
    drop(unet);
    let Ok(short) = Precision::Bf16.checked() else { return Ok(()) };
    let unet = read(folder.path(), short)?;
    let mut shortened = f64::INFINITY;
    for _ in 0..options.unet_runs.max(1) {
        let (time, y) = clock.time(|| unet.forward(&x, &timesteps, &context));
        y?;
        shortened = shortened.min(time);
    }
    let name = "unet step, SD 1.5 at 512x512 with guidance, bf16, of torch in fp32";
    let goal = has_amx().then_some(0.3);
    Figure { name, value: shortened, unit: clock.unit(), anchor: theirs, goal }.print();
    Ok(())
}

/// The goal in bf16 is for processors that multiply whole tiles of it.
fn has_amx() -> bool {
    std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|about| about.split_whitespace().any(|flag| flag == "amx_bf16"))
}

/// Four pictures of 64x64 latents in one call, beside one after another.
fn share(unet: &UNet, clock: Clock) -> Result<()> {
    let rows = |rows: usize| -> Result<(Tensor, Tensor)> {
        let x = Tensor::randn(0.0_f32, 1.0, (rows, 4, SIDE, SIDE), &Device::Cpu)?;
        Ok((x, Tensor::randn(0.0_f32, 1.0, (rows, TOKENS, CONTEXT), &Device::Cpu)?))
    };
    let (x, context) = rows(BATCH * PICTURES)?;
    let (together, made) = clock.time(|| unet.forward(&x, &[500.0; BATCH * PICTURES], &context));
    made?;
    let (x, context) = rows(BATCH)?;
    let (alone, made) = clock.time(|| unet.forward(&x, &[500.0; BATCH], &context));
    made?;
    // Times four pictures one after another take, over what they take together: higher is better, so it is turned.
    let name = "unet step, four pictures together, of the time one after another";
    let one_by_one = alone * PICTURES as f64;
    Figure { name, value: together, unit: clock.unit(), anchor: Some(one_by_one), goal: Some(1.0 / 1.3) }.print();
    Ok(())
}

fn figure(name: &str, value: f64, unit: &str, goal: f64) {
    Figure { name, value, unit, anchor: None, goal: Some(goal) }.print();
}

/// The largest difference, as a part of the largest value expected.
fn apart(got: &Tensor, expected: &Tensor) -> Result<f32> {
    let most = |tensor: Tensor| -> Result<f32> { Ok(tensor.abs()?.flatten_all()?.max(0)?.to_scalar()?) };
    Ok(most((got - expected)?)? / most(expected.clone())?)
}

fn read(folder: &Path, precision: Precision) -> Result<UNet> {
    let path: PathBuf = folder.join("config.json");
    std::fs::write(&path, config().to_string()).context("cannot write the config")?;
    let file = Arc::new(WeightFile::open(&folder.join("unet.safetensors"))?);
    Ok(UNet::read(&UNetConfig::read(&path)?, &Weights::new(file, Device::Cpu).multiplied_in(precision))?)
}

/// The fields of Stable Diffusion 1.5's `unet/config.json` that are not diffusers' defaults.
fn config() -> serde_json::Value {
    json!({
        "sample_size": SIDE,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": [320, 640, 1280, 1280],
        "layers_per_block": 2,
        "cross_attention_dim": CONTEXT,
        "attention_head_dim": 8,
        "norm_num_groups": 32,
    })
}

/// A line of `/proc/self/status`, in bytes.
fn resident_bytes(key: &str) -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("cannot read this process's status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(key)).context("no such line of the status")?;
    let number = line.split_whitespace().next().context("no such line of the status")?;
    Ok(number.parse::<u64>().context("no number")? * 1024)
}
