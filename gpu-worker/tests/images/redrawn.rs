//! Whole pictures that start from a picture, against diffusers' img2img and inpainting pipelines.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tintype_types::{GenerationRequest, Hires, InitImage, ModelDefaults, ResolvedRequest, Sampler};
use tintype_worker::images::{Filter, Mask, decode, resize};
use tintype_worker::output::RgbImage;
use tintype_worker::pipeline::{CandlePipeline, Flow, Order, Pipeline, ResidentLimits};

use crate::common::{config_of, fixtures};
use crate::read;

#[derive(Deserialize)]
struct Redrawn {
    model: String,
    sampler: Sampler,
    strength: f64,
    masked: bool,
    file: String,
}

#[test]
fn pictures_are_redrawn_as_diffusers_does() {
    let folder = tempfile::tempdir().unwrap();
    inpainting_model(folder.path());
    let mut pipeline =
        CandlePipeline::new(vec![models(), folder.path().to_owned()], ResidentLimits { count: 3, bytes: 0 }).unwrap();
    let cases: Vec<Redrawn> = read("redrawn.json");
    assert_eq!(cases.len(), 16);
    for Redrawn { model, sampler, strength, masked, file } in cases {
        let name = format!("{model}, {sampler:?} at {strength}, masked {masked}");
        let model = if model == "nine" { model } else { format!("tintype/{model}") };
        let request = ResolvedRequest { sampler, ..redrawing(&model, strength, masked) };
        let mut drawn = draw(&mut pipeline, &request);
        if masked {
            // Diffusers lets the autoencoder have its way with what is kept; here it is the user's own.
            let (ground, kept) = kept_pixels();
            let theirs = decode("init", &std::fs::read(fixtures().join(&file)).unwrap()).unwrap();
            for place in kept {
                let bytes = place * 3..place * 3 + 3;
                assert_eq!(drawn.pixels[bytes.clone()], ground.pixels[bytes.clone()], "{name}: pixel {place}");
                drawn.pixels[bytes.clone()].copy_from_slice(&theirs.pixels[bytes]);
            }
        }
        same(&name, &drawn, &file, 2);
    }
}

#[test]
fn what_a_mask_keeps_stays_and_the_rest_is_drawn() {
    let mut pipeline = pipeline();
    let kept = draw(&mut pipeline, &redrawing("tintype/shapes", 1.0, true));
    let (ground, kept_places) = kept_pixels();
    let plain = draw(&mut pipeline, &request("tintype/shapes"));
    let off = |image: &RgbImage, black: bool| {
        let places = (0..64 * 64).filter(|place| kept_places.contains(place) == black);
        let all: Vec<f64> = places
            .flat_map(|place| place * 3..place * 3 + 3)
            .map(|byte| f64::from(image.pixels[byte].abs_diff(ground.pixels[byte])))
            .collect();
        all.iter().sum::<f64>() / all.len() as f64
    };
    let (outside, inside, elsewhere) = (off(&kept, true), off(&kept, false), off(&plain, true));
    assert!(
        outside == 0.0 && inside > 10.0 && elsewhere > 10.0,
        "off by {outside}, {inside} within, {elsewhere} unmasked"
    );
}

#[test]
fn a_second_pass_keeps_the_composition_and_is_counted() {
    let mut pipeline = pipeline();
    let plain = ResolvedRequest { steps: 12, ..request("tintype/shapes") };
    let hires = Hires { width: 128, height: 128, strength: 0.5 };
    let mut heard = Vec::new();
    let order = Order::from(&ResolvedRequest { hires: Some(hires), ..plain.clone() });
    let large = pipeline
        .draw(&order, 0, &mut |done, steps| {
            heard.push((done, steps));
            Flow::Continue
        })
        .unwrap();
    assert_eq!((large.width, large.height), (128, 128));
    // 12 steps, then half of them again; the second pass begins with a turn of its own.
    let expected: Vec<_> = (0..=12).chain(12..=18).map(|done| (done, 18)).collect();
    assert_eq!(heard, expected);
    let small = draw(&mut pipeline, &plain);
    let halved = resize(&large, 64, 64, Filter::Box);
    let mean = |image: &RgbImage, other: &RgbImage| {
        let off = image.pixels.iter().zip(&other.pixels).map(|(a, b)| f64::from(a.abs_diff(*b)));
        off.sum::<f64>() / image.pixels.len() as f64
    };
    let other = draw(&mut pipeline, &ResolvedRequest { seed: 99, ..plain });
    let (near, far) = (mean(&halved, &small), mean(&other, &small));
    assert!(near < far / 2.0, "{near} from the first pass, {far} between two seeds");
    // Nothing redrawn is the first picture scaled up and once through the autoencoder.
    let untouched = Hires { strength: 0.0, ..hires };
    let order = ResolvedRequest { hires: Some(untouched), steps: 12, ..request("tintype/shapes") };
    assert_eq!(draw(&mut pipeline, &order).width, 128);
}

