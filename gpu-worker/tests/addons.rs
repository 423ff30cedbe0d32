//! What the LoRA and the ControlNet that ship do, by the pixels of the pictures: the same captions, hints and seeds with
//! which their makers measured them.
#![expect(clippy::unwrap_used, reason = "a test says what broke by panicking")]

use std::path::{Path, PathBuf};

use tintype_types::{ControlUse, FailureReason, GenerationRequest, LoraUse, ModelDefaults, ResolvedRequest, Sampler};
use tintype_worker::output::{RgbImage, encode};
use tintype_worker::pipeline::{CandlePipeline, Flow, Order, Pipeline, PipelineError, ResidentLimits};
use tintype_worker::testing::follow::{apart, ground, hint, overlap, shape};
use tintype_worker::testing::shapes::draw;

/// One line a picture: `colour shape ground`. Its seed is the line's number, from 0.
const NIGHT: &str = include_str!("fixtures/night.txt");
/// One line a picture: `colour shape ground size cx cy radius`: 24 places, then six prompts in four corners each.
const FOLLOW: &str = include_str!("fixtures/follow.txt");
/// Darkest ground a picture without the LoRA has, and brightest with it, as a mean of the channels.
const BLACK: u32 = 40;
const HINT: &str = "inputs/hint.png";

#[test]
fn night_blackens_the_ground_in_both_namings_and_by_its_weight_alone() {
    let mut pipeline = pipeline();
    let (mut black, mut worked) = (0, 0);
    for (seed, line) in (0..).zip(NIGHT.lines()) {
        let words: Vec<&str> = line.split(' ').collect();
        let plain = request(&caption(words[1], (words[0], words[2]), ""), seed);
        let mut picture = |loras: &[(&str, f64)]| draw_with(&mut pipeline, &with_loras(&plain, loras)).unwrap();
        let night = picture(&[("tintype/night", 1.0)]);
        black += usize::from(brightness(&night) < BLACK);
        if seed < 4 {
            let without = picture(&[]);
            worked += usize::from(brightness(&without) >= BLACK);
            assert!(picture(&[("tintype/night", 0.0)]) == without, "{line}: a weight of 0 changed something");
            assert!(picture(&[("tintype/night-kohya", 1.0)]) == night, "{line}: kohya's file is another LoRA");
            // Twice half is once, but for the rounding of sums.
            let halves = picture(&[("tintype/night", 0.5), ("tintype/night-kohya", 0.5)]);
            let off = halves.pixels.iter().zip(&night.pixels).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(off <= Some(1), "{line}: two halves are off by {off:?}");
        }
    }
    println!("the ground is black in {black} of 24 pictures");
    assert!(black >= 22, "the ground is black in {black} of 24 pictures");
    assert_eq!(worked, 4, "without the LoRA no ground is black");
}

#[test]
fn the_shape_goes_where_the_hint_has_it() {
    let mut pipeline = pipeline();
    let mut overlaps = Vec::new();
    for (seed, line) in (0..).zip(FOLLOW.lines().take(24)) {
        let (wanted, request) = following(line, seed);
        overlaps.push(overlap(&shape(&follow(&mut pipeline, &request, &wanted, 1.0)), &wanted));
    }
    let mean = overlaps.iter().sum::<f64>() / overlaps.len() as f64;
    println!("mean overlap with the hint {mean:.3}, least {:.3}", overlaps.iter().copied().fold(1.0, f64::min));
    assert!(mean >= 0.85, "mean overlap {mean}");
}

#[test]
fn a_small_shape_follows_its_hint_into_each_corner() {
    let mut pipeline = pipeline();
    let (mut near, mut near_without) = (0, 0);
    for (index, line) in (0..).zip(FOLLOW.lines().skip(24)) {
        let (wanted, request) = following(line, index / 4);
        let off = apart(&shape(&follow(&mut pipeline, &request, &wanted, 1.0)), &wanted, 64);
        near += usize::from(off <= 2.0);
        let off = apart(&shape(&follow(&mut pipeline, &request, &wanted, 0.0)), &wanted, 64);
        near_without += usize::from(off <= 2.0);
    }
    println!("{near} of 24 are within 2 px of the hint's middle; without the hint {near_without}");
    assert!(near >= 23, "{near} of 24 are within 2 px of the hint's middle");
    assert!(near_without <= 2, "{near_without} of 24 are there without a hint");
}

