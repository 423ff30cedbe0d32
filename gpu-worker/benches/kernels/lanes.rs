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
/// Sides in pixels four lanes share steps at. Where the CPU has no arithmetic to spare, at 512, sharing cannot bring
/// much: what it saves is the reading and packing of the weights.
const SIDES: [(u32, Goal); 3] = [(128, Goal::AtLeast(1.3)), (256, Goal::None), (512, Goal::None)];
/// Side of the pictures LoRAs are measured with.
const LORA_SIDE: u32 = 256;

/// Four pictures that have nothing in common but model and size: prompt, sampler, steps, guidance.
const LIVES: [(&str, Sampler, u32, f64); 4] = [
    ("a red circle on a blue background", Sampler::Euler, 2, 7.5),
    ("a white star", Sampler::Dpmpp2mKarras, 3, 4.0),
    ("a large green square on yellow", Sampler::Ddim, 1, 3.0),
    ("a black ring on white", Sampler::EulerA, 2, 1.5),
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
        for (side, goal) in SIDES {
            share(&mut pipeline, clock, side, goal)?;
        }
    }
    if loras { adapt(&mut pipeline, options, clock) } else { Ok(()) }
}

fn order((prompt, sampler, steps, guidance_scale): (&str, Sampler, u32, f64), side: u32, loras: &[String]) -> Order {
    let defaults = ModelDefaults { width: side, height: side, steps, guidance_scale, sampler };
    let mut request = GenerationRequest::new(MODEL, prompt);
    request.loras = loras.iter().map(|name| LoraUse { name: name.clone(), weight: 0.5 }).collect();
    Order::from(&request.resolve(&defaults, 1))
}

/// Steps of all four lanes in shared calls, beside each lane's for itself. From begun to over; what follows, decoding, is
/// for each picture by itself in any case.
fn share(pipeline: &mut CandlePipeline, clock: Clock, side: u32, goal: Goal) -> Result<()> {
    let orders = LIVES.map(|life| order(life, side, &[]));
    let (mut apart, mut beside) = (begin(pipeline, &orders)?, begin(pipeline, &orders)?);
    // So that neither side pays for what is made once.
    for lane in &mut begin(pipeline, &orders[..1])? {
        pipeline.step(&mut [lane])?;
    }
    let (alone, done) = clock.time(|| apart.iter_mut().try_for_each(|lane| go_on(pipeline, &mut [lane])));
    done?;
    let (together, done) = clock.time(|| go_on(pipeline, &mut beside.iter_mut().collect::<Vec<_>>()));
    done?;
    let steps = LIVES.map(|(_, _, steps, _)| f64::from(steps)).iter().sum::<f64>();
    let name = format!("lanes, four mixed pictures of SD 1.5 at {side}x{side} together, over one after another");
    let (value, anchor) = (steps * 1e3 / together, Some(steps * 1e3 / alone));
    let unit = format!("steps a {} second", if clock == Clock::Cpu { "CPU" } else { "wall" });
    Figure { name: &name, value, unit: &unit, anchor, goal }.print();
    Ok(())
}

fn begin(pipeline: &mut CandlePipeline, orders: &[Order]) -> Result<Vec<Lane>> {
    Ok(orders.iter().map(|order| pipeline.begin(order, 0)).collect::<Result<_, _>>()?)
}

/// Steps lanes until none is left.
fn go_on(pipeline: &mut CandlePipeline, lanes: &mut [&mut Lane]) -> Result<()> {
    loop {
        let mut left: Vec<&mut Lane> =
            lanes.iter_mut().map(|lane| &mut **lane).filter(|lane| !lane.is_over()).collect();
        if left.is_empty() {
            return Ok(());
        }
        pipeline.step(&mut left)?;
    }
}

fn adapt(pipeline: &mut CandlePipeline, options: &Options, clock: Clock) -> Result<()> {
    let names: Vec<String> = (0..LORAS).map(lora_name).collect();
    let life = ("a red circle", Sampler::Euler, options.unet_runs.max(1) as u32, 7.5);
    let plain = order(life, LORA_SIDE, &[]);
    let (mut least, mut adding) = (f64::INFINITY, f64::INFINITY);
    for name in &names {
        let (time, begun) = clock.time(|| pipeline.begin(&plain, 0));
        begun?;
        least = least.min(time);
        let (time, begun) = clock.time(|| pipeline.begin(&order(life, LORA_SIDE, std::slice::from_ref(name)), 0));
        begun?;
        adding = adding.min(time);
    }
    let name = format!("loras, adding one of rank {RANK} on every linear layer of SD 1.5's transformers");
    Figure { name: &name, value: adding - least, unit: clock.unit(), anchor: None, goal: Goal::AtMost(50.0) }.print();
    let (mut bare, mut adapted) = (pipeline.begin(&plain, 0)?, pipeline.begin(&order(life, LORA_SIDE, &names), 0)?);
    let (mut without, mut with) = (f64::INFINITY, f64::INFINITY);
    while !bare.is_over() {
        let (time, stepped) = clock.time(|| pipeline.step(&mut [&mut bare]));
        stepped?;
        without = without.min(time);
        let (time, stepped) = clock.time(|| pipeline.step(&mut [&mut adapted]));
        stepped?;
        with = with.min(time);
    }
    let name = format!("loras, a step of SD 1.5 at {LORA_SIDE}x{LORA_SIDE} with {LORAS} of them, over one without");
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
