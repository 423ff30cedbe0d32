//! Factors laid out as the innermost loop reads them: for each inner index, the numbers of its rows or columns side by
//! side.

use std::ops::Range;

use super::level::Level;
use super::tile::{Left, Line};

/// Lines turned on their side at a time.
pub(super) const BLOCK: usize = 8;

/// One inner index of a packed factor.
pub(super) trait Packed: Send {
    /// How many lines it holds.
    const LINES: usize;
    /// Their numbers.
    fn numbers(&mut self) -> &mut [f32];
}

impl Packed for Left {
    const LINES: usize = super::tile::ROWS;

    fn numbers(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

impl Packed for Line {
    const LINES: usize = super::tile::COLUMNS;

    fn numbers(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

/// How a matrix lies in memory. Its lines are the rows of a left factor, the columns of a right one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// A line's inner indices are adjacent.
    ByLine,
    /// An inner index's lines are adjacent.
    ByInner,
}

/// A factor where it lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matrix<'a> {
    pub(super) data: &'a [f32],
    /// Numbers from one line to the next, or from one inner index to the next.
    pub(super) stride: usize,
    pub(super) order: Order,
}

impl Matrix<'_> {
    /// Packs `lines` (as many as fit, or fewer: the rest becomes zeros) for each inner index.
    pub(super) fn pack<P: Packed>(&self, level: Level, lines: Range<usize>, inner: Range<usize>, out: &mut [P]) {
        debug_assert!(lines.len() <= P::LINES && inner.len() == out.len(), "the packed factor has the right size");
        if self.order == Order::ByInner {
            for (index, out) in inner.zip(out) {
                let (held, rest) = out.numbers().split_at_mut(lines.len());
                held.copy_from_slice(&self.data[index * self.stride + lines.start..][..lines.len()]);
                rest.fill(0.0);
            }
            return;
        }
        for first in (0..P::LINES).step_by(BLOCK) {
            let rows: [&[f32]; BLOCK] = std::array::from_fn(|row| {
                let line = lines.start + first + row;
                if line < lines.end { &self.data[line * self.stride..][inner.clone()] } else { &[] }
            });
            turn(level, &rows, first, out);
        }
    }
}

/// Writes eight lines, of one length or empty, side by side from the place `at` on.
pub(super) fn turn<P: Packed>(level: Level, lines: &[&[f32]; BLOCK], at: usize, out: &mut [P]) {
    let whole = lines.iter().all(|line| line.len() == out.len());
    let turned = if whole { turn_blocks(level, lines, at, out) } else { 0 };
    for (index, out) in out.iter_mut().enumerate().skip(turned) {
        for (number, line) in out.numbers()[at..at + BLOCK].iter_mut().zip(lines) {
            *number = line.get(index).copied().unwrap_or(0.0);
        }
    }
}

/// As many inner indices as can be turned eight at a time; says how many.
fn turn_blocks<P: Packed>(level: Level, lines: &[&[f32]; BLOCK], at: usize, out: &mut [P]) -> usize {
    match level {
        Level::Portable => 0,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 | Level::Avx512 => {
            assert!(is_x86_feature_detected!("avx2"), "this processor has AVX2");
            #[expect(unsafe_code, reason = "the compiler cannot know what the processor has; it was just asked")]
            // SAFETY: the processor has AVX2.
            unsafe {
                x86::turn_blocks(lines, at, out)
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256, _mm256_loadu_ps, _mm256_permute2f128_ps, _mm256_setzero_ps, _mm256_shuffle_ps, _mm256_storeu_ps,
        _mm256_unpackhi_ps, _mm256_unpacklo_ps,
    };

    use super::{BLOCK, Packed};

    /// See [`super::turn_blocks`].
    #[target_feature(enable = "avx2")]
    pub(super) fn turn_blocks<P: Packed>(lines: &[&[f32]; BLOCK], at: usize, out: &mut [P]) -> usize {
        let blocks = lines.map(|line| &line.as_chunks::<BLOCK>().0[..out.len() / BLOCK]);
        for (index, out) in out.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
            let mut block = [_mm256_setzero_ps(); BLOCK];
            for (numbers, line) in block.iter_mut().zip(&blocks) {
                *numbers = load(&line[index]);
            }
            for (out, column) in out.iter_mut().zip(transposed(block)) {
                store(&mut out.numbers()[at..], column);
            }
        }
        out.len() / BLOCK * BLOCK
    }

    /// Eight lines of eight numbers to eight columns.
    #[target_feature(enable = "avx2")]
    fn transposed([a, b, c, d, e, f, g, h]: [__m256; BLOCK]) -> [__m256; BLOCK] {
        let (ab, ab2) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        let (cd, cd2) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
        let (ef, ef2) = (_mm256_unpacklo_ps(e, f), _mm256_unpackhi_ps(e, f));
        let (gh, gh2) = (_mm256_unpacklo_ps(g, h), _mm256_unpackhi_ps(g, h));
        let low = [quads(ab, cd), quads(ab2, cd2)];
        let high = [quads(ef, gh), quads(ef2, gh2)];
        let [[low0, low1], [low2, low3]] = low;
        let [[high0, high1], [high2, high3]] = high;
        [
            _mm256_permute2f128_ps(low0, high0, 0x20),
            _mm256_permute2f128_ps(low1, high1, 0x20),
            _mm256_permute2f128_ps(low2, high2, 0x20),
            _mm256_permute2f128_ps(low3, high3, 0x20),
            _mm256_permute2f128_ps(low0, high0, 0x31),
            _mm256_permute2f128_ps(low1, high1, 0x31),
            _mm256_permute2f128_ps(low2, high2, 0x31),
            _mm256_permute2f128_ps(low3, high3, 0x31),
        ]
    }

    /// The lower and the upper pairs of both, in each half of the register.
    #[target_feature(enable = "avx2")]
    fn quads(a: __m256, b: __m256) -> [__m256; 2] {
        [_mm256_shuffle_ps(a, b, 0x44), _mm256_shuffle_ps(a, b, 0xee)]
    }

    #[target_feature(enable = "avx2")]
    fn load(line: &[f32; BLOCK]) -> __m256 {
        #[expect(unsafe_code, reason = "vector loads take a raw pointer")]
        // SAFETY: eight numbers are there, and the load asks for no alignment.
        unsafe {
            _mm256_loadu_ps(line.as_ptr())
        }
    }

    #[target_feature(enable = "avx2")]
    fn store(column: &mut [f32], numbers: __m256) {
        assert!(column.len() >= BLOCK, "eight numbers fit");
        #[expect(unsafe_code, reason = "vector stores take a raw pointer")]
        // SAFETY: there is room for eight numbers, and the store asks for no alignment.
        unsafe {
            _mm256_storeu_ps(column.as_mut_ptr(), numbers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_orders_pack_the_same_whatever_the_sizes() {
        for (lines, inner) in [(32, 8), (32, 24), (8, 17), (5, 3), (31, 1), (1, 40)] {
            // Line l holds 1000 l + k for the inner index k; one line and one index more than are asked for.
            let number = |line: usize, index: usize| (1000 * line + index) as f32;
            let by_line: Vec<f32> =
                (0..=lines).flat_map(|line| (0..=inner).map(move |index| number(line, index))).collect();
            let by_inner: Vec<f32> =
                (0..=inner).flat_map(|index| (0..=lines).map(move |line| number(line, index))).collect();
            let one = Matrix { data: &by_line, stride: inner + 1, order: Order::ByLine };
            let other = Matrix { data: &by_inner, stride: lines + 1, order: Order::ByInner };
            for (matrix, level) in [one, other].into_iter().flat_map(|m| Level::all().iter().map(move |l| (m, *l))) {
                let mut packed = vec![Line([f32::NAN; 32]); inner];
                matrix.pack(level, 1..1 + lines.min(32).min(lines), 1..1 + inner, &mut packed);
                for (index, line) in packed.iter().enumerate() {
                    for (place, got) in line.0.iter().enumerate() {
                        let expected = if place < lines { number(place + 1, index + 1) } else { 0.0 };
                        assert_eq!(got.to_bits(), expected.to_bits(), "{level:?}, {lines}x{inner}: {place}, {index}");
                    }
                }
            }
        }
    }
}
