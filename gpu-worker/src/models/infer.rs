//! The configs of a single-file checkpoint, which carries none: read off the shapes of its tensors, and filled up with
//! what all published models of its family have. They come as a `config.json` would, and are checked like one.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tintype_types::ModelFamily;

/// Names and shapes of all tensors.
pub(crate) type Shapes = BTreeMap<String, Vec<usize>>;

/// Most blocks and layers counted; a file that has more is no model of ours.
const COUNT_MAX: usize = 64;
/// Channels of an attention head, but for SD 1.x.
const HEAD: usize = 64;
/// Attention heads of SD 1.x, whatever the channels.
const SD15_HEADS: usize = 8;
/// Width of the sines SDXL is told each number of its sizes by.
const SIZE_SINES: usize = 256;

/// What a checkpoint has instead of epsilon prediction when it says nothing: SD 2.x at 768 pixels predicts v.
fn prediction(shapes: &Shapes, family: ModelFamily) -> &'static str {
    if family == ModelFamily::Sd2 || shapes.contains_key("v_pred") { "v_prediction" } else { "epsilon" }
}

/// `scheduler/scheduler_config.json`.
pub(crate) fn schedule(shapes: &Shapes, family: ModelFamily) -> Value {
    json!({
        "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
        "prediction_type": prediction(shapes, family), "timestep_spacing": "leading", "steps_offset": 1,
        "set_alpha_to_one": false,
    })
}

/// `unet/config.json`; none when the file holds no UNet.
pub(crate) fn unet(shapes: &Shapes, family: ModelFamily) -> Option<Value> {
    let shape = |name: &str| shapes.get(&format!("model.diffusion_model.{name}"));
    let side = |name: &str, at: usize| shape(name)?.get(at).copied();
    let transformers = |place: &str| {
        (0..COUNT_MAX)
            .take_while(|layer| shape(&format!("{place}.transformer_blocks.{layer}.norm1.weight")).is_some())
            .count()
    };
    let (mut channels, mut layers, mut depths, mut attends) = (vec![], vec![0], vec![], vec![]);
    let mut depth = 0;
    for index in 1..COUNT_MAX {
        let place = format!("input_blocks.{index}");
        if let Some(outer) = side(&format!("{place}.0.in_layers.2.weight"), 0) {
            *layers.last_mut()? += 1;
            depth = transformers(&format!("{place}.1"));
            if layers.last() == Some(&1) {
                channels.push(outer);
                depths.push(depth);
                attends.push(depth > 0);
            }
        } else if shape(&format!("{place}.0.op.weight")).is_some() {
            layers.push(0);
        } else {
            break;
        }
    }
    let middle = transformers("middle_block.1");
    // A narrowest block without attention is as deep as the middle, which has no place of its own in a config.
    if depth == 0 {
        *depths.last_mut()? = middle;
    }
    let depths: Vec<usize> = depths.into_iter().map(|depth| depth.max(1)).collect();
    let first_attention =
        (1..COUNT_MAX).map(|index| format!("input_blocks.{index}.1")).find(|place| transformers(place) > 0)?;
    let mut up = Vec::new();
    let mut index = 0;
    for count in layers.iter().rev() {
        let attends = shape(&format!("output_blocks.{index}.1.norm.weight")).is_some();
        up.push(if attends { "CrossAttnUpBlock2D" } else { "UpBlock2D" });
        index += count + 1;
    }
    let heads: Vec<usize> = match family {
        ModelFamily::Sd15 => vec![SD15_HEADS; channels.len()],
        ModelFamily::Sd2 | ModelFamily::Sdxl => channels.iter().map(|channels| channels / HEAD).collect(),
    };
    let mut config = json!({
        "in_channels": side("input_blocks.0.0.weight", 1)?, "out_channels": side("out.2.weight", 0)?,
        "block_out_channels": channels, "layers_per_block": layers, "transformer_layers_per_block": depths,
        "attention_head_dim": heads, "norm_num_groups": 32,
        "cross_attention_dim": side(&format!("{first_attention}.transformer_blocks.0.attn2.to_k.weight"), 1)?,
        "use_linear_projection": shape(&format!("{first_attention}.proj_in.weight"))?.len() == 2,
        "time_embedding_dim": side("time_embed.0.weight", 0)?,
        "down_block_types": attends.iter().map(|attends| if *attends { "CrossAttnDownBlock2D" } else { "DownBlock2D" }).collect::<Vec<_>>(),
        "up_block_types": up,
    });
    if let Some(total) = side("label_emb.0.0.weight", 1) {
        config["addition_embed_type"] = json!("text_time");
        config["addition_time_embed_dim"] = json!(SIZE_SINES);
        config["projection_class_embeddings_input_dim"] = json!(total);
    }
    Some(config)
}

/// `vae/config.json`.
pub(crate) fn vae(shapes: &Shapes, family: ModelFamily) -> Option<Value> {
    let side = |name: String| shapes.get(&format!("first_stage_model.{name}"))?.first().copied();
    let block = |block: usize, layer: usize| side(format!("encoder.down.{block}.block.{layer}.conv1.weight"));
    let channels: Vec<usize> = (0..COUNT_MAX).map_while(|index| block(index, 0)).collect();
    let layers = (0..COUNT_MAX).take_while(|layer| block(0, *layer).is_some()).count();
    Some(json!({
        "block_out_channels": channels, "layers_per_block": layers,
        "latent_channels": side("post_quant_conv.weight".to_owned())?,
        "scaling_factor": if family == ModelFamily::Sdxl { 0.13025 } else { 0.18215 },
    }))
}

