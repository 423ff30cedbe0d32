//! Where a run starts that has a picture to start from, and how picture and noise are mixed for it.

use serde::{Deserialize, Serialize};

use super::step::alpha_sigma;
use super::{Method, Prediction, SamplerRun};

/// How many of `steps` are taken at this strength (0 to 1): its share of them, rounded down as diffusers does.
pub fn steps_of_strength(steps: u32, strength: f64) -> u32 {
    ((f64::from(steps) * strength) as u32).min(steps)
}

/// The shares of picture and noise in a latent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mixture {
    /// What the picture is multiplied with.
    pub picture: f32,
    /// What unit noise is multiplied with.
    pub noise: f32,
}

impl Mixture {
    /// The picture alone.
    pub const CLEAN: Self = Self { picture: 1.0, noise: 0.0 };

    /// A latent made of a picture and unit noise of the same length.
    pub fn of(self, picture: &[f32], noise: &[f32]) -> Vec<f32> {
        picture.iter().zip(noise).map(|(picture, noise)| self.picture * picture + self.noise * noise).collect()
    }
}

impl SamplerRun {
    /// What a latent is made of before the next evaluation; the picture alone when the run is over. What diffusers'
    /// `add_noise` mixes, at the start of an img2img run and between the steps of an inpainting one.
    pub fn mixture(&self) -> Mixture {
        if self.timestep().is_none() {
            return Mixture::CLEAN;
        }
        let exploding = |sigma: f32| Mixture { picture: 1.0, noise: sigma };
        let preserving = |alpha: f32| Mixture { picture: alpha.sqrt(), noise: (1.0 - alpha).sqrt() };
        match &self.method {
            // The second evaluation goes over the first step again, from a latent kept aside: what is mixed here is for
            // the level it was told.
            Method::Pndm { alphas, .. } if self.index == 1 => preserving(alphas[1].1),
            Method::Ddim { alphas } | Method::Ddpm { alphas } | Method::Pndm { alphas, .. } => {
                preserving(alphas[self.index].0)
            }
            Method::Lcm { leaps } | Method::Tcd { leaps } => preserving(leaps[self.index].now),
            Method::Euler { sigmas } | Method::EulerA { sigmas } | Method::Lms { sigmas, .. } => {
                exploding(sigmas[self.index])
            }
            // Between two evaluations the latent is at the level where the step will end.
            Method::Heun { sigmas, .. } | Method::DpmppSde { sigmas, .. } => exploding(sigmas[self.index.div_ceil(2)]),
            Method::Dpmpp2m { sigmas, .. } | Method::Unipc { sigmas, .. } => {
                let (alpha, sigma) = alpha_sigma(sigmas[self.index]);
                Mixture { picture: alpha as f32, noise: sigma as f32 }
            }
        }
    }

    /// The picture the model believes in: `output` is what it said of `latent`, before [`Self::step`] takes it in. For
    /// previews; the samplers have their own ways.
    pub fn estimate(&self, output: &[f32], latent: &[f32]) -> Vec<f32> {
        let Mixture { picture, mut noise } = self.mixture();
        if let (Method::DpmppSde { .. }, Some(sigma)) = (&self.method, self.sigma()) {
            noise = sigma;
        }
        let (of_latent, of_output) = match self.prediction {
            Prediction::Epsilon => (1.0 / picture, -noise / picture),
            Prediction::VPrediction => {
                let square = picture * picture + noise * noise;
                (picture / square, -noise / square.sqrt())
            }
        };
        latent.iter().zip(output).map(|(latent, output)| of_latent * latent + of_output * output).collect()
    }
}
