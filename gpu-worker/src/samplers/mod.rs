//! Samplers: from noise to a latent, given a model's outputs. Pure maths on plain numbers; the state serialises whole,
//! so that a run can be stopped at any step and resumed elsewhere. Must not know tensors, devices or models.
//!
//! The numbers are those of diffusers' 0.42 schedulers, except that DDIM and DDPM never clip their estimate of the
//! picture: that is for pixel models, and wrong for latents. Noise is asked for where diffusers draws it, so one
//! generator carried through a run gives diffusers' picture. Pairs of sampler and levels that diffusers has not got
//! (Euler a, and all `sgm_uniform`) follow the same rules in closed form.
//!
//! A run may leave out its first steps and start from a picture with noise added (img2img), as diffusers' img2img
//! pipelines do. One difference is meant: there LMS weighs the slopes it has as if it had those of the steps left out
//! too; here it takes the lower orders it can, as at the start of a whole run.

mod beta;
mod guidance;
mod history;
mod layout;
mod mixture;
mod multistep;
mod noisy;
mod recipe;
mod schedule;
mod step;

use serde::{Deserialize, Serialize};

pub use guidance::{guide, rescale};
pub use mixture::{Mixture, steps_of_strength};
pub use recipe::{Levels, Recipe, Solver};
pub use schedule::{BetaSchedule, NoiseSchedule, Prediction, ScheduleConfig, ScheduleError, Spacing};

/// A run of one sampler over one latent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SamplerRun {
    timesteps: Vec<f32>,
    /// Steps to take in all.
    steps: usize,
    /// Steps left out before those; PNDM's are not in its tables at all.
    skipped: usize,
    init_noise: f32,
    prediction: Prediction,
    method: Method,
    index: usize,
}

/// What differs between the samplers. `sigmas` are the noise levels before each step, and 0 after the last; `alphas`
/// the shares of picture (before, after) each evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Method {
    Ddim {
        alphas: Vec<(f32, f32)>,
    },
    Ddpm {
        alphas: Vec<(f32, f32)>,
    },
    Euler {
        sigmas: Vec<f32>,
    },
    EulerA {
        sigmas: Vec<f32>,
    },
    /// `half` is the latent and the slope at the start of a step, between its two evaluations.
    Heun {
        sigmas: Vec<f32>,
        half: Option<(Vec<f32>, Vec<f32>)>,
    },
    /// `previous` is the last step's estimate of the picture, absent before the first step.
    Dpmpp2m {
        sigmas: Vec<f32>,
        previous: Option<Vec<f32>>,
    },
    /// `start` is the latent at the start of a step, between its two evaluations.
    DpmppSde {
        sigmas: Vec<f32>,
        start: Option<Vec<f32>>,
    },
    Unipc {
        sigmas: Vec<f32>,
        memory: Box<multistep::UnipcMemory>,
    },
    Lms {
        sigmas: Vec<f32>,
        slopes: Vec<Vec<f32>>,
    },
    Pndm {
        alphas: Vec<(f32, f32)>,
        memory: Box<multistep::PndmMemory>,
    },
    Lcm {
        leaps: Vec<noisy::Leap>,
    },
    Tcd {
        leaps: Vec<noisy::Leap>,
    },
}

impl SamplerRun {
    /// Lays out a run.
    ///
    /// # Errors
    /// A number of steps the model has too few noise levels for, or levels the sampler cannot take.
    pub fn new(recipe: impl Into<Recipe>, schedule: &NoiseSchedule, steps: u32) -> Result<Self, ScheduleError> {
        Self::starting_at(recipe, schedule, steps, 0)
    }

