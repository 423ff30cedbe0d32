//! What is known of a model without loading it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::request::Sampler;

/// What the files of a model are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ModelKind {
    /// A whole pipeline: text encoder, denoiser, VAE.
    #[default]
    Checkpoint,
    /// A low-rank change to a checkpoint of its family.
    Lora,
    /// A conditioning network beside a checkpoint of its family.
    Controlnet,
}

/// The architecture a checkpoint belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ModelFamily {
    /// Stable Diffusion 1.x.
    Sd15,
    /// Stable Diffusion 2.x.
    Sd2,
    /// Stable Diffusion XL.
    Sdxl,
}

/// What a request gets when it does not say.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelDefaults {
    /// Width in pixels.
    #[schemars(range(min = 64, max = 2048))]
    pub width: u32,
    /// Height in pixels.
    #[schemars(range(min = 64, max = 2048))]
    pub height: u32,
    /// Denoising steps.
    #[schemars(range(min = 1, max = 150))]
    pub steps: u32,
    /// Guidance scale.
    #[schemars(range(min = 0.0, max = 30.0))]
    pub guidance_scale: f64,
    /// Sampler.
    pub sampler: Sampler,
}

/// A model as catalogues list it. A model folder may carry one as `tintype.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelCard {
    /// The name requests use, such as `tintype/shapes`.
    pub name: String,
    /// What the files are. Requests name a checkpoint as their model, the others beside it.
    #[serde(default)]
    pub kind: ModelKind,
    /// Architecture. A LoRA or ControlNet goes with checkpoints of its own family only.
    pub family: ModelFamily,
    /// What a request gets when it does not say. Means nothing for a LoRA or ControlNet.
    pub defaults: ModelDefaults,
    /// SPDX licence of the weights, or the name of their own licence.
    #[serde(default)]
    pub licence: String,
    /// One sentence for people.
    #[serde(default)]
    pub description: String,
    /// Memory the loaded model takes, in bytes; 0 when nobody has measured it.
    #[serde(default)]
    pub vram_bytes: u64,
}
