//! What lanes gain from sharing steps, and what LoRAs cost, on a model of Stable Diffusion 1.5's shape and random weights,
//! by the pipeline the engine steps.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context as _, Result};
use candle_core::Device;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::json;
use tintype_types::{GenerationRequest, LoraUse, ModelDefaults, Sampler};
use tintype_worker::engine::Lane;
use tintype_worker::kernels::Precision;
use tintype_worker::models::unet::{UNet, UNetConfig};
use tintype_worker::pipeline::{CandlePipeline, Lane as _, Order, Pipeline as _, ResidentLimits};
use tintype_worker::weights::{WeightFile, Weights};

use super::Options;
use super::clock::Clock;
use super::report::{Figure, Goal};
use super::torch::Torch;
use super::unet::make_sd15;

const MODEL: &str = "bench/sd15";
/// LoRAs at work in one request.
const LORAS: usize = 8;
/// Of each.
const RANK: usize = 16;
/// Sides in pixels lanes share steps at, and how often the four pictures are asked for. The goal is for 128: what sharing
/// saves is the reading, packing and turning of the weights, which at 512 is a few hundredths of the work, as every weight is
/// used for thousands of numbers of each picture alone.
const SIDES: [(u32, usize, Goal); 3] = [(128, 3, Goal::AtLeast(1.3)), (256, 2, Goal::None), (512, 1, Goal::None)];
/// Pictures that share steps.
const TOGETHER: usize = 4;
/// Sides of the pictures LoRAs are measured with.
const LORA_SIDES: [u32; 2] = [256, 512];

/// A picture to be drawn.
#[derive(Clone, Copy)]
struct Life {
    prompt: &'static str,
    sampler: Sampler,
    steps: u32,
    guidance: f64,
    /// The only LoRA it has.
    lora: Option<usize>,
}

impl Life {
    const fn new(prompt: &'static str, sampler: Sampler, steps: u32, guidance: f64) -> Self {
        Self { prompt, sampler, steps, guidance, lora: None }
    }

    const fn with(self, lora: usize) -> Self {
        Self { lora: Some(lora), ..self }
    }
}

/// Pictures that have nothing in common but model and size.
const LIVES: [Life; TOGETHER] = [
    Life::new("a red circle on a blue background", Sampler::Euler, 2, 7.5),
    Life::new("a white star", Sampler::Dpmpp2mKarras, 3, 4.0).with(0),
    Life::new("a large green square on yellow", Sampler::Ddim, 1, 3.0),
    Life::new("a black ring on white", Sampler::EulerA, 2, 1.5).with(1),
];

/// Measures both.
pub(crate) fn run(options: &Options, clock: Clock, torch: &mut Torch) -> Result<()> {
    let wanted = |part: &str| options.only.is_empty() || options.only.starts_with(part);
    let (mixed, loras) = (wanted("lanes"), wanted("loras"));
    if !(mixed || loras) {
        return Ok(());
    }
    if !torch.is_here() {
        eprintln!("no lanes and LoRAs: their model's random weights are made by torch");
        return Ok(());
    }
    let folder = tempfile::tempdir().context("cannot make a folder for the models")?;
    make_model(folder.path(), torch)?;
    torch.forget()?;
    make_loras(folder.path())?;
    let mut pipeline = CandlePipeline::new(vec![folder.path().to_owned()], ResidentLimits { count: 1, bytes: 0 })?;
    pipeline.load(MODEL)?;
    if mixed {
        for (side, rounds, goal) in SIDES {
            share(&mut pipeline, clock, (side, rounds), goal)?;
        }
    }
    if loras {
        add(&mut pipeline, clock)?;
        for side in LORA_SIDES {
            adapt(&mut pipeline, options, clock, side)?;
        }
    }
    Ok(())
}

