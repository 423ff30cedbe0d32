//! One checkpoint in memory: the networks of one model, and what the model can do.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use candle_core::{Device, Tensor};
use tintype_types::{ModelFamily, ResolvedRequest};

use super::PipelineError;
use super::folder::check_fit;
use super::preview::{Colours, Preview};
use super::prompts::Prompts;
use super::source::Source;
use super::text::TextEncoders;
use crate::images::signed_planes;
use crate::kernels::Precision;
use crate::models::BuildError;
use crate::models::unet::UNet;
use crate::models::vae::{VaeDecoder, VaeEncoder};
use crate::output::RgbImage;
use crate::samplers::NoiseSchedule;
use crate::weights::{Fingerprint, Interrupt, Lora, Network, Part, UnreadableFile, WeightFile};

/// A tensor of every autoencoder that can encode.
const ENCODER: &str = "encoder.conv_in.weight";

/// A model ready to draw.
#[derive(Debug)]
pub struct LoadedModel {
    pub(crate) device: Device,
    pub(crate) text: TextEncoders,
    pub(crate) unet: UNet,
    vae: VaeDecoder,
    /// Some files have none.
    encoder: Option<VaeEncoder>,
    /// How latents are shown while they are drawn; fitted when first asked for, where no tiny decoder came along.
    preview: OnceLock<Preview>,
    /// Whether the UNet is shown a mask and a picture beside the latent.
    pub(crate) inpaints: bool,
    /// Whether the UNet is told the picture's size.
    pub(crate) sized: bool,
    pub(crate) schedule: NoiseSchedule,
    pub(crate) latent_channels: usize,
    /// Sides of a picture are multiples of this, in pixels.
    side_multiple: usize,
    pub(crate) vae_factor: usize,
}

/// What all models of a worker stand on.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) device: Device,
    pub(super) precision: Precision,
    pub(super) prompts: Arc<Prompts>,
    /// Breaks off what is read for later.
    pub(super) interrupt: Interrupt,
}

impl LoadedModel {
    /// What tells its weights from others.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.text.fingerprint
    }

    /// Reads a checkpoint: a diffusers folder of `StableDiffusionPipeline` or `StableDiffusionXLPipeline`, or a single file.
    /// `precision` is the UNet's: text and pixels are a small part of the work, and stay in fp32.
    ///
    /// # Errors
    /// A file that is missing, damaged, or of a model this worker does not do.
    pub(super) fn read(
        path: &Path,
        family: ModelFamily,
        Ground { device, precision, prompts, interrupt }: &Ground,
    ) -> Result<Self, BuildError> {
        let (precision, source) = (*precision, Source::open(path, family)?.interrupted_by(interrupt));
        let (unet_config, unet) = source.unet(device)?;
        let (vae_config, vae) = source.vae(device)?;
        let text = TextEncoders::read(&source, Arc::clone(prompts), device)?;
        check_fit(path, &text, &unet_config, &vae_config)?;
        let (schedule_file, schedule) = source.schedule()?;
        let schedule =
            NoiseSchedule::new(schedule).map_err(|error| UnreadableFile::new(&schedule_file, error.to_string()))?;
        Ok(Self {
            text,
            sized: unet_config.added.is_some(),
            unet: UNet::read(&unet_config, &unet.multiplied_in(precision))?,
            vae: VaeDecoder::read(&vae_config, &vae)?,
            encoder: if vae.has(ENCODER) { Some(VaeEncoder::read(&vae_config, &vae)?) } else { None },
            preview: Preview::read_tiny(path, vae_config.latent_channels, device)?
                .map_or_else(OnceLock::new, OnceLock::from),
            inpaints: unet_config.in_channels != vae_config.latent_channels,
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

    /// A picture of the size that is drawn to the latent of one, drawn with these unit normal numbers.
    ///
    /// # Errors
    /// A model without an encoder, or a device's failure.
    pub(crate) fn encode(&self, picture: &RgbImage, noise: Vec<f32>) -> Result<Vec<f32>, PipelineError> {
        self.encode_planes(signed_planes(picture), (picture.width, picture.height), noise)
    }

    /// As [`Self::encode`], of planes of -1 to 1.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub(crate) fn encode_planes(
        &self,
        planes: Vec<f32>,
        (width, height): (u32, u32),
        noise: Vec<f32>,
    ) -> Result<Vec<f32>, PipelineError> {
        let Some(encoder) = &self.encoder else {
            let what = "this model's autoencoder cannot encode, so it cannot start from a picture; take another model";
            return Err(PipelineError::Unsupported(what.to_owned()));
        };
        let planes = Tensor::from_vec(planes, (1, 3, height as usize, width as usize), &self.device)?;
        Ok(encoder.encode(&planes)?.sample(noise)?.flatten_all()?.to_vec1()?)
    }

    /// A latent, (1, channels, height, width), as a picture of at most [`super::PREVIEW_SIDE_MAX`] a side: roughly what it
    /// would decode to, at a small part of the work.
    ///
    /// # Errors
    /// Shapes that do not fit, or a device's failure.
    pub(crate) fn preview(&self, latent: &Tensor) -> Result<RgbImage, PipelineError> {
        if let Some(preview) = self.preview.get() {
            return preview.show(latent);
        }
        let fitted = Preview::Linear(Colours::fit(&self.vae, self.latent_channels, &self.device)?);
        self.preview.get_or_init(|| fitted).show(latent)
    }

    /// Refuses what the model cannot do.
    pub(crate) fn check(&self, request: &ResolvedRequest) -> Result<(), PipelineError> {
        let multiple = self.side_multiple as u32;
        let (final_width, final_height) = request.final_size();
        let sides = [("width", request.width), ("height", request.height)];
        for (name, side) in sides.into_iter().chain([("width", final_width), ("height", final_height)]) {
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
pub(super) fn to_pixels(decoded: &Tensor) -> Result<RgbImage, PipelineError> {
    let (_, _, height, width) = decoded.dims4()?;
    let values: Vec<f32> = decoded.squeeze(0)?.permute((1, 2, 0))?.flatten_all()?.to_vec1()?;
    let pixels =
        values.iter().map(|value| ((value / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8).collect();
    Ok(RgbImage { width: width as u32, height: height as u32, pixels })
}
