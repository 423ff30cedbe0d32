//! A checkpoint in a single file draws what the same model in a folder draws, to the bit.
#![expect(clippy::unwrap_used, reason = "a test says what broke by panicking")]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use tintype_types::{FailureReason, GenerationRequest, LoraUse, ResolvedRequest};
use tintype_worker::models::unet::UNetConfig;
use tintype_worker::pipeline::{CandlePipeline, Flow, Pipeline, ResidentLimits};
use tintype_worker::weights::{Naming, Piece};

#[test]
fn a_single_file_draws_the_pictures_of_its_folder() {
    let root = tempfile::tempdir().unwrap();
    for (model, prefixes) in [
        ("shapes", vec![("text_encoder", Naming::Clip { prefix: "cond_stage_model.transformer." })]),
        (
            "shapes-xl",
            vec![
                ("text_encoder", Naming::Clip { prefix: "conditioner.embedders.0.transformer." }),
                ("text_encoder_2", Naming::OpenClip { prefix: "conditioner.embedders.1.model." }),
            ],
        ),
    ] {
        let folder = models().join(model);
        let ldm = UNetConfig::read(&folder.join("unet/config.json")).unwrap().ldm();
        let mut tensors = HashMap::new();
        stored(&folder.join("unet/diffusion_pytorch_model.safetensors"), &Naming::UNet(ldm), &mut tensors);
        stored(&folder.join("vae/diffusion_pytorch_model.safetensors"), &Naming::Vae { blocks: 4 }, &mut tensors);
        for (part, naming) in prefixes {
            stored(&folder.join(part).join("model.safetensors"), &naming, &mut tensors);
        }
        // What training leaves in such files is passed over.
        tensors.insert("model_ema.decay".to_owned(), Tensor::new(&[0.5_f32], &Device::Cpu).unwrap());
        let own = root.path().join("own");
        fs::create_dir_all(&own).unwrap();
        candle_core::safetensors::save(&tensors, own.join(format!("{model}.safetensors"))).unwrap();
        copy_without_weights(&folder, &own.join(format!("{model}.config")));
    }
    let limits = ResidentLimits { count: 1, bytes: 0 };
    let mut pipeline = CandlePipeline::new(vec![root.path().to_owned(), models()], limits).unwrap();
    assert_eq!(pipeline.catalogue().refused, []);
    for (single, folder) in [("own/shapes", "tintype/shapes"), ("own/shapes-xl", "tintype/shapes-xl")] {
        let mut picture =
            |request: &ResolvedRequest| pipeline.generate(request, 0, &mut |_, _| Flow::Continue).unwrap();
        assert!(picture(&request(single)) == picture(&request(folder)), "{single} draws something else");
    }
    // A LoRA finds the same layers in it.
    let night = |model: &str| {
        let lora = LoraUse { name: "tintype/night-kohya".to_owned(), weight: 1.0 };
        ResolvedRequest { loras: vec![lora], ..request(model) }
    };
    let mut picture = |request: &ResolvedRequest| pipeline.generate(request, 0, &mut |_, _| Flow::Continue).unwrap();
    assert!(picture(&night("own/shapes")) == picture(&night("tintype/shapes")));
    // Without a tokenizer it says what to do.
    fs::remove_dir_all(root.path().join("own/shapes.config/tokenizer")).unwrap();
    let mut pipeline = CandlePipeline::new(vec![root.path().to_owned()], limits).unwrap();
    let error = pipeline.load("own/shapes").unwrap_err();
    assert_eq!(error.reason(), (FailureReason::ModelUnreadable, false));
    assert!(error.to_string().contains("copy that of any model"), "{error}");
}

/// Adds the tensors of a file under the names and in the form a single file has them.
fn stored(path: &Path, naming: &Naming, tensors: &mut HashMap<String, Tensor>) {
    let own = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let mut thirds: HashMap<String, Vec<Tensor>> = HashMap::new();
    for (name, tensor) in &own {
        let stored = naming.stored(name).unwrap();
        match stored.piece {
            Piece::Whole => drop(tensors.insert(stored.name, tensor.clone())),
            Piece::Turned => drop(tensors.insert(stored.name, tensor.t().unwrap().contiguous().unwrap())),
            Piece::Third(which) => {
                thirds.entry(stored.name).or_insert_with(|| vec![tensor.clone(); 3])[which] = tensor.clone();
            }
        }
    }
    for (name, parts) in thirds {
        tensors.insert(name, Tensor::cat(&parts, 0).unwrap());
    }
}

fn copy_without_weights(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_without_weights(&path, &target);
        } else if path.extension().is_none_or(|end| end != "safetensors") {
            fs::copy(&path, &target).unwrap();
        }
    }
}

fn request(model: &str) -> ResolvedRequest {
    let mut request = GenerationRequest::new(model, "a red circle on a blue background");
    (request.steps, request.width, request.height) = (Some(4), Some(64), Some(64));
    request.resolve(
        &tintype_types::ModelDefaults {
            width: 64,
            height: 64,
            steps: 4,
            guidance_scale: 3.0,
            sampler: tintype_types::Sampler::Euler,
        },
        5,
    )
}

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models")
}
