//! One step of whole UNets of random weights, the same as torch's: how long it takes, how far the answers are apart, what
//! memory it needs, and what bf16 gains.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use candle_core::{Device, Tensor};
use serde_json::{Value, json};
use tintype_worker::kernels::Precision;
use tintype_worker::models::unet::{Added, Conditions, UNet, UNetConfig};
use tintype_worker::weights::{WeightFile, Weights};

use super::Options;
use super::clock::Clock;
use super::report::{Figure, Goal};
use super::torch::Torch;

/// Side of the latents of 512 pixels.
const SIDE: usize = 64;
/// Tokens of a prompt.
const TOKENS: usize = 77;
/// What SDXL is told of a picture: original size, crop, target size.
const SIZES: [f32; 6] = [512.0, 512.0, 0.0, 0.0, 512.0, 512.0];
/// Weights both sides hold at a time, which is what a machine with 16 GB has room for.
const SDXL_DEPTH: usize = 2;

/// A network that is measured.
struct Net {
    name: &'static str,
    config: Value,
    /// Rows of a step.
    batch: usize,
    /// Width of the prompt's vectors.
    context: usize,
    /// Width of the pooled prompt, in SDXL.
    pooled: Option<usize>,
}

/// Stable Diffusion 1.5's, with guidance.
fn sd15() -> Net {
    Net {
        name: "unet step, SD 1.5 at 512x512 with guidance",
        config: sd15_config(),
        batch: 2,
        context: 768,
        pooled: None,
    }
}

/// SDXL's layers, with two transformer layers where it has ten: whole it would take 10 GB on each side.
fn sdxl() -> Net {
    let config = json!({
        "sample_size": SIDE,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": [320, 640, 1280],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "layers_per_block": 2,
        "transformer_layers_per_block": [1, SDXL_DEPTH, SDXL_DEPTH],
        "cross_attention_dim": 2048,
        "attention_head_dim": [5, 10, 20],
        "norm_num_groups": 32,
        "use_linear_projection": true,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    });
    let name = "unet step, SDXL's shape with 2 transformer layers for 10, 512x512, one row";
    Net { name, config, batch: 1, context: 2048, pooled: Some(1280) }
}

/// The fields of Stable Diffusion 1.5's `unet/config.json` that are not diffusers' defaults.
fn sd15_config() -> Value {
    json!({
        "sample_size": SIDE,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": [320, 640, 1280, 1280],
        "layers_per_block": 2,
        "cross_attention_dim": 768,
        "attention_head_dim": 8,
        "norm_num_groups": 32,
    })
}

/// A file of Stable Diffusion 1.5's UNet with random weights in this folder, and its config beside it.
pub(crate) fn make_sd15(folder: &Path, torch: &mut Torch) -> Result<()> {
    sd15().make(folder, torch).map(|_| ())
}

/// Measures them, where torch is there to make the weights.
pub(crate) fn run(options: &Options, clock: Clock, torch: &mut Torch) -> Result<()> {
    for net in [sd15(), sdxl()] {
        if !net.name.contains(&options.only) {
            continue;
        }
        if !torch.is_here() {
            eprintln!("no UNet: its random weights are made by torch");
            return Ok(());
        }
        net.run(options, clock, torch)?;
    }
    Ok(())
}

/// What goes in, and what torch answers.
struct Case {
    x: Tensor,
    timesteps: Vec<f32>,
    context: Tensor,
    pooled: Option<Tensor>,
    sizes: Vec<[f32; 6]>,
    y: Tensor,
}

impl Case {
    fn read(net: &Net, folder: &Path) -> Result<Self> {
        let file = WeightFile::open(&folder.join("case.safetensors"))?;
        let tensor = |name: &str, shape: &[usize]| file.tensor(name, shape, &Device::Cpu);
        Ok(Self {
            x: tensor("x", &[net.batch, 4, SIDE, SIDE])?,
            timesteps: tensor("t", &[net.batch])?.to_vec1()?,
            context: tensor("context", &[net.batch, TOKENS, net.context])?,
            pooled: net.pooled.map(|pooled| tensor("pooled", &[net.batch, pooled])).transpose()?,
            sizes: vec![SIZES; net.batch],
            y: tensor("y", &[net.batch, 4, SIDE, SIDE])?,
        })
    }

