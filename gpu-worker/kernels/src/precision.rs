//! How exact the products of linear layers and convolutions are.

use std::fmt;
use std::str::FromStr;

/// What factors are rounded to before they are multiplied. Sums are fp32 in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Not at all.
    #[default]
    F32,
    /// bf16: the range of fp32 and 8 bits of precision. About twice as fast on processors with AVX512-BF16, and faster
    /// still on those with AMX (which this was not run on).
    Bf16,
    /// IEEE half precision: 11 bits, and nothing above 65504. For GPUs; processors, which do not speed it up, refuse it
    /// before they start ([`Precision::checked`]), and their kernels would round nothing.
    F16,
}

/// A precision that this device does not multiply in at speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSuited {
    /// A processor without AVX512-BF16.
    #[error("this processor has no instructions for bf16 (AVX512-BF16); run with f32, or on a processor that has them")]
    NoBf16,
    /// A processor.
    #[error("f16 is for GPUs; run with f32 or bf16 on a processor")]
    F16IsForGpus,
    /// A GPU from before Ampere, or one that does not say what it is.
    #[error("this GPU has no bf16, which came with Ampere (compute capability 8.0); run with f16 or f32")]
    GpuWithoutBf16,
}

impl Precision {
    /// Itself, where this processor does it at speed.
    ///
    /// # Errors
    /// bf16 on a processor that would have to emulate it; f16.
    pub fn checked(self) -> Result<Self, NotSuited> {
        match self {
            Self::Bf16 if Pairing::best().is_plain() => Err(NotSuited::NoBf16),
            Self::F16 => Err(NotSuited::F16IsForGpus),
            Self::F32 | Self::Bf16 => Ok(self),
        }
    }
}

/// A word that names no precision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the precision `{0}` is not known; it is f32, bf16 or f16")]
pub struct UnknownPrecision(String);

impl FromStr for Precision {
    type Err = UnknownPrecision;

    fn from_str(word: &str) -> Result<Self, UnknownPrecision> {
        match word {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            "f16" => Ok(Self::F16),
            other => Err(UnknownPrecision(other.to_owned())),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        })
    }
}

/// The instructions that multiply pairs of bf16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pairing {
    /// Plain arithmetic: for tests, and for nobody else.
    Portable,
    /// AVX512-BF16.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AMX-BF16, whole tiles at a time.
    #[cfg(target_arch = "x86_64")]
    Amx,
}

impl Pairing {
    /// The fastest this processor has.
    pub(super) fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16") {
            return if super::amx::has_amx() { Self::Amx } else { Self::Avx512 };
        }
        Self::Portable
    }

    /// Whether the processor has no such instructions.
    pub(super) fn is_plain(self) -> bool {
        self == Self::Portable
    }

    /// Whether it multiplies several rows of tiles at a time.
    pub(super) fn in_tiles(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => false,
            #[cfg(target_arch = "x86_64")]
            Self::Amx => true,
            // As AMX does, so that tests see its packing on every processor.
            Self::Portable => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_precision_is_one_of_three_words() {
        for precision in [Precision::F32, Precision::Bf16, Precision::F16] {
            assert_eq!(precision.to_string().parse(), Ok(precision));
        }
        let error = "fp8".parse::<Precision>().unwrap_err();
        assert!(error.to_string().contains("f32, bf16 or f16"), "{error}");
    }

    #[test]
    fn a_processor_is_not_asked_for_what_it_would_emulate() {
        assert_eq!(Precision::F32.checked(), Ok(Precision::F32));
        assert_eq!(Precision::F16.checked(), Err(NotSuited::F16IsForGpus));
        assert_eq!(Precision::Bf16.checked().is_err(), Pairing::best().is_plain());
    }
}
