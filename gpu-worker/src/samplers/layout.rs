//! Lays out a run: which levels are visited, and what each sampler must know of them.

use super::noisy::Leap;
use super::schedule::{self, DISTILLED_STEPS, NoiseSchedule, ScheduleError, Spacing};
use super::{Levels, Method, Recipe, Solver};

/// The stochasticity of TCD, gamma in its paper: diffusers' default.
const TCD_GAMMA: f32 = 0.3;

/// Levels told to the model at each evaluation, and the method with its tables. All of them cover the whole run but
/// PNDM's, whose first evaluations are special: its tables begin after the steps left out.
pub(super) fn lay_out(
    recipe: Recipe,
    schedule: &NoiseSchedule,
    steps: usize,
    skipped: usize,
) -> Result<(Vec<f64>, Method), ScheduleError> {
    let Recipe { solver, levels } = recipe;
    Ok(match solver {
        Solver::Ddim | Solver::Ddpm | Solver::Pndm | Solver::Lcm | Solver::Tcd => {
            let spacing = whole_levels(recipe, schedule)?;
            by_alphas(solver, schedule, (steps, skipped), spacing)?
        }
        Solver::Dpmpp2m => {
            let (timesteps, sigmas) = multistep(levels, schedule, steps);
            (timesteps, Method::Dpmpp2m { sigmas: ended(&sigmas), previous: None })
        }
        Solver::Unipc => {
            let (timesteps, sigmas) = multistep(levels, schedule, steps);
            (timesteps, Method::Unipc { sigmas: ended(&sigmas), memory: Box::default() })
        }
        Solver::Euler | Solver::EulerA | Solver::Heun | Solver::DpmppSde | Solver::Lms => {
            exploding(solver, levels, schedule, steps)
        }
    })
}

/// What unit noise is multiplied with to be the first latent.
pub(super) fn init_noise(recipe: Recipe, sigmas: Option<&[f32]>, schedule: &NoiseSchedule) -> f32 {
    let Some(sigmas) = sigmas.filter(|_| recipe.solver.exploding()) else { return 1.0 };
    let max = sigmas.iter().copied().fold(0.0_f32, f32::max);
    match spacing_of(recipe.levels, schedule).unwrap_or(Spacing::Linspace) {
        Spacing::Linspace | Spacing::Trailing => max,
        Spacing::Leading => (max * max + 1.0).sqrt(),
    }
}

fn spacing_of(levels: Levels, schedule: &NoiseSchedule) -> Option<Spacing> {
    match levels {
        Levels::Trailing | Levels::SgmUniform => Some(Spacing::Trailing),
        Levels::Own | Levels::Karras | Levels::Exponential | Levels::Beta => schedule.config.timestep_spacing,
    }
}

fn whole_levels(recipe: Recipe, schedule: &NoiseSchedule) -> Result<Option<Spacing>, ScheduleError> {
    match recipe.levels {
        Levels::Own => Ok(schedule.config.timestep_spacing),
        Levels::Trailing => Ok(Some(Spacing::Trailing)),
        Levels::Karras | Levels::Exponential | Levels::Beta | Levels::SgmUniform => Err(ScheduleError::Pairing {
            solver: format!("{:?}", recipe.solver).to_lowercase(),
            levels: format!("{:?}", recipe.levels).to_lowercase(),
        }),
    }
}

/// The samplers that read shares of picture at whole trained levels.
fn by_alphas(
    solver: Solver,
    schedule: &NoiseSchedule,
    (steps, skipped): (usize, usize),
    spacing: Option<Spacing>,
) -> Result<(Vec<f64>, Method), ScheduleError> {
    let (last, first) = (schedule.alphas_cumprod.len() - 1, schedule.alphas_cumprod[0]);
    let alpha = |level: f64| schedule.alphas_cumprod[(level as usize).min(last)];
    let end = if schedule.config.set_alpha_to_one { 1.0 } else { first };
    let stride = (schedule.alphas_cumprod.len() / steps) as f64;
    let before = |level: f64| if level >= 0.0 { alpha(level) } else { end };
    Ok(match solver {
        Solver::Lcm | Solver::Tcd => {
            if steps > DISTILLED_STEPS || schedule.alphas_cumprod.len() < DISTILLED_STEPS {
                return Err(ScheduleError::Steps { steps: steps as u32, max: DISTILLED_STEPS as u32 });
            }
            let timesteps = schedule.timesteps_distilled(steps);
            let leaps = leaps(solver, &timesteps, alpha);
            (timesteps, if solver == Solver::Lcm { Method::Lcm { leaps } } else { Method::Tcd { leaps } })
        }
        Solver::Pndm => {
            let mut timesteps = schedule.timesteps_ddim(steps, spacing);
            if steps > 1 {
                timesteps.insert(1, timesteps[1]);
            }
            // As in diffusers: the first level is still there twice, so what is left begins one level earlier.
            timesteps.drain(..skipped);
            let alphas = timesteps
                .iter()
                .enumerate()
                // The second evaluation goes over the first step again.
                .map(|(index, level)| {
                    if index == 1 {
                        (alpha(level + stride), before(*level))
                    } else {
                        (alpha(*level), before(level - stride))
                    }
                })
                .collect();
            (timesteps, Method::Pndm { alphas, memory: Box::default() })
        }
        Solver::Ddpm => {
            let timesteps = schedule.timesteps_ddim(steps, spacing);
            let nexts = timesteps.iter().skip(1).map(|level| alpha(*level)).chain([1.0]);
            let alphas = timesteps.iter().map(|level| alpha(*level)).zip(nexts).collect();
            (timesteps, Method::Ddpm { alphas })
        }
        Solver::Ddim
        | Solver::Euler
        | Solver::EulerA
        | Solver::Heun
        | Solver::Dpmpp2m
        | Solver::DpmppSde
        | Solver::Unipc
        | Solver::Lms => {
            let timesteps = schedule.timesteps_ddim(steps, spacing);
            let alphas = timesteps.iter().map(|level| (alpha(*level), before(level - stride))).collect();
            (timesteps, Method::Ddim { alphas })
        }
    })
}

