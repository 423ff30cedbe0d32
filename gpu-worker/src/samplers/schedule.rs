//! The noise a model was trained with, and which of its thousand levels a run of a few steps visits.
//!
//! Everything is computed as diffusers 0.42 does, read from the folder's `scheduler/scheduler_config.json` (diffusers
//! calls a sampler a scheduler). Pure arithmetic: no tensors, no files.

use serde::{Deserialize, Serialize};
use tintype_types::limits::STEPS_MAX;

use super::beta::quantile;

/// Most noise levels a model may have been trained with: ten times what any published one has.
const TRAIN_STEPS_MAX: usize = 10_000;
/// Levels at which LCM and TCD models were distilled.
pub(super) const DISTILLED_STEPS: usize = 50;
/// Exponent of the Karras noise levels (Karras et al., 2022).
const KARRAS_RHO: f64 = 7.0;

/// What stands for no signal at all where noise is told by its ratio to signal: diffusers' number, 2 to the -24.
const ALPHA_MIN: f32 = 5.960_464_5e-8;

/// What the model's output stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prediction {
    /// The noise in the latent.
    #[default]
    Epsilon,
    /// The velocity `alpha * noise - sigma * x0` (Salimans and Ho, 2022).
    VPrediction,
}

/// How the visited levels are spread over the trained ones (Lin et al., 2023, table 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spacing {
    /// Evenly from the first level to the last, both included.
    Linspace,
    /// Whole strides from the first level.
    Leading,
    /// Strides back from the last level.
    Trailing,
}

/// How the noise grows over the trained levels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetaSchedule {
    /// Betas rise evenly.
    Linear,
    /// Square roots of the betas rise evenly: every Stable Diffusion.
    #[default]
    ScaledLinear,
}

/// The fields of `scheduler_config.json` that the samplers here depend on; the others are another sampler's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScheduleConfig {
    /// Trained levels.
    pub num_train_timesteps: usize,
    /// Beta of the first level.
    pub beta_start: f64,
    /// Beta of the last level.
    pub beta_end: f64,
    /// How betas rise.
    pub beta_schedule: BetaSchedule,
    /// Betas given one by one instead.
    pub trained_betas: Option<Vec<f64>>,
    /// What the model's output stands for.
    pub prediction_type: Prediction,
    /// Spread of the visited levels; absent, each sampler has its own as in diffusers.
    pub timestep_spacing: Option<Spacing>,
    /// Added to each visited level when the spacing is leading.
    pub steps_offset: usize,
    /// Whether DDIM's last step ends at no noise at all rather than at the first level's.
    pub set_alpha_to_one: bool,
    /// Betas rescaled so that the last level is pure noise (Lin et al., 2023, algorithm 1); for models that predict v.
    pub rescale_betas_zero_snr: bool,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self {
            num_train_timesteps: 1_000,
            beta_start: 0.000_85,
            beta_end: 0.012,
            beta_schedule: BetaSchedule::ScaledLinear,
            trained_betas: None,
            prediction_type: Prediction::Epsilon,
            timestep_spacing: None,
            steps_offset: 0,
            set_alpha_to_one: true,
            rescale_betas_zero_snr: false,
        }
    }
}

/// Why a run cannot be laid out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// The model's own numbers make no sense or ask for something that is not done here.
    #[error("the model's scheduler_config.json {0}")]
    Config(String),
    /// The request's number of steps does not fit the model.
    #[error("{steps} steps cannot be taken: this model takes 1 to {max}")]
    Steps {
        /// What was asked.
        steps: u32,
        /// The most it can do.
        max: u32,
    },
    /// The sampler works on whole trained levels.
    #[error("the sampler {solver} takes the model's own levels or trailing ones, not {levels}")]
    Pairing {
        /// The sampler.
        solver: String,
        /// What was asked.
        levels: String,
    },
}

/// The trained noise levels of one model.
#[derive(Clone, Debug, PartialEq)]
pub struct NoiseSchedule {
    /// Product of `1 - beta` up to each level: the part of the picture that is left.
    pub(super) alphas_cumprod: Vec<f32>,
    /// The model's settings.
    pub(super) config: ScheduleConfig,
}

impl NoiseSchedule {
    /// Checks the settings and computes the levels.
    ///
    /// # Errors
    /// Numbers that cannot be a noise schedule, or one this program does not know.
    pub fn new(config: ScheduleConfig) -> Result<Self, ScheduleError> {
        let zero_snr = config.rescale_betas_zero_snr;
        if zero_snr && config.prediction_type == Prediction::Epsilon {
            return refuse(
                "sets rescale_betas_zero_snr for a model that predicts noise: of pure noise that says nothing",
            );
        }
        if config.steps_offset > TRAIN_STEPS_MAX {
            return refuse("has a steps_offset out of bounds");
        }
        let betas = if zero_snr { without_signal_at_last(&betas(&config)?) } else { betas(&config)? };
        let mut product = 1.0_f64;
        let alphas_cumprod: Vec<f32> = betas
            .iter()
            .map(|beta| {
                product *= f64::from(1.0_f32 - beta);
                product as f32
            })
            .collect();
        let signal = alphas_cumprod.len() - usize::from(zero_snr);
        if !alphas_cumprod[..signal].iter().all(|alpha| *alpha > 0.0 && *alpha < 1.0) {
            return refuse("has betas outside 0 to 1");
        }
        Ok(Self { alphas_cumprod, config })
    }

