//! Where noise comes from. It is made on the CPU whatever the device, so that a seed means one picture everywhere.

mod mt19937;
mod philox;

use serde::{Deserialize, Serialize};
use tintype_types::NoiseSource;

pub use mt19937::Mt19937;
pub use philox::Philox;

/// The generator of one picture: its first latent and all noise added later come from it, in order. Serialises whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Noise {
    /// See [`NoiseSource::Cpu`].
    Cpu(Mt19937),
    /// See [`NoiseSource::Nv`].
    Nv(Philox),
}

impl Noise {
    /// The generator a request asks for.
    pub fn new(source: NoiseSource, seed: u64) -> Self {
        match source {
            NoiseSource::Cpu => Self::Cpu(Mt19937::new(seed)),
            NoiseSource::Nv => Self::Nv(Philox::new(seed)),
        }
    }

    /// Whether this is a state a generator can be in. One that was read from elsewhere may be none.
    pub fn is_sound(&self) -> bool {
        match self {
            Self::Cpu(generator) => generator.is_sound(),
            Self::Nv(_) => true,
        }
    }

    /// The next `len` normal numbers, as one call of `torch.randn` gives them.
    pub fn randn(&mut self, len: usize) -> Vec<f32> {
        match self {
            Self::Cpu(generator) => generator.randn(len),
            Self::Nv(generator) => generator.randn(len),
        }
    }
}
