//! A lane: one picture of one order on its way from noise to pixels. All that a step needs is in it, and all that a step
//! changes, so that it can be stepped beside any other lane, or written down and taken up elsewhere.

use std::sync::Arc;

use candle_core::Tensor;
use tintype_types::Hires;

use super::checkpoint::{CheckpointError, LaneState};
use super::control::LaneControl;
use super::ground::Files;
use super::pass::{From, Pass, Plan};
use crate::images::{Filter, resize};
use crate::models::adapters::Adapter;
use crate::output::RgbImage;
use crate::pipeline::addons::{Beside, UsedControl};
use crate::pipeline::text::Conditioning;
use crate::pipeline::{self, LoadedModel, Order, PipelineError};
use crate::rng::Noise;
use crate::samplers::{guide, rescale};
use crate::weights::Part;

/// A prompt pulls from here on; at and below it there is no second, unguided row.
const GUIDANCE_FROM: f64 = 1.0;

/// One picture being drawn by a [`LoadedModel`].
#[derive(Debug)]
pub struct Lane {
    pub(super) model: Arc<LoadedModel>,
    /// What tells all that it is drawn with from others.
    weights: String,
    /// The pass it is in: all that steps change is in there.
    pub(super) pass: Pass,
    /// Passes done, and the steps they had.
    passes_done: u32,
    before: u32,
    /// The pass after.
    next: Option<Next>,
    /// What the denoiser is told of the prompts: a row, or two when there is guidance.
    pub(super) told: Conditioning,
    /// How far from the negative prompt towards the prompt; none has one row and no guidance.
    pub(super) guidance: Option<f32>,
    /// How far guided output is brought back to the spread of unguided, 0 to 1.
    rescale: f32,
    /// What LoRAs change of the denoiser for its rows.
    pub(super) adapters: Vec<Adapter>,
    /// The ControlNets, with hints of the size of the pass it is in.
    pub(super) controls: Vec<LaneControl>,
}

/// A second pass: the first one's picture at a larger size, redrawn in part.
struct Next {
    plan: Plan,
    hires: Hires,
    /// Its files are read again at that size.
    order: Order,
    controls: Vec<UsedControl>,
}

impl std::fmt::Debug for Next {
    // Without the order, which holds the prompt.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Next").field("hires", &self.hires).finish_non_exhaustive()
    }
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
    /// Begins a picture: encodes the prompts and the user's pictures, and draws the first noise.
    ///
    /// # Errors
    /// A request the model cannot do, an input picture that cannot be used, or a device's failure.
    pub(crate) fn begin(
        model: &Arc<LoadedModel>,
        order: &Order,
        index: u32,
        beside: &Beside,
    ) -> Result<Self, PipelineError> {
        let request = &order.request;
        model.check(request)?;
        let plan = Plan::of(request, index);
        let size = (request.width, request.height);
        let ground = Files::of(order)?.map(|files| files.at(model, size));
        let from = request.init.as_ref().map_or(From::Noise, |init| From::Ground(init.strength));
        let pass = Pass::begin(model, plan, size, from, ground.as_ref())?;
        let next = |hires| Next { plan, hires, order: order.clone(), controls: beside.controls.clone() };
        let guidance = (request.guidance_scale > GUIDANCE_FROM).then_some(request.guidance_scale as f32);
        let negative = guidance.map(|_| request.negative_prompt.as_str());
        let told = model.text.encode(&request.prompt, negative, request.clip_skip as usize, beside)?;
        Ok(Self {
            controls: hints(&beside.controls, order, &pass, model)?,
            adapters: beside.adapters(Part::UNet),
            weights: beside.fingerprint(model.fingerprint()),
            model: Arc::clone(model),
            pass,
            passes_done: 0,
            before: 0,
            next: request.hires.map(next),
            told,
            guidance,
            rescale: request.guidance_rescale as f32,
        })
    }

    /// The picture of the pass it is in, once that is over.
    pub(crate) fn pixels(&self) -> Result<RgbImage, PipelineError> {
        let LatentSize { channels, height, width } = self.pass.size;
        self.model.decode(&Tensor::from_slice(&self.pass.latent, (1, channels, height, width), &self.model.device)?)
    }

    /// The finished picture: what a mask keeps is the user's own.
    pub(crate) fn picture(&self) -> Result<RgbImage, PipelineError> {
        let mut drawn = self.pixels()?;
        if let Some(ground) = &self.pass.ground {
            ground.put_back(&mut drawn);
        }
        Ok(drawn)
    }

    /// A small picture of what it is becoming; none before the first step of a pass.
    ///
    /// # Errors
    /// A device's failure.
    pub fn preview(&self) -> Result<Option<RgbImage>, PipelineError> {
        if self.pass.shown.is_empty() {
            return Ok(None);
        }
        let LatentSize { channels, height, width } = self.pass.size;
        let latent = Tensor::from_slice(&self.pass.shown, (1, channels, height, width), &self.model.device)?;
        self.model.preview(&latent).map(Some)
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
        let Some(scale) = self.guidance else { return self.pass.take_in(output) };
        let (without, with) = output.split_at(output.len() / 2);
        let mut guided = guide(without, with, scale);
        rescale(&mut guided, with, self.rescale);
        self.pass.take_in(&guided);
    }

    /// Whether its first pass is over and its second not begun. It then takes a step alone, which begins it.
    pub(super) fn is_between_passes(&self) -> bool {
        self.next.is_some() && self.pass.run.timestep().is_none()
    }

    /// Begins the second pass: decodes the first one's picture, scales it up in pixels, and adds noise to it. In pixels
    /// rather than in the latent (A1111's default), since latents scaled up want a strength that loses the composition.
    pub(super) fn begin_second_pass(&mut self) -> Result<(), PipelineError> {
        let Some(Next { plan, hires, order, controls }) = &self.next else { return Ok(()) };
        let size = (hires.width, hires.height);
        let drawn = resize(&self.pixels()?, hires.width, hires.height, Filter::Lanczos);
        // Without a mask nothing of the user's picture is kept; it was only where the first pass began.
        let ground = Files::of(order)?.filter(Files::has_mask).map(|files| files.at(&self.model, size));
        let pass = Pass::begin(&self.model, *plan, size, From::Drawn(&drawn, hires.strength), ground.as_ref())?;
        self.controls = hints(controls, order, &pass, &self.model)?;
        self.passes_done += 1;
        self.before = self.pass.run.steps() as u32;
        self.pass = pass;
        self.next = None;
        Ok(())
    }
}