    /// Refuses a number of steps the model has too few levels for.
    pub(super) fn check_steps(&self, steps: u32) -> Result<usize, ScheduleError> {
        // One level less than there are: leading multistep spacing divides by steps + 1.
        let max = STEPS_MAX.min(u32::try_from(self.alphas_cumprod.len() - 1).unwrap_or(u32::MAX));
        if steps == 0 || steps > max {
            return Err(ScheduleError::Steps { steps, max });
        }
        Ok(steps as usize)
    }

    /// Noise to signal at each trained level; where there is no signal at all, as with hardly any.
    pub(super) fn train_sigmas(&self) -> Vec<f64> {
        let some = |alpha: f32| if alpha > 0.0 { alpha } else { ALPHA_MIN };
        let alphas = self.alphas_cumprod.iter().map(|alpha| some(*alpha));
        alphas.map(|alpha| f64::from(((1.0 - alpha) / alpha).sqrt())).collect()
    }

    /// Visited levels as DDIM lays them out, highest first.
    pub(super) fn timesteps_ddim(&self, steps: usize, spacing: Option<Spacing>) -> Vec<f64> {
        let trained = self.alphas_cumprod.len();
        match spacing.unwrap_or(Spacing::Leading) {
            Spacing::Linspace => linspace(0.0, (trained - 1) as f64, steps).map(round_even).rev().collect(),
            Spacing::Leading => self.leading(steps, trained / steps),
            Spacing::Trailing => trailing(trained, steps),
        }
    }

    /// Visited levels as Euler lays them out, highest first; linspace leaves them between whole levels.
    pub(super) fn timesteps_euler(&self, steps: usize, spacing: Option<Spacing>) -> Vec<f64> {
        let trained = self.alphas_cumprod.len();
        match spacing.unwrap_or(Spacing::Linspace) {
            // diffusers makes these in single precision.
            Spacing::Linspace => {
                linspace(0.0, (trained - 1) as f64, steps).map(|step| f64::from(step as f32)).rev().collect()
            }
            Spacing::Leading => self.leading(steps, trained / steps),
            Spacing::Trailing => trailing(trained, steps),
        }
    }

    /// Visited levels as DPM-Solver multistep lays them out, highest first.
    pub(super) fn timesteps_multistep(&self, steps: usize, spacing: Option<Spacing>) -> Vec<f64> {
        let trained = self.alphas_cumprod.len();
        match spacing.unwrap_or(Spacing::Linspace) {
            Spacing::Linspace => linspace(0.0, (trained - 1) as f64, steps + 1).map(round_even).skip(1).rev().collect(),
            Spacing::Leading => {
                let stride = trained / (steps + 1);
                let offset = self.config.steps_offset;
                (1..=steps).rev().map(|step| (step * stride + offset) as f64).collect()
            }
            Spacing::Trailing => trailing(trained, steps),
        }
    }

    /// The levels LCM and TCD were distilled at, spread over the steps, highest first.
    pub(super) fn timesteps_distilled(&self, steps: usize) -> Vec<f64> {
        let stride = self.alphas_cumprod.len() / DISTILLED_STEPS;
        (0..steps)
            .map(|step| DISTILLED_STEPS - step * DISTILLED_STEPS / steps)
            .map(|place| (place * stride) as f64 - 1.0)
            .collect()
    }

    /// The levels at which the noise is this.
    pub(super) fn levels_of(&self, sigmas: &[f64]) -> Vec<f64> {
        // Logarithms in single precision, as diffusers takes them: it decides on which side of a level an end falls.
        let logs: Vec<f64> = self.train_sigmas().iter().map(|sigma| f64::from((*sigma as f32).ln())).collect();
        sigmas.iter().map(|sigma| level_of(sigma.max(1e-10).ln(), &logs)).collect()
    }

    /// Noise at levels that may lie between two trained ones.
    pub(super) fn sigmas_at(&self, timesteps: &[f64]) -> Vec<f64> {
        let trained = self.train_sigmas();
        timesteps.iter().map(|level| interpolate(&trained, *level)).collect()
    }

