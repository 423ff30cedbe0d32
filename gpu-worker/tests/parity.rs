//! The worker's networks, samplers, noise and prompts against what diffusers, transformers and torch compute. The
//! numbers were written by `tools/parity/make_fixtures.py`; nothing of Python is needed here.
#![expect(clippy::unwrap_used, reason = "a test says what broke by panicking")]

mod common;

use std::path::Path;

use common::{Case, close, fixtures, near};
use serde::Deserialize;
use tintype_types::{GenerationRequest, ModelDefaults, Sampler};
use tintype_worker::models::clip::{ClipConfig, ClipTextModel};
use tintype_worker::models::unet::{Added, Conditions, SIZES, UNet, UNetConfig};
use tintype_worker::models::vae::{VaeConfig, VaeDecoder};
use tintype_worker::pipeline::{CandlePipeline, Flow, Pipeline, ResidentLimits};
use tintype_worker::prompt::PromptEncoder;
use tintype_worker::rng::Mt19937;
use tintype_worker::samplers::{Levels, NoiseSchedule, Recipe, SamplerRun, ScheduleConfig, Solver};
use tintype_worker::testing::shapes::decode_png;

/// One forward pass in fp32; outputs have a standard deviation near 1.
const FORWARD: f32 = 1e-5;
/// Twenty steps of a sampler, relative to the largest value.
const TRAJECTORY: f32 = 1e-4;
/// Torch's vector logarithm and cosine against the standard library's, in the numbers themselves.
const NOISE: f32 = 1e-6;
/// A colour of a whole picture, of 255.
const COLOUR: u8 = 2;

#[test]
fn unets_answer_as_diffusers_does() {
    for (name, context, channels) in [("unet_conv", 6, 4), ("unet_linear", 8, 5)] {
        let case = Case::open(name);
        let unet = UNet::read(&case.config(UNetConfig::read), &case.weights()).unwrap();
        let (x, context) = (case.tensor("x", &[2, channels, 8, 16]), case.tensor("context", &[2, 7, context]));
        let timesteps: Vec<f32> = case.tensor("t", &[2]).to_vec1().unwrap();
        let both = unet.forward(&x, &timesteps, &context).unwrap();
        close(name, &both, &case.tensor("y", &[2, 4, 8, 16]), FORWARD);
        let alone = unet.forward(&x.narrow(0, 1, 1).unwrap(), &timesteps[1..], &context.narrow(0, 1, 1).unwrap());
        close("a sample alone", &alone.unwrap(), &both.narrow(0, 1, 1).unwrap(), FORWARD);
    }
}

#[test]
fn an_sdxl_unet_answers_as_diffusers_does() {
    let case = Case::open("unet_sdxl");
    let unet = UNet::read(&case.config(UNetConfig::read), &case.weights()).unwrap();
    let (x, context) = (case.tensor("x", &[2, 4, 8, 16]), case.tensor("context", &[2, 7, 10]));
    let pooled = case.tensor("pooled", &[2, 5]);
    let rows: Vec<Vec<f32>> = case.tensor("sizes", &[2, 6]).to_vec2().unwrap();
    let sizes: Vec<[f32; SIZES]> = rows.into_iter().map(|row| row.try_into().unwrap()).collect();
    let timesteps: Vec<f32> = case.tensor("t", &[2]).to_vec1().unwrap();
    let conditions =
        Conditions { contexts: std::slice::from_ref(&context), added: Some(Added { pooled: &pooled, sizes: &sizes }) };
    let answer = unet.forward(&x, &timesteps, conditions).unwrap();
    close("unet_sdxl", &answer, &case.tensor("y", &[2, 4, 8, 16]), FORWARD);
    assert!(unet.forward(&x, &timesteps, &context).is_err(), "without sizes and pooled prompt it cannot answer");
}

#[test]
fn vaes_decode_as_diffusers_does() {
    for (name, channels, factor) in [("vae_new", 4, 2), ("vae_old", 3, 4)] {
        let case = Case::open(name);
        let config = case.config(VaeConfig::read);
        assert_eq!(config.factor(), factor);
        let vae = VaeDecoder::read(&config, &case.weights()).unwrap();
        let decoded = vae.decode(&case.tensor("z", &[2, channels, 4, 6])).unwrap();
        close(name, &decoded, &case.tensor("y", &[2, 3, 4 * factor, 6 * factor]), FORWARD);
    }
}

