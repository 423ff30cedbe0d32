//! One diffusers folder in memory, and a picture made with it.

use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use tintype_types::{ModelFamily, ResolvedRequest};

use super::folder::{check_fit, open};
use super::text::{Conditioning, TextEncoders};
use super::{Flow, OnStep, PipelineError};
use crate::models::BuildError;
use crate::models::unet::{Added, Conditions, UNet, UNetConfig};
use crate::models::vae::{VaeConfig, VaeDecoder};
use crate::output::RgbImage;
use crate::rng::Mt19937;
use crate::samplers::{NoiseSchedule, SamplerRun, ScheduleConfig};
use crate::weights::{UnreadableFile, WeightFile, Weights, read_json};

/// A prompt pulls from here on; at and below it there is no second, unguided forward pass.
const GUIDANCE_FROM: f64 = 1.0;

/// What the engine can do and the protocol has no word for yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrawOptions {
    /// Layers left off the end of the text encoders, as diffusers' `clip_skip` counts them: 0 leaves off none.
    pub clip_skip: usize,
}

/// A model ready to draw.
#[derive(Debug)]
pub struct LoadedModel {
    device: Device,
    text: TextEncoders,
    unet: UNet,
    vae: VaeDecoder,
    /// Whether the UNet is told the picture's size.
    sized: bool,
    schedule: NoiseSchedule,
    latent_channels: usize,
    /// Sides of a picture are multiples of this, in pixels.
    side_multiple: usize,
    vae_factor: usize,
}

impl LoadedModel {
    /// Reads a diffusers folder of `StableDiffusionPipeline` or `StableDiffusionXLPipeline`.
    ///
    /// # Errors
    /// A file that is missing, damaged, or of a model this worker does not do.
    pub fn read(folder: &Path, family: ModelFamily, device: &Device) -> Result<Self, BuildError> {
        if family == ModelFamily::Sd2 {
            let what = "is of a family this worker does not draw yet; it draws Stable Diffusion 1.x and XL";
            return Err(UnreadableFile::new(folder, what).into());
        }
        let unet_config = UNetConfig::read(&folder.join("unet/config.json"))?;
        let vae_config = VaeConfig::read(&folder.join("vae/config.json"))?;
        let text = TextEncoders::read(folder, family, device)?;
        check_fit(folder, &text, &unet_config, &vae_config)?;
        let [unet_file, vae_file] = open_others(folder)?;
        let weights = |file| Weights::new(Arc::new(file), device.clone());
        let schedule_file = folder.join("scheduler/scheduler_config.json");
        let schedule: ScheduleConfig = read_json(&schedule_file)?;
        let schedule =
            NoiseSchedule::new(schedule).map_err(|error| UnreadableFile::new(&schedule_file, error.to_string()))?;
        Ok(Self {
            text,
            sized: unet_config.added.is_some(),
            unet: UNet::read(&unet_config, &weights(unet_file))?,
            vae: VaeDecoder::read(&vae_config, &weights(vae_file))?,
            schedule,
            latent_channels: vae_config.latent_channels,
            side_multiple: vae_config.factor() << unet_config.halvings(),
            vae_factor: vae_config.factor(),
            device: device.clone(),
        })
    }

    /// Memory the weights of a folder will take, in bytes, read from the files' headers.
    ///
    /// # Errors
    /// A weight file that is missing or damaged.
    pub fn bytes_needed(folder: &Path, family: ModelFamily) -> Result<u64, UnreadableFile> {
        let text = TextEncoders::files(folder, family)?;
        Ok(text.iter().chain(&open_others(folder)?).map(WeightFile::fp32_bytes).sum())
    }

    /// Draws one picture.
    ///
    /// # Errors
    /// A request the model cannot do, a stop, or a device's failure.
    pub fn generate(
        &self,
        request: &ResolvedRequest,
        seed: u64,
        on_step: OnStep<'_>,
    ) -> Result<RgbImage, PipelineError> {
        self.generate_with(request, seed, DrawOptions::default(), on_step)
    }

