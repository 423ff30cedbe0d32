//! How often the models that ship follow the prompt: 64 random captions each, judged by their pixels, the same captions
//! and seeds with which diffusers' own pictures from the same weights were judged.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test says what broke by panicking, and which captions failed"
)]

use std::path::Path;

use tintype_types::{GenerationRequest, Sampler};
use tintype_worker::pipeline::{CandlePipeline, Flow, Pipeline, ResidentLimits};
use tintype_worker::testing::shapes::{Expected, check};

/// One line a caption: `colour shape ground: the caption`. Its seed is the line's number, from 0.
const CAPTIONS: &str = include_str!("fixtures/captions.txt");
/// Right in ground, colour and shape, of 64, in diffusers' pictures of `tintype/shapes` (DPM++ 2M Karras, 20 steps).
const DIFFUSERS_SD15: usize = 59;
/// The same for `tintype/shapes-xl`.
const DIFFUSERS_SDXL: usize = 63;

#[test]
fn shapes_follows_the_prompt_as_often_as_with_diffusers() {
    let right = right("tintype/shapes");
    assert!(right >= DIFFUSERS_SD15, "{right} of 64 are right; with diffusers {DIFFUSERS_SD15} are");
}

#[test]
fn shapes_xl_follows_the_prompt_as_often_as_with_diffusers() {
    let right = right("tintype/shapes-xl");
    assert!(right >= DIFFUSERS_SDXL, "{right} of 64 are right; with diffusers {DIFFUSERS_SDXL} are");
}

fn right(model: &str) -> usize {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let mut pipeline = CandlePipeline::new(vec![models], ResidentLimits { count: 1, bytes: 0 }).unwrap();
    let mut right = 0;
    for (seed, line) in (0..).zip(CAPTIONS.lines()) {
        let (expected, caption) = line.split_once(": ").unwrap();
        let words: Vec<&str> = expected.split(' ').collect();
        let card = pipeline.catalogue().checkpoint(model).unwrap().card.clone();
        let mut request = GenerationRequest::new(model, caption).resolve(&card.defaults, seed);
        request.sampler = Sampler::Dpmpp2mKarras;
        let image = pipeline.generate(&request, 0, &mut |_, _| Flow::Continue).unwrap();
        let matches = check(&image, Expected { colour: words[0], shape: words[1], ground: words[2] });
        right += usize::from(matches.all());
        if !matches.all() {
            println!("{model}, seed {seed}: {caption}: {matches:?}");
        }
    }
    println!("{model}: {right} of {} right", CAPTIONS.lines().count());
    right
}
