//! The autoencoder (diffusers' `AutoencoderKL`): pixels to latents and back.

mod config;
mod decoder;
mod encoder;
mod parts;
mod tiles;

pub use config::{Side, VaeConfig};
pub use decoder::VaeDecoder;
pub use encoder::{Posterior, VaeEncoder};
pub use tiles::Tiles;

/// Largest latent that is decoded, or encoded to, in one piece: a picture of 1024 x 1024 at the usual factor of 8, SDXL's
/// own size. The widest layers then take 1 GiB each; beyond, tiles keep memory where it is.
pub const WHOLE_MAX: usize = 128 * 128;