    /// Lays out a run that leaves out its first `skipped` steps; [`Self::mixture`] says how much noise a picture must be
    /// given to start there. With all of them left out the run is over before it begins.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn starting_at(
        recipe: impl Into<Recipe>,
        schedule: &NoiseSchedule,
        steps: u32,
        skipped: u32,
    ) -> Result<Self, ScheduleError> {
        let recipe = recipe.into();
        let steps = schedule.check_steps(steps)?;
        let skipped = steps.min(skipped as usize);
        let taken = steps - skipped;
        let (timesteps, method) = layout::lay_out(recipe, schedule, steps, skipped)?;
        let init_noise = layout::init_noise(recipe, method.sigmas(), schedule);
        let timesteps: Vec<f32> = timesteps.into_iter().map(|step| step as f32).collect();
        let prediction = schedule.config.prediction_type;
        let skipped = if recipe.solver == Solver::Pndm { 0 } else { skipped };
        let index = if taken == 0 { timesteps.len() } else { skipped * method.evaluations() };
        Ok(Self { timesteps, steps: taken, skipped, init_noise, prediction, method, index })
    }

    /// The level the model is told at each evaluation. Some samplers evaluate more often than they step.
    pub fn timesteps(&self) -> &[f32] {
        &self.timesteps
    }

    /// The level of the next evaluation; none when the run is over.
    pub fn timestep(&self) -> Option<f32> {
        self.timesteps.get(self.index).copied()
    }

    /// Whole steps to take, those left out not counted.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Whole steps done.
    pub fn done(&self) -> usize {
        if self.index >= self.timesteps.len() {
            return self.steps;
        }
        let done = match &self.method {
            Method::Heun { .. } | Method::DpmppSde { .. } => self.index / 2,
            Method::Pndm { .. } => self.index.saturating_sub(1),
            Method::Ddim { .. }
            | Method::Ddpm { .. }
            | Method::Euler { .. }
            | Method::EulerA { .. }
            | Method::Dpmpp2m { .. }
            | Method::Unipc { .. }
            | Method::Lms { .. }
            | Method::Lcm { .. }
            | Method::Tcd { .. } => self.index,
        };
        done - self.skipped
    }

    /// What unit noise is multiplied with to be the first latent.
    pub fn init_noise(&self) -> f32 {
        self.init_noise
    }

    /// Noise levels for the samplers that work in them: one before each step and 0 after the last.
    pub fn sigmas(&self) -> Option<&[f32]> {
        self.method.sigmas()
    }

    /// The noise level of the next evaluation, for the samplers that work in them.
    pub fn sigma(&self) -> Option<f32> {
        let sigmas = self.sigmas()?;
        match &self.method {
            Method::Heun { .. } => sigmas.get(self.index.div_ceil(2)).copied(),
            Method::DpmppSde { .. } if self.index % 2 == 1 => {
                let step = self.index / 2;
                Some(middle(f64::from(*sigmas.get(step)?), f64::from(*sigmas.get(step + 1)?)) as f32)
            }
            Method::DpmppSde { .. } => sigmas.get(self.index / 2).copied(),
            Method::Ddim { .. }
            | Method::Ddpm { .. }
            | Method::Euler { .. }
            | Method::EulerA { .. }
            | Method::Dpmpp2m { .. }
            | Method::Unipc { .. }
            | Method::Lms { .. }
            | Method::Pndm { .. }
            | Method::Lcm { .. }
            | Method::Tcd { .. } => sigmas.get(self.index).copied(),
        }
    }

    /// The latent as the model wants to see it at this evaluation.
    pub fn model_input(&self, latent: &[f32]) -> Vec<f32> {
        match &self.method {
            Method::Ddim { .. }
            | Method::Ddpm { .. }
            | Method::Dpmpp2m { .. }
            | Method::Unipc { .. }
            | Method::Pndm { .. }
            | Method::Lcm { .. }
            | Method::Tcd { .. } => latent.to_vec(),
            Method::Euler { .. }
            | Method::EulerA { .. }
            | Method::Heun { .. }
            | Method::DpmppSde { .. }
            | Method::Lms { .. } => {
                let sigma = self.sigma().unwrap_or(0.0);
                let scale = (sigma * sigma + 1.0).sqrt();
                latent.iter().map(|value| value / scale).collect()
            }
        }
    }

    /// Takes in one evaluation: `output` is what the model said of [`Self::model_input`]; the latent changes in place.
    /// `noise` is asked for that many normal numbers where the sampler adds noise. After the end nothing changes.
    pub fn step(&mut self, output: &[f32], latent: &mut [f32], noise: impl FnOnce(usize) -> Vec<f32>) {
        debug_assert_eq!(output.len(), latent.len(), "the model answers with as many values as it was given");
        let (index, prediction, len) = (self.index, self.prediction, latent.len());
        let Some(timestep) = self.timestep() else { return };
        let sigma = f64::from(self.sigma().unwrap_or(0.0));
        match &mut self.method {
            Method::Ddim { alphas } => step::ddim(alphas[index], prediction, output, latent),
            Method::Ddpm { alphas } => {
                let noise = (timestep > 0.0).then(|| noise(len));
                noisy::ddpm(alphas[index], prediction, output, noise.as_deref(), latent);
            }
            Method::Euler { sigmas } => step::euler((sigmas[index], sigmas[index + 1]), prediction, output, latent),
            Method::EulerA { sigmas } => {
                let picture = noisy::exploding_picture(sigma, prediction, output, latent);
                noisy::euler_a((sigma, f64::from(sigmas[index + 1])), &picture, &noise(len), latent);
            }
            Method::Heun { sigmas, half } => {
                let picture = noisy::exploding_picture(sigma, prediction, output, latent);
                let slope = noisy::slope(sigma, &picture, latent);
                let width = f64::from(sigmas[index / 2 + 1]) - f64::from(sigmas[index / 2]);
                step::heun(width, slope, index / 2 + 2 < sigmas.len(), half, latent);
            }
            Method::Dpmpp2m { sigmas, previous } => {
                let picture = step::estimate(sigmas[index], prediction, output, latent);
                step::dpmpp_2m(sigmas, index, &picture, previous.as_deref(), latent);
                *previous = Some(picture);
            }
            Method::DpmppSde { sigmas, start } => {
                let picture = noisy::exploding_picture(sigma, prediction, output, latent);
                let (from, to) = (f64::from(sigmas[index / 2]), f64::from(sigmas[index / 2 + 1]));
                if to <= 0.0 {
                    latent.copy_from_slice(&picture);
                } else if let Some(start) = start.take() {
                    latent.copy_from_slice(&start);
                    noisy::sde_half((from, to), &picture, &noise(len), latent);
                } else {
                    *start = Some(latent.to_vec());
                    noisy::sde_half((from, middle(from, to)), &picture, &noise(len), latent);
                }
            }
            Method::Unipc { sigmas, memory } => {
                let picture = step::estimate(sigmas[index], prediction, output, latent);
                multistep::unipc(sigmas, index, picture, memory, latent);
            }
            Method::Lms { sigmas, slopes } => {
                let picture = noisy::exploding_picture(sigma, prediction, output, latent);
                multistep::lms(sigmas, index, noisy::slope(sigma, &picture, latent), slopes, latent);
            }
            Method::Pndm { alphas, memory } => {
                multistep::pndm(alphas[index], prediction, output, memory, latent);
            }
            Method::Lcm { leaps } => {
                let noise = leaps[index].next.map(|_| noise(len));
                noisy::lcm(leaps[index], prediction, output, noise.as_deref(), latent);
            }
            Method::Tcd { leaps } => {
                let noise = leaps[index].next.map(|_| noise(len));
                noisy::tcd(leaps[index], prediction, output, noise.as_deref(), latent);
            }
        }
        self.index += 1;
    }
}

