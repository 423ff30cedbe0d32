//! A checkpoint in a single file draws what the same model in a folder draws, to the bit.
#![expect(clippy::unwrap_used, reason = "a test says what broke by panicking")]

#[expect(dead_code, reason = "other tests use the rest")]
mod common;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
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
    // Without a tokenizer it takes CLIP's own, which is not this model's.
    fs::remove_dir_all(root.path().join("own/shapes.config/tokenizer")).unwrap();
    let mut pipeline = CandlePipeline::new(vec![root.path().to_owned()], limits).unwrap();
    let error = pipeline.load("own/shapes").unwrap_err();
    assert_eq!(error.reason(), (FailureReason::ModelUnreadable, false));
    assert!(error.to_string().contains("601 tokens") && error.to_string().contains("tokenizer"), "{error}");
}

/// Tokens of CLIP's vocabulary, and where the ones of the small encoder come from.
const CLIP_TOKENS: usize = 49_408;

#[test]
fn a_single_file_of_stable_diffusion_2_needs_no_tokenizer() {
    let root = tempfile::tempdir().unwrap();
    let (folder, own) = (root.path().join("folder"), root.path().join("own"));
    for (part, fixture) in [("unet", "sd2_unet"), ("text_encoder", "sd2_text")] {
        let file = common::fixtures().join(format!("{fixture}.safetensors"));
        let mut config: serde_json::Value = serde_json::from_str(&common::config_of(&file)).unwrap();
        if part == "text_encoder" {
            config["vocab_size"] = CLIP_TOKENS.into();
        }
        fs::create_dir_all(folder.join(part)).unwrap();
        fs::write(folder.join(part).join("config.json"), config.to_string()).unwrap();
    }
    let unet = folder.join("unet/diffusion_pytorch_model.safetensors");
    fs::copy(common::fixtures().join("sd2_unet.safetensors"), &unet).unwrap();
    let text = folder.join("text_encoder/model.safetensors");
    candle_core::safetensors::save(&text_with_all_tokens(), &text).unwrap();
    copy_dir(&models().join("shapes/vae"), &folder.join("vae"));
    let scheduler = r#"{"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
        "prediction_type": "v_prediction"}"#;
    fs::create_dir_all(folder.join("scheduler")).unwrap();
    fs::write(folder.join("scheduler/scheduler_config.json"), scheduler).unwrap();
    fs::write(folder.join("model_index.json"), r#"{"_class_name": "StableDiffusionPipeline"}"#).unwrap();
    write_tokenizer(&folder.join("tokenizer"));

    let ldm = UNetConfig::read(&folder.join("unet/config.json")).unwrap().ldm();
    let mut tensors = HashMap::new();
    stored(&unet, &Naming::UNet(ldm), &mut tensors);
    stored(&folder.join("vae/diffusion_pytorch_model.safetensors"), &Naming::Vae { blocks: 4 }, &mut tensors);
    stored(&text, &Naming::OpenClip { prefix: "cond_stage_model.model." }, &mut tensors);
    copy_without_weights(&folder, &own.join("two.config"));
    fs::remove_dir_all(own.join("two.config/tokenizer")).unwrap();
    candle_core::safetensors::save(&tensors, own.join("two.safetensors")).unwrap();
    // Real ones are told by their width, 1024, which these are too small for.
    let card = |name: &str| {
        format!(
            r#"{{"name": "{name}", "family": "sd2", "defaults": {{"width": 64, "height": 64, "steps": 4,
            "guidanceScale": 5.0, "sampler": "ddim"}}, "licence": "CC0-1.0", "description": "random"}}"#
        )
    };
    fs::write(folder.join("tintype.json"), card("folder")).unwrap();
    fs::write(own.join("two.tintype.json"), card("single")).unwrap();
    let limits = ResidentLimits { count: 2, bytes: 0 };
    let mut pipeline = CandlePipeline::new(vec![root.path().to_owned()], limits).unwrap();
    assert_eq!(pipeline.catalogue().refused, []);
    let mut picture = |model: &str, prompt: &str| {
        let request = ResolvedRequest { prompt: prompt.to_owned(), ..request(model) };
        pipeline.generate(&request, 0, &mut |_, _| Flow::Continue).unwrap()
    };
    let drawn = picture("single", "a red circle, photorealistic");
    assert!(drawn == picture("folder", "a red circle, photorealistic"), "other tokens or other padding");
    assert!(drawn != picture("single", "a blue square"), "the prompt does not reach the picture");
}

/// The small encoder, knowing as many tokens as a real one.
fn text_with_all_tokens() -> HashMap<String, Tensor> {
    let mut text =
        candle_core::safetensors::load(common::fixtures().join("sd2_text.safetensors"), &Device::Cpu).unwrap();
    let (_, embeddings) = text.iter_mut().find(|(name, _)| name.ends_with("token_embedding.weight")).unwrap();
    *embeddings = embeddings.to_dtype(DType::F32).unwrap();
    let known = embeddings.dim(0).unwrap();
    *embeddings = embeddings.repeat((CLIP_TOKENS / known + 1, 1)).unwrap().narrow(0, 0, CLIP_TOKENS).unwrap();
    *embeddings = embeddings.contiguous().unwrap();
    // Otherwise every 601st token would be the same as this one.
    let ramp = Tensor::arange(0.0_f32, CLIP_TOKENS as f32, &Device::Cpu).unwrap();
    *embeddings = embeddings.broadcast_mul(&(ramp / 1e5).unwrap().unsqueeze(1).unwrap()).unwrap();
    // The names of published files.
    text.into_iter().map(|(name, tensor)| (format!("text_model.{name}"), tensor)).collect()
}

/// CLIP's vocabulary in its two older files, as OpenCLIP pads it.
fn write_tokenizer(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let packed = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/prompt/clip_merges.txt.gz")).unwrap();
    let mut merges = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&packed[..]), &mut merges).unwrap();
    let printable = || ('!'..='~').chain('¡'..='¬').chain('®'..='ÿ');
    let letters: Vec<char> = printable().chain('\u{100}'..).take(256).collect();
    let alone = letters.iter().map(char::to_string);
    let at_end = letters.iter().map(|letter| format!("{letter}</w>"));
    let merged = merges.lines().map(|pair| pair.replace(' ', ""));
    let special = ["<|startoftext|>", "<|endoftext|>"].map(str::to_owned);
    let vocabulary: HashMap<String, usize> = alone.chain(at_end).chain(merged).chain(special).zip(0..).collect();
    fs::write(folder.join("vocab.json"), serde_json::to_string(&vocabulary).unwrap()).unwrap();
    fs::write(folder.join("merges.txt"), format!("#version: 0.2\n{merges}")).unwrap();
    let config = r#"{"pad_token": "!", "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"}"#;
    fs::write(folder.join("tokenizer_config.json"), config).unwrap();
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
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