fn leaps(solver: Solver, timesteps: &[f64], alpha: impl Fn(f64) -> f32) -> Vec<Leap> {
    let nexts = timesteps.iter().copied().skip(1).map(Some).chain([None]);
    timesteps
        .iter()
        .zip(nexts)
        .map(|(level, next)| Leap {
            now: alpha(*level),
            next: next.map(&alpha),
            aim: match solver {
                Solver::Tcd => alpha(f64::from(((1.0 - TCD_GAMMA) * next.unwrap_or(0.0) as f32).floor())),
                Solver::Ddim
                | Solver::Ddpm
                | Solver::Euler
                | Solver::EulerA
                | Solver::Heun
                | Solver::Dpmpp2m
                | Solver::DpmppSde
                | Solver::Unipc
                | Solver::Lms
                | Solver::Pndm
                | Solver::Lcm => *level as f32,
            },
        })
        .collect()
}

/// Levels as diffusers' DPM-Solver multistep and UniPC lay them out: over the whole trained range, told as whole numbers.
fn multistep(levels: Levels, schedule: &NoiseSchedule, steps: usize) -> (Vec<f64>, Vec<f64>) {
    let trained = schedule.train_sigmas();
    let (low, high) = (trained[0], trained[trained.len() - 1]);
    match levels {
        Levels::Own | Levels::Trailing => {
            let timesteps = schedule.timesteps_multistep(steps, spacing_of(levels, schedule));
            let sigmas = schedule.sigmas_at(&timesteps);
            (timesteps, sigmas)
        }
        Levels::Karras => {
            let sigmas = schedule::karras(high, low, steps);
            (schedule.levels_of(&sigmas).into_iter().map(schedule::round_even).collect(), sigmas)
        }
        // Cut off rather than rounded, as diffusers does with these two.
        Levels::Exponential => {
            let sigmas = schedule::exponential(high, low, steps);
            (schedule.levels_of(&sigmas).into_iter().map(f64::trunc).collect(), sigmas)
        }
        Levels::Beta => {
            let sigmas = schedule::beta(high, low, steps);
            (schedule.levels_of(&sigmas).into_iter().map(f64::trunc).collect(), sigmas)
        }
        Levels::SgmUniform => schedule.sgm_uniform(steps),
    }
}

/// Levels as diffusers' Euler lays them out: between the ends of the model's own spacing.
fn exploding(solver: Solver, levels: Levels, schedule: &NoiseSchedule, steps: usize) -> (Vec<f64>, Method) {
    let own = schedule.timesteps_euler(steps, spacing_of(levels, schedule));
    let own_sigmas = schedule.sigmas_at(&own);
    let (high, low) = (own_sigmas[0], own_sigmas[own_sigmas.len() - 1]);
    let spread = |sigmas: Vec<f64>| (schedule.levels_of(&sigmas), sigmas);
    let (timesteps, sigmas) = match levels {
        Levels::Own | Levels::Trailing => (own, own_sigmas),
        Levels::Karras => spread(schedule::karras(high, low, steps)),
        Levels::Exponential => spread(schedule::exponential(high, low, steps)),
        Levels::Beta => spread(schedule::beta(high, low, steps)),
        Levels::SgmUniform => schedule.sgm_uniform(steps),
    };
    let twice = |second: &[f64]| -> Vec<f64> {
        // Each step but the last has a second evaluation.
        let pairs = timesteps.iter().zip(second).flat_map(|(first, second)| [*first, *second]);
        pairs.chain(timesteps.last().copied()).collect()
    };
    match solver {
        Solver::Heun => (twice(&timesteps[1..]), Method::Heun { sigmas: ended(&sigmas), half: None }),
        Solver::DpmppSde => {
            let middles: Vec<f64> = sigmas.windows(2).map(|pair| (pair[0] * pair[1]).sqrt()).collect();
            (twice(&schedule.levels_of(&middles)), Method::DpmppSde { sigmas: ended(&sigmas), start: None })
        }
        Solver::EulerA => (timesteps, Method::EulerA { sigmas: ended(&sigmas) }),
        Solver::Lms => (timesteps, Method::Lms { sigmas: ended(&sigmas), slopes: Vec::new() }),
        Solver::Euler
        | Solver::Ddim
        | Solver::Ddpm
        | Solver::Dpmpp2m
        | Solver::Unipc
        | Solver::Pndm
        | Solver::Lcm
        | Solver::Tcd => (timesteps, Method::Euler { sigmas: ended(&sigmas) }),
    }
}

/// The levels in single precision with the end, no noise, behind them.
fn ended(sigmas: &[f64]) -> Vec<f32> {
    sigmas.iter().map(|sigma| *sigma as f32).chain([0.0]).collect()
}