#[test]
fn text_encoders_answer_as_transformers_does() {
    for (name, width) in [("clip_quick_gelu", 12), ("clip_gelu", 8)] {
        let case = Case::open(name);
        let clip = ClipTextModel::read(&case.config(ClipConfig::read), &case.weights()).unwrap();
        let ids: Vec<Vec<f32>> = case.tensor("ids", &[2, 8]).to_vec2().unwrap();
        let ids: Vec<Vec<u32>> = ids.iter().map(|row| row.iter().map(|id| *id as u32).collect()).collect();
        close(name, &clip.forward(&ids).unwrap(), &case.tensor("y", &[2, 8, width]), FORWARD);
        assert!(clip.forward(&[vec![99]]).is_err(), "an id outside the vocabulary is an error");
    }
}

#[test]
fn every_layer_and_the_pooled_vector_are_transformers() {
    for name in ["clip_projected", "clip_old_end"] {
        let case = Case::open(name);
        let clip = ClipTextModel::read(&case.config(ClipConfig::read), &case.weights()).unwrap();
        let ids: Vec<Vec<f32>> = case.tensor("ids", &[2, 8]).to_vec2().unwrap();
        let ids: Vec<Vec<u32>> = ids.iter().map(|row| row.iter().map(|id| *id as u32).collect()).collect();
        for skip in 0..=clip.layers() {
            let encoded = clip.encode(&ids, skip).unwrap();
            let layer = format!("hidden{}", clip.layers() - skip);
            close(&format!("{layer} of {name}"), &encoded.hidden, &case.tensor(&layer, &[2, 8, 8]), FORWARD);
            close(name, &encoded.pooled.unwrap(), &case.tensor("pooled", &[2, 5]), FORWARD);
        }
    }
}

#[derive(Deserialize)]
struct SamplerCases {
    start: Vec<f32>,
    cases: Vec<SamplerCase>,
}

#[derive(Deserialize)]
struct SamplerCase {
    solver: Solver,
    #[serde(default)]
    levels: Levels,
    steps: u32,
    config: ScheduleConfig,
    init_noise: f32,
    timesteps: Vec<f32>,
    sigmas: Option<Vec<f32>>,
    end: Vec<f32>,
}

#[test]
fn samplers_walk_as_diffusers_does() {
    let SamplerCases { start, cases } = read("samplers.json");
    assert_eq!(cases.len(), 236);
    for case in cases {
        let recipe = Recipe { solver: case.solver, levels: case.levels };
        let name = format!("{recipe:?} in {} steps, {:?}", case.steps, case.config);
        let schedule = NoiseSchedule::new(case.config.clone()).unwrap();
        let mut run = SamplerRun::new(recipe, &schedule, case.steps).unwrap();
        near(&format!("timesteps of {name}"), run.timesteps(), &case.timesteps, 1e-6);
        near(&format!("first noise of {name}"), &[run.init_noise()], &[case.init_noise], 1e-6);
        if let Some(sigmas) = &case.sigmas {
            near(&format!("noise levels of {name}"), run.sigmas().unwrap(), sigmas, 2e-6);
        }
        let mut noise = Mt19937::new(5);
        let mut latent: Vec<f32> = start.iter().map(|value| value * run.init_noise()).collect();
        while let Some(timestep) = run.timestep() {
            let output: Vec<f32> = run
                .model_input(&latent)
                .iter()
                .map(|seen| (3.0 * seen + timestep / 500.0).sin() * 0.7 + seen / 4.0)
                .collect();
            // Stopped and resumed at every step: the state is whole.
            run = serde_json::from_str(&serde_json::to_string(&run).unwrap()).unwrap();
            run.step(&output, &mut latent, |len| noise.randn(len));
        }
        assert_eq!(run.done(), case.steps as usize, "{name}");
        near(&format!("end of {name}"), &latent, &case.end, TRAJECTORY);
        run.step(&latent.clone(), &mut latent, |_| Vec::new());
        near("a step past the end", &latent, &case.end, TRAJECTORY);
    }
}

