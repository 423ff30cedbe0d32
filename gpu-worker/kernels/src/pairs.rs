//! The innermost loop in bf16: factors rounded and paired over the inner index, their products summed in fp32.
//!
//! A pair is a `u32` with the even inner index in its low half, as the processor's own instructions have it. A tile is
//! summed from the first pair to the last whatever stands around it, as in `tile`.
#![expect(clippy::inline_always, reason = "only inlined code takes on its caller's instructions")]

use super::level::{self, Level, Loops};
use super::pack::Packed;
use super::tile::{COLUMNS, Left, Line, ROWS, Tile};

/// Pairs of left factors of a tile's rows.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
pub(super) struct LeftPairs([u32; ROWS]);

/// Pairs of right factors of a tile's columns.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct LinePairs([u32; COLUMNS]);

impl LeftPairs {
    /// A row's pair.
    pub(super) fn row(&self, row: usize) -> u32 {
        self.0[row]
    }
}

impl LinePairs {
    /// The columns' pairs.
    pub(super) fn pairs(&self) -> &[u32; COLUMNS] {
        &self.0
    }
}

/// What a packed factor becomes in pairs.
pub(super) trait Paired: Packed + Copy {
    /// A pair for each of its lines.
    type Pairs: Copy;
    /// No numbers.
    const NOTHING: Self::Pairs;
    /// The numbers of one inner index.
    fn of(&self) -> &[f32];
    /// Their places in pairs.
    fn to(pairs: &mut Self::Pairs) -> &mut [u32];
}

impl Paired for Left {
    type Pairs = LeftPairs;
    const NOTHING: LeftPairs = LeftPairs([0; ROWS]);

    #[inline(always)]
    fn of(&self) -> &[f32] {
        &self.0
    }

    #[inline(always)]
    fn to(pairs: &mut LeftPairs) -> &mut [u32] {
        &mut pairs.0
    }
}

impl Paired for Line {
    type Pairs = LinePairs;
    const NOTHING: LinePairs = LinePairs([0; COLUMNS]);

    #[inline(always)]
    fn of(&self) -> &[f32] {
        &self.0
    }

    #[inline(always)]
    fn to(pairs: &mut LinePairs) -> &mut [u32] {
        &mut pairs.0
    }
}

/// Rounds packed factors to bf16 and pairs them; an odd last one is paired with zeros.
pub(super) fn pair<P: Paired>(level: Level, packed: &[P], pairs: &mut [P::Pairs]) {
    assert_eq!(packed.len().div_ceil(2), pairs.len(), "there is room for each pair");
    level::run(level, Pair { packed, pairs });
}

struct Pair<'a, P: Paired> {
    packed: &'a [P],
    pairs: &'a mut [P::Pairs],
}

impl<P: Paired> Loops for Pair<'_, P> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        for (two, pairs) in self.packed.chunks(2).zip(self.pairs) {
            match two {
                [even, odd] => {
                    for ((pair, even), odd) in P::to(pairs).iter_mut().zip(even.of()).zip(odd.of()) {
                        *pair = rounded(*even) >> 16 | rounded(*odd) & 0xffff_0000;
                    }
                }
                _ => {
                    for (pair, even) in P::to(pairs).iter_mut().zip(two[0].of()) {
                        *pair = rounded(*even) >> 16;
                    }
                }
            }
        }
    }
}

/// The bits of the nearest bf16, ties to even, in the upper half; what is below is rubbish. NaN stays NaN.
#[inline(always)]
pub(super) fn rounded(number: f32) -> u32 {
    let bits = number.to_bits();
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    // A NaN's low bits may be all it has; a quiet bit keeps it one.
    if number.is_nan() { bits | 0x0040_0000 } else { nearest }
}