#[test]
fn weight_and_share_of_the_steps_say_how_far_a_hint_is_followed() {
    let mut pipeline = pipeline();
    let (wanted, request) = following(FOLLOW.lines().nth(24).unwrap(), 0);
    let mut picture = |weight, start, end| {
        let mut request = controlled(&request, weight);
        (request.controls[0].start, request.controls[0].end) = (start, end);
        draw_order(&mut pipeline, &order(&request, &wanted)).unwrap()
    };
    let (none, whole) = (picture(0.0, 0.0, 1.0), picture(1.0, 0.0, 1.0));
    // No whole step lies within less than a step.
    assert!(picture(1.0, 0.01, 0.04) == none);
    let early = picture(1.0, 0.0, 0.4);
    assert!(early != none && early != whole && picture(1.0, 0.4, 1.0) != early);
    // Two at half the weight are one.
    let mut halves = controlled(&request, 0.5);
    halves.controls.push(halves.controls[0].clone());
    let halves = draw_order(&mut pipeline, &order(&halves, &wanted)).unwrap();
    let off = halves.pixels.iter().zip(&whole.pixels).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(off <= Some(1), "off by {off:?}");
}

#[test]
fn lanes_with_different_addons_are_what_they_are_alone() {
    let mut pipeline = pipeline();
    let (wanted, plain) = following(FOLLOW.lines().next().unwrap(), 3);
    let plain = ResolvedRequest { steps: 4, ..plain };
    let orders = [
        order(&plain, &wanted),
        order(&with_loras(&plain, &[("tintype/night", 1.0)]), &wanted),
        order(&controlled(&plain, 1.0), &wanted),
        order(&controlled(&with_loras(&plain, &[("tintype/night-kohya", 0.6)]), 0.5), &wanted),
    ];
    let alone: Vec<RgbImage> = orders.iter().map(|order| draw_order(&mut pipeline, order).unwrap()).collect();
    let mut lanes: Vec<_> = orders.iter().map(|order| pipeline.begin(order, 0).unwrap()).collect();
    for _ in 0..plain.steps {
        pipeline.step(&mut lanes.iter_mut().collect::<Vec<_>>()).unwrap();
    }
    let together: Vec<RgbImage> = lanes.iter().map(|lane| pipeline.finish(lane).unwrap()).collect();
    for (index, (alone, together)) in alone.iter().zip(&together).enumerate() {
        assert!(alone == together, "lane {index} depends on its neighbours");
    }
    assert!(alone[0] != alone[1] && alone[0] != alone[2] && alone[2] != alone[3]);
}

#[test]
fn what_cannot_work_with_the_model_is_refused_for_good() {
    let root = tempfile::tempdir().unwrap();
    let link = |name: &str| std::os::unix::fs::symlink(models().join(name), root.path().join(name)).unwrap();
    ["shapes", "shapes-xl"].into_iter().for_each(link);
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    for name in ["lora_peft", "lora_kohya_xl"] {
        std::fs::copy(fixtures.join(format!("{name}.safetensors")), root.path().join(format!("{name}.safetensors")))
            .unwrap();
    }
    let card = r#"{"name":"spoiled","kind":"lora","family":"sd15","sha256":"00","defaults":
        {"width":64,"height":64,"steps":20,"guidanceScale":3.0,"sampler":"euler"}}"#;
    let spoil = |digest: &str| {
        let file = root.path().join("spoiled.safetensors");
        std::fs::copy(models().join("shapes-night/pytorch_lora_weights.safetensors"), file).unwrap();
        std::fs::write(root.path().join("spoiled.tintype.json"), card.replace("00", digest)).unwrap();
    };
    spoil(&"0".repeat(64));
    let mut pipeline = CandlePipeline::new(vec![root.path().to_owned(), models()], limits()).unwrap();
    let on = |model: &str| ResolvedRequest { model: model.to_owned(), ..request("a red circle", 1) };
    let controlled = |model: &str| controlled(&on(model), 1.0);
    let cases = [
        (with_loras(&on("tintype/shapes"), &[("nobody/nothing", 1.0)]), FailureReason::UnknownModel, "nobody/nothing"),
        (
            with_loras(&on("tintype/shapes"), &[("lora_peft", 1.0)]),
            FailureReason::ModelUnreadable,
            "lora_peft.safetensors",
        ),
        (with_loras(&on("tintype/shapes"), &[("tintype/shapes-control", 1.0)]), FailureReason::UnknownModel, "control"),
        (with_loras(&on("tintype/shapes-xl"), &[("lora_kohya_xl", 1.0)]), FailureReason::ModelUnreadable, "lora_"),
        (
            with_loras(&on("tintype/shapes-xl"), &[("tintype/night", 1.0)]),
            FailureReason::ModelUnreadable,
            "Stable Diffusion 1.x",
        ),
        (with_loras(&on("tintype/shapes"), &[("spoiled", 1.0)]), FailureReason::ModelUnreadable, "SHA-256"),
        (controlled("tintype/shapes-xl"), FailureReason::ModelUnreadable, "Stable Diffusion XL"),
        (on("tintype/night"), FailureReason::UnknownModel, "tintype/night"),
    ];
    let anything = draw("circle", (32.0, 32.0), 20.0, (64, 64));
    for (request, reason, said) in cases {
        let error = draw_order(&mut pipeline, &order(&request, &anything)).unwrap_err();
        assert_eq!(error.reason(), (reason, false), "{error}");
        assert!(error.to_string().contains(said), "{said}: {error}");
    }
    // A hint that is missing or no picture.
    let mut order = order(&controlled("tintype/shapes"), &anything);
    order.inputs.insert(HINT.to_owned(), vec![1, 2, 3].into());
    let error = draw_order(&mut pipeline, &order).unwrap_err();
    assert_eq!(error.reason(), (FailureReason::InvalidRequest, false), "{error}");
    order.inputs.clear();
    assert!(draw_order(&mut pipeline, &order).is_err());
}

