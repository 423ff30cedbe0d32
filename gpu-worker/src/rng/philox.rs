//! The normal numbers of a CUDA generator as A1111's `NV` setting makes them: Philox4x32-10 (Salmon et al., 2011) over a
//! counter of (call, 0, place, 0) with the seed as key, then Box and Muller's sine half.
//!
//! One call of `torch.randn` on a GPU gives each value a thread of its own as long as there are threads enough; beyond
//! that (some 10^5 values, a picture of 1500 x 1500) torch reuses threads and the numbers part. A1111 does not follow it
//! there, nor does this.

use serde::{Deserialize, Serialize};

const ROUNDS: usize = 10;
const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
const WEYL: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];

/// A key and how often it was asked. Serialises whole, so that a run can be resumed in the middle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Philox {
    seed: u64,
    calls: u32,
}

impl Philox {
    /// A generator as `torch.Generator("cuda").manual_seed(seed)` makes it. All 64 bits of the seed count.
    pub fn new(seed: u64) -> Self {
        Self { seed, calls: 0 }
    }

    /// What the next `torch.randn(len, device="cuda")` returns in fp32.
    pub fn randn(&mut self, len: usize) -> Vec<f32> {
        let key = [self.seed as u32, (self.seed >> 32) as u32];
        let call = self.calls;
        self.calls = self.calls.wrapping_add(1);
        (0..len as u32)
            .map(|place| {
                let [size, turn, ..] = scramble([call, 0, place, 0], key);
                normal(size, turn)
            })
            .collect()
    }
}

/// Box and Muller, the sine half, in double precision. Half a unit keeps the logarithm's argument off 0.
fn normal(size: u32, turn: u32) -> f32 {
    let part = |word: u32| (f64::from(word) + 0.5) / 4_294_967_296.0;
    let radius = (-2.0 * part(size).ln()).sqrt();
    (radius * (2.0 * std::f64::consts::PI * part(turn)).sin()) as f32
}

fn scramble(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let ([mut a, mut b, mut c, mut d], mut key) = (counter, key);
    for _ in 0..ROUNDS {
        let (left, right) = (u64::from(a) * u64::from(MULTIPLIERS[0]), u64::from(c) * u64::from(MULTIPLIERS[1]));
        (a, b, c, d) = ((right >> 32) as u32 ^ b ^ key[0], right as u32, (left >> 32) as u32 ^ d ^ key[1], left as u32);
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_random123() {
        // Its known-answer file, `philox4x32 10`.
        let cases = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, expected) in cases {
            assert_eq!(scramble(counter, key), expected);
        }
    }

    #[test]
    fn seeds_draw_what_an_independent_program_draws() {
        // Printed by tools/parity/philox.py, which knows the paper and nothing of this file. No GPU was at hand.
        let expected = [-0.924_662_6, -0.425_344_15, -2.643_845_7, 0.145_183_88, -0.120_866_47, -0.579_725_6];
        close(&Philox::new(0).randn(6), &expected);
        close(&Philox::new(1).randn(4), &[-0.296_277_9, 2.676_448, -0.140_846_36, -0.844_095_2]);
        let mut large = Philox::new((1 << 53) - 1);
        for _ in 0..3 {
            large.randn(1);
        }
        close(&large.randn(4), &[-0.148_379_09, 0.006_441_296_6, -1.912_860_6, -0.009_518_511]);
    }

    #[test]
    fn a_call_depends_on_those_before_it_by_their_number_alone() {
        let (mut first, mut second) = (Philox::new(7), Philox::new(7));
        assert_eq!(first.randn(5), second.randn(50)[..5]);
        let text = serde_json::to_string(&second).unwrap();
        let mut resumed: Philox = serde_json::from_str(&text).unwrap();
        assert_eq!(first.randn(9), resumed.randn(9));
        assert_ne!(Philox::new(7).randn(5), Philox::new((1 << 40) + 7).randn(5));
    }

    fn close(got: &[f32], expected: &[f32]) {
        assert_eq!(got.len(), expected.len());
        for (got, expected) in got.iter().zip(expected) {
            assert!((got - expected).abs() <= 2e-7 * expected.abs().max(1.0), "{got} is not {expected}");
        }
    }
}