#[test]
fn an_input_that_cannot_be_used_is_the_requests_fault() {
    let mut pipeline = pipeline();
    let request = redrawing("tintype/shapes", 0.5, true);
    let spoilt: [(&str, &str, &[u8]); 3] =
        [("init", "inputs/ground", b"no picture"), ("mask", "inputs/mask", b"GIF89a"), ("init", "inputs/ground", b"")];
    for (input, key, file) in spoilt {
        let mut order = order(&request);
        order.inputs.insert(key.to_owned(), file.to_vec().into());
        let error = pipeline.draw(&order, 0, &mut |_, _| unreachable!("no step is taken")).unwrap_err();
        assert_eq!(error.reason(), (tintype_types::FailureReason::InvalidRequest, false));
        assert!(error.to_string().starts_with(&format!("the {input} picture ")), "{error}");
    }
    let error = pipeline.draw(&Order::from(&request), 0, &mut |_, _| Flow::Continue).unwrap_err();
    assert!(error.to_string().contains("init"), "{error}");
}

/// The fixtures' picture at the size that is drawn, and the places of the pixels its mask keeps.
fn kept_pixels() -> (RgbImage, std::collections::BTreeSet<usize>) {
    let file = |name: &str| decode("init", &std::fs::read(fixtures().join(name)).unwrap()).unwrap();
    let mask = Mask::of(&file("ground_mask.png"), 64, 64, 8);
    let kept = mask.pixels.iter().enumerate().filter(|(_, redrawn)| !**redrawn).map(|(place, _)| place).collect();
    (resize(&file("ground.png"), 64, 64, Filter::Lanczos), kept)
}

/// A picture of the fixtures' prompt, redrawn in part.
pub(crate) fn redrawing(model: &str, strength: f64, masked: bool) -> ResolvedRequest {
    let mask = masked.then(|| "inputs/mask".to_owned());
    ResolvedRequest { init: Some(InitImage { image: "inputs/ground".to_owned(), strength, mask }), ..request(model) }
}

pub(crate) fn request(model: &str) -> ResolvedRequest {
    let defaults =
        ModelDefaults { width: 64, height: 64, steps: 10, guidance_scale: 3.0, sampler: Sampler::Dpmpp2mKarras };
    let mut request = GenerationRequest::new(model, "a red circle on a blue background");
    request.negative_prompt = Some("green".to_owned());
    request.resolve(&defaults, 3)
}

/// The request with the fixtures' files.
pub(crate) fn order(request: &ResolvedRequest) -> Order {
    let file = |name: &str| std::fs::read(fixtures().join(name)).unwrap().into();
    let inputs = [("inputs/ground", "ground.png"), ("inputs/mask", "ground_mask.png")];
    let inputs = inputs.into_iter().map(|(key, name)| (key.to_owned(), file(name))).collect();
    Order { inputs, ..Order::from(request) }
}

pub(crate) fn draw(pipeline: &mut CandlePipeline, request: &ResolvedRequest) -> RgbImage {
    pipeline.draw(&order(request), 0, &mut |_, _| Flow::Continue).unwrap()
}

pub(crate) fn pipeline() -> CandlePipeline {
    CandlePipeline::new(vec![models()], ResidentLimits { count: 2, bytes: 0 }).unwrap()
}

pub(crate) fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models")
}

/// Off by at most `levels` in each byte from a fixture.
pub(crate) fn same(name: &str, image: &RgbImage, file: &str, levels: u8) {
    let expected = decode("init", &std::fs::read(fixtures().join(file)).unwrap()).unwrap();
    assert_eq!((image.width, image.height), (expected.width, expected.height), "{name}");
    let off: Vec<u8> = image.pixels.iter().zip(&expected.pixels).map(|(a, b)| a.abs_diff(*b)).collect();
    let (most, differ) = (off.iter().max(), off.iter().filter(|off| **off > 0).count());
    assert!(most <= Some(&levels), "{name}: {differ} of {} differ, by {most:?} at most", off.len());
}

/// The small model with a UNet of nine channels.
fn inpainting_model(root: &Path) {
    let folder = root.join("nine");
    std::fs::create_dir_all(folder.join("unet")).unwrap();
    for part in ["vae", "text_encoder", "tokenizer", "scheduler"] {
        symlink(models().join("shapes").canonicalize().unwrap().join(part), folder.join(part)).unwrap();
    }
    std::fs::write(folder.join("model_index.json"), r#"{"_class_name": "StableDiffusionInpaintPipeline"}"#).unwrap();
    put(&folder, "unet", "unet_nine", "diffusion_pytorch_model");
}

/// Puts a fixture's weights and config into a model's folder.
pub(crate) fn put(folder: &Path, part: &str, fixture: &str, stem: &str) {
    let file = fixtures().join(format!("{fixture}.safetensors"));
    std::fs::create_dir_all(folder.join(part)).unwrap();
    std::fs::write(folder.join(part).join("config.json"), config_of(&file)).unwrap();
    std::fs::copy(file, folder.join(part).join(format!("{stem}.safetensors"))).unwrap();
}