/// Adds, for each row and column, the products over the inner index to the tile, by AVX512-BF16.
pub(super) fn add_pair_products(left: &[LeftPairs], right: &[LinePairs], tile: &mut Tile) {
    assert_eq!(left.len(), right.len(), "both factors have the same inner indices");
    #[cfg(target_arch = "x86_64")]
    {
        assert!(is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16"), "this has bf16");
        #[expect(unsafe_code, reason = "the compiler cannot know what the processor has; it was just asked")]
        // SAFETY: the processor has both features.
        unsafe {
            x86::avx512(left, right, tile);
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    unreachable!("{} sums of a processor that has no such instructions", tile.len());
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_load_ps, _mm512_load_si512, _mm512_set1_epi32, _mm512_setzero_ps,
        _mm512_store_ps,
    };

    use super::{LeftPairs, LinePairs, ROWS, Tile};

    /// Sixteen sums of sixteen columns each.
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn avx512(left: &[LeftPairs], right: &[LinePairs], tile: &mut Tile) {
        let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
        for (sums, line) in sums.iter_mut().zip(&*tile) {
            #[expect(unsafe_code, reason = "vector loads take a raw pointer")]
            // SAFETY: a line is 32 numbers, aligned to 64 bytes.
            unsafe {
                *sums = [_mm512_load_ps(line.0.as_ptr()), _mm512_load_ps(line.0.as_ptr().add(16))];
            }
        }
        for (a, b) in left.iter().zip(right) {
            #[expect(unsafe_code, reason = "vector loads take a raw pointer")]
            // SAFETY: a line is 32 pairs, aligned to 64 bytes.
            let (low, high) =
                unsafe { (_mm512_load_si512(b.0.as_ptr().cast()), _mm512_load_si512(b.0.as_ptr().add(16).cast())) };
            let (low, high) = (as_bf16(low), as_bf16(high));
            for (sums, a) in sums.iter_mut().zip(a.0) {
                let a = as_bf16(_mm512_set1_epi32(a.cast_signed()));
                sums[0] = _mm512_dpbf16_ps(sums[0], a, low);
                sums[1] = _mm512_dpbf16_ps(sums[1], a, high);
            }
        }
        for (sums, line) in sums.iter().zip(tile) {
            #[expect(unsafe_code, reason = "vector stores take a raw pointer")]
            // SAFETY: a line is 32 numbers, aligned to 64 bytes.
            unsafe {
                _mm512_store_ps(line.0.as_mut_ptr(), sums[0]);
                _mm512_store_ps(line.0.as_mut_ptr().add(16), sums[1]);
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    fn as_bf16(pairs: __m512i) -> __m512bh {
        #[expect(unsafe_code, reason = "there is no other way from one name of a register to the other")]
        // SAFETY: both are 512 plain bits.
        unsafe {
            std::mem::transmute(pairs)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Noise;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn it_sums_what_plain_arithmetic_sums() {
        if crate::precision::Pairing::best().is_plain() {
            eprintln!("skipped it_sums_what_plain_arithmetic_sums: this processor has no AVX512-BF16");
            return;
        }
        for inner in [0_usize, 1, 2, 7, 40, 513] {
            let mut noise = Noise::new(inner as u64);
            let left: Vec<Left> = (0..inner).map(|_| Left(noise.randn(ROWS).try_into().unwrap())).collect();
            let right: Vec<Line> = (0..inner).map(|_| Line(noise.randn(COLUMNS).try_into().unwrap())).collect();
            let start: Tile = std::array::from_fn(|row| Line([row as f32; COLUMNS]));
            let exact = |number: f32| f64::from(f32::from_bits(rounded(number) & 0xffff_0000));
            for level in Level::all() {
                let mut lefts = vec![<Left as Paired>::NOTHING; inner.div_ceil(2)];
                let mut rights = vec![<Line as Paired>::NOTHING; inner.div_ceil(2)];
                pair(*level, &left, &mut lefts);
                pair(*level, &right, &mut rights);
                let mut tile = start;
                add_pair_products(&lefts, &rights, &mut tile);
                for (row, column) in (0..ROWS).flat_map(|row| (0..COLUMNS).map(move |column| (row, column))) {
                    let products = left.iter().zip(&right).map(|(a, b)| exact(a.0[row]) * exact(b.0[column]));
                    let expected = row as f64 + products.sum::<f64>();
                    let got = f64::from(tile[row].0[column]);
                    assert!((got - expected).abs() < 1e-4, "{level:?}, {inner}: {got} for {expected}");
                }
            }
        }
    }

    #[test]
    fn numbers_are_rounded_to_the_nearest_and_ties_to_even() {
        let cases = [
            (1.0, 0x3f80),
            (-2.5, 0xc020),
            // Half way between 1 and the next bf16, and between that and the one after.
            (f32::from_bits(0x3f80_8000), 0x3f80),
            (f32::from_bits(0x3f81_8000), 0x3f82),
            (f32::from_bits(0x3f80_8001), 0x3f81),
            (f32::INFINITY, 0x7f80),
            (f32::MAX, 0x7f80),
        ];
        for (number, bits) in cases {
            assert_eq!(rounded(number) >> 16, bits, "{number}");
        }
        for bits in [0x7f80_0001, 0x7fff_ffff, 0xffff_ffff_u32] {
            let kept = f32::from_bits(rounded(f32::from_bits(bits)) & 0xffff_0000);
            assert!(kept.is_nan(), "{bits:x}");
        }
    }
}