/// ControlNets with their hints scaled to the size of a pass.
fn hints(
    controls: &[UsedControl],
    order: &Order,
    pass: &Pass,
    model: &LoadedModel,
) -> Result<Vec<LaneControl>, PipelineError> {
    controls.iter().map(|used| LaneControl::new(used, &order.inputs, pass.pixels, &model.device)).collect()
}

impl pipeline::Lane for Lane {
    fn progress(&self) -> (u32, u32) {
        let after = self.next.as_ref().map_or(0, |next| next.plan.steps_at(next.hires.strength));
        let (done, steps) = (self.pass.run.done() as u32, self.pass.run.steps() as u32);
        (self.before + done, self.before + steps + after)
    }

    fn is_over(&self) -> bool {
        self.next.is_none() && self.pass.run.timestep().is_none()
    }

    fn area(&self) -> usize {
        self.rows() * self.pass.size.height * self.pass.size.width
    }

    fn weights(&self) -> &str {
        &self.weights
    }

    fn state(&self) -> LaneState {
        LaneState {
            pass: self.passes_done,
            evaluations: self.pass.run.evaluations() as u32,
            // Plain numbers always have a JSON form.
            noise: serde_json::to_value(&self.pass.noise).unwrap_or_default(),
            latent: self.pass.latent.clone(),
            history: self.pass.run.history(),
        }
    }

    fn restore(&mut self, state: LaneState) -> Result<(), CheckpointError> {
        let LaneState { pass, evaluations, noise, latent, history } = state;
        if pass > 0 {
            // What it would begin with is thrown away; what it keeps and is shown beside follows from the order alone.
            self.begin_second_pass().map_err(|_| CheckpointError::Unfit("its second pass cannot be begun"))?;
        }
        let values = self.pass.size.values();
        if pass != self.passes_done || latent.len() != values || history.iter().any(|list| list.len() != values) {
            return Err(CheckpointError::Unfit("the size of the picture"));
        }
        if latent.iter().chain(history.iter().flatten()).any(|value| !value.is_finite()) {
            return Err(CheckpointError::Unfit("a number that is none"));
        }
        let run = self.pass.run.resumed(evaluations as usize, history);
        self.pass.run = run.ok_or(CheckpointError::Unfit("the steps done, or what the sampler remembers of them"))?;
        let noise: Option<Noise> = serde_json::from_value(noise).ok();
        self.pass.noise = noise.filter(Noise::is_sound).ok_or(CheckpointError::Unfit("the noise generator"))?;
        self.pass.latent = latent;
        Ok(())
    }

    fn steps_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.model, &other.model)
            && self.pass.size == other.pass.size
            && !self.is_between_passes()
            && !other.is_between_passes()
    }
}

/// The latent of a picture, by its width and height.
pub(super) fn latent_size(model: &LoadedModel, (width, height): (u32, u32)) -> LatentSize {
    let side = |pixels: u32| pixels as usize / model.vae_factor;
    LatentSize { channels: model.latent_channels, height: side(height), width: side(width) }
}
