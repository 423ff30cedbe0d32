//! A picture a user sends: it is refused with a word of why, or becomes as many pixels as it says, and no more than may be.

use tintype_types::limits::INPUT_PIXELS_MAX;
use tintype_worker::images::{Filter, Mask, decode, resize};

/// Side of the picture that is drawn, and of its latent.
const SIDE: u32 = 64;
const LATENT_SIDE: usize = 8;

pub(crate) fn run(bytes: &[u8]) {
    let image = match decode("init", bytes) {
        Ok(image) => image,
        Err(error) => {
            assert!(error.input == "init" && !error.what.is_empty());
            return;
        }
    };
    let pixels = u64::from(image.width) * u64::from(image.height);
    assert!(pixels > 0 && pixels <= INPUT_PIXELS_MAX, "{} by {}", image.width, image.height);
    assert_eq!(image.pixels.len() as u64, pixels * 3);
    let scaled = resize(&image, SIDE, SIDE, Filter::Lanczos);
    assert_eq!((scaled.width, scaled.height, scaled.pixels.len()), (SIDE, SIDE, (SIDE * SIDE * 3) as usize));
    let mask = Mask::of(&image, SIDE, SIDE, SIDE as usize / LATENT_SIDE);
    assert_eq!((mask.pixels.len(), mask.latent.len()), ((SIDE * SIDE) as usize, LATENT_SIDE * LATENT_SIDE));
}
