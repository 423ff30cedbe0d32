//! What the kernels' tests share.

use crate::rng::Mt19937;

/// Normally distributed numbers.
pub(super) fn numbers(count: usize, seed: u64) -> Vec<f32> {
    Mt19937::new(seed).randn(count)
}

/// The same on so many threads.
pub(super) fn in_pool<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

pub(super) fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|number| number.to_bits()).collect()
}

/// Off by no more than this part of the largest number expected, or of 1.
pub(super) fn assert_close(name: &str, got: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(got.len(), expected.len(), "{name}");
    let largest = expected.iter().fold(1.0_f32, |largest, number| largest.max(number.abs()));
    let off = got.iter().zip(expected).map(|(a, b)| (a - b).abs());
    let off = off.fold(0.0, |most: f32, off| if off.is_nan() { f32::INFINITY } else { most.max(off) });
    assert!(off <= tolerance * largest, "{name}: off by {off:e} of {largest}");
}
