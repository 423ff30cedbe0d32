//! Pictures coming in: from a user's file to what the networks read. Must not know stores, requests or models.
//!
//! A file is a stranger's: its size and its pixels are bounded before anything is allocated for them, and whatever is
//! wrong with it is an [`InputError`] that says which input is meant.

mod decode;
mod exif;
mod mask;
mod resize;

pub use decode::decode;
pub use mask::Mask;
pub use resize::{Filter, resize};

use crate::output::RgbImage;

/// An input picture that cannot be used. Another attempt would fare no better.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {input} picture {what}")]
pub struct InputError {
    /// Which one: `init`, `mask`, or a ControlNet's.
    pub input: String,
    /// What is wrong with it, and what would be right.
    pub what: String,
}

/// A picture as networks read it: (3, height, width) of -1 to 1, planes one after the other.
pub fn signed_planes(image: &RgbImage) -> Vec<f32> {
    planes(image, |byte| f32::from(byte) / 255.0 * 2.0 - 1.0)
}

/// A picture as ControlNets read their hints: (3, height, width) of 0 to 1.
pub fn unit_planes(image: &RgbImage) -> Vec<f32> {
    planes(image, |byte| f32::from(byte) / 255.0)
}

fn planes(image: &RgbImage, value: impl Fn(u8) -> f32 + Copy) -> Vec<f32> {
    (0..3).flat_map(|channel| image.pixels.iter().skip(channel).step_by(3).map(move |byte| value(*byte))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_follow_each_other() {
        let image = RgbImage { width: 2, height: 1, pixels: vec![0, 51, 255, 255, 0, 102] };
        assert_eq!(unit_planes(&image), [0.0, 1.0, 0.2, 0.0, 1.0, 0.4]);
        assert_eq!(signed_planes(&image)[..2], [-1.0, 1.0]);
    }
}
