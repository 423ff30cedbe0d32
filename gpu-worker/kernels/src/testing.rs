//! What the kernels' tests share.

/// About normally distributed numbers: each the sum of twelve uniform ones, which `SplitMix64` draws.
pub(super) struct Noise(u64);

impl Noise {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn randn(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| (0..12).map(|_| self.uniform()).sum::<f32>() - 6.0).collect()
    }

    /// In [0, 1), of 24 bits.
    fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 40) as f32 / (1 << 24) as f32
    }
}

/// So many of them.
pub(super) fn numbers(count: usize, seed: u64) -> Vec<f32> {
    Noise::new(seed).randn(count)
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
