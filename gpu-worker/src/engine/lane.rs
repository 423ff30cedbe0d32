//! A lane: one picture of one order on its way from noise to pixels. All that a step needs is in it, and all that a step
//! changes, so that it can be stepped beside any other lane, or written down and taken up elsewhere.

use std::sync::Arc;

use candle_core::Tensor;
use tintype_types::ResolvedRequest;

use super::checkpoint::{CheckpointError, LaneState};
use super::control::LaneControl;
use crate::models::adapters::Adapter;
use crate::output::RgbImage;
use crate::pipeline::addons::Beside;
use crate::pipeline::text::Conditioning;
use crate::pipeline::{self, LoadedModel, Order, PipelineError, seed_of};
use crate::rng::Noise;
use crate::samplers::SamplerRun;
use crate::weights::Part;

/// A prompt pulls from here on; at and below it there is no second, unguided row.
const GUIDANCE_FROM: f64 = 1.0;

/// One picture being drawn by a [`LoadedModel`].
#[derive(Debug)]
pub struct Lane {
    pub(super) model: Arc<LoadedModel>,
    /// The latent, as the sampler holds it.
    pub(super) latent: Vec<f32>,
    pub(super) size: LatentSize,
    pub(super) run: SamplerRun,
    /// One generator makes the first latent and all noise added later, as in diffusers.
    pub(super) noise: Noise,
    /// What the denoiser is told of the prompts: a row, or two when there is guidance.
    pub(super) told: Conditioning,
    /// How far from the negative prompt towards the prompt; none has one row and no guidance.
    pub(super) guidance: Option<f32>,
    /// Height and width of the picture in pixels, which SDXL is told.
    pub(super) pixels: (u32, u32),
    /// What LoRAs change of the denoiser for its rows.
    pub(super) adapters: Vec<Adapter>,
    pub(super) controls: Vec<LaneControl>,
}

/// Shape of a latent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LatentSize {
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
}

impl LatentSize {
    pub(super) fn values(self) -> usize {
        self.channels * self.height * self.width
    }
}

impl Lane {
    /// Begins a picture: encodes the prompts, embeds the hints and draws the first noise.
    ///
    /// # Errors
    /// A request the model cannot do, or a device's failure.
    pub(crate) fn begin(
        model: &Arc<LoadedModel>,
        order: &Order,
        index: u32,
        beside: &Beside,
    ) -> Result<Self, PipelineError> {
        let request = &order.request;
        model.check(request)?;
        let run = SamplerRun::new(request.sampler, &model.schedule, request.steps)?;
        let size = latent_size(model, request);
        let mut noise = Noise::new(request.noise, seed_of(request, index));
        let mut latent = noise.randn(size.values());
        for value in &mut latent {
            *value *= run.init_noise();
        }
        let guidance = (request.guidance_scale > GUIDANCE_FROM).then_some(request.guidance_scale as f32);
        let negative = guidance.map(|_| request.negative_prompt.as_str());
        let told = model.text.encode(&request.prompt, negative, request.clip_skip as usize, beside)?;
        let pixels = (request.height, request.width);
        let adapters = beside.adapters(Part::UNet);
        let hint = |used| LaneControl::new(used, &order.inputs, pixels, &model.device);
        let controls = beside.controls.iter().map(hint).collect::<Result<_, _>>()?;
        Ok(Self { model: Arc::clone(model), latent, size, run, noise, told, guidance, pixels, adapters, controls })
    }

    /// The picture, once the run is over.
    pub(crate) fn pixels(&self) -> Result<RgbImage, PipelineError> {
        let LatentSize { channels, height, width } = self.size;
        self.model.decode(&Tensor::from_slice(&self.latent, (1, channels, height, width), &self.model.device)?)
    }

    /// Rows it gives the denoiser.
    pub(super) fn rows(&self) -> usize {
        if self.guidance.is_some() { 2 } else { 1 }
    }

    /// Tokens of its prompts, padded to whole chunks.
    pub(super) fn tokens(&self) -> usize {
        self.told.context.dims().get(1).copied().unwrap_or(0)
    }

    /// Takes in what the denoiser said of its rows.
    pub(super) fn take_in(&mut self, output: &[f32]) {
        let guided;
        let output = match self.guidance {
            None => output,
            Some(scale) => {
                guided = guide(output, scale);
                &guided
            }
        };
        let noise = &mut self.noise;
        self.run.step(output, &mut self.latent, |len| noise.randn(len));
    }
}

impl pipeline::Lane for Lane {
    fn progress(&self) -> (u32, u32) {
        (self.run.done() as u32, self.run.steps() as u32)
    }

    fn is_over(&self) -> bool {
        self.run.timestep().is_none()
    }

    fn area(&self) -> usize {
        self.rows() * self.size.height * self.size.width
    }

    fn state(&self) -> LaneState {
        LaneState {
            pass: 0,
            evaluations: self.run.evaluations() as u32,
            // Plain numbers always have a JSON form.
            noise: serde_json::to_value(&self.noise).unwrap_or_default(),
            latent: self.latent.clone(),
            history: self.run.history(),
        }
    }

    fn restore(&mut self, state: LaneState) -> Result<(), CheckpointError> {
        let LaneState { pass, evaluations, noise, latent, history } = state;
        let values = self.size.values();
        if pass != 0 || latent.len() != values || history.iter().any(|list| list.len() != values) {
            return Err(CheckpointError::Unfit("the size of the picture"));
        }
        if latent.iter().chain(history.iter().flatten()).any(|value| !value.is_finite()) {
            return Err(CheckpointError::Unfit("a number that is none"));
        }
        let run = self.run.resumed(evaluations as usize, history);
        self.run = run.ok_or(CheckpointError::Unfit("the steps done, or what the sampler remembers of them"))?;
        let noise: Option<Noise> = serde_json::from_value(noise).ok();
        self.noise = noise.filter(Noise::is_sound).ok_or(CheckpointError::Unfit("the noise generator"))?;
        self.latent = latent;
        Ok(())
    }

    fn steps_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.model, &other.model) && self.size == other.size
    }
}

fn latent_size(model: &LoadedModel, request: &ResolvedRequest) -> LatentSize {
    let side = |pixels: u32| pixels as usize / model.vae_factor;
    LatentSize { channels: model.latent_channels, height: side(request.height), width: side(request.width) }
}

/// Classifier-free guidance (Ho and Salimans, 2022): from what the negative prompt says towards what the prompt says.
fn guide(both: &[f32], scale: f32) -> Vec<f32> {
    let (without, with) = both.split_at(both.len() / 2);
    without.iter().zip(with).map(|(without, with)| without + scale * (with - without)).collect()
}
