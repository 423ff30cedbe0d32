//! One pass of a picture: a run of the sampler at one size, and what it begins with. A picture has one pass, or two when a
//! larger one is redrawn from a first (`hires`).
//!
//! Everything here is made from the order and the seed alone, in the order in which diffusers' pipelines draw their
//! noise; so a lane that is taken up elsewhere finds the same, and only what its steps have changed is written down.

use tintype_types::{NoiseSource, ResolvedRequest};

use super::ground::Ground;
use super::lane::{LatentSize, latent_size};
use crate::output::RgbImage;
use crate::pipeline::{LoadedModel, PipelineError, seed_of};
use crate::rng::Noise;
use crate::samplers::{Recipe, SamplerRun, steps_of_strength};

/// What both passes of a picture have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    recipe: Recipe,
    /// Of a whole run.
    steps: u32,
    source: NoiseSource,
    seed: u64,
}

impl Plan {
    pub(super) fn of(request: &ResolvedRequest, index: u32) -> Self {
        let ResolvedRequest { sampler, levels, steps, noise, .. } = *request;
        Self { recipe: Recipe::of(sampler, levels), steps, source: noise, seed: seed_of(request, index) }
    }

    /// Steps a pass takes that redraws this share of a picture.
    pub(super) fn steps_at(self, strength: f64) -> u32 {
        steps_of_strength(self.steps, strength)
    }
}

/// Where a pass comes from.
#[derive(Clone, Copy)]
pub(super) enum From<'a> {
    /// Noise.
    Noise,
    /// The user's picture, redrawn by this share.
    Ground(f64),
    /// The first pass's picture at its new size, redrawn by this share.
    Drawn(&'a RgbImage, f64),
}

/// What a pass begins with.
#[derive(Debug)]
pub(super) struct Pass {
    /// The latent, as the sampler holds it.
    pub(super) latent: Vec<f32>,
    pub(super) size: LatentSize,
    pub(super) run: SamplerRun,
    /// One generator makes the first latent and all noise added later, as in diffusers. A second pass has its own, begun
    /// with the same seed, as in A1111.
    pub(super) noise: Noise,
    /// What is kept of the user's picture, step by step, with a denoiser that knows nothing of masks.
    pub(super) keep: Option<Keep>,
    /// The user's picture and its mask in pixels; nothing where no mask keeps any of it.
    pub(super) ground: Option<Ground>,
    /// What a denoiser made for inpainting is shown beside the latent: the mask, and the latent of the picture without what
    /// is redrawn. Empty for others.
    pub(super) beside: Vec<f32>,
    /// The picture the denoiser believed in last, as a latent, for previews; empty before it was asked.
    pub(super) shown: Vec<f32>,
    /// Height and width of the picture in pixels, which SDXL is told.
    pub(super) pixels: (u32, u32),
}

/// A user's picture that shows through where it is not redrawn.
#[derive(Debug)]
pub(super) struct Keep {
    picture: Vec<f32>,
    noise: Vec<f32>,
    /// Whether each place is redrawn.
    redrawn: Vec<bool>,
}

impl Pass {
    /// Lays out a pass of `width` x `height` pixels. `ground` is the user's picture at that size, if there is one.
    ///
    /// # Errors
    /// A number of steps the model cannot take, a model without an encoder, or a device's failure.
    pub(super) fn begin(
        model: &LoadedModel,
        plan: Plan,
        (width, height): (u32, u32),
        from: From<'_>,
        ground: Option<&Ground>,
    ) -> Result<Self, PipelineError> {
        let size = latent_size(model, (width, height));
        let mut noise = Noise::new(plan.source, plan.seed);
        let mask = ground.and_then(|ground| ground.mask.as_ref());
        // With a mask, all of it redrawn is begun from noise alone; without one the picture still shines through.
        let (picture, strength) = match from {
            From::Noise => (None, 1.0),
            From::Ground(strength) => (ground.map(|ground| &ground.picture), strength),
            From::Drawn(picture, strength) => (Some(picture), strength),
        };
        let from_noise = picture.is_none() || (mask.is_some() && strength >= 1.0);
        let keeps = mask.is_some() && !model.inpaints;
        let spread = if from_noise && !keeps { None } else { Some(noise.randn(size.values())) };
        let start = match (picture, &spread) {
            (Some(picture), Some(spread)) if !from_noise => Some(model.encode(picture, spread.clone())?),
            _ => None,
        };
        let unit = noise.randn(size.values());
        let taken = if picture.is_some() { plan.steps_at(strength) } else { plan.steps };
        let run = SamplerRun::starting_at(plan.recipe, &model.schedule, plan.steps, plan.steps - taken)?;
        let latent = match &start {
            Some(start) => run.mixture().of(start, &unit),
            None => unit.iter().map(|value| value * run.init_noise()).collect(),
        };
        // Drawn whether it is used or not: what follows must be what follows in diffusers.
        let third = if mask.is_some() || model.inpaints { noise.randn(size.values()) } else { Vec::new() };
        let beside = if model.inpaints { beside(model, (width, height), ground, third)? } else { Vec::new() };
        let keep = match (ground, mask, spread) {
            (Some(ground), Some(mask), Some(spread)) if keeps => {
                let picture = match (from, start) {
                    (From::Ground(_), Some(start)) => start,
                    _ => model.encode(&ground.picture, spread)?,
                };
                Some(Keep { picture, noise: unit, redrawn: mask.latent.clone() })
            }
            _ => None,
        };
        let (shown, ground) = (Vec::new(), ground.filter(|ground| ground.mask.is_some()).cloned());
        Ok(Self { latent, size, run, noise, keep, ground, beside, shown, pixels: (height, width) })
    }

    /// Takes in one evaluation of the denoiser.
    pub(super) fn take_in(&mut self, output: &[f32]) {
        self.shown = self.run.estimate(output, &self.latent);
        let noise = &mut self.noise;
        self.run.step(output, &mut self.latent, |len| noise.randn(len));
        let Some(Keep { picture, noise, redrawn }) = &self.keep else { return };
        // As noisy as the latent is now.
        let kept = self.run.mixture().of(picture, noise);
        for (place, (value, kept)) in self.latent.iter_mut().zip(kept).enumerate() {
            if !redrawn.get(place % redrawn.len().max(1)).copied().unwrap_or(true) {
                *value = kept;
            }
        }
    }
}

/// Mask and masked picture for a denoiser made for inpainting. Without a mask all is redrawn, and of the picture nothing
/// is shown.
fn beside(
    model: &LoadedModel,
    (width, height): (u32, u32),
    ground: Option<&Ground>,
    noise: Vec<f32>,
) -> Result<Vec<f32>, PipelineError> {
    let size = latent_size(model, (width, height));
    let (mut planes, mut shown) =
        (vec![0.0; 3 * width as usize * height as usize], vec![1.0; size.height * size.width]);
    if let Some(Ground { picture, mask: Some(mask) }) = ground {
        planes = crate::images::signed_planes(picture);
        mask.blank(&mut planes);
        shown = mask.latent.iter().map(|redrawn| f32::from(u8::from(*redrawn))).collect();
    }
    shown.extend(model.encode_planes(planes, (width, height), noise)?);
    Ok(shown)
}