    fn step(&self, unet: &UNet) -> Result<Tensor> {
        let added = self.pooled.as_ref().map(|pooled| Added { pooled, sizes: &self.sizes });
        let conditions = Conditions { contexts: std::slice::from_ref(&self.context), added };
        Ok(unet.forward(&self.x, &self.timesteps, conditions)?)
    }
}

impl Net {
    fn sizes(&self, folder: &Path) -> Value {
        json!([self.config, folder, self.batch, SIDE, TOKENS])
    }

    /// Has torch write weights and case, which it does at the first request; says how long a step takes there.
    fn make(&self, folder: &Path, torch: &mut Torch) -> Result<Option<f64>> {
        std::fs::write(folder.join("config.json"), self.config.to_string()).context("cannot write the config")?;
        torch.time("unet", "f32", &self.sizes(folder))
    }

    fn run(&self, options: &Options, clock: Clock, torch: &mut Torch) -> Result<()> {
        let folder = tempfile::tempdir().context("cannot make a folder for the weights")?;
        let mut theirs = self.make(folder.path(), torch)?;
        let unet = read(folder.path(), Precision::F32)?;
        let case = Case::read(self, folder.path())?;
        let before = resident_bytes("VmRSS:")?;
        let mut ours = f64::INFINITY;
        for run in 0..options.unet_runs.max(1) {
            if run > 0
                && let (Some(least), Some(time)) = (theirs, torch.time("unet", "f32", &self.sizes(folder.path()))?)
            {
                theirs = Some(least.min(time));
            }
            let (time, y) = clock.time(|| case.step(&unet));
            ours = ours.min(time);
            if run == 0 {
                self.tell("largest difference from torch", apart(&y?, &case.y)?, "of the largest value", 1e-5);
                let peak = resident_bytes("VmHWM:")?.saturating_sub(before);
                self.tell("peak memory over weights", peak as f64 / 1e6, "MB", 300.0);
            }
        }
        let name = format!("{}, fp32", self.name);
        Figure { name: &name, value: ours, unit: clock.unit(), anchor: theirs, goal: Goal::AtMost(1.0) }.print();
        // One at a time: each is 3.4 GB.
        drop(unet);
        let Ok(short) = Precision::Bf16.checked() else { return Ok(()) };
        let unet = read(folder.path(), short)?;
        let mut shortened = f64::INFINITY;
        for _ in 0..options.unet_runs.max(1) {
            let (time, y) = clock.time(|| case.step(&unet));
            y?;
            shortened = shortened.min(time);
        }
        let (name, goal) = if has_amx() {
            (format!("{}, bf16 on AMX, of torch in fp32", self.name), Goal::AtMost(0.3))
        } else {
            (format!("{}, bf16 without AMX (which the goal of 0.3 is for), of torch in fp32", self.name), Goal::None)
        };
        Figure { name: &name, value: shortened, unit: clock.unit(), anchor: theirs, goal }.print();
        Ok(())
    }

    fn tell(&self, what: &str, value: f64, unit: &str, most: f64) {
        let name = format!("{}, {what}", self.name);
        Figure { name: &name, value, unit, anchor: None, goal: Goal::AtMost(most) }.print();
    }
}

fn read(folder: &Path, precision: Precision) -> Result<UNet> {
    let file = Arc::new(WeightFile::open(&folder.join("unet.safetensors"))?);
    let config = UNetConfig::read(&folder.join("config.json"))?;
    Ok(UNet::read(&config, &Weights::new(file, Device::Cpu).multiplied_in(precision))?)
}

/// The goal in bf16 is for processors that multiply whole tiles of it.
fn has_amx() -> bool {
    std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|about| about.split_whitespace().any(|flag| flag == "amx_bf16"))
}

/// The largest difference, as a part of the largest value expected.
fn apart(got: &Tensor, expected: &Tensor) -> Result<f64> {
    let most = |tensor: Tensor| -> Result<f32> { Ok(tensor.abs()?.flatten_all()?.max(0)?.to_scalar()?) };
    Ok(f64::from(most((got - expected)?)?) / f64::from(most(expected.clone())?))
}

/// A line of `/proc/self/status`, in bytes.
fn resident_bytes(key: &str) -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("cannot read this process's status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(key)).context("no such line of the status")?;
    let number = line.split_whitespace().next().context("no such line of the status")?;
    Ok(number.parse::<u64>().context("no number")? * 1024)
}
