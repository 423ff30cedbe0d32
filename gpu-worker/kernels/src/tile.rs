//! The innermost loop of every matrix product: eight rows times thirty-two columns, held in registers.
//!
//! A tile is summed from the first inner index to the last whatever stands around it, which is why no result depends on
//! how many rows, samples or threads there are.

use super::level::Level;

/// Rows of a tile.
pub(super) const ROWS: usize = 8;
/// Columns of a tile.
pub(super) const COLUMNS: usize = 32;

/// Left factors of a tile's rows, for one inner index.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
pub(super) struct Left(pub(super) [f32; ROWS]);

/// Numbers of a tile's columns: right factors for one inner index, or a row of sums.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [f32; COLUMNS]);

impl Left {
    pub(super) const ZERO: Self = Self([0.0; ROWS]);
}

impl Line {
    pub(super) const ZERO: Self = Self([0.0; COLUMNS]);
}

/// A tile of sums.
pub(super) type Tile = [Line; ROWS];

/// Adds, for each row and column, the products over the inner index to the tile.
pub(super) fn add_products(level: Level, left: &[Left], right: &[Line], tile: &mut Tile) {
    assert_eq!(left.len(), right.len(), "both factors have the same inner indices");
    match level {
        Level::Portable => portable(left, right, tile),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => {
            assert!(is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"), "this processor has AVX2");
            #[expect(unsafe_code, reason = "the compiler cannot know what the processor has; it was just asked")]
            // SAFETY: the processor has both features.
            unsafe {
                x86::avx2(left, right, tile);
            }
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => {
            assert!(is_x86_feature_detected!("avx512f"), "this processor has AVX-512");
            #[expect(unsafe_code, reason = "the compiler cannot know what the processor has; it was just asked")]
            // SAFETY: the processor has the feature.
            unsafe {
                x86::avx512(left, right, tile);
            }
        }
    }
}

/// Multiplies each line's numbers with factors of their own. (Written as plain loops, the compiler turns them on their side
/// and gathers each column from all lines, which takes several times as long.)
pub(super) fn scale(level: Level, lines: &mut [Line], by: &Line) {
    match level {
        Level::Portable => {
            for line in lines {
                line.0.iter_mut().zip(&by.0).for_each(|(number, by)| *number *= by);
            }
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => {
            assert!(is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"), "this processor has AVX2");
            #[expect(unsafe_code, reason = "the compiler cannot know what the processor has; it was just asked")]
            // SAFETY: the processor has both features.
            unsafe {
                x86::scale_avx2(lines, by);
            }
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => {
            assert!(is_x86_feature_detected!("avx512f"), "this processor has AVX-512");
            #[expect(unsafe_code, reason = "the compiler cannot know what the processor has; it was just asked")]
            // SAFETY: the processor has the feature.
            unsafe {
                x86::scale_avx512(lines, by);
            }
        }
    }
}

fn portable(left: &[Left], right: &[Line], tile: &mut Tile) {
    /// Columns summed at a time: what fits the registers of any processor.
    const PART: usize = 8;
    for (row, sums) in tile.iter_mut().enumerate() {
        for (part, sums) in sums.0.chunks_exact_mut(PART).enumerate() {
            let mut held = [0.0; PART];
            held.copy_from_slice(sums);
            for (a, b) in left.iter().zip(right) {
                for (sum, b) in held.iter_mut().zip(&b.0[part * PART..]) {
                    *sum += a.0[row] * b;
                }
            }
            sums.copy_from_slice(&held);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256, __m512, _mm256_fmadd_ps, _mm256_load_ps, _mm256_mul_ps, _mm256_set1_ps, _mm256_setzero_ps,
        _mm256_store_ps, _mm512_fmadd_ps, _mm512_load_ps, _mm512_mul_ps, _mm512_set1_ps, _mm512_setzero_ps,
        _mm512_store_ps,
    };

    use super::{COLUMNS, Left, Line, ROWS, Tile};

    /// Sixteen sums of sixteen columns each.
    #[target_feature(enable = "avx512f")]
    pub(super) fn avx512(left: &[Left], right: &[Line], tile: &mut Tile) {
        let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
        for (sums, line) in sums.iter_mut().zip(&*tile) {
            *sums = halves(line);
        }
        for (a, b) in left.iter().zip(right) {
            let [low, high] = halves(b);
            for (sums, a) in sums.iter_mut().zip(a.0) {
                let a = _mm512_set1_ps(a);
                sums[0] = _mm512_fmadd_ps(a, low, sums[0]);
                sums[1] = _mm512_fmadd_ps(a, high, sums[1]);
            }
        }
        for (sums, line) in sums.iter().zip(tile) {
            put_halves(line, *sums);
        }
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn scale_avx512(lines: &mut [Line], by: &Line) {
        let [by_low, by_high] = halves(by);
        for line in lines {
            let [low, high] = halves(line);
            put_halves(line, [_mm512_mul_ps(low, by_low), _mm512_mul_ps(high, by_high)]);
        }
    }

    #[target_feature(enable = "avx512f")]
    fn put_halves(line: &mut Line, [low, high]: [__m512; 2]) {
        #[expect(unsafe_code, reason = "vector stores take a raw pointer")]
        // SAFETY: a line is 32 numbers, aligned to 64 bytes.
        unsafe {
            _mm512_store_ps(line.0.as_mut_ptr(), low);
            _mm512_store_ps(line.0.as_mut_ptr().add(16), high);
        }
    }

    #[target_feature(enable = "avx512f")]
    fn halves(line: &Line) -> [__m512; 2] {
        #[expect(unsafe_code, reason = "vector loads take a raw pointer")]
        // SAFETY: a line is 32 numbers, aligned to 64 bytes.
        unsafe {
            [_mm512_load_ps(line.0.as_ptr()), _mm512_load_ps(line.0.as_ptr().add(16))]
        }
    }

    /// Rows and columns that fit sixteen registers.
    const PART_ROWS: usize = 4;
    const PART_COLUMNS: usize = 16;

    /// The tile in four rows by sixteen columns at a time: eight sums of eight columns each.
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn avx2(left: &[Left], right: &[Line], tile: &mut Tile) {
        for row in (0..ROWS).step_by(PART_ROWS) {
            for column in (0..COLUMNS).step_by(PART_COLUMNS) {
                avx2_part(left, right, tile, (row, column));
            }
        }
    }

    #[target_feature(enable = "avx2,fma")]
    fn avx2_part(left: &[Left], right: &[Line], tile: &mut Tile, (row, column): (usize, usize)) {
        let mut sums = [[_mm256_setzero_ps(); 2]; PART_ROWS];
        for (sums, line) in sums.iter_mut().zip(&tile[row..]) {
            *sums = eights(line, column);
        }
        for (a, b) in left.iter().zip(right) {
            let [low, high] = eights(b, column);
            for (sums, a) in sums.iter_mut().zip(&a.0[row..]) {
                let a = _mm256_set1_ps(*a);
                sums[0] = _mm256_fmadd_ps(a, low, sums[0]);
                sums[1] = _mm256_fmadd_ps(a, high, sums[1]);
            }
        }
        for (sums, line) in sums.iter().zip(&mut tile[row..]) {
            put_eights(line, column, *sums);
        }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn scale_avx2(lines: &mut [Line], by: &Line) {
        for column in (0..COLUMNS).step_by(PART_COLUMNS) {
            let [by_low, by_high] = eights(by, column);
            for line in &mut *lines {
                let [low, high] = eights(line, column);
                put_eights(line, column, [_mm256_mul_ps(low, by_low), _mm256_mul_ps(high, by_high)]);
            }
        }
    }

    #[target_feature(enable = "avx2,fma")]
    fn put_eights(line: &mut Line, column: usize, [low, high]: [__m256; 2]) {
        let line = &mut line.0[column..column + PART_COLUMNS];
        #[expect(unsafe_code, reason = "vector stores take a raw pointer")]
        // SAFETY: 16 numbers, aligned to 32 bytes since `column` is 0 or 16.
        unsafe {
            _mm256_store_ps(line.as_mut_ptr(), low);
            _mm256_store_ps(line.as_mut_ptr().add(8), high);
        }
    }

    #[target_feature(enable = "avx2,fma")]
    fn eights(line: &Line, column: usize) -> [__m256; 2] {
        let line = &line.0[column..column + PART_COLUMNS];
        #[expect(unsafe_code, reason = "vector loads take a raw pointer")]
        // SAFETY: 16 numbers, aligned to 32 bytes since `column` is 0 or 16.
        unsafe {
            [_mm256_load_ps(line.as_ptr()), _mm256_load_ps(line.as_ptr().add(8))]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Noise;

    #[test]
    fn every_level_sums_what_plain_loops_sum() {
        for inner in [0, 1, 2, 7, 40, 513] {
            let mut noise = Noise::new(inner as u64);
            let left: Vec<Left> = (0..inner).map(|_| Left(noise.randn(ROWS).try_into().unwrap())).collect();
            let right: Vec<Line> = (0..inner).map(|_| Line(noise.randn(COLUMNS).try_into().unwrap())).collect();
            let start: Tile = std::array::from_fn(|row| Line([row as f32; COLUMNS]));
            for level in Level::all() {
                let mut tile = start;
                add_products(*level, &left, &right, &mut tile);
                for (row, column) in (0..ROWS).flat_map(|row| (0..COLUMNS).map(move |column| (row, column))) {
                    let products = left.iter().zip(&right).map(|(a, b)| f64::from(a.0[row]) * f64::from(b.0[column]));
                    let expected = row as f64 + products.sum::<f64>();
                    let got = f64::from(tile[row].0[column]);
                    assert!((got - expected).abs() < 1e-4, "{level:?}, {inner}: {got} for {expected}");
                }
            }
        }
    }

    #[test]
    fn every_level_scales_each_column_by_its_own_factor() {
        let mut noise = Noise::new(3);
        let mut line = || Line(noise.randn(COLUMNS).try_into().unwrap());
        let (by, lines): (Line, Vec<Line>) = (line(), (0..5).map(|_| line()).collect());
        for level in Level::all() {
            let mut scaled = lines.clone();
            scale(*level, &mut scaled, &by);
            for (scaled, line) in scaled.iter().zip(&lines) {
                let expected: Vec<u32> = line.0.iter().zip(&by.0).map(|(a, b)| (a * b).to_bits()).collect();
                assert_eq!(scaled.0.map(f32::to_bits).as_slice(), expected, "{level:?}");
            }
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn both_widths_of_vectors_give_the_same_bits() {
        let [.., Level::Avx512] = Level::all() else { return };
        let mut noise = Noise::new(1);
        let left: Vec<Left> = (0..300).map(|_| Left(noise.randn(ROWS).try_into().unwrap())).collect();
        let right: Vec<Line> = (0..300).map(|_| Line(noise.randn(COLUMNS).try_into().unwrap())).collect();
        let (mut narrow, mut wide) = ([Line::ZERO; ROWS], [Line::ZERO; ROWS]);
        add_products(Level::Avx2, &left, &right, &mut narrow);
        add_products(Level::Avx512, &left, &right, &mut wide);
        for (a, b) in narrow.iter().zip(&wide) {
            assert_eq!(a.0.map(f32::to_bits), b.0.map(f32::to_bits));
        }
    }
}
