//! Steps that remember earlier ones: `UniPC`, LMS and PNDM.

use serde::{Deserialize, Serialize};

use super::Prediction;
use super::step::{alpha_sigma, log_ratio, mix_into};

/// Outputs PNDM and LMS remember.
const REMEMBERED: usize = 4;

/// What `UniPC` remembers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct UnipcMemory {
    /// Estimates of the picture at the last two levels, the newest last.
    pictures: Vec<Vec<f32>>,
    /// The corrected latent of the last step.
    last: Vec<f32>,
    /// The order the last step was taken with.
    order: usize,
}

impl UnipcMemory {
    /// All lists of numbers that are there.
    pub(super) fn lists(&mut self) -> Vec<&mut Vec<f32>> {
        let last = Some(&mut self.last).filter(|last| !last.is_empty());
        self.pictures.iter_mut().chain(last).collect()
    }
}

/// One step of `UniPC` (bh2, order 2): corrects the latent by the new estimate, then predicts the next one.
pub(super) fn unipc(sigmas: &[f32], index: usize, picture: Vec<f32>, memory: &mut UnipcMemory, latent: &mut [f32]) {
    // Nothing is remembered at the start, be it of a whole run or after steps left out.
    if !memory.pictures.is_empty() {
        correct(sigmas, index, &picture, memory, latent);
    }
    memory.pictures.push(picture);
    if memory.pictures.len() > 2 {
        memory.pictures.remove(0);
    }
    // Lower at both ends: at first nothing is remembered, at last the noise ends at 0.
    memory.order = 2.min(sigmas.len() - 1 - index).min(memory.pictures.len());
    memory.last = latent.to_vec();
    let Stride { of_latent, of_picture, lambda, width } = Stride::new(sigmas[index], sigmas[index + 1]);
    let (earlier, now) = memory.pictures.split_at(memory.pictures.len() - 1);
    match earlier.first() {
        Some(before) if memory.order == 2 => {
            let ratio = (log_of(sigmas[index - 1]) - lambda) / width;
            let bend = of_picture * 0.5 / ratio;
            add(latent, of_latent, &[(&now[0], of_picture - bend), (before, bend)]);
        }
        Some(_) | None => mix_into(latent, of_latent, &now[0], of_picture),
    }
}

fn correct(sigmas: &[f32], index: usize, picture: &[f32], memory: &UnipcMemory, latent: &mut [f32]) {
    let Stride { of_latent, of_picture, lambda, width } = Stride::new(sigmas[index - 1], sigmas[index]);
    let now = &memory.pictures[memory.pictures.len() - 1];
    latent.copy_from_slice(&memory.last);
    if memory.order < 2 || memory.pictures.len() < 2 {
        add(latent, of_latent, &[(now, of_picture * 0.5), (picture, of_picture * 0.5)]);
        return;
    }
    let ratio = (log_of(sigmas[index - 2]) - lambda) / width;
    let grown = (-width).exp_m1();
    let phi = grown / -width - 1.0;
    let (first, second) = (phi / grown, (phi / -width - 0.5) * 2.0 / grown);
    let of_before = (second - first) / (ratio - 1.0);
    let of_new = first - of_before;
    let bend = of_picture * of_before / ratio;
    let turn = of_picture * of_new;
    add(latent, of_latent, &[(now, of_picture - bend - turn), (&memory.pictures[0], bend), (picture, turn)]);
}

/// The first-order part of a step between two noise levels.
struct Stride {
    of_latent: f64,
    of_picture: f64,
    /// Log of signal to noise before the step, and how much it grows.
    lambda: f64,
    width: f64,
}

impl Stride {
    fn new(sigma: f32, next: f32) -> Self {
        let ((alpha_next, sigma_next), (alpha, sigma)) = (alpha_sigma(next), alpha_sigma(sigma));
        let lambda = log_ratio(alpha, sigma);
        let width = log_ratio(alpha_next, sigma_next) - lambda;
        Self { of_latent: sigma_next / sigma, of_picture: -alpha_next * (-width).exp_m1(), lambda, width }
    }
}

fn log_of(sigma: f32) -> f64 {
    let (alpha, sigma) = alpha_sigma(sigma);
    log_ratio(alpha, sigma)
}

