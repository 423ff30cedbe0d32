//! Stable Diffusion 2: an OpenCLIP text encoder, heads by block, linear projections, v prediction.

use std::os::unix::fs::symlink;
use std::path::Path;

use tintype_types::{ModelFamily, ModelKind, ResolvedRequest, Sampler};
use tintype_worker::pipeline::{CandlePipeline, Flow, Pipeline, ResidentLimits};

use crate::redrawn::{models, put, request, same};

#[test]
fn a_folder_of_stable_diffusion_2_draws_as_with_diffusers() {
    let folder = tempfile::tempdir().unwrap();
    sd2_model(&folder.path().join("two"));
    let mut pipeline =
        CandlePipeline::new(vec![folder.path().to_owned()], ResidentLimits { count: 1, bytes: 0 }).unwrap();
    assert_eq!(pipeline.catalogue().find(ModelKind::Checkpoint, "two").unwrap().card.family, ModelFamily::Sd2);
    let plain = ResolvedRequest { steps: 8, guidance_scale: 5.0, sampler: Sampler::Ddim, seed: 0, ..request("two") };
    let rescaled = ResolvedRequest { guidance_rescale: 0.7, ..plain.clone() };
    let skipped = ResolvedRequest { clip_skip: 1, ..plain.clone() };
    let mut draw = |request: &ResolvedRequest| pipeline.generate(request, 0, &mut |_, _| Flow::Continue).unwrap();
    let image = draw(&plain);
    same("plain", &image, "sd2.png", 2);
    same("with guidance rescaled", &draw(&rescaled), "sd2_rescaled.png", 2);
    assert_ne!(draw(&skipped), image, "clip skip reaches the picture");
}

/// Small and random; tokenizer and autoencoder are the small model's.
fn sd2_model(folder: &Path) {
    put(folder, "unet", "sd2_unet", "diffusion_pytorch_model");
    put(folder, "text_encoder", "sd2_text", "model");
    for part in ["vae", "tokenizer"] {
        symlink(models().join("shapes").canonicalize().unwrap().join(part), folder.join(part)).unwrap();
    }
    std::fs::write(folder.join("model_index.json"), r#"{"_class_name": "StableDiffusionPipeline"}"#).unwrap();
    // The real one is told by its width, 1024, which this is too small for.
    let card = r#"{"name": "two", "family": "sd2", "defaults": {"width": 64, "height": 64, "steps": 8,
        "guidanceScale": 5.0, "sampler": "ddim"}, "licence": "CC0-1.0", "description": "random"}"#;
    std::fs::write(folder.join("tintype.json"), card).unwrap();
    std::fs::create_dir_all(folder.join("scheduler")).unwrap();
    let scheduler = r#"{"_class_name": "DDIMScheduler", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1,
        "beta_schedule": "scaled_linear", "set_alpha_to_one": false, "prediction_type": "v_prediction"}"#;
    std::fs::write(folder.join("scheduler/scheduler_config.json"), scheduler).unwrap();
}
