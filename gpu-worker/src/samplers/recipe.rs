//! The samplers there are, and the ways of spreading their noise levels.

use serde::{Deserialize, Serialize};
use tintype_types::Sampler;

/// A way of stepping from one noise level to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Solver {
    /// DDIM, eta 0 (Song et al., 2020).
    Ddim,
    /// DDPM with the small variance (Ho et al., 2020). Adds noise.
    Ddpm,
    /// Euler (Karras et al., 2022, algorithm 2 without churn).
    Euler,
    /// Euler ancestral, as k-diffusion has it. Adds noise.
    EulerA,
    /// Heun (Karras et al., 2022, algorithm 2). Two evaluations a step, one in the last.
    Heun,
    /// DPM-Solver++ 2M (Lu et al., 2022).
    Dpmpp2m,
    /// DPM-Solver++ SDE, midpoint 1/2, eta 1, as k-diffusion has it. Two evaluations a step, one in the last. Adds noise:
    /// a fresh normal draw for each evaluation from the picture's own generator, not a Brownian tree's increments.
    DpmppSde,
    /// `UniPC` with `B_2(h)`, order 2, predicting the picture (Zhao et al., 2023).
    Unipc,
    /// Linear multistep of order 4, as k-diffusion has it.
    Lms,
    /// PNDM without Runge-Kutta steps, which is PLMS (Liu et al., 2022). One evaluation more than steps.
    Pndm,
    /// Latent consistency (Luo et al., 2023); for models or LoRAs distilled for it. Adds noise.
    Lcm,
    /// Trajectory consistency, gamma 0.3 (Zheng et al., 2024); for models or LoRAs distilled for it. Adds noise.
    Tcd,
}

/// How the visited noise levels are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Levels {
    /// As the model's own config says.
    #[default]
    Own,
    /// Strides back from the last trained level.
    Trailing,
    /// Karras et al., 2022, equation 5, rho 7.
    Karras,
    /// Even steps in the logarithm of the noise.
    Exponential,
    /// The quantiles of a beta distribution, alpha and beta 0.6 (Lee et al., 2024).
    Beta,
    /// Even steps in time, the last one left out, as Stability's own sampler takes them.
    SgmUniform,
}

/// A solver and its noise levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// The solver.
    pub solver: Solver,
    /// Its noise levels.
    #[serde(default)]
    pub levels: Levels,
}

impl Solver {
    /// Whether it works on a latent whose noise is added at full strength, rather than one of unit variance.
    pub(super) fn exploding(self) -> bool {
        match self {
            Self::Euler | Self::EulerA | Self::Heun | Self::DpmppSde | Self::Lms => true,
            Self::Ddim | Self::Ddpm | Self::Dpmpp2m | Self::Unipc | Self::Pndm | Self::Lcm | Self::Tcd => false,
        }
    }
}

impl From<Solver> for Recipe {
    fn from(solver: Solver) -> Self {
        Self { solver, levels: Levels::Own }
    }
}

impl Recipe {
    /// A sampler with these noise levels, or with those its name says.
    pub fn of(sampler: Sampler, levels: tintype_types::Levels) -> Self {
        let named = Self::from(sampler);
        let levels = match levels {
            tintype_types::Levels::Own => named.levels,
            tintype_types::Levels::Trailing => Levels::Trailing,
            tintype_types::Levels::Karras => Levels::Karras,
            tintype_types::Levels::Exponential => Levels::Exponential,
            tintype_types::Levels::Beta => Levels::Beta,
            tintype_types::Levels::SgmUniform => Levels::SgmUniform,
        };
        Self { levels, ..named }
    }
}

impl From<Sampler> for Recipe {
    fn from(sampler: Sampler) -> Self {
        let karras = |solver| Self { solver, levels: Levels::Karras };
        match sampler {
            Sampler::Ddim => Solver::Ddim.into(),
            Sampler::Ddpm => Solver::Ddpm.into(),
            Sampler::Euler => Solver::Euler.into(),
            Sampler::EulerA => Solver::EulerA.into(),
            Sampler::Heun => Solver::Heun.into(),
            Sampler::Dpmpp2m => Solver::Dpmpp2m.into(),
            Sampler::Dpmpp2mKarras => karras(Solver::Dpmpp2m),
            Sampler::DpmppSde => Solver::DpmppSde.into(),
            Sampler::DpmppSdeKarras => karras(Solver::DpmppSde),
            Sampler::Unipc => Solver::Unipc.into(),
            Sampler::Lms => Solver::Lms.into(),
            Sampler::Pndm => Solver::Pndm.into(),
            Sampler::Lcm => Solver::Lcm.into(),
            Sampler::Tcd => Solver::Tcd.into(),
        }
    }
}