fn order(life: Life, side: u32, loras: &[String]) -> Order {
    let Life { prompt, sampler, steps, guidance, lora } = life;
    let defaults = ModelDefaults { width: side, height: side, steps, guidance_scale: guidance, sampler };
    let mut request = GenerationRequest::new(MODEL, prompt);
    let names = loras.iter().cloned().chain(lora.map(lora_name));
    request.loras = names.map(|name| LoraUse { name, weight: 0.5 }).collect();
    Order::from(&request.resolve(&defaults, 1))
}

/// Steps of pictures in shared calls, one joining when another is done, beside each picture for itself. From begun to over;
/// what follows, decoding, is for each picture by itself in any case.
fn share(pipeline: &mut CandlePipeline, clock: Clock, (side, rounds): (u32, usize), goal: Goal) -> Result<()> {
    let orders: Vec<Order> = LIVES.repeat(rounds).into_iter().map(|life| order(life, side, &[])).collect();
    // So that neither side pays for what is made once.
    for lane in &mut begin(pipeline, &orders[..TOGETHER])? {
        pipeline.step(&mut [lane])?;
    }
    let (apart, beside) = (begin(pipeline, &orders)?, begin(pipeline, &orders)?);
    let (alone, done) = clock.time(|| go_on(pipeline, apart, 1));
    done?;
    let (together, done) = clock.time(|| go_on(pipeline, beside, TOGETHER));
    done?;
    let steps = f64::from(LIVES.iter().map(|life| life.steps).sum::<u32>()) * rounds as f64;
    let name = format!("lanes, four mixed pictures of SD 1.5 at {side}x{side} together, over one after another");
    let (value, anchor) = (steps * 1e3 / together, Some(steps * 1e3 / alone));
    let unit = format!("steps a {} second", if clock == Clock::Cpu { "CPU" } else { "wall" });
    Figure { name: &name, value, unit: &unit, anchor, goal }.print();
    Ok(())
}

fn begin(pipeline: &mut CandlePipeline, orders: &[Order]) -> Result<Vec<Lane>> {
    Ok(orders.iter().map(|order| pipeline.begin(order, 0)).collect::<Result<_, _>>()?)
}

/// Steps lanes until none is left, so many at a time.
fn go_on(pipeline: &mut CandlePipeline, mut lanes: Vec<Lane>, at_a_time: usize) -> Result<()> {
    while !lanes.is_empty() {
        pipeline.step(&mut lanes.iter_mut().take(at_a_time).collect::<Vec<_>>())?;
        lanes.retain(|lane| !lane.is_over());
    }
    Ok(())
}

/// What a request's LoRA takes before the first step.
fn add(pipeline: &mut CandlePipeline, clock: Clock) -> Result<()> {
    let life = Life::new("a red circle", Sampler::Euler, 1, 7.5);
    let (mut least, mut adding) = (f64::INFINITY, f64::INFINITY);
    for lora in 0..LORAS {
        let (time, begun) = clock.time(|| pipeline.begin(&order(life, LORA_SIDES[0], &[]), 0));
        begun?;
        least = least.min(time);
        let (time, begun) = clock.time(|| pipeline.begin(&order(life.with(lora), LORA_SIDES[0], &[]), 0));
        begun?;
        adding = adding.min(time);
    }
    let name = format!("loras, adding one of rank {RANK} on every linear layer of SD 1.5's transformers");
    Figure { name: &name, value: adding - least, unit: clock.unit(), anchor: None, goal: Goal::AtMost(50.0) }.print();
    Ok(())
}

