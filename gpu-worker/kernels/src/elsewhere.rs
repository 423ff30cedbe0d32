//! How products are made on other devices than the CPU: by candle, in the precision that is asked for, with numbers that
//! come and go as fp32. **Not run on a GPU yet.**

use candle_core::{DType, Device, Result, Tensor};

use super::precision::Precision;

impl Precision {
    /// Itself, where this device does it at speed.
    ///
    /// # Errors
    /// bf16 on a processor that would have to emulate it, or on a GPU from before Ampere; f16 on a processor.
    pub fn checked_on(self, device: &Device) -> std::result::Result<Self, super::NotSuited> {
        match self {
            _ if device.is_cpu() => self.checked(),
            #[cfg(feature = "cuda")]
            Self::Bf16 if !super::fused::has_bf16(device).unwrap_or(false) => Err(super::NotSuited::GpuWithoutBf16),
            Self::F32 | Self::Bf16 | Self::F16 => Ok(self),
        }
    }

    /// Weights as they are kept to be multiplied on this device. A CPU rounds them as it packs them, and keeps them as they
    /// are; a GPU would turn all of them anew for each product.
    ///
    /// # Errors
    /// The device's own failure.
    pub fn kept(self, weights: Tensor) -> Result<Tensor> {
        if weights.device().is_cpu() { Ok(weights) } else { weights.to_dtype(self.factors()) }
    }

    /// The type factors have on other devices.
    pub(super) fn factors(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
            Self::F16 => DType::F16,
        }
    }
}

/// `make` of both factors in this precision, as fp32.
pub(super) fn product(
    (a, b): (&Tensor, &Tensor),
    precision: Precision,
    make: impl FnOnce(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let short = precision.factors();
    make(&a.to_dtype(short)?, &b.to_dtype(short)?)?.to_dtype(DType::F32)
}
