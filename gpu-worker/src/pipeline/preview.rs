//! Small pictures of what is being drawn: by a tiny decoder where the model's folder has one (`taesd/` or `vae_approx/`),
//! else by a linear map from a latent's channels to colours, which is fitted to the model's own decoder when a preview
//! is first asked for.

use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Result, Tensor};

use super::PipelineError;
use super::folder::open;
use super::loaded::to_pixels;
use crate::images::{Filter, resize};
use crate::models::BuildError;
use crate::models::taesd::{TinyConfig, TinyDecoder};
use crate::models::vae::VaeDecoder;
use crate::output::RgbImage;
use crate::rng::Mt19937;
use crate::weights::{UnreadableFile, Weights};

/// Longest side of a preview, in pixels.
pub const PREVIEW_SIDE_MAX: u32 = tintype_types::limits::PREVIEW_SIDE_PX_MAX;
/// Folders of a tiny decoder beside the model's other parts.
const TINY: [&str; 2] = ["taesd", "vae_approx"];
/// Side of the latents the map is fitted to, and how many of them.
const FIT_SIDE: usize = 16;
const FIT_COUNT: usize = 4;
/// Places of one colour in them, a side: a decoder shows a lone place's colour hardly at all.
const FIT_PATCH: usize = 4;

/// How one model's latents are shown.
#[derive(Debug)]
pub(super) enum Preview {
    Tiny(TinyDecoder),
    Linear(Colours),
}

impl Preview {
    /// Reads the tiny decoder of a folder, if it has one.
    pub(super) fn read_tiny(
        folder: &Path,
        channels: usize,
        device: &Device,
    ) -> std::result::Result<Option<Self>, BuildError> {
        let Some(part) = TINY.into_iter().find(|part| folder.join(part).is_dir()) else { return Ok(None) };
        let config = TinyConfig::read(&folder.join(part).join("config.json"))?;
        if config.latent_channels != channels {
            let what = format!(
                "holds a tiny decoder of {} channels beside an autoencoder of {channels}",
                config.latent_channels
            );
            return Err(UnreadableFile::new(folder.join(part), what).into());
        }
        let file = open(folder, part, "diffusion_pytorch_model")?;
        Ok(Some(Self::Tiny(TinyDecoder::read(&config, &Weights::new(Arc::new(file), device.clone()))?)))
    }

    /// A latent, (1, channels, height, width), as a small picture.
    pub(super) fn show(&self, latent: &Tensor) -> std::result::Result<RgbImage, PipelineError> {
        let image = match self {
            Self::Tiny(decoder) => to_pixels(&decoder.decode(latent)?)?,
            Self::Linear(colours) => colours.show(latent)?,
        };
        let longest = image.width.max(image.height);
        if longest <= PREVIEW_SIDE_MAX {
            return Ok(image);
        }
        let side = |side: u32| (side * PREVIEW_SIDE_MAX / longest).max(1);
        Ok(resize(&image, side(image.width), side(image.height), Filter::Box))
    }
}

/// The colour of a latent's place: a share of each channel, and one of no channel.
#[derive(Debug)]
pub(super) struct Colours(Vec<[f64; 3]>);

impl Colours {
    /// Fits to a decoder, by least squares over what it makes of patches of noise.
    pub(super) fn fit(decoder: &VaeDecoder, channels: usize, device: &Device) -> Result<Self> {
        let mut noise = Mt19937::new(0);
        let mut sums = Normal::new(channels + 1);
        for _ in 0..FIT_COUNT {
            let patches = FIT_SIDE / FIT_PATCH;
            let values = noise.randn(channels * patches * patches);
            let latent = Tensor::from_vec(values, (1, channels, patches, patches), device)?
                .upsample_nearest2d(FIT_SIDE, FIT_SIDE)?;
            let decoded = decoder.decode(&latent)?;
            let factor = decoded.dim(2)? / FIT_SIDE;
            let seen = decoded.avg_pool2d(factor)?.flatten_from(2)?.squeeze(0)?.to_vec2::<f32>()?;
            let latent = latent.flatten_from(2)?.squeeze(0)?.to_vec2::<f32>()?;
            for place in 0..FIT_SIDE * FIT_SIDE {
                let inputs: Vec<f64> = latent.iter().map(|channel| f64::from(channel[place])).chain([1.0]).collect();
                sums.add(&inputs, [0, 1, 2].map(|colour| f64::from(seen[colour][place])));
            }
        }
        Ok(Self(sums.solve()))
    }

