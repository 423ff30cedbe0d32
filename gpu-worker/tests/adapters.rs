//! LoRAs and ControlNets against what diffusers and PEFT compute, several at once and different ones in one batch. The numbers were written by `tools/parity/make_fixtures.py`.
#![expect(clippy::unwrap_used, reason = "a test says what broke by panicking")]

mod common;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use common::{Case, close, fixtures};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::json;
use tintype_worker::models::adapters::{Adapter, RowAdapters};
use tintype_worker::models::clip::{ClipConfig, ClipTextModel};
use tintype_worker::models::controlnet::{ControlNet, ControlNetConfig, Followed};
use tintype_worker::models::unet::{Added, Conditions, Extras, Residuals, SIZES, UNet, UNetConfig};
use tintype_worker::weights::{Lora, Network, Part, UnreadableFile, WeightFile};

/// One forward pass in fp32; outputs have a standard deviation near 1.
const FORWARD: f32 = 1e-5;

/// Tensors of a layer, by what ends their names, and what is said of them.
type Wrong<'a> = (&'a [(&'a str, Vec<usize>)], &'a str);

#[test]
fn loras_of_both_namings_change_a_unet_as_with_diffusers() {
    let model = Small::sd15();
    let (peft, kohya, expected) = (model.lora("lora_peft"), model.lora("lora_kohya"), Case::open("lora_expected"));
    for (name, uses) in [
        ("lora_peft", vec![(&peft, 0.7)]),
        ("lora_kohya", vec![(&kohya, -0.4)]),
        ("both", vec![(&peft, 0.7), (&kohya, -0.4)]),
    ] {
        let rows = RowAdapters::all(2, &adapters(&uses, Part::UNet));
        close(name, &model.answer(&rows), &expected.tensor(name, &[2, 4, 8, 16]), FORWARD);
    }
}

#[test]
fn an_sdxl_lora_with_the_old_names_changes_all_three_networks() {
    let model = Small::sdxl();
    let (lora, expected) = (model.lora("lora_kohya_xl"), Case::open("lora_expected"));
    let rows = RowAdapters::all(2, &adapters(&[(&lora, 1.2)], Part::UNet));
    close("lora_kohya_xl", &model.answer(&rows), &expected.tensor("lora_kohya_xl", &[2, 4, 8, 16]), FORWARD);
    let second = adapters(&[(&lora, 1.0)], Part::Text2);
    let encoded = model.text[1].encode_with(&ids("clip_projected"), 1, &second).unwrap();
    close("text2_hidden", &encoded.hidden, &expected.tensor("text2_hidden", &[2, 8, 8]), FORWARD);
    close("text2_pooled", &encoded.pooled.unwrap(), &expected.tensor("text2_pooled", &[2, 5]), FORWARD);
    assert!(lora.part(Part::Text).is_some());
}

#[test]
fn loras_change_text_encoders_too() {
    let model = Small::sd15();
    let (peft, kohya, expected) = (model.lora("lora_peft"), model.lora("lora_kohya"), Case::open("lora_expected"));
    for (name, uses) in [("text_peft", vec![(&peft, 0.7)]), ("text_both", vec![(&peft, 0.7), (&kohya, -0.4)])] {
        let encoder = &model.text[0];
        let encoded = encoder.encode_with(&ids("clip_quick_gelu"), 0, &adapters(&uses, Part::Text)).unwrap();
        let normed = encoder.norm(&encoded.hidden).unwrap();
        close(name, &normed, &expected.tensor(name, &[2, 8, 12]), FORWARD);
    }
}

#[test]
fn rows_with_different_loras_come_out_as_if_each_were_alone() {
    for (model, names) in [(Small::sd15(), ["lora_peft", "lora_kohya"]), (Small::sdxl(), ["lora_kohya_xl"; 2])] {
        let loras = names.map(|name| model.lora(name));
        let sets = [
            adapters(&[], Part::UNet),
            adapters(&[(&loras[0], 0.7)], Part::UNet),
            adapters(&[(&loras[0], 0.3), (&loras[1], -0.4)], Part::UNet),
            adapters(&[(&loras[1], 0.0)], Part::UNet),
        ];
        // Each of the case's two samples, with each set: eight rows, of which every pair has a set.
        let pairs = |rows: std::ops::Range<usize>| {
            let mut all = RowAdapters::default();
            for (index, set) in sets[rows].iter().enumerate() {
                all.push(index * 2..index * 2 + 2, set);
            }
            all
        };
        let together = model.ask(4, &pairs(0..4));
        for set in 0..4 {
            let pair = model.ask(1, &pairs(set..set + 1));
            close(&format!("pair {set}"), &pair, &together.narrow(0, set * 2, 2).unwrap(), FORWARD);
        }
        // The same with prompts in stretches, as those of unequal length come.
        let extras = Extras { adapters: &pairs(0..4), ..Extras::default() };
        let stretches = model.with(4, |x, t, Conditions { contexts, added }| {
            let contexts = [contexts[0].narrow(0, 0, 4).unwrap(), contexts[0].narrow(0, 4, 4).unwrap()];
            model.unet.forward_with(x, t, Conditions { contexts: &contexts, added }, extras).unwrap()
        });
        close("stretches", &stretches, &together, FORWARD);
        let (without, nothing) = (together.narrow(0, 0, 2).unwrap(), together.narrow(0, 6, 2).unwrap());
        assert!(bits(&without) == bits(&nothing), "a weight of 0 is no LoRA");
        assert!(bits(&without) != bits(&together.narrow(0, 2, 2).unwrap()));
    }
}

#[test]
fn controlnets_answer_as_diffusers_does() {
    for (name, model, factor) in [("control_conv", Small::sd15(), 4), ("control_sdxl", Small::sdxl(), 2)] {
        let case = Case::open(name);
        let config = case.config(ControlNetConfig::read);
        assert_eq!(config.factor(), factor);
        config.fits(model.unet.config()).unwrap();
        let net = ControlNet::read(&config, &case.weights()).unwrap();
        let hints = case.tensor("hints", &[2, 3, 8 * factor, 16 * factor]);
        let follow = |index: usize, weight: f64| {
            let hint = net.embed_hint(&hints.narrow(0, index, 1).unwrap()).unwrap();
            model.with(1, |x, t, conditions| net.forward(x, t, conditions, Followed { hint: &hint, weight }).unwrap())
        };
        let (first, second) = (follow(0, 0.8), follow(1, -0.3));
        for (index, residual) in first.down.iter().enumerate() {
            close(
                &format!("{name}: {index}"),
                residual,
                &case.tensor(&format!("down{index}"), residual.dims()),
                FORWARD,
            );
        }
        close(name, &first.mid, &case.tensor("mid", first.mid.dims()), FORWARD);
        let both = first.clone().plus(&second).unwrap();
        let alone = model.follow(&[(0..2, first)]);
        close(name, &alone, &case.tensor("y1", &[2, 4, 8, 16]), FORWARD);
        close(name, &model.follow(&[(0..2, both.clone())]), &case.tensor("y2", &[2, 4, 8, 16]), FORWARD);
        // A row that follows nothing is not touched by one that does.
        let half = Residuals {
            down: both.down.iter().map(|x| x.narrow(0, 1, 1).unwrap()).collect(),
            mid: both.mid.narrow(0, 1, 1).unwrap(),
        };
        let mixed = model.follow(&[(1..2, half)]);
        let (first, plain) = (mixed.narrow(0, 0, 1).unwrap(), model.follow(&[]).narrow(0, 0, 1).unwrap());
        assert!(bits(&first) == bits(&plain), "{name}");
        close(
            name,
            &mixed.narrow(0, 1, 1).unwrap(),
            &case.tensor("y2", &[2, 4, 8, 16]).narrow(0, 1, 1).unwrap(),
            FORWARD,
        );
    }
}

#[test]
fn controlnets_of_another_model_are_told_apart() {
    let (conv, sdxl) = (Case::open("control_conv"), Case::open("control_sdxl"));
    let (conv, sdxl) = (conv.config(ControlNetConfig::read), sdxl.config(ControlNetConfig::read));
    let said = conv.fits(Small::sdxl().unet.config()).unwrap_err();
    assert!(said.contains("prompts of 6 channels"), "{said}");
    assert!(sdxl.fits(Small::sd15().unet.config()).is_err());
    // Prompts of the same width are not enough.
    let [mut told, mut narrow] = [conv.encoder.clone(), conv.encoder.clone()];
    (told.added, narrow.in_channels) = (sdxl.encoder.added, narrow.in_channels - 1);
    for (unet, said) in [(told, "Stable Diffusion XL"), (narrow, "other blocks")] {
        let why = conv.fits(&unet).unwrap_err();
        assert!(why.contains(said), "{why}");
    }
    let refused = |change: &str| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, format!("{{{change}}}")).unwrap();
        ControlNetConfig::read(&path).unwrap_err().to_string()
    };
    for (change, said) in [
        (r#""_class_name": "ControlNetUnionModel""#, "ControlNetUnionModel"),
        (r#""global_pool_conditions": true"#, "global_pool_conditions"),
        (r#""controlnet_conditioning_channel_order": "yuv""#, "yuv"),
        (r#""conditioning_embedding_out_channels": []"#, "conditioning embedding"),
        (r#""conditioning_channels": 1"#, "conditioning embedding"),
        (r#""block_out_channels": [320]"#, "block_out_channels"),
    ] {
        assert!(refused(change).contains(said), "{change}: {}", refused(change));
    }
}

#[test]
fn a_lora_for_another_model_is_refused_with_the_tensor_named() {
    let (sd15, sdxl) = (Small::sd15(), Small::sdxl());
    let said = sd15.try_lora(&fixtures().join("lora_kohya_xl.safetensors")).unwrap_err();
    assert!(said.file.ends_with("lora_kohya_xl.safetensors"), "{said}");
    assert!(said.what.contains("fits no layer") && said.what.contains("lora_"), "{said}");
    assert!(sdxl.try_lora(&fixtures().join("lora_peft.safetensors")).is_err());
    let layer = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q";
    let pair = [(".lora_A.weight", vec![1, 16]), (".lora_B.weight", vec![16, 1])];
    // What is written beside or in place of a good pair, and what is said of it.
    let cases: [Wrong<'_>; 9] = [
        (&[(".lora_A.weight", vec![1, 17]), (".lora_B.weight", vec![16, 1])], "shape [1, 17]"),
        (&[(".lora_A.weight", vec![2, 16]), (".lora_B.weight", vec![16, 1])], "shape [16, 1]"),
        (&[(".lora_A.weight", vec![0, 16]), (".lora_B.weight", vec![16, 0])], "shape [0, 16]"),
        (&[(".lora_A.weight", vec![1, 16])], "without its other half"),
        (&[(".alpha", vec![])], "and nothing else"),
        (&[pair[0].clone(), pair[1].clone(), (".alpha", vec![2])], "one number"),
        (&[pair[0].clone(), pair[1].clone(), (".lora_down.weight", vec![1, 16])], "mean the same"),
        (&[pair[0].clone(), pair[1].clone(), (".hada_w1_a", vec![1, 16])], "hada_w1_a"),
        (&[], "no LoRA"),
    ];
    for (tensors, said) in cases {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad.safetensors");
        write(&path, tensors.iter().map(|(ending, shape)| (format!("{layer}{ending}"), shape.clone())));
        let error = sd15.try_lora(&path).unwrap_err();
        assert_eq!(error.file, path);
        assert!(error.what.contains(said), "{tensors:?}: {error}");
    }
}

#[test]
fn a_trainers_settings_scale_each_layer_as_peft_does() {
    let model = Small::sd15();
    let stem = "mid_block.attentions.0.transformer_blocks.0.attn1";
    let scales = |settings: serde_json::Value| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lora.safetensors");
        // Two layers of rank 4.
        let zeros = [0; 4 * 16 * 4];
        let halves = [("lora_A", vec![4, 16]), ("lora_B", vec![16, 4])];
        let view = |shape: &[usize]| TensorView::new(Dtype::F32, shape.to_vec(), &zeros).unwrap();
        let tensors = ["to_q", "to_k"].into_iter().flat_map(|layer| {
            halves.iter().map(move |(half, shape)| (format!("unet.{stem}.{layer}.{half}.weight"), view(shape)))
        });
        let metadata = HashMap::from([("lora_adapter_metadata".to_owned(), settings.to_string())]);
        std::fs::write(&path, safetensors::serialize(tensors, Some(metadata)).unwrap()).unwrap();
        let lora = model.try_lora(&path)?;
        let deltas = lora.part(Part::UNet).unwrap();
        Ok::<_, UnreadableFile>(["to_q", "to_k"].map(|layer| deltas[&*format!("{stem}.{layer}")].scale))
    };
    for (settings, expected) in [
        (json!({}), [1.0, 1.0]),
        (json!({ "unet.lora_alpha": 8 }), [2.0, 2.0]),
        (json!({ "text_encoder.lora_alpha": 8 }), [1.0, 1.0]),
        (json!({ "unet.lora_alpha": 8, "unet.alpha_pattern": { "attn1.to_k": 2, "o_q": 1 } }), [2.0, 0.5]),
        (json!({ "unet.lora_alpha": 8, "unet.use_rslora": true }), [4.0, 4.0]),
    ] {
        let found = scales(settings.clone()).unwrap();
        assert_eq!(found.map(f64::to_bits), expected.map(f64::to_bits), "{settings}: {found:?}");
    }
    let refused = scales(json!({ "unet.use_dora": true })).unwrap_err();
    assert!(refused.what.contains("DoRA"), "{refused}");
}

/// A small model: the networks of the fixtures, and the inputs of its UNet's.
struct Small {
    unet: UNet,
    text: Vec<ClipTextModel>,
    case: Case,
    sdxl: bool,
}

impl Small {
    fn sd15() -> Self {
        Self::open("unet_conv", &["clip_quick_gelu"])
    }

    fn sdxl() -> Self {
        Self::open("unet_sdxl", &["clip_quick_gelu", "clip_projected"])
    }

    fn open(unet: &str, text: &[&str]) -> Self {
        let case = Case::open(unet);
        let encoder = |name: &&str| {
            let case = Case::open(name);
            ClipTextModel::read(&case.config(ClipConfig::read), &case.weights()).unwrap()
        };
        Self {
            unet: UNet::read(&case.config(UNetConfig::read), &case.weights()).unwrap(),
            text: text.iter().map(encoder).collect(),
            sdxl: text.len() == 2,
            case,
        }
    }

    fn lora(&self, name: &str) -> Lora {
        self.try_lora(&fixtures().join(format!("{name}.safetensors"))).unwrap()
    }

    fn try_lora(&self, path: &Path) -> Result<Lora, UnreadableFile> {
        let ldm = self.unet.ldm();
        let mut networks = vec![Network { part: Part::UNet, layers: self.unet.adaptable(), ldm: Some(&ldm) }];
        for (part, encoder) in [Part::Text, Part::Text2].into_iter().zip(&self.text) {
            networks.push(Network { part, layers: encoder.adaptable(), ldm: None });
        }
        Lora::read(&WeightFile::open(path)?, &networks, &Device::Cpu)
    }

    /// Calls with the case's inputs, repeated.
    fn with<T>(&self, times: usize, call: impl FnOnce(&Tensor, &[f32], Conditions<'_>) -> T) -> T {
        let repeat = |tensor: Tensor| Tensor::cat(&vec![tensor; times], 0).unwrap();
        let width = self.unet.config().context_channels();
        let x = repeat(self.case.tensor("x", &[2, 4, 8, 16]));
        let context = repeat(self.case.tensor("context", &[2, 7, width]));
        let timesteps = self.case.tensor("t", &[2]).to_vec1::<f32>().unwrap().repeat(times);
        if !self.sdxl {
            return call(&x, &timesteps, (&context).into());
        }
        let contexts = std::slice::from_ref(&context);
        let pooled = repeat(self.case.tensor("pooled", &[2, 5]));
        let rows: Vec<Vec<f32>> = repeat(self.case.tensor("sizes", &[2, 6])).to_vec2().unwrap();
        let sizes: Vec<[f32; SIZES]> = rows.into_iter().map(|row| row.try_into().unwrap()).collect();
        call(&x, &timesteps, Conditions { contexts, added: Some(Added { pooled: &pooled, sizes: &sizes }) })
    }

    fn answer(&self, rows: &RowAdapters) -> Tensor {
        self.ask(1, rows)
    }

    fn ask(&self, times: usize, rows: &RowAdapters) -> Tensor {
        let extras = Extras { adapters: rows, ..Extras::default() };
        self.with(times, |x, t, conditions| self.unet.forward_with(x, t, conditions, extras).unwrap())
    }

    fn follow(&self, controls: &[(std::ops::Range<usize>, Residuals)]) -> Tensor {
        let extras = Extras { controls, ..Extras::default() };
        self.with(1, |x, t, conditions| self.unet.forward_with(x, t, conditions, extras).unwrap())
    }
}

fn adapters(uses: &[(&Lora, f64)], part: Part) -> Vec<Adapter> {
    uses.iter()
        .map(|(lora, weight)| Adapter { deltas: Arc::clone(lora.part(part).unwrap()), weight: *weight })
        .collect()
}

fn ids(case: &str) -> Vec<Vec<u32>> {
    let rows: Vec<Vec<f32>> = Case::open(case).tensor("ids", &[2, 8]).to_vec2().unwrap();
    rows.iter().map(|row| row.iter().map(|id| *id as u32).collect()).collect()
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

/// A file of zeros with these tensors.
fn write(path: &Path, tensors: impl Iterator<Item = (String, Vec<usize>)>) {
    let tensors: Vec<(String, Tensor)> = tensors
        .map(|(name, shape)| (name, Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu).unwrap()))
        .collect();
    let map: HashMap<String, Tensor> = tensors.into_iter().collect();
    candle_core::safetensors::save(&map, path).unwrap();
}
