//! Floats that come back from JSON as they went in: as their bits. A snapshot that is restored must go on alike, and
//! readers of decimal floats may be off by the last bit.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Writes the bits.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields over by reference")]
pub(crate) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    value.to_bits().serialize(serializer)
}

/// Reads the bits. What is no number becomes 0: nothing here is ever infinite.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let value = f64::from_bits(u64::deserialize(deserializer)?);
    Ok(if value.is_finite() { value } else { 0.0 })
}

/// One such float, where it stands alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Exact(#[serde(with = "crate::exact")] pub(crate) f64);
