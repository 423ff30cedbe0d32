//! The ControlNets of a lane: each with its hint, at work during its share of the steps.

use std::collections::BTreeMap;

use bytes::Bytes;
use candle_core::{Device, Tensor};

use crate::images::{Filter, decode, resize, unit_planes};
use crate::models::controlnet::Followed;
use crate::models::unet::{Conditions, Residuals};
use crate::pipeline::PipelineError;
use crate::pipeline::addons::UsedControl;

/// A ControlNet and what it follows.
#[derive(Clone, Debug)]
pub(super) struct LaneControl {
    used: UsedControl,
    /// The hint as the network has embedded it, which is the same at every step.
    hint: Tensor,
}

/// What a lane gives the denoiser at one step.
pub(super) struct LaneRows<'a> {
    pub(super) latents: &'a Tensor,
    pub(super) timesteps: &'a [f32],
    pub(super) conditions: Conditions<'a>,
}

impl LaneControl {
    /// Reads the hint and scales it to the picture of this height and width.
    pub(super) fn new(
        used: &UsedControl,
        inputs: &BTreeMap<String, Bytes>,
        (height, width): (u32, u32),
        device: &Device,
    ) -> Result<Self, PipelineError> {
        let key = &used.wanted.image;
        let file = inputs.get(key).ok_or_else(|| PipelineError::Unsupported(format!("the hint {key} is not there")))?;
        let image = decode("hint", file).map_err(|error| PipelineError::Unsupported(error.to_string()))?;
        let planes = unit_planes(&resize(&image, width, height, Filter::Lanczos));
        let picture = Tensor::from_vec(planes, (1, 3, height as usize, width as usize), device)?;
        Ok(Self { used: used.clone(), hint: used.net.embed_hint(&picture)? })
    }

    /// Whether it works at this step of so many: its whole step must lie in its share, as in diffusers.
    fn works(&self, step: u32, steps: u32) -> bool {
        let (step, steps) = (f64::from(step), f64::from(steps.max(1)));
        step / steps >= self.used.wanted.start && (step + 1.0) / steps <= self.used.wanted.end
    }

    fn follow(&self, rows: &LaneRows<'_>) -> candle_core::Result<Residuals> {
        let followed = Followed { hint: &self.hint, weight: self.used.wanted.weight };
        // A UNet made for inpainting is given more channels than its ControlNets are.
        let channels = self.used.net.config().encoder.in_channels;
        let latents = rows.latents.narrow(1, 0, channels)?.contiguous()?;
        self.used.net.forward(&latents, rows.timesteps, rows.conditions, followed)
    }
}

/// What those at work at this step add together, if any are.
pub(super) fn follow(
    controls: &[LaneControl],
    (step, steps): (u32, u32),
    rows: &LaneRows<'_>,
) -> candle_core::Result<Option<Residuals>> {
    let mut sum: Option<Residuals> = None;
    for control in controls.iter().filter(|control| control.works(step, steps)) {
        let own = control.follow(rows)?;
        sum = Some(match sum {
            Some(sum) => sum.plus(&own)?,
            None => own,
        });
    }
    Ok(sum)
}