/// What all of them together add to a step.
fn adapt(pipeline: &mut CandlePipeline, options: &Options, clock: Clock, side: u32) -> Result<()> {
    let names: Vec<String> = (0..LORAS).map(lora_name).collect();
    let life = Life::new("a red circle", Sampler::Euler, options.unet_runs.max(1) as u32, 7.5);
    let (mut bare, mut adapted) =
        (pipeline.begin(&order(life, side, &[]), 0)?, pipeline.begin(&order(life, side, &names), 0)?);
    let (mut without, mut with) = (f64::INFINITY, f64::INFINITY);
    while !bare.is_over() {
        let (time, stepped) = clock.time(|| pipeline.step(&mut [&mut bare]));
        stepped?;
        without = without.min(time);
        let (time, stepped) = clock.time(|| pipeline.step(&mut [&mut adapted]));
        stepped?;
        with = with.min(time);
    }
    let name = format!("loras, a step of SD 1.5 at {side}x{side} with {LORAS} of them, over one without");
    Figure { name: &name, value: with, unit: clock.unit(), anchor: Some(without), goal: Goal::AtMost(1.15) }.print();
    Ok(())
}

/// A model's folder: the UNet as published, and around it the small parts of the model that ships.
fn make_model(folder: &Path, torch: &mut Torch) -> Result<()> {
    let (model, ships) = (folder.join("sd15"), Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/shapes"));
    std::fs::create_dir_all(model.join("unet")).context("cannot make the model's folder")?;
    for part in ["model_index.json", "scheduler", "tokenizer", "vae"] {
        symlink(ships.join(part), model.join(part)).context("cannot link to the model that ships")?;
    }
    make_sd15(&model.join("unet"), torch)?;
    std::fs::rename(model.join("unet/unet.safetensors"), model.join("unet/diffusion_pytorch_model.safetensors"))
        .context("cannot name the UNet's weights")?;
    torch.time("text_encoder", "f32", &json!([model.join("text_encoder"), 768, 77, 601, 600]))?;
    write_card(&model, MODEL, "checkpoint")
}

fn lora_name(index: usize) -> String {
    format!("bench/lora-{index}")
}

/// LoRAs of small numbers.
fn make_loras(folder: &Path) -> Result<()> {
    let config = UNetConfig::read(&folder.join("sd15/unet/config.json"))?;
    let file = WeightFile::open(&folder.join("sd15/unet/diffusion_pytorch_model.safetensors"))?;
    let unet = UNet::read(&config, &Weights::new(file.into(), Device::Cpu).multiplied_in(Precision::F32))?;
    let mut shapes = BTreeMap::new();
    for (layer, shape) in unet.adaptable().iter().filter(|(layer, _)| layer.contains(".transformer_blocks.")) {
        shapes.insert(format!("unet.{layer}.lora_A.weight"), vec![RANK, shape.inner]);
        shapes.insert(format!("unet.{layer}.lora_B.weight"), vec![shape.outer, RANK]);
    }
    // 0.01 in bf16, over and over: what the numbers are changes no time.
    let longest = shapes.values().map(|shape| shape.iter().product::<usize>()).max().unwrap_or(0);
    let bytes = [0x24, 0x3c].repeat(longest);
    for index in 0..LORAS {
        let own = folder.join(format!("lora-{index}"));
        std::fs::create_dir(&own).context("cannot make a LoRA's folder")?;
        let views = shapes.iter().map(|(name, shape)| {
            let view = TensorView::new(Dtype::BF16, shape.clone(), &bytes[..2 * shape.iter().product::<usize>()]);
            view.map(|view| (name, view))
        });
        let views = views.collect::<Result<Vec<_>, _>>().context("a LoRA's tensors cannot be written")?;
        let path = own.join("pytorch_lora_weights.safetensors");
        safetensors::serialize_to_file(views, None, &path).context("a LoRA cannot be written")?;
        write_card(&own, &lora_name(index), "lora")?;
    }
    Ok(())
}

fn write_card(folder: &Path, name: &str, kind: &str) -> Result<()> {
    let card = json!({
        "name": name,
        "kind": kind,
        "family": "sd15",
        "defaults": { "width": 512, "height": 512, "steps": 2, "guidanceScale": 7.5, "sampler": "euler" },
        "licence": "CC0-1.0",
        "description": "Random numbers, for measuring.",
        "vramBytes": 1,
    });
    std::fs::write(folder.join("tintype.json"), card.to_string()).context("cannot write a card")
}
