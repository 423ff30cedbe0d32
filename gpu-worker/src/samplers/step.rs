//! One step of each sampler. Coefficients are computed in double precision, latents stay in single.

use super::Prediction;

/// The picture the model believes in, from a variance-preserving latent at this noise level.
pub(super) fn estimate(sigma: f32, prediction: Prediction, output: &[f32], latent: &[f32]) -> Vec<f32> {
    let (alpha, sigma) = alpha_sigma(sigma);
    let (of_latent, of_output) = match prediction {
        Prediction::Epsilon => (1.0 / alpha, -sigma / alpha),
        Prediction::VPrediction => (alpha, -sigma),
    };
    mix(latent, of_latent, output, of_output)
}

/// DDIM with eta 0 (Song et al., 2020, equation 12).
pub(super) fn ddim((now, next): (f32, f32), prediction: Prediction, output: &[f32], latent: &mut [f32]) {
    let (now, next) = (f64::from(now), f64::from(next));
    let (alpha, sigma) = (now.sqrt(), (1.0 - now).sqrt());
    let (alpha_next, sigma_next) = (next.sqrt(), (1.0 - next).sqrt());
    // The next latent is alpha_next * picture + sigma_next * noise; both are sums of latent and output.
    let (of_latent, of_output) = match prediction {
        Prediction::Epsilon => (alpha_next / alpha, sigma_next - alpha_next * sigma / alpha),
        Prediction::VPrediction => (alpha_next * alpha + sigma_next * sigma, sigma_next * alpha - alpha_next * sigma),
    };
    mix_into(latent, of_latent, output, of_output);
}

/// Euler's method on a variance-exploding latent (Karras et al., 2022, algorithm 2 without churn).
pub(super) fn euler((sigma, next): (f32, f32), prediction: Prediction, output: &[f32], latent: &mut [f32]) {
    let (sigma, next) = (f64::from(sigma), f64::from(next));
    let stride = next - sigma;
    let (of_latent, of_output) = match prediction {
        // The slope is the noise itself.
        Prediction::Epsilon => (1.0, stride),
        Prediction::VPrediction => {
            let square = sigma * sigma + 1.0;
            (1.0 + stride * sigma / square, stride / square.sqrt())
        }
    };
    mix_into(latent, of_latent, output, of_output);
}

/// DPM-Solver++ 2M, midpoint form (Lu et al., 2022, algorithm 2): first order on the first step and on the last, where
/// the noise ends at 0.
pub(super) fn dpmpp_2m(sigmas: &[f32], index: usize, picture: &[f32], previous: Option<&[f32]>, latent: &mut [f32]) {
    let (alpha_next, sigma_next) = alpha_sigma(sigmas[index + 1]);
    let (alpha, sigma) = alpha_sigma(sigmas[index]);
    let (lambda_next, lambda) = (log_ratio(alpha_next, sigma_next), log_ratio(alpha, sigma));
    let stride = lambda_next - lambda;
    let of_latent = sigma_next / sigma;
    let of_picture = -alpha_next * (-stride).exp_m1();
    let last = sigmas[index + 1] <= 0.0;
    match previous {
        Some(previous) if !last && index > 0 => {
            let (alpha_before, sigma_before) = alpha_sigma(sigmas[index - 1]);
            let ratio = (lambda - log_ratio(alpha_before, sigma_before)) / stride;
            let bend = 0.5 * of_picture / ratio;
            for ((value, now), before) in latent.iter_mut().zip(picture).zip(previous) {
                let (now, before) = (f64::from(*now), f64::from(*before));
                *value = (of_latent * f64::from(*value) + of_picture * now + bend * (now - before)) as f32;
            }
        }
        Some(_) | None => mix_into(latent, of_latent, picture, of_picture),
    }
}

/// One evaluation of Heun's method: the first goes all the way by its own slope, the second again by the mean of both.
/// The last step, which ends at no noise, has but one.
pub(super) fn heun(
    width: f64,
    slope: Vec<f32>,
    twice: bool,
    half: &mut Option<(Vec<f32>, Vec<f32>)>,
    latent: &mut [f32],
) {
    if let Some((start, first)) = half.take() {
        latent.copy_from_slice(&start);
        mix_into(latent, 1.0, &mix(&first, 0.5, &slope, 0.5), width);
        return;
    }
    let start = twice.then(|| latent.to_vec());
    mix_into(latent, 1.0, &slope, width);
    *half = start.map(|start| (start, slope));
}

/// A noise-to-signal ratio as the shares of picture and noise, whose squares sum to 1.
pub(super) fn alpha_sigma(sigma: f32) -> (f64, f64) {
    let sigma = f64::from(sigma);
    let alpha = 1.0 / (sigma * sigma + 1.0).sqrt();
    (alpha, sigma * alpha)
}

pub(super) fn log_ratio(alpha: f64, sigma: f64) -> f64 {
    alpha.ln() - sigma.ln()
}

fn mix(left: &[f32], of_left: f64, right: &[f32], of_right: f64) -> Vec<f32> {
    let mut sum = left.to_vec();
    mix_into(&mut sum, of_left, right, of_right);
    sum
}

pub(super) fn mix_into(left: &mut [f32], of_left: f64, right: &[f32], of_right: f64) {
    for (left, right) in left.iter_mut().zip(right) {
        *left = (of_left * f64::from(*left) + of_right * f64::from(*right)) as f32;
    }
}
