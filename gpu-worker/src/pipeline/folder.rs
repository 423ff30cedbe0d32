//! The parts of a diffusers folder: which weight file is whose, and whether the parts are of one model.

use std::path::Path;

use super::text::TextEncoders;
use crate::models::unet::UNetConfig;
use crate::models::vae::VaeConfig;
use crate::weights::{UnreadableFile, WeightFile};

/// Opens a part's weights, by their plain name or the half-precision variant's.
pub(super) fn open(folder: &Path, part: &str, stem: &str) -> Result<WeightFile, UnreadableFile> {
    let folder = folder.join(part);
    for name in [format!("{stem}.safetensors"), format!("{stem}.fp16.safetensors")] {
        let path = folder.join(name);
        if path.exists() {
            return WeightFile::open(&path);
        }
    }
    let what = if folder.join(format!("{stem}.bin")).exists() || folder.join("pytorch_model.bin").exists() {
        "holds pickled weights alone, which can run code; convert them to safetensors"
    } else {
        "has no weights; fetch the model again"
    };
    Err(UnreadableFile::new(folder, what))
}

/// Refuses parts that were not made for each other.
pub(super) fn check_fit(
    folder: &Path,
    text: &TextEncoders,
    unet: &UNetConfig,
    vae: &VaeConfig,
) -> Result<(), UnreadableFile> {
    let wrong = |what: String| Err(UnreadableFile::new(folder, what));
    if unet.context_channels() != text.width {
        let (wants, gives) = (unet.context_channels(), text.width);
        return wrong(format!("pairs a UNet that reads vectors of {wants} with text encoders that make {gives}"));
    }
    // A UNet made for inpainting also reads a mask and the latent of a picture.
    let plain_or_inpainting = [vae.latent_channels, 2 * vae.latent_channels + 1];
    if !plain_or_inpainting.contains(&unet.in_channels) || unet.out_channels != vae.latent_channels {
        let (inner, latent) = (unet.in_channels, vae.latent_channels);
        return wrong(format!("pairs a UNet of {inner} channels with a VAE of {latent}"));
    }
    let pooled = unet.added.map_or(0, |added| added.pooled);
    if pooled != 0 && pooled != text.pooled {
        let gives = text.pooled;
        return wrong(format!(
            "pairs a UNet that reads a pooled prompt of {pooled} with a text encoder that makes {gives}"
        ));
    }
    Ok(())
}
