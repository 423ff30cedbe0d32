//! The family of a model in diffusers' layout, from its configs.

use std::path::Path;

use serde::Deserialize;
use tintype_types::ModelFamily;

use crate::Refused;
use crate::card::read_json;

/// Width of the prompt's vectors in Stable Diffusion 2.x.
const SD2_CONTEXT: u64 = 1_024;
/// Class of a ControlNet's config.
pub(crate) const CONTROLNET: &str = "ControlNetModel";

#[derive(Deserialize)]
struct Index {
    #[serde(rename = "_class_name")]
    class_name: String,
}

/// The fields of a UNet's or ControlNet's config that tell families apart.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    #[serde(rename = "_class_name")]
    class_name: String,
    cross_attention_dim: serde_json::Value,
    addition_embed_type: Option<String>,
}

/// Of a checkpoint, from its `model_index.json`.
pub(crate) fn of_checkpoint(folder: &Path, index_file: &Path) -> Result<ModelFamily, Refused> {
    let index: Index = read_json(index_file)?;
    match index.class_name.as_str() {
        "StableDiffusionPipeline" | "StableDiffusionInpaintPipeline" => {
            let unet = folder.join("unet/config.json");
            let config: Config = if unet.is_file() { read_json(&unet)? } else { Config::default() };
            Ok(of(&config))
        }
        "StableDiffusionXLPipeline" | "StableDiffusionXLInpaintPipeline" => Ok(ModelFamily::Sdxl),
        other => Err(Refused::new(
            index_file,
            format!(
                "is for a {other}; workers draw with StableDiffusionPipeline and StableDiffusionXLPipeline folders"
            ),
        )),
    }
}

/// Of a ControlNet, from its config; none for a config of something else.
pub(crate) fn of_controlnet(config_file: &Path) -> Option<ModelFamily> {
    let config: Config = read_json(config_file).ok()?;
    (config.class_name == CONTROLNET).then(|| of(&config))
}

fn of(config: &Config) -> ModelFamily {
    if config.addition_embed_type.as_deref() == Some("text_time") {
        ModelFamily::Sdxl
    } else if config.cross_attention_dim == SD2_CONTEXT {
        ModelFamily::Sd2
    } else {
        ModelFamily::Sd15
    }
}
