//! Where a picture may be changed, as diffusers' inpainting reads a mask: grey from half up is redrawn, the rest kept.

use super::{Filter, resize};
use crate::output::RgbImage;

/// A mask at the size of the picture and at that of its latent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// Whether each pixel is redrawn, rows from the top.
    pub pixels: Vec<bool>,
    /// Whether each place of the latent is redrawn: what its upper left pixel says.
    pub latent: Vec<bool>,
}

impl Mask {
    /// Scales a mask to `width` x `height`, multiples of `factor`, and settles each pixel one way.
    pub fn of(image: &RgbImage, width: u32, height: u32, factor: usize) -> Self {
        let scaled = resize(image, width, height, Filter::Lanczos);
        let pixels: Vec<bool> = scaled.pixels.as_chunks().0.iter().map(|pixel| grey(*pixel) >= 128).collect();
        let wide = width as usize;
        let latent = (0..height as usize)
            .step_by(factor.max(1))
            .flat_map(|y| pixels[y * wide..(y + 1) * wide].iter().copied().step_by(factor.max(1)))
            .collect();
        Self { pixels, latent }
    }

    /// Takes out of a picture, as [`super::signed_planes`] makes it, all that is redrawn.
    pub fn blank(&self, planes: &mut [f32]) {
        for plane in planes.chunks_exact_mut(self.pixels.len().max(1)) {
            for (value, redrawn) in plane.iter_mut().zip(&self.pixels) {
                if *redrawn {
                    *value = 0.0;
                }
            }
        }
    }
}

/// Luma as Pillow rounds it (ITU-R 601-2).
fn grey([red, green, blue]: [u8; 3]) -> u8 {
    ((u32::from(red) * 19_595 + u32::from(green) * 38_470 + u32::from(blue) * 7_471 + 0x8000) >> 16) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_grey_and_more_is_redrawn_and_the_latent_reads_corners() {
        let pixels = [127, 128, 0, 255, 200, 0, 0, 0].into_iter().flat_map(|grey| [grey; 3]).collect();
        let mask = Mask::of(&RgbImage { width: 4, height: 2, pixels }, 4, 2, 2);
        assert_eq!(mask.pixels, [false, true, false, true, true, false, false, false]);
        assert_eq!(mask.latent, [false, false]);
        let mut planes = vec![0.5; 24];
        mask.blank(&mut planes);
        assert_eq!(planes[..8], [0.5, 0.0, 0.5, 0.0, 0.0, 0.5, 0.5, 0.5]);
        assert_eq!(planes[16..], planes[..8]);
    }

    #[test]
    fn colours_count_by_how_bright_they_are() {
        assert_eq!([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255; 3]].map(grey), [76, 150, 29, 255]);
    }
}
