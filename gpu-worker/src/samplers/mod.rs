//! Samplers: from noise to a latent, given a model's outputs. Pure maths on plain numbers; the state serialises whole,
//! so that a run can be stopped at any step and resumed elsewhere. Must not know tensors, devices or models.
//!
//! The numbers are diffusers' 0.42 (its `DDIMScheduler`, `EulerDiscreteScheduler` and `DPMSolverMultistepScheduler`),
//! except that DDIM never clips its estimate of the picture: that is for pixel models, and wrong for latents.

mod schedule;
mod step;

use serde::{Deserialize, Serialize};
use tintype_types::Sampler;

pub use schedule::{BetaSchedule, NoiseSchedule, Prediction, ScheduleConfig, ScheduleError, Spacing};

/// A run of one sampler over one latent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SamplerRun {
    timesteps: Vec<f32>,
    init_noise: f32,
    prediction: Prediction,
    method: Method,
    index: usize,
}

/// What differs between the samplers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Method {
    /// `alphas[i]` is (this level's, the next level's) share of picture left.
    Ddim { alphas: Vec<(f32, f32)> },
    /// Noise level before each step, and 0 after the last.
    Euler { sigmas: Vec<f32> },
    /// Noise levels as above; `previous` is the last step's estimate of the picture, absent before the first step.
    Dpmpp2m { sigmas: Vec<f32>, previous: Option<Vec<f32>> },
}

impl SamplerRun {
    /// Lays out a run.
    ///
    /// # Errors
    /// A number of steps the model has too few noise levels for.
    pub fn new(sampler: Sampler, schedule: &NoiseSchedule, steps: u32) -> Result<Self, ScheduleError> {
        let steps = schedule.check_steps(steps)?;
        let (timesteps, method) = match sampler {
            Sampler::Ddim => ddim(schedule, steps),
            Sampler::Euler => {
                let timesteps = schedule.timesteps_euler(steps);
                let sigmas = sigmas_at(schedule, &timesteps);
                (timesteps, Method::Euler { sigmas })
            }
            Sampler::Dpmpp2m => {
                let timesteps = schedule.timesteps_multistep(steps);
                let sigmas = sigmas_at(schedule, &timesteps);
                (timesteps, Method::Dpmpp2m { sigmas, previous: None })
            }
            Sampler::Dpmpp2mKarras => {
                let (timesteps, sigmas) = schedule.karras(steps);
                let sigmas = ended(&sigmas);
                (timesteps, Method::Dpmpp2m { sigmas, previous: None })
            }
        };
        let init_noise = init_noise(&method, schedule);
        let timesteps = timesteps.into_iter().map(|step| step as f32).collect();
        Ok(Self { timesteps, init_noise, prediction: schedule.config.prediction_type, method, index: 0 })
    }

    /// The level the model is told at each step, highest first.
    pub fn timesteps(&self) -> &[f32] {
        &self.timesteps
    }

    /// The level of the next step; none when the run is over.
    pub fn timestep(&self) -> Option<f32> {
        self.timesteps.get(self.index).copied()
    }

    /// Steps done.
    pub fn done(&self) -> usize {
        self.index
    }

    /// What unit noise is multiplied with to be the first latent.
    pub fn init_noise(&self) -> f32 {
        self.init_noise
    }

    /// Noise levels for the samplers that work in them: one before each step and 0 after the last.
    pub fn sigmas(&self) -> Option<&[f32]> {
        match &self.method {
            Method::Ddim { .. } => None,
            Method::Euler { sigmas } | Method::Dpmpp2m { sigmas, .. } => Some(sigmas),
        }
    }

    /// The latent as the model wants to see it at this step.
    pub fn model_input(&self, latent: &[f32]) -> Vec<f32> {
        match &self.method {
            Method::Ddim { .. } | Method::Dpmpp2m { .. } => latent.to_vec(),
            Method::Euler { sigmas } => {
                let sigma = sigmas.get(self.index).copied().unwrap_or(0.0);
                let scale = (sigma * sigma + 1.0).sqrt();
                latent.iter().map(|value| value / scale).collect()
            }
        }
    }

    /// Takes one step: `output` is what the model said of [`Self::model_input`]; the latent changes in place. After the
    /// last step it changes nothing.
    pub fn step(&mut self, output: &[f32], latent: &mut [f32]) {
        debug_assert_eq!(output.len(), latent.len(), "the model answers with as many values as it was given");
        let (index, prediction) = (self.index, self.prediction);
        if index >= self.timesteps.len() {
            return;
        }
        match &mut self.method {
            Method::Ddim { alphas } => step::ddim(alphas[index], prediction, output, latent),
            Method::Euler { sigmas } => step::euler((sigmas[index], sigmas[index + 1]), prediction, output, latent),
            Method::Dpmpp2m { sigmas, previous } => {
                let picture = step::estimate(sigmas[index], prediction, output, latent);
                step::dpmpp_2m(sigmas, index, &picture, previous.as_deref(), latent);
                *previous = Some(picture);
            }
        }
        self.index += 1;
    }
}

fn ddim(schedule: &NoiseSchedule, steps: usize) -> (Vec<f64>, Method) {
    let levels = &schedule.alphas_cumprod;
    let last = levels.len() - 1;
    let stride = (levels.len() / steps) as f64;
    let end = if schedule.config.set_alpha_to_one { 1.0 } else { levels[0] };
    let timesteps = schedule.timesteps_ddim(steps);
    let alphas = timesteps
        .iter()
        .map(|&level| {
            let next = level - stride;
            let next = if next >= 0.0 { levels[(next as usize).min(last)] } else { end };
            (levels[(level as usize).min(last)], next)
        })
        .collect();
    (timesteps, Method::Ddim { alphas })
}

fn sigmas_at(schedule: &NoiseSchedule, timesteps: &[f64]) -> Vec<f32> {
    let trained = schedule.train_sigmas();
    let sigmas: Vec<f64> = timesteps.iter().map(|level| schedule::interpolate(&trained, *level)).collect();
    ended(&sigmas)
}

/// The levels in single precision with the end, no noise, behind them.
fn ended(sigmas: &[f64]) -> Vec<f32> {
    sigmas.iter().map(|sigma| *sigma as f32).chain([0.0]).collect()
}

fn init_noise(method: &Method, schedule: &NoiseSchedule) -> f32 {
    match method {
        Method::Ddim { .. } | Method::Dpmpp2m { .. } => 1.0,
        Method::Euler { sigmas } => {
            let max = sigmas.iter().copied().fold(0.0_f32, f32::max);
            match schedule.config.timestep_spacing.unwrap_or(Spacing::Linspace) {
                Spacing::Linspace | Spacing::Trailing => max,
                Spacing::Leading => (max * max + 1.0).sqrt(),
            }
        }
    }
}

#[cfg(test)]
mod tests;