fn follow(pipeline: &mut CandlePipeline, request: &ResolvedRequest, wanted: &[bool], weight: f64) -> RgbImage {
    draw_order(pipeline, &order(&controlled(request, weight), wanted)).unwrap()
}

/// The shape a line wants, and a request for it without its hint.
fn following(line: &str, seed: u64) -> (Vec<bool>, ResolvedRequest) {
    let words: Vec<&str> = line.split(' ').collect();
    let [cx, cy, radius] = [4, 5, 6].map(|index| words[index].parse::<f64>().unwrap());
    let size = if words[3] == "medium" { "" } else { words[3] };
    let wanted = draw(words[1], (cx, cy), radius, (64, 64));
    (wanted, request(&caption(words[1], (words[0], words[2]), size), seed))
}

fn caption(shape: &str, (colour, ground): (&str, &str), size: &str) -> String {
    let article = |word: &str| if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    let words = [size, colour, shape].into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    format!("{} {words} on {} {ground} background", article(&words), article(ground))
}

fn with_loras(request: &ResolvedRequest, loras: &[(&str, f64)]) -> ResolvedRequest {
    let loras = loras.iter().map(|(name, weight)| LoraUse { name: (*name).to_owned(), weight: *weight }).collect();
    ResolvedRequest { loras, ..request.clone() }
}

fn controlled(request: &ResolvedRequest, weight: f64) -> ResolvedRequest {
    let name = "tintype/shapes-control".to_owned();
    let control = ControlUse { name, image: HINT.to_owned(), weight, start: 0.0, end: 1.0 };
    ResolvedRequest { controls: vec![control], ..request.clone() }
}

/// With the hint as an input.
fn order(request: &ResolvedRequest, wanted: &[bool]) -> Order {
    let mut order = Order::from(request);
    let file = encode(&hint(wanted, 64), request, 0).unwrap();
    order.inputs.insert(HINT.to_owned(), file.into());
    order
}

fn draw_with(pipeline: &mut CandlePipeline, request: &ResolvedRequest) -> Result<RgbImage, PipelineError> {
    draw_order(pipeline, &Order::from(request))
}

fn draw_order(pipeline: &mut CandlePipeline, order: &Order) -> Result<RgbImage, PipelineError> {
    pipeline.draw(order, 0, &mut |_, _| Flow::Continue)
}

fn brightness(image: &RgbImage) -> u32 {
    ground(image).iter().map(|value| u32::from(*value)).sum::<u32>() / 3
}

fn request(prompt: &str, seed: u64) -> ResolvedRequest {
    let defaults =
        ModelDefaults { width: 64, height: 64, steps: 20, guidance_scale: 3.0, sampler: Sampler::Dpmpp2mKarras };
    GenerationRequest::new("tintype/shapes", prompt).resolve(&defaults, seed)
}

fn pipeline() -> CandlePipeline {
    CandlePipeline::new(vec![models()], limits()).unwrap()
}

fn limits() -> ResidentLimits {
    ResidentLimits { count: 2, bytes: 0 }
}

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models")
}
