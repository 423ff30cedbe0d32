//! The networks of Stable Diffusion 1.x and XL, each a config read from its `config.json` and a forward pass. No files but
//! through `weights`, no samplers, no prompts.
//!
//! They are ours rather than candle-transformers' because those wire in 32 group-norm groups, tanh-gelu, one timestep
//! for a whole batch and 77 tokens.

mod activation;
pub mod adapters;
mod attention;
pub mod clip;
pub mod controlnet;
pub(crate) mod infer;
mod layers;
mod resnet;
pub mod taesd;
mod transformer;
pub mod unet;
mod unet_blocks;
mod unet_config;
mod unet_encoder;
pub mod vae;

use crate::weights::UnreadableFile;

/// Why a network could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A weight file or config is not what it should be.
    #[error(transparent)]
    Unreadable(#[from] UnreadableFile),
    /// The device refused.
    #[error("the device could not take the weights")]
    Device(#[from] candle_core::Error),
}
