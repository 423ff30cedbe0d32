//! Scaling pictures as Pillow does, whose numbers diffusers' image processors hand to the networks: one pass a
//! direction, weights in fixed point, rounded to bytes between the passes.

use crate::output::RgbImage;

/// Bits behind the point of a weight: what 32 bits leave beside a byte and two bits for overshoot.
const PRECISION: u32 = 32 - 8 - 2;

/// What a new pixel is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Windowed sine of three lobes: what diffusers takes.
    Lanczos,
    /// Means of what falls into the new pixel.
    Box,
}

impl Filter {
    /// How far it reaches from its middle.
    fn support(self) -> f64 {
        match self {
            Self::Lanczos => 3.0,
            Self::Box => 0.5,
        }
    }

    fn weight(self, x: f64) -> f64 {
        match self {
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Self::Box if x > -0.5 && x <= 0.5 => 1.0,
            Self::Lanczos | Self::Box => 0.0,
        }
    }
}

fn sinc(x: f64) -> f64 {
    let x = x * std::f64::consts::PI;
    if x == 0.0 { 1.0 } else { x.sin() / x }
}

/// The picture at another size, both sides at least 1. Proportions are not kept.
pub fn resize(image: &RgbImage, width: u32, height: u32, filter: Filter) -> RgbImage {
    let (from, to) = (image.width as usize, width as usize);
    let across = if from == to {
        image.pixels.clone()
    } else {
        let taps = taps(from, to, filter);
        image.pixels.chunks_exact(from * 3).flat_map(|row| scale_row(row, &taps)).collect()
    };
    let (from, to) = (image.height as usize, height as usize);
    let pixels = if from == to { across } else { scale_down(&across, width as usize * 3, &taps(from, to, filter)) };
    RgbImage { width, height, pixels }
}

/// Where one new pixel's sources begin, and their weights.
struct Tap {
    start: usize,
    weights: Vec<i32>,
}

fn taps(from: usize, to: usize, filter: Filter) -> Vec<Tap> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let support = filter.support() * stretch;
    (0..to)
        .map(|place| {
            let centre = (place as f64 + 0.5) * scale;
            let start = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(from);
            let weights: Vec<f64> =
                (start..end).map(|source| filter.weight((source as f64 - centre + 0.5) / stretch)).collect();
            let sum: f64 = weights.iter().sum();
            let unit = f64::from(1 << PRECISION) / if sum == 0.0 { 1.0 } else { sum };
            Tap { start, weights: weights.into_iter().map(|weight| (weight * unit).round() as i32).collect() }
        })
        .collect()
}

fn scale_row(row: &[u8], taps: &[Tap]) -> Vec<u8> {
    let mut scaled = Vec::with_capacity(taps.len() * 3);
    for Tap { start, weights } in taps {
        for channel in 0..3 {
            let sources = row.iter().skip(start * 3 + channel).step_by(3);
            scaled.push(settle(weights.iter().zip(sources).map(|(weight, byte)| weight * i32::from(*byte)).sum()));
        }
    }
    scaled
}

/// Rows of `stride` bytes, from the top.
fn scale_down(pixels: &[u8], stride: usize, taps: &[Tap]) -> Vec<u8> {
    let mut scaled = Vec::with_capacity(taps.len() * stride);
    let mut sums = vec![0_i32; stride];
    for Tap { start, weights } in taps {
        sums.fill(0);
        for (row, weight) in pixels.chunks_exact(stride).skip(*start).zip(weights) {
            for (sum, byte) in sums.iter_mut().zip(row) {
                *sum += weight * i32::from(*byte);
            }
        }
        scaled.extend(sums.iter().map(|sum| settle(*sum)));
    }
    scaled
}

/// From fixed point to a byte, halves up.
fn settle(sum: i32) -> u8 {
    ((sum + (1 << (PRECISION - 1))) >> PRECISION).clamp(0, 255) as u8
}
