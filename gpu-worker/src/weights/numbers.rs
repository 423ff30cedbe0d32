//! Stored numbers to single precision: a few kilobytes at a time, so that a tensor is in memory once and not twice.

use std::io;

use safetensors::Dtype;

/// Bytes read at a time: they stay in a core's second-level cache until they have been converted.
const CHUNK_BYTES: usize = 256 << 10;

/// Floating types that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Float {
    F64,
    F32,
    F16,
    BF16,
}

impl Float {
    /// The type of this name, if it is one of those read.
    pub(super) fn of(dtype: Dtype) -> Option<Self> {
        #[expect(clippy::wildcard_enum_match_arm, reason = "safetensors' list of types is open; others are refused")]
        match dtype {
            Dtype::F64 => Some(Self::F64),
            Dtype::F32 => Some(Self::F32),
            Dtype::F16 => Some(Self::F16),
            Dtype::BF16 => Some(Self::BF16),
            _ => None,
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }
}

/// Why numbers did not come.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The file could not be read.
    Read(io::Error),
    /// There is no memory for them.
    Memory,
    /// The number at this index is infinite or none, in single precision.
    NotFinite(usize),
}

/// Reads `count` numbers; `read(buffer, at)` fills a buffer from byte `at` of the tensor.
pub(super) fn read_all(
    float: Float,
    count: usize,
    read: impl Fn(&mut [u8], u64) -> io::Result<()>,
) -> Result<Vec<f32>, Trouble> {
    let mut numbers: Vec<f32> = Vec::new();
    // A refusal here is an error to tell; the ordinary way to allocate would end the process.
    numbers.try_reserve_exact(count).map_err(|_| Trouble::Memory)?;
    let at_a_time = CHUNK_BYTES / float.bytes();
    let mut chunk = vec![0; at_a_time.min(count) * float.bytes()];
    while numbers.len() < count {
        let done = numbers.len();
        let bytes = &mut chunk[..at_a_time.min(count - done) * float.bytes()];
        read(bytes, (done * float.bytes()) as u64).map_err(Trouble::Read)?;
        match float {
            Float::F64 => numbers.extend(bytes.as_chunks().0.iter().map(|raw| f64::from_le_bytes(*raw) as f32)),
            Float::F32 => numbers.extend(bytes.as_chunks().0.iter().map(|raw| f32::from_le_bytes(*raw))),
            Float::F16 => numbers.extend(bytes.as_chunks().0.iter().map(|raw| from_half(u16::from_le_bytes(*raw)))),
            Float::BF16 => {
                let widen = |raw: &[u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(*raw)) << 16);
                numbers.extend(bytes.as_chunks().0.iter().map(widen));
            }
        }
        // Over what was just written, which is still in the cache: no branch in the loop, the place only when needed.
        if numbers[done..].iter().fold(false, |bad, number| bad | !number.is_finite()) {
            let place = numbers[done..].iter().position(|number| !number.is_finite()).unwrap_or(0);
            return Err(Trouble::NotFinite(done + place));
        }
    }
    Ok(numbers)
}

/// IEEE half to single precision, exact, and without a branch so that it runs at the speed of memory.
fn from_half(half: u16) -> f32 {
    /// The exponents' bias differs by 112.
    const REBIAS: f32 = f32::from_bits((127 + 112) << 23);
    let bits = u32::from(half);
    let (sign, rest) = ((bits & 0x8000) << 16, (bits & 0x7fff) << 13);
    // Scaled as a number, so that what is subnormal in half precision comes out right as well.
    let scaled = (f32::from_bits(rest) * REBIAS).to_bits();
    let special = rest | 0x7f80_0000;
    f32::from_bits(sign | if rest >= 0x0f80_0000 { special } else { scaled })
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::*;

    #[test]
    fn every_half_is_what_the_tensor_library_says() {
        let raw: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let theirs = Tensor::from_raw_buffer(&raw, DType::F16, &[1 << 16], &Device::Cpu).unwrap();
        let theirs: Vec<f32> = theirs.to_dtype(DType::F32).unwrap().to_vec1().unwrap();
        for (half, theirs) in (0..=u16::MAX).zip(theirs) {
            let ours = from_half(half);
            assert!(ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan()), "{half:#x}");
        }
    }

    #[test]
    fn a_tensor_longer_than_a_chunk_is_whole_and_a_bad_number_in_it_is_found() {
        let count = CHUNK_BYTES / 4 * 2 + 7;
        let bytes: Vec<u8> = (0..count).flat_map(|index| (index as f32).to_le_bytes()).collect();
        let from = |bytes: &[u8], buffer: &mut [u8], at: u64| {
            buffer.copy_from_slice(&bytes[at as usize..at as usize + buffer.len()]);
            Ok(())
        };
        let numbers = read_all(Float::F32, count, |buffer, at| from(&bytes, buffer, at)).unwrap();
        assert!(numbers.iter().copied().eq((0..count).map(|index| index as f32)));
        for (bad, at) in [(f32::NAN, count - 1), (f32::INFINITY, CHUNK_BYTES / 4), (f32::NEG_INFINITY, 0)] {
            let mut bytes = bytes.clone();
            bytes[at * 4..at * 4 + 4].copy_from_slice(&bad.to_le_bytes());
            let read = read_all(Float::F32, count, |buffer, at| from(&bytes, buffer, at));
            assert!(matches!(read, Err(Trouble::NotFinite(place)) if place == at), "{bad} at {at}");
        }
        let huge = 1e300_f64.to_le_bytes();
        let read = read_all(Float::F64, 1, |buffer, at| from(&huge, buffer, at));
        assert!(matches!(read, Err(Trouble::NotFinite(0))), "too large for single precision");
        assert!(matches!(read_all(Float::F32, usize::MAX / 8, |_, _| Ok(())), Err(Trouble::Memory)));
    }
}