#[derive(Deserialize)]
struct NoiseCases {
    cases: Vec<NoiseCase>,
    mixed: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
struct NoiseCase {
    seed: u64,
    count: usize,
    first: Vec<f32>,
    last: Vec<f32>,
}

#[test]
fn seeds_draw_torchs_noise() {
    let NoiseCases { cases, mixed } = read("noise.json");
    for NoiseCase { seed, count, first, last } in cases {
        let name = format!("{count} numbers of seed {seed}");
        let values = Mt19937::new(seed).randn(count);
        assert_eq!(values.len(), count);
        within(&name, &values[..first.len()], &first);
        within(&name, &values[count - last.len()..], &last);
    }
    let mut generator = Mt19937::new(3);
    for (count, expected) in [3, 20, 1, 16, 2].into_iter().zip(mixed) {
        within("mixed lengths", &generator.randn(count)[..expected.len()], &expected);
    }
}

fn within(name: &str, got: &[f32], expected: &[f32]) {
    let off = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(got.iter().all(|number| number.is_finite()) && off <= NOISE, "{name}: off by {off:e}");
}

#[derive(Deserialize)]
struct PromptCase {
    text: String,
    ids: Vec<u32>,
}

#[test]
fn prompts_become_transformers_ids() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/shapes/tokenizer");
    let encoder = PromptEncoder::read(&folder, 77).unwrap();
    let cases: Vec<PromptCase> = read("prompts.json");
    for PromptCase { text, ids } in cases {
        assert_eq!(encoder.encode(&text).unwrap(), ids, "{text}");
    }
}

#[test]
fn whole_pictures_are_diffusers_pictures() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let mut pipeline = CandlePipeline::new(vec![models], ResidentLimits { count: 1, bytes: 0 }).unwrap();
    let defaults =
        ModelDefaults { width: 64, height: 64, steps: 20, guidance_scale: 3.0, sampler: Sampler::Dpmpp2mKarras };
    let cases = [
        ("picture", "tintype/shapes", Some("green")),
        ("picture_xl", "tintype/shapes-xl", Some("green")),
        // Without a negative prompt SDXL is given zeros.
        ("picture_xl_zeros", "tintype/shapes-xl", None),
    ];
    for (name, model, negative) in cases {
        let mut request = GenerationRequest::new(model, "a red circle on a blue background");
        request.negative_prompt = negative.map(str::to_owned);
        let image = pipeline.generate(&request.resolve(&defaults, 0), 0, &mut |_, _| Flow::Continue).unwrap();
        let expected = decode_png(&std::fs::read(fixtures().join(format!("{name}.png"))).unwrap()).unwrap();
        let off: Vec<u8> = image.pixels.iter().zip(&expected.pixels).map(|(a, b)| a.abs_diff(*b)).collect();
        let (most, differ) = (off.iter().max(), off.iter().filter(|off| **off > 0).count());
        let good = off.iter().all(|off| *off <= 1) && differ * 1_000 <= off.len();
        assert!(good, "{name}: {differ} of {} differ, by {most:?} at most", off.len());
    }
}

#[test]
fn eight_prompts_of_each_model_give_diffusers_pictures() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let mut pipeline = CandlePipeline::new(vec![models], ResidentLimits { count: 1, bytes: 0 }).unwrap();
    let defaults =
        ModelDefaults { width: 64, height: 64, steps: 20, guidance_scale: 3.0, sampler: Sampler::Dpmpp2mKarras };
    let prompts = std::fs::read_to_string(fixtures().join("eight.txt")).unwrap();
    assert_eq!(prompts.lines().count(), 8);
    for (sheet, model) in [("eight", "tintype/shapes"), ("eight_xl", "tintype/shapes-xl")] {
        // All eight side by side.
        let sheet = decode_png(&std::fs::read(fixtures().join(format!("{sheet}.png"))).unwrap()).unwrap();
        assert_eq!((sheet.width, sheet.height), (8 * 64, 64));
        let rows: Vec<&[u8]> = sheet.pixels.chunks(64 * 3).collect();
        for (seed, prompt) in prompts.lines().enumerate() {
            let request = GenerationRequest::new(model, prompt).resolve(&defaults, seed as u64);
            let image = pipeline.generate(&request, 0, &mut |_, _| Flow::Continue).unwrap();
            let expected = rows.iter().skip(seed).step_by(8).flat_map(|row| row.iter());
            assert_eq!(image.pixels.len(), 64 * 64 * 3);
            let most = image.pixels.iter().zip(expected).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(most <= Some(COLOUR), "{model}, {prompt}: off by {most:?}");
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(name: &str) -> T {
    serde_json::from_slice(&std::fs::read(fixtures().join(name)).unwrap()).unwrap()
}