    /// Even steps in time from the last level to the first, which is left out, and the noise there by its logarithm.
    pub(super) fn sgm_uniform(&self, steps: usize) -> (Vec<f64>, Vec<f64>) {
        let logs: Vec<f64> = self.train_sigmas().iter().map(|sigma| sigma.ln()).collect();
        let last = (logs.len() - 1) as f64;
        let timesteps: Vec<f64> = linspace(last, 0.0, steps + 1).take(steps).collect();
        let sigmas = timesteps.iter().map(|level| interpolate(&logs, *level).exp()).collect();
        (timesteps, sigmas)
    }

    fn leading(&self, steps: usize, stride: usize) -> Vec<f64> {
        (0..steps).rev().map(|step| (step * stride + self.config.steps_offset) as f64).collect()
    }
}

/// The value at a level that may lie between two, as `numpy.interp` reads it.
fn interpolate(values: &[f64], level: f64) -> f64 {
    let last = values.len() - 1;
    let level = level.clamp(0.0, last as f64);
    let below = (level.floor() as usize).min(last);
    let above = (below + 1).min(last);
    values[below] + (values[above] - values[below]) * (level - below as f64)
}

/// Karras noise levels between two.
pub(super) fn karras(high: f64, low: f64, steps: usize) -> Vec<f64> {
    let (low, high) = (low.powf(1.0 / KARRAS_RHO), high.powf(1.0 / KARRAS_RHO));
    linspace(0.0, 1.0, steps).map(|ramp| (high + ramp * (low - high)).powf(KARRAS_RHO)).collect()
}

/// Noise levels between two that fall by one factor.
pub(super) fn exponential(high: f64, low: f64, steps: usize) -> Vec<f64> {
    linspace(high.ln(), low.ln(), steps).map(f64::exp).collect()
}

/// Noise levels between two by the quantiles of a beta distribution.
pub(super) fn beta(high: f64, low: f64, steps: usize) -> Vec<f64> {
    linspace(0.0, 1.0, steps).map(|ramp| low + quantile(1.0 - ramp) * (high - low)).collect()
}

fn betas(config: &ScheduleConfig) -> Result<Vec<f32>, ScheduleError> {
    if let Some(betas) = &config.trained_betas {
        if betas.len() < 2 || betas.len() > TRAIN_STEPS_MAX {
            return refuse("has a trained_betas list that is too short or too long");
        }
        return Ok(betas.iter().map(|beta| *beta as f32).collect());
    }
    let steps = config.num_train_timesteps;
    if !(2..=TRAIN_STEPS_MAX).contains(&steps) {
        return refuse("has a num_train_timesteps out of bounds");
    }
    let (start, end) = (config.beta_start, config.beta_end);
    Ok(match config.beta_schedule {
        BetaSchedule::Linear => linspace(start, end, steps).map(|beta| beta as f32).collect(),
        BetaSchedule::ScaledLinear => linspace(start.sqrt(), end.sqrt(), steps)
            .map(|root| {
                let root = root as f32;
                root * root
            })
            .collect(),
    })
}

/// The same betas stretched so that nothing of the picture is left at the last level.
fn without_signal_at_last(betas: &[f32]) -> Vec<f32> {
    let mut product = 1.0_f64;
    let roots: Vec<f32> = betas
        .iter()
        .map(|beta| {
            product *= f64::from(1.0_f32 - beta);
            (product as f32).sqrt()
        })
        .collect();
    let (first, last) = (roots[0], roots[roots.len() - 1]);
    let left: Vec<f32> = roots.iter().map(|root| ((root - last) * (first / (first - last))).powi(2)).collect();
    let before = std::iter::once(1.0).chain(left.iter().copied());
    left.iter().zip(before).map(|(now, before)| 1.0 - now / before).collect()
}

fn refuse<T>(what: &str) -> Result<T, ScheduleError> {
    Err(ScheduleError::Config(what.to_owned()))
}

/// As `numpy.linspace`: `count` values from `start` to `end`, both included; one value is `start`.
fn linspace(start: f64, end: f64, count: usize) -> impl DoubleEndedIterator<Item = f64> + ExactSizeIterator {
    let stride = if count > 1 { (end - start) / (count - 1) as f64 } else { 0.0 };
    (0..count).map(move |index| if index > 0 && index + 1 == count { end } else { start + stride * index as f64 })
}

fn trailing(trained: usize, steps: usize) -> Vec<f64> {
    let stride = trained as f64 / steps as f64;
    (0..steps).map(|step| round_even(trained as f64 - step as f64 * stride) - 1.0).collect()
}

/// The level, between whole ones, at which the log of the noise is this.
fn level_of(log_sigma: f64, logs: &[f64]) -> f64 {
    let below = logs.partition_point(|log| *log <= log_sigma).saturating_sub(1).min(logs.len() - 2);
    let (low, high) = (logs[below], logs[below + 1]);
    let share = ((low - log_sigma) / (low - high)).clamp(0.0, 1.0);
    below as f64 + share
}

pub(super) fn round_even(value: f64) -> f64 {
    value.round_ties_even()
}
