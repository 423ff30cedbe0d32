//! The normal numbers of torch's CPU generator, so that a seed draws here what it draws in diffusers.
//!
//! Torch has two ways: up to 15 values come one by one in double precision; from 16 on the whole buffer is filled with
//! uniform 24-bit floats and turned into normals in blocks of 16 (`normal_fill` in its `DistributionTemplates.h`).

use serde::{Deserialize, Serialize};

const WORDS: usize = 624;
const PERIOD: usize = 397;
const MATRIX: u32 = 0x9908_b0df;
/// Values a block of torch's vectorised path holds; a shorter request takes the other path.
const BLOCK: usize = 16;

/// A Mersenne Twister and the one normal number torch keeps back between calls. Serialises whole, so that a run can
/// be resumed in the middle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mt19937 {
    words: Vec<u32>,
    next: usize,
    /// Its bits, as decimals might not come back the same.
    kept: Option<u64>,
}

impl Mt19937 {
    /// A generator as `torch.Generator().manual_seed(seed)` makes it. Like torch's, it reads the low 32 bits alone.
    pub fn new(seed: u64) -> Self {
        let mut words = Vec::with_capacity(WORDS);
        let mut word = (seed & 0xffff_ffff) as u32;
        words.push(word);
        for index in 1..WORDS as u32 {
            word = 1_812_433_253_u32.wrapping_mul(word ^ (word >> 30)).wrapping_add(index);
            words.push(word);
        }
        Self { words, next: WORDS, kept: None }
    }

    /// Whether this is a state a generator can be in. One that was read from elsewhere may be none.
    pub fn is_sound(&self) -> bool {
        self.words.len() == WORDS && self.next <= WORDS
    }

    /// What `torch.randn(len, generator=...)` returns in fp32.
    pub fn randn(&mut self, len: usize) -> Vec<f32> {
        if len < BLOCK {
            return (0..len).map(|_| self.normal() as f32).collect();
        }
        let mut values: Vec<f32> = (0..len).map(|_| self.uniform24()).collect();
        let (blocks, rest) = values.as_chunks_mut::<BLOCK>();
        for block in blocks {
            box_muller(block);
        }
        if !rest.is_empty() {
            // Torch draws the last whole block anew rather than finish a short one.
            let mut last = [0.0; BLOCK];
            for value in &mut last {
                *value = self.uniform24();
            }
            box_muller(&mut last);
            values[len - BLOCK..].copy_from_slice(&last);
        }
        values
    }

    fn normal(&mut self) -> f64 {
        if let Some(kept) = self.kept.take() {
            return f64::from_bits(kept);
        }
        let (turn, tail) = (self.uniform53(), self.uniform53());
        let radius = (-2.0 * (-tail).ln_1p()).sqrt();
        let angle = 2.0 * std::f64::consts::PI * turn;
        self.kept = Some((radius * angle.sin()).to_bits());
        radius * angle.cos()
    }

    fn uniform24(&mut self) -> f32 {
        (self.word() & 0x00ff_ffff) as f32 * (1.0 / 16_777_216.0)
    }

    fn uniform53(&mut self) -> f64 {
        let (high, low) = (u64::from(self.word()), u64::from(self.word()));
        (((high << 32) | low) & ((1 << 53) - 1)) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }

    fn word(&mut self) -> u32 {
        if self.next >= WORDS {
            self.refill();
        }
        let mut word = self.words[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    fn refill(&mut self) {
        for index in 0..WORDS {
            let joined = (self.words[index] & 0x8000_0000) | (self.words[(index + 1) % WORDS] & 0x7fff_ffff);
            let twist = if joined & 1 == 1 { MATRIX } else { 0 };
            self.words[index] = self.words[(index + PERIOD) % WORDS] ^ (joined >> 1) ^ twist;
        }
        self.next = 0;
    }
}

/// Turns 16 uniform numbers into 16 normal ones, in place, pairing the first half with the second.
fn box_muller(block: &mut [f32; BLOCK]) {
    for index in 0..BLOCK / 2 {
        let (size, turn) = (1.0 - block[index], block[index + BLOCK / 2]);
        let radius = (-2.0 * size.ln()).sqrt();
        let angle = 2.0 * std::f32::consts::PI * turn;
        block[index] = radius * angle.cos();
        block[index + BLOCK / 2] = radius * angle.sin();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The expected numbers were printed by torch 2.15.0: `torch.manual_seed(0); torch.randn(n)`.

    #[test]
    fn fewer_than_sixteen_values_are_torchs() {
        let expected = [1.5410, -0.2934, -2.1788, 0.5684, -1.0845, -1.3986, 0.4033, 0.8380];
        close(&Mt19937::new(0).randn(8), &expected, 5e-5);
    }

    #[test]
    fn sixteen_values_are_torchs() {
        let expected = [
            -1.1258, -1.1524, -0.2506, -0.4339, 0.8487, 0.6920, -0.3160, -2.1152, 0.3223, -1.2633, 0.3500, 0.3081,
            0.1198, 1.2377, 1.1168, -0.2473,
        ];
        close(&Mt19937::new(0).randn(16), &expected, 5e-5);
    }

    #[test]
    fn a_seed_is_read_by_its_low_32_bits() {
        assert_eq!(Mt19937::new(7).randn(64), Mt19937::new((1 << 32) + 7).randn(64));
        assert_ne!(Mt19937::new(7).randn(64), Mt19937::new(8).randn(64));
    }

    #[test]
    fn a_generator_goes_on_after_being_written_down() {
        let mut whole = Mt19937::new(3);
        whole.randn(21);
        whole.randn(5);
        let text = serde_json::to_string(&whole).unwrap();
        let mut resumed: Mt19937 = serde_json::from_str(&text).unwrap();
        assert_eq!(whole.randn(5), resumed.randn(5));
        assert_eq!(whole.randn(100), resumed.randn(100));
        assert!(resumed.is_sound());
        let cut: Mt19937 = serde_json::from_str(r#"{"words": [1, 2], "next": 0, "kept": null}"#).unwrap();
        assert!(!cut.is_sound());
    }

    fn close(got: &[f32], expected: &[f32], tolerance: f32) {
        assert_eq!(got.len(), expected.len());
        for (got, expected) in got.iter().zip(expected) {
            assert!((got - expected).abs() <= tolerance, "{got} is not {expected}");
        }
    }
}