/// `text_encoder/config.json` of an encoder with its own names below `prefix`.
pub(crate) fn clip(shapes: &Shapes, prefix: &str) -> Option<Value> {
    let inside =
        if shapes.contains_key(&format!("{prefix}text_model.final_layer_norm.weight")) { "text_model." } else { "" };
    let shape = |name: &str| shapes.get(&format!("{prefix}{inside}{name}"));
    let layers =
        (0..COUNT_MAX).take_while(|layer| shape(&format!("encoder.layers.{layer}.mlp.fc1.weight")).is_some()).count();
    text_config(
        (shape("embeddings.token_embedding.weight")?, shape("embeddings.position_embedding.weight")?),
        shape("encoder.layers.0.mlp.fc1.weight")?,
        (layers, "quick_gelu", None),
    )
}

/// The same of one as OpenCLIP has it. SD 2.x was trained on its last layer but one, which is left off for good.
pub(crate) fn open_clip(shapes: &Shapes, prefix: &str, family: ModelFamily) -> Option<Value> {
    let shape = |name: &str| shapes.get(&format!("{prefix}{name}"));
    let layers = (0..COUNT_MAX)
        .take_while(|layer| shape(&format!("transformer.resblocks.{layer}.mlp.c_fc.weight")).is_some())
        .count();
    let layers = if family == ModelFamily::Sd2 { layers.saturating_sub(1) } else { layers };
    let projection = shape("text_projection").and_then(|shape| shape.get(1)).copied();
    text_config(
        (shape("token_embedding.weight")?, shape("positional_embedding")?),
        shape("transformer.resblocks.0.mlp.c_fc.weight")?,
        (layers, "gelu", projection),
    )
}

fn text_config(
    (tokens, positions): (&[usize], &[usize]),
    inner: &[usize],
    (layers, activation, projection): (usize, &str, Option<usize>),
) -> Option<Value> {
    let width = *tokens.get(1)?;
    Some(json!({
        "vocab_size": tokens.first()?, "hidden_size": width, "intermediate_size": inner.first()?,
        "num_hidden_layers": layers, "num_attention_heads": (width / HEAD).max(1),
        "max_position_embeddings": positions.first()?, "hidden_act": activation,
        "projection_dim": projection.unwrap_or(width),
    }))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::models::clip::ClipConfig;
    use crate::models::unet::UNetConfig;
    use crate::models::vae::VaeConfig;
    use crate::weights::{Naming, Piece, WeightFile, read_json};

    #[test]
    fn shapes_say_what_the_configs_of_the_models_that_ship_say() {
        for (model, family) in [("shapes", ModelFamily::Sd15), ("shapes-xl", ModelFamily::Sdxl)] {
            let path = folder(model).join("unet/config.json");
            let wanted = UNetConfig::read(&path).unwrap();
            let stored = stored(model, "unet/diffusion_pytorch_model", &Naming::UNet(wanted.ldm()));
            let mut found = unet(&stored, family).unwrap();
            // What no shape tells, and what these small models have otherwise than published ones.
            let own: Value = read_json(&path).unwrap();
            for field in ["norm_num_groups", "attention_head_dim", "addition_time_embed_dim"] {
                found[field] = own[field].clone();
            }
            assert_eq!(UNetConfig::parse(&path, found).unwrap(), wanted, "{model}");

            let path = folder(model).join("vae/config.json");
            let wanted = VaeConfig::read(&path).unwrap();
            let naming = Naming::Vae { blocks: wanted.block_out_channels.len() };
            let mut found = vae(&self::stored(model, "vae/diffusion_pytorch_model", &naming), family).unwrap();
            let own: Value = read_json(&path).unwrap();
            for field in ["norm_num_groups", "scaling_factor", "sample_size", "down_block_types", "up_block_types"] {
                found[field] = own[field].clone();
            }
            assert_eq!(VaeConfig::parse(&path, found).unwrap(), wanted, "{model}");
        }
        for (part, open) in [("text_encoder", false), ("text_encoder_2", true)] {
            let path = folder("shapes-xl").join(part).join("config.json");
            let wanted = ClipConfig::read(&path).unwrap();
            let naming = if open { Naming::OpenClip { prefix: "x." } } else { Naming::Clip { prefix: "x." } };
            let shapes = stored("shapes-xl", &format!("{part}/model"), &naming);
            let found = if open { open_clip(&shapes, "x.", ModelFamily::Sdxl) } else { clip(&shapes, "x.") };
            let mut found = found.unwrap();
            let own: Value = read_json(&path).unwrap();
            for field in ["num_attention_heads", "eos_token_id", "projection_dim"] {
                found[field] = own[field].clone();
            }
            assert_eq!(ClipConfig::parse(&path, found).unwrap(), wanted, "{part}");
        }
    }

    #[test]
    fn a_file_without_a_model_says_nothing() {
        let none = Shapes::new();
        assert_eq!((unet(&none, ModelFamily::Sd15), vae(&none, ModelFamily::Sd15)), (None, None));
        assert_eq!((clip(&none, ""), open_clip(&none, "", ModelFamily::Sd2)), (None, None));
    }

    /// The shapes of a part as a single file would have them.
    fn stored(model: &str, part: &str, naming: &Naming) -> Shapes {
        let file = WeightFile::open(&folder(model).join(format!("{part}.safetensors"))).unwrap();
        let mut shapes = Shapes::new();
        for (name, shape) in file.shapes() {
            let stored = naming.stored(&name).unwrap();
            // Thirds of one matrix: three times the rows.
            let rows = shape[0] * if matches!(stored.piece, Piece::Third(_)) { 3 } else { 1 };
            shapes.insert(stored.name, std::iter::once(rows).chain(shape.into_iter().skip(1)).collect());
        }
        shapes
    }

    fn folder(model: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../models").join(model)
    }
}