impl Method {
    /// How often the model runs in a step that is not the last.
    fn evaluations(&self) -> usize {
        match self {
            Self::Heun { .. } | Self::DpmppSde { .. } => 2,
            Self::Ddim { .. }
            | Self::Ddpm { .. }
            | Self::Euler { .. }
            | Self::EulerA { .. }
            | Self::Dpmpp2m { .. }
            | Self::Unipc { .. }
            | Self::Lms { .. }
            | Self::Pndm { .. }
            | Self::Lcm { .. }
            | Self::Tcd { .. } => 1,
        }
    }

    fn sigmas(&self) -> Option<&[f32]> {
        match self {
            Self::Ddim { .. } | Self::Ddpm { .. } | Self::Pndm { .. } | Self::Lcm { .. } | Self::Tcd { .. } => None,
            Self::Euler { sigmas }
            | Self::EulerA { sigmas }
            | Self::Heun { sigmas, .. }
            | Self::Dpmpp2m { sigmas, .. }
            | Self::DpmppSde { sigmas, .. }
            | Self::Unipc { sigmas, .. }
            | Self::Lms { sigmas, .. } => Some(sigmas),
        }
    }
}

/// The noise level half way between two in its logarithm.
fn middle(sigma: f64, next: f64) -> f64 {
    (sigma * next).sqrt()
}

#[cfg(test)]
mod tests;