    fn show(&self, latent: &Tensor) -> Result<RgbImage> {
        let (_, _, height, width) = latent.dims4()?;
        let channels = latent.flatten_from(2)?.squeeze(0)?.to_vec2::<f32>()?;
        let pixels = (0..height * width)
            .flat_map(|place| {
                let inputs = channels.iter().map(|channel| f64::from(channel[place])).chain([1.0]);
                let mut sum = [0.0; 3];
                for (input, shares) in inputs.zip(&self.0) {
                    for (sum, share) in sum.iter_mut().zip(shares) {
                        *sum += input * share;
                    }
                }
                sum.map(|value| ((value / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round() as u8)
            })
            .collect();
        Ok(RgbImage { width: width as u32, height: height as u32, pixels })
    }
}

/// The normal equations of a least-squares fit of three outputs.
struct Normal {
    size: usize,
    /// Rows of the matrix, each followed by its three right sides.
    rows: Vec<Vec<f64>>,
}

impl Normal {
    fn new(size: usize) -> Self {
        Self { size, rows: vec![vec![0.0; size + 3]; size] }
    }

    fn add(&mut self, inputs: &[f64], outputs: [f64; 3]) {
        for (row, one) in self.rows.iter_mut().zip(inputs) {
            for (cell, other) in row.iter_mut().zip(inputs.iter().chain(&outputs)) {
                *cell += one * other;
            }
        }
    }

    /// Gauss and Jordan with the largest pivot. A channel that changes nothing gets a share of 0.
    fn solve(mut self) -> Vec<[f64; 3]> {
        for column in 0..self.size {
            let size_of = |row: &Vec<f64>| row[column].abs();
            let best = (column..self.size).max_by(|a, b| size_of(&self.rows[*a]).total_cmp(&size_of(&self.rows[*b])));
            self.rows.swap(column, best.unwrap_or(column));
            let pivot = self.rows[column].clone();
            if pivot[column].abs() < 1e-9 {
                self.rows[column].fill(0.0);
                continue;
            }
            for (index, row) in self.rows.iter_mut().enumerate() {
                let share = row[column] / pivot[column];
                for (cell, of_pivot) in row.iter_mut().zip(&pivot) {
                    *cell = if index == column { of_pivot / pivot[column] } else { *cell - share * of_pivot };
                }
            }
        }
        self.rows.iter().map(|row| [row[self.size], row[self.size + 1], row[self.size + 2]]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_law_is_found() {
        let law = [[1.0, -2.0, 0.5], [0.0, 3.0, 0.25], [0.5, 0.5, -1.0]];
        let mut sums = Normal::new(3);
        for (a, b) in [(0.0, 1.0), (1.0, 0.0), (2.0, -1.0), (-1.0, 3.0), (0.5, 0.5)] {
            let inputs = [a, b, 1.0];
            sums.add(&inputs, [0, 1, 2].map(|colour| (0..3).map(|input| inputs[input] * law[input][colour]).sum()));
        }
        for (got, wanted) in sums.solve().iter().flatten().zip(law.iter().flatten()) {
            assert!((got - wanted).abs() < 1e-9, "{got} is not {wanted}");
        }
    }

    #[test]
    fn a_channel_that_says_nothing_gets_no_share() {
        let mut sums = Normal::new(2);
        for value in [1.0, 2.0, 5.0] {
            sums.add(&[0.0, value], [value; 3]);
        }
        assert!(sums.solve()[0].iter().all(|share| share.abs() < 1e-12));
    }
}
