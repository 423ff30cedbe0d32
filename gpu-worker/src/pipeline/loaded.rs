//! One checkpoint in memory: the networks of one model, and what the model can do.

use std::path::Path;

use candle_core::{Device, Tensor};
use tintype_types::{ModelFamily, ResolvedRequest};

use super::PipelineError;
use super::folder::check_fit;
use super::source::Source;
use super::text::TextEncoders;
use crate::models::BuildError;
use crate::models::unet::UNet;
use crate::models::vae::VaeDecoder;
use crate::output::RgbImage;
use crate::samplers::NoiseSchedule;
use crate::weights::{Lora, Network, Part, UnreadableFile, WeightFile};

/// A model ready to draw.
#[derive(Debug)]
pub struct LoadedModel {
    pub(crate) device: Device,
    pub(crate) text: TextEncoders,
    pub(crate) unet: UNet,
    vae: VaeDecoder,
    /// Whether the UNet is told the picture's size.
    pub(crate) sized: bool,
    pub(crate) schedule: NoiseSchedule,
    pub(crate) latent_channels: usize,
    /// Sides of a picture are multiples of this, in pixels.
    side_multiple: usize,
    pub(crate) vae_factor: usize,
}

impl LoadedModel {
    /// Reads a checkpoint: a diffusers folder of `StableDiffusionPipeline` or `StableDiffusionXLPipeline`, or a single file.
    ///
    /// # Errors
    /// A file that is missing, damaged, or of a model this worker does not do.
    pub fn read(path: &Path, family: ModelFamily, device: &Device) -> Result<Self, BuildError> {
        if family == ModelFamily::Sd2 {
            let what = "is of a family this worker does not draw yet; it draws Stable Diffusion 1.x and XL";
            return Err(UnreadableFile::new(path, what).into());
        }
        let source = Source::open(path, family)?;
        let (unet_config, unet) = source.unet(device)?;
        let (vae_config, vae) = source.vae(device)?;
        let text = TextEncoders::read(&source, family, device)?;
        check_fit(path, &text, &unet_config, &vae_config)?;
        let (schedule_file, schedule) = source.schedule()?;
        let schedule =
            NoiseSchedule::new(schedule).map_err(|error| UnreadableFile::new(&schedule_file, error.to_string()))?;
        Ok(Self {
            text,
            sized: unet_config.added.is_some(),
            unet: UNet::read(&unet_config, &unet)?,
            vae: VaeDecoder::read(&vae_config, &vae)?,
            schedule,
            latent_channels: vae_config.latent_channels,
            side_multiple: vae_config.factor() << unet_config.halvings(),
            vae_factor: vae_config.factor(),
            device: device.clone(),
        })
    }

    /// Memory the weights of a checkpoint will take, in bytes, read from the files' headers.
    ///
    /// # Errors
    /// A weight file that is missing or damaged.
    pub fn bytes_needed(path: &Path, family: ModelFamily) -> Result<u64, UnreadableFile> {
        Source::open(path, family)?.bytes()
    }

    /// Reads a LoRA for this model.
    ///
    /// # Errors
    /// A tensor that fits no layer of it, or that cannot be read.
    pub(crate) fn read_lora(&self, file: &WeightFile) -> Result<Lora, UnreadableFile> {
        let ldm = self.unet.ldm();
        let unet = Network { part: Part::UNet, layers: self.unet.adaptable(), ldm: Some(&ldm) };
        let text = self.text.adaptable().map(|(part, layers)| Network { part, layers, ldm: None });
        let networks: Vec<Network<'_>> = std::iter::once(unet).chain(text).collect();
        Lora::read(file, &networks, &self.device)
    }

    /// Latents as the sampler leaves them, (1, channels, height, width), to pixels.
    ///
    /// # Errors
    /// Shapes that do not fit, or a device's failure.
    pub(crate) fn decode(&self, latents: &Tensor) -> Result<RgbImage, PipelineError> {
        to_pixels(&self.vae.decode(latents)?)
    }

    /// Refuses what the model cannot do.
    pub(crate) fn check(&self, request: &ResolvedRequest) -> Result<(), PipelineError> {
        let multiple = self.side_multiple as u32;
        for (name, side) in [("width", request.width), ("height", request.height)] {
            if side == 0 || !side.is_multiple_of(multiple) || side > tintype_types::limits::SIDE_PX_MAX {
                let most = tintype_types::limits::SIDE_PX_MAX;
                return Err(PipelineError::Unsupported(format!(
                    "this model cannot draw a {name} of {side}: take a multiple of {multiple} up to {most}"
                )));
            }
        }
        if !request.guidance_scale.is_finite() {
            return Err(PipelineError::Unsupported("the guidance scale is not a number".to_owned()));
        }
        Ok(())
    }
}

/// (1, 3, height, width) of about -1 to 1 to bytes, rounded as numpy rounds.
fn to_pixels(decoded: &Tensor) -> Result<RgbImage, PipelineError> {
    let (_, _, height, width) = decoded.dims4()?;
    let values: Vec<f32> = decoded.squeeze(0)?.permute((1, 2, 0))?.flatten_all()?.to_vec1()?;
    let pixels =
        values.iter().map(|value| ((value / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8).collect();
    Ok(RgbImage { width: width as u32, height: height as u32, pixels })
}
