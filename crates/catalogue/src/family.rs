//! The family of a model in diffusers' layout, from its configs.

use std::path::Path;

use serde::Deserialize;
use tintype_types::{ModelFamily, ModelKind};

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
    match told(&index).map_err(|what| Refused::new(index_file, what))? {
        Told::ByUnet => {
            let unet = folder.join("unet/config.json");
            let config: Config = if unet.is_file() { read_json(&unet)? } else { Config::default() };
            Ok(of(&config))
        }
        Told::Family(family) => Ok(family),
    }
}

/// What the class of a pipeline tells of its family.
enum Told {
    /// It.
    Family(ModelFamily),
    /// That the UNet's config tells it.
    ByUnet,
}

fn told(index: &Index) -> Result<Told, String> {
    match index.class_name.as_str() {
        "StableDiffusionPipeline" | "StableDiffusionInpaintPipeline" => Ok(Told::ByUnet),
        "StableDiffusionXLPipeline" | "StableDiffusionXLInpaintPipeline" => Ok(Told::Family(ModelFamily::Sdxl)),
        other => Err(format!(
            "is for a {other}; workers draw with StableDiffusionPipeline and StableDiffusionXLPipeline folders"
        )),
    }
}

/// Kind and family of a folder whose configs were read elsewhere: with a `model_index.json` a checkpoint, whose UNet's config the
/// other is; without one a ControlNet.
///
/// # Errors
/// What is wrong with it.
pub fn of_configs(index: Option<&[u8]>, config: Option<&[u8]>) -> Result<(ModelKind, ModelFamily), String> {
    let wrong =
        |what: &'static str| move |error: serde_json::Error| format!("{what} is not what it should be: {error}");
    let config = config.map(serde_json::from_slice::<Config>).transpose().map_err(wrong("the config"))?;
    let config = config.unwrap_or_default();
    let Some(index) = index else {
        let is_one = config.class_name == CONTROLNET;
        return if is_one { Ok((ModelKind::Controlnet, of(&config))) } else { Err("it is no ControlNet".to_owned()) };
    };
    let index: Index = serde_json::from_slice(index).map_err(wrong("the model_index.json"))?;
    let family = match told(&index).map_err(|what| format!("the model_index.json {what}"))? {
        Told::ByUnet => of(&config),
        Told::Family(family) => family,
    };
    Ok((ModelKind::Checkpoint, family))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configs_tell_what_a_folder_is() {
        let index = |class: &str| format!(r#"{{ "_class_name": "{class}" }}"#).into_bytes();
        let sd = index("StableDiffusionPipeline");
        let wide: &[u8] = br#"{ "cross_attention_dim": 1024 }"#;
        let control: &[u8] = br#"{ "_class_name": "ControlNetModel", "cross_attention_dim": 768 }"#;
        assert_eq!(of_configs(Some(&sd), None), Ok((ModelKind::Checkpoint, ModelFamily::Sd15)));
        assert_eq!(of_configs(Some(&sd), Some(wide)), Ok((ModelKind::Checkpoint, ModelFamily::Sd2)));
        let xl = index("StableDiffusionXLPipeline");
        assert_eq!(of_configs(Some(&xl), None), Ok((ModelKind::Checkpoint, ModelFamily::Sdxl)));
        assert_eq!(of_configs(None, Some(control)), Ok((ModelKind::Controlnet, ModelFamily::Sd15)));
        assert!(of_configs(None, Some(wide)).is_err());
        assert!(of_configs(Some(&index("FluxPipeline")), None).unwrap_err().contains("is for a FluxPipeline"));
        assert!(of_configs(Some(b"<html>"), None).unwrap_err().contains("model_index.json is not"));
    }
}
