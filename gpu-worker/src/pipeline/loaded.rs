//! One diffusers folder in memory, and a picture made with it.

use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use tintype_types::{ModelFamily, ResolvedRequest};

use super::{Flow, OnStep, PipelineError};
use crate::models::BuildError;
use crate::models::clip::{ClipConfig, ClipTextModel};
use crate::models::unet::{UNet, UNetConfig};
use crate::models::vae::{VaeConfig, VaeDecoder};
use crate::output::RgbImage;
use crate::prompt::PromptEncoder;
use crate::rng::Mt19937;
use crate::samplers::{NoiseSchedule, SamplerRun, ScheduleConfig};
use crate::weights::{UnreadableFile, WeightFile, Weights, read_json};

/// A prompt pulls from here on; at and below it there is no second, unguided forward pass.
const GUIDANCE_FROM: f64 = 1.0;

/// A model ready to draw.
#[derive(Debug)]
pub struct LoadedModel {
    device: Device,
    prompts: PromptEncoder,
    text: ClipTextModel,
    unet: UNet,
    vae: VaeDecoder,
    schedule: NoiseSchedule,
    latent_channels: usize,
    /// Sides of a picture are multiples of this, in pixels.
    side_multiple: usize,
    vae_factor: usize,
}

impl LoadedModel {
    /// Reads a diffusers folder of `StableDiffusionPipeline`.
    ///
    /// # Errors
    /// A file that is missing, damaged, or of a model this worker does not do.
    pub fn read(folder: &Path, family: ModelFamily, device: &Device) -> Result<Self, BuildError> {
        if family != ModelFamily::Sd15 {
            let what = "is of a family this worker does not draw yet; it draws Stable Diffusion 1.x";
            return Err(UnreadableFile::new(folder, what).into());
        }
        let clip_config = ClipConfig::read(&folder.join("text_encoder/config.json"))?;
        let unet_config = UNetConfig::read(&folder.join("unet/config.json"))?;
        let vae_config = VaeConfig::read(&folder.join("vae/config.json"))?;
        check_fit(folder, &clip_config, &unet_config, &vae_config)?;
        let [text_file, unet_file, vae_file] = open_all(folder)?;
        let weights = |file| Weights::new(Arc::new(file), device.clone());
        let schedule_file = folder.join("scheduler/scheduler_config.json");
        let schedule: ScheduleConfig = read_json(&schedule_file)?;
        let schedule =
            NoiseSchedule::new(schedule).map_err(|error| UnreadableFile::new(&schedule_file, error.to_string()))?;
        Ok(Self {
            prompts: PromptEncoder::read(&folder.join("tokenizer"), clip_config.max_position_embeddings)?,
            text: ClipTextModel::read(&clip_config, &weights(text_file))?,
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
    pub fn bytes_needed(folder: &Path) -> Result<u64, UnreadableFile> {
        Ok(open_all(folder)?.iter().map(WeightFile::fp32_bytes).sum())
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
        self.check(request)?;
        let mut run = SamplerRun::new(request.sampler, &self.schedule, request.steps)?;
        if on_step(0, request.steps) == Flow::Stop {
            return Err(PipelineError::Stopped);
        }
        let guided = request.guidance_scale > GUIDANCE_FROM;
        let context = self.encode_prompts(request, guided)?;
        let (height, width) = (request.height as usize / self.vae_factor, request.width as usize / self.vae_factor);
        let shape = (1, self.latent_channels, height, width);
        let mut latent = Mt19937::new(seed).randn(self.latent_channels * height * width);
        for value in &mut latent {
            *value *= run.init_noise();
        }
        while let Some(timestep) = run.timestep() {
            let input = Tensor::from_vec(run.model_input(&latent), shape, &self.device)?;
            let output = if guided {
                let both = self.unet.forward(&Tensor::cat(&[&input, &input], 0)?, &[timestep; 2], &context)?;
                let both = both.flatten_all()?.to_vec1::<f32>()?;
                guide(&both, request.guidance_scale as f32)
            } else {
                self.unet.forward(&input, &[timestep], &context)?.flatten_all()?.to_vec1()?
            };
            run.step(&output, &mut latent);
            if on_step(run.done() as u32, request.steps) == Flow::Stop {
                return Err(PipelineError::Stopped);
            }
        }
        let decoded = self.vae.decode(&Tensor::from_vec(latent, shape, &self.device)?)?;
        to_pixels(&decoded)
    }

    /// The negative prompt's vectors before the prompt's, when there is guidance.
    fn encode_prompts(&self, request: &ResolvedRequest, guided: bool) -> Result<Tensor, PipelineError> {
        let texts: &[&str] = if guided { &[&request.negative_prompt, &request.prompt] } else { &[&request.prompt] };
        let ids = texts
            .iter()
            // The error would quote the prompt, so it is dropped.
            .map(|text| self.prompts.encode(text).map_err(|_| PipelineError::Unsupported(SPLIT.to_owned())))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(self.text.forward(&ids)?)
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

const SPLIT: &str = "the model's tokenizer cannot split this prompt; try plainer characters";

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

/// The weights of text encoder, UNet and VAE.
fn open_all(folder: &Path) -> Result<[WeightFile; 3], UnreadableFile> {
    Ok([
        open(folder, "text_encoder", "model")?,
        open(folder, "unet", "diffusion_pytorch_model")?,
        open(folder, "vae", "diffusion_pytorch_model")?,
    ])
}

/// Opens a part's weights, by their plain name or the half-precision variant's.
fn open(folder: &Path, part: &str, stem: &str) -> Result<WeightFile, UnreadableFile> {
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

fn check_fit(folder: &Path, clip: &ClipConfig, unet: &UNetConfig, vae: &VaeConfig) -> Result<(), UnreadableFile> {
    let wrong = |what: String| Err(UnreadableFile::new(folder, what));
    if unet.context_channels() != clip.hidden_size {
        let (wants, gives) = (unet.context_channels(), clip.hidden_size);
        return wrong(format!("pairs a UNet that reads vectors of {wants} with a text encoder that makes {gives}"));
    }
    if unet.in_channels != vae.latent_channels || unet.out_channels != vae.latent_channels {
        let (inner, latent) = (unet.in_channels, vae.latent_channels);
        return wrong(format!("pairs a UNet of {inner} channels with a VAE of {latent}: an inpainting model, perhaps"));
    }
    Ok(())
}