/// `left * of_left` and more, in double precision.
fn add(left: &mut [f32], of_left: f64, parts: &[(&[f32], f64)]) {
    for (place, value) in left.iter_mut().enumerate() {
        let more: f64 = parts.iter().map(|(part, share)| f64::from(part[place]) * share).sum();
        *value = (of_left * f64::from(*value) + more) as f32;
    }
}

/// One step of LMS; `slopes` are the last ones, the newest last.
pub(super) fn lms(sigmas: &[f32], index: usize, slope: Vec<f32>, slopes: &mut Vec<Vec<f32>>, latent: &mut [f32]) {
    slopes.push(slope);
    if slopes.len() > REMEMBERED {
        slopes.remove(0);
    }
    let shares: Vec<f64> = (0..slopes.len()).map(|back| lms_share(sigmas, index, slopes.len(), back)).collect();
    let parts: Vec<(&[f32], f64)> = slopes.iter().rev().map(Vec::as_slice).zip(shares).collect();
    add(latent, 1.0, &parts);
}

/// The integral over the step of the polynomial that is 1 at the level `back` steps ago and 0 at the others. Its degree
/// is 3 at most, so two points (Gauss and Legendre) integrate it exactly.
fn lms_share(sigmas: &[f32], index: usize, order: usize, back: usize) -> f64 {
    let level = |back: usize| f64::from(sigmas[index - back]);
    let (start, end) = (f64::from(sigmas[index]), f64::from(sigmas[index + 1]));
    let (middle, half) = (f64::midpoint(start, end), (end - start) / 2.0);
    let value = |at: f64| -> f64 {
        (0..order)
            .filter(|other| *other != back)
            .map(|other| (at - level(other)) / (level(back) - level(other)))
            .product()
    };
    let off = half / 3.0_f64.sqrt();
    half * (value(middle - off) + value(middle + off))
}

/// What PNDM remembers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct PndmMemory {
    evaluations: usize,
    outputs: Vec<Vec<f32>>,
    /// The latent of the first step, which is taken twice.
    start: Option<Vec<f32>>,
}

impl PndmMemory {
    /// All lists of numbers that are there.
    pub(super) fn lists(&mut self) -> Vec<&mut Vec<f32>> {
        self.outputs.iter_mut().chain(&mut self.start).collect()
    }
}

/// One evaluation of PNDM (PLMS): `alphas` are the shares of picture before and after the step.
pub(super) fn pndm(
    alphas: (f32, f32),
    prediction: Prediction,
    output: &[f32],
    memory: &mut PndmMemory,
    latent: &mut [f32],
) {
    let evaluation = memory.evaluations;
    memory.evaluations += 1;
    if evaluation != 1 {
        memory.outputs.push(output.to_vec());
        if memory.outputs.len() > REMEMBERED {
            memory.outputs.remove(0);
        }
    }
    let back = |count: usize| memory.outputs[memory.outputs.len() - 1 - count].as_slice();
    let mut mixed = vec![0.0; output.len()];
    match (memory.outputs.len(), evaluation) {
        (_, 0) => add(&mut mixed, 0.0, &[(output, 1.0)]),
        (_, 1) => add(&mut mixed, 0.0, &[(output, 0.5), (back(0), 0.5)]),
        (0..=2, _) => add(&mut mixed, 0.0, &[(back(0), 1.5), (back(1), -0.5)]),
        (3, _) => add(&mut mixed, 0.0, &[(back(0), 23.0 / 12.0), (back(1), -16.0 / 12.0), (back(2), 5.0 / 12.0)]),
        _ => add(
            &mut mixed,
            0.0,
            &[(back(0), 55.0 / 24.0), (back(1), -59.0 / 24.0), (back(2), 37.0 / 24.0), (back(3), -9.0 / 24.0)],
        ),
    }
    if evaluation == 0 {
        memory.start = Some(latent.to_vec());
    } else if let Some(start) = memory.start.take() {
        latent.copy_from_slice(&start);
    }
    // The step itself is DDIM's.
    super::step::ddim(alphas, prediction, &mixed, latent);
}
