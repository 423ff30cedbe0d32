//! Steps that add noise: Euler ancestral, DPM-Solver++ SDE, DDPM, LCM and TCD. And Heun's, which DPM-Solver++ SDE
//! resembles in having two evaluations.

use serde::{Deserialize, Serialize};

use super::Prediction;
use super::step::mix_into;

/// Least variance DDPM adds, so that it has a logarithm.
const VARIANCE_MIN: f64 = 1e-20;

/// The picture the model believes in, from a latent whose noise is added at full strength.
pub(super) fn exploding_picture(sigma: f64, prediction: Prediction, output: &[f32], latent: &[f32]) -> Vec<f32> {
    let square = sigma * sigma + 1.0;
    let (of_latent, of_output) = match prediction {
        Prediction::Epsilon => (1.0, -sigma),
        Prediction::VPrediction => (1.0 / square, -sigma / square.sqrt()),
    };
    let mut picture = latent.to_vec();
    mix_into(&mut picture, of_latent, output, of_output);
    picture
}

/// The way the latent goes as the noise falls.
pub(super) fn slope(sigma: f64, picture: &[f32], latent: &[f32]) -> Vec<f32> {
    let mut slope = latent.to_vec();
    mix_into(&mut slope, 1.0 / sigma, picture, -1.0 / sigma);
    slope
}

/// How much noise a step adds, and the level it aims at before that, for them to make `next` together.
fn ancestral(sigma: f64, next: f64) -> (f64, f64) {
    let up = (next * next * (sigma * sigma - next * next) / (sigma * sigma)).max(0.0).sqrt().min(next);
    (up, (next * next - up * up).max(0.0).sqrt())
}

/// Euler ancestral.
pub(super) fn euler_a((sigma, next): (f64, f64), picture: &[f32], noise: &[f32], latent: &mut [f32]) {
    let (up, down) = ancestral(sigma, next);
    let slope = slope(sigma, picture, latent);
    mix_into(latent, 1.0, &slope, down - sigma);
    mix_into(latent, 1.0, noise, up);
}

/// One half of a step of DPM-Solver++ SDE: from `latent` at `sigma` to `next`.
pub(super) fn sde_half((sigma, next): (f64, f64), picture: &[f32], noise: &[f32], latent: &mut [f32]) {
    let (up, down) = ancestral(sigma, next);
    mix_into(latent, down / sigma, picture, 1.0 - down / sigma);
    mix_into(latent, 1.0, noise, up);
}

/// DDPM with the small variance: `alphas` are the shares of picture before and after the step.
pub(super) fn ddpm(
    (now, next): (f32, f32),
    prediction: Prediction,
    output: &[f32],
    noise: Option<&[f32]>,
    latent: &mut [f32],
) {
    let picture = preserving_picture(now, prediction, output, latent);
    let (now, next) = (f64::from(now), f64::from(next));
    let step = now / next;
    let of_picture = next.sqrt() * (1.0 - step) / (1.0 - now);
    mix_into(latent, step.sqrt() * (1.0 - next) / (1.0 - now), &picture, of_picture);
    if let Some(noise) = noise {
        let variance = ((1.0 - next) / (1.0 - now) * (1.0 - step)).max(VARIANCE_MIN);
        mix_into(latent, 1.0, noise, variance.sqrt());
    }
}

/// The shares of picture around one step of a consistency sampler.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Leap {
    /// Now.
    pub(super) now: f32,
    /// At the next level; none at the end.
    pub(super) next: Option<f32>,
    /// LCM: the level's number. TCD: the share of picture that the model leaps to before noise is added.
    pub(super) aim: f32,
}

/// LCM: all the way to the picture, and back to the next level by noise.
pub(super) fn lcm(leap: Leap, prediction: Prediction, output: &[f32], noise: Option<&[f32]>, latent: &mut [f32]) {
    let picture = preserving_picture(leap.now, prediction, output, latent);
    // The boundary condition of the paper, with sigma_data 0.5 and its scaling of time by 10.
    let time = f64::from(leap.aim) * 10.0;
    let (skip, out) = (0.25 / (time * time + 0.25), time / (time * time + 0.25).sqrt());
    mix_into(latent, skip, &picture, out);
    if let (Some(next), Some(noise)) = (leap.next, noise) {
        mix_into(latent, f64::from(next).sqrt(), noise, (1.0 - f64::from(next)).sqrt());
    }
}

/// TCD: to a level below the next one, and back to it by noise.
pub(super) fn tcd(leap: Leap, prediction: Prediction, output: &[f32], noise: Option<&[f32]>, latent: &mut [f32]) {
    super::step::ddim((leap.now, leap.aim), prediction, output, latent);
    if let (Some(next), Some(noise)) = (leap.next, noise) {
        let kept = f64::from(next) / f64::from(leap.aim);
        mix_into(latent, kept.sqrt(), noise, (1.0 - kept).max(0.0).sqrt());
    }
}

fn preserving_picture(alpha: f32, prediction: Prediction, output: &[f32], latent: &[f32]) -> Vec<f32> {
    let (alpha, sigma) = (f64::from(alpha).sqrt(), (1.0 - f64::from(alpha)).sqrt());
    let (of_latent, of_output) = match prediction {
        Prediction::Epsilon => (1.0 / alpha, -sigma / alpha),
        Prediction::VPrediction => (alpha, -sigma),
    };
    let mut picture = latent.to_vec();
    mix_into(&mut picture, of_latent, output, of_output);
    picture
}
