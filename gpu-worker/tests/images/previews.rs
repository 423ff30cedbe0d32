//! Small pictures of what is being drawn.

use std::os::unix::fs::symlink;
use std::sync::Arc;

use candle_core::Device;
use tintype_worker::images::{Filter, resize};
use tintype_worker::models::taesd::{TinyConfig, TinyDecoder};
use tintype_worker::output::RgbImage;
use tintype_worker::pipeline::{CandlePipeline, Lane as _, Order, PREVIEW_SIDE_MAX, Pipeline, ResidentLimits};
use tintype_worker::weights::{WeightFile, Weights};

use crate::common::{Case, close, fixtures};
use crate::redrawn::{models, pipeline, put, request};

#[test]
fn a_tiny_decoder_decodes_as_diffusers_does() {
    let case = Case::open("taesd");
    let file = WeightFile::open(&fixtures().join("taesd.safetensors")).unwrap();
    let weights = Weights::new(Arc::new(file), Device::Cpu);
    let decoder = TinyDecoder::read(&case.config(TinyConfig::read), &weights).unwrap();
    let decoded = decoder.decode(&case.tensor("z", &[1, 4, 5, 7])).unwrap();
    close("taesd", &decoded, &case.tensor("y", &[1, 3, 40, 56]), 1e-5);
}

#[test]
fn a_preview_is_near_the_picture_well_before_it_is_done() {
    let mut pipeline = pipeline();
    let order = Order::from(&request("tintype/shapes"));
    let mut lane = pipeline.begin(&order, 0).unwrap();
    assert_eq!(lane.preview().unwrap(), None, "nothing to show yet");
    let mut shown = Vec::new();
    while !lane.is_over() {
        pipeline.step(&mut [&mut lane]).unwrap();
        shown.push(lane.preview().unwrap().unwrap());
    }
    // No tiny decoder comes with it: a place of the latent is a pixel.
    let picture = resize(&pipeline.finish(&lane).unwrap(), 8, 8, Filter::Box);
    let off = |preview: &RgbImage| {
        assert_eq!((preview.width, preview.height), (8, 8));
        let off = preview.pixels.iter().zip(&picture.pixels).map(|(a, b)| f64::from(a.abs_diff(*b)));
        off.sum::<f64>() / picture.pixels.len() as f64
    };
    let (early, half, last) = (off(&shown[0]), off(&shown[6]), off(&shown[9]));
    // Eight by eight colours of a latent trained on flat shapes: rough, and right.
    assert!(last < 40.0 && half < 40.0 && last * 1.5 < early, "off by {early}, {half} and {last}");
}

#[test]
fn a_folders_tiny_decoder_is_taken_and_large_previews_are_made_small() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("tiny");
    std::fs::create_dir_all(&folder).unwrap();
    for part in ["unet", "vae", "text_encoder", "tokenizer", "scheduler", "model_index.json"] {
        symlink(models().join("shapes").canonicalize().unwrap().join(part), folder.join(part)).unwrap();
    }
    put(&folder, "taesd", "taesd", "diffusion_pytorch_model");
    let mut pipeline =
        CandlePipeline::new(vec![root.path().to_owned()], ResidentLimits { count: 1, bytes: 0 }).unwrap();
    let mut wide = request("tiny");
    (wide.width, wide.steps) = (192, 1);
    let mut lane = pipeline.begin(&Order::from(&wide), 0).unwrap();
    pipeline.step(&mut [&mut lane]).unwrap();
    let preview = lane.preview().unwrap().unwrap();
    assert_eq!((preview.width, preview.height), (PREVIEW_SIDE_MAX, 42));
}