    /// As [`Self::generate`], with what a request cannot say yet.
    ///
    /// # Errors
    /// As [`Self::generate`].
    pub fn generate_with(
        &self,
        request: &ResolvedRequest,
        seed: u64,
        options: DrawOptions,
        on_step: OnStep<'_>,
    ) -> Result<RgbImage, PipelineError> {
        self.check(request)?;
        let mut run = SamplerRun::new(request.sampler, &self.schedule, request.steps)?;
        if on_step(0, request.steps) == Flow::Stop {
            return Err(PipelineError::Stopped);
        }
        let guided = request.guidance_scale > GUIDANCE_FROM;
        let told =
            self.text.encode(&request.prompt, guided.then_some(request.negative_prompt.as_str()), options.clip_skip)?;
        let (height, width) = (request.height as usize / self.vae_factor, request.width as usize / self.vae_factor);
        let shape = (1, self.latent_channels, height, width);
        // One generator makes the first latent and all noise added later, as in diffusers.
        let mut noise = Mt19937::new(seed);
        let mut latent = noise.randn(self.latent_channels * height * width);
        for value in &mut latent {
            *value *= run.init_noise();
        }
        while let Some(timestep) = run.timestep() {
            let input = Tensor::from_vec(run.model_input(&latent), shape, &self.device)?;
            let output = if guided {
                let both = self.denoise(&Tensor::cat(&[&input, &input], 0)?, timestep, &told, request)?;
                guide(&both, request.guidance_scale as f32)
            } else {
                self.denoise(&input, timestep, &told, request)?
            };
            run.step(&output, &mut latent, |len| noise.randn(len));
            // Also between the evaluations of one step, so that a stop never waits for a second one.
            if on_step(run.done() as u32, request.steps) == Flow::Stop {
                return Err(PipelineError::Stopped);
            }
        }
        let decoded = self.vae.decode(&Tensor::from_vec(latent, shape, &self.device)?)?;
        to_pixels(&decoded)
    }

    /// One forward pass over a row for each of the prompts.
    fn denoise(
        &self,
        input: &Tensor,
        timestep: f32,
        told: &Conditioning,
        request: &ResolvedRequest,
    ) -> Result<Vec<f32>, PipelineError> {
        let rows = input.dim(0)?;
        // What SDXL is told as the original and the target size is the picture's own; nothing is cropped.
        let (height, width) = (request.height as f32, request.width as f32);
        let sizes = vec![[height, width, 0.0, 0.0, height, width]; rows];
        let added = match &told.pooled {
            Some(pooled) if self.sized => Some(Added { pooled, sizes: &sizes }),
            Some(_) | None => None,
        };
        let conditions = Conditions { context: &told.context, added };
        Ok(self.unet.forward(input, &vec![timestep; rows], conditions)?.flatten_all()?.to_vec1()?)
    }

    fn check(&self, request: &ResolvedRequest) -> Result<(), PipelineError> {
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

/// Classifier-free guidance (Ho and Salimans, 2022): from what the negative prompt says towards what the prompt says.
fn guide(both: &[f32], scale: f32) -> Vec<f32> {
    let (without, with) = both.split_at(both.len() / 2);
    without.iter().zip(with).map(|(without, with)| without + scale * (with - without)).collect()
}

/// (1, 3, height, width) of about -1 to 1 to bytes, rounded as numpy rounds.
fn to_pixels(decoded: &Tensor) -> Result<RgbImage, PipelineError> {
    let (_, _, height, width) = decoded.dims4()?;
    let values: Vec<f32> = decoded.squeeze(0)?.permute((1, 2, 0))?.flatten_all()?.to_vec1()?;
    let pixels =
        values.iter().map(|value| ((value / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8).collect();
    Ok(RgbImage { width: width as u32, height: height as u32, pixels })
}

/// The weights of UNet and VAE.
fn open_others(folder: &Path) -> Result<[WeightFile; 2], UnreadableFile> {
    Ok([open(folder, "unet", "diffusion_pytorch_model")?, open(folder, "vae", "diffusion_pytorch_model")?])
}
