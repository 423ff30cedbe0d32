//! What an attempt shows of its pictures while they are drawn: small JPEG files, made when somebody watches, sent with the
//! next renewal, kept nowhere. With a safety filter there are none: a preview would pass unjudged.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jpeg_encoder::{ColorType, Encoder, EncodingError};
use tintype_types::limits::PREVIEW_BYTES_MAX;
use tintype_types::{ImageFormat, Preview};

use super::Control;
use crate::engine::Look;
use crate::output::RgbImage;

/// Qualities tried, until the file is small enough. A preview of noise is the largest; only the first steps are noise.
const QUALITIES: [u8; 3] = [85, 60, 30];

impl Control {
    /// Asks the engine for looks at the pictures; they are made after its next step.
    pub(super) fn want_looks(&self) {
        if let Some(job) = self.job.get() {
            job.want_looks();
        }
    }

    /// The looks that were made, as files.
    pub(super) async fn previews(&self) -> Vec<Preview> {
        let looks = self.job.get().map(crate::engine::Control::looks).unwrap_or_default();
        if looks.is_empty() {
            return Vec::new();
        }
        let written = tokio::task::spawn_blocking(move || looks.iter().filter_map(preview).collect());
        written.await.unwrap_or_default()
    }
}

/// A look as a file; none where it cannot be written, or not small enough.
fn preview(look: &Look) -> Option<Preview> {
    let Look { image: picture, index, step } = look;
    let files = QUALITIES.into_iter().map_while(|quality| encode(picture, quality).ok());
    let file = files.into_iter().find(|file| file.len() <= PREVIEW_BYTES_MAX as usize)?;
    Some(Preview { image: *index, step: *step, format: ImageFormat::Jpeg, data: STANDARD.encode(file) })
}

fn encode(picture: &RgbImage, quality: u8) -> Result<Vec<u8>, EncodingError> {
    let side = |side: u32| u16::try_from(side).unwrap_or(u16::MAX);
    let mut file = Vec::new();
    let encoder = Encoder::new(&mut file, quality);
    encoder.encode(&picture.pixels, side(picture.width), side(picture.height), ColorType::Rgb)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::decode;
    use crate::pipeline::PREVIEW_SIDE_MAX;

    #[test]
    fn a_preview_of_anything_is_small_enough_and_shows_what_it_should() {
        let side = PREVIEW_SIDE_MAX;
        let mut state = 1_u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let noise: Vec<u8> = (0..side * side * 3).map(|_| noise()).collect();
        let flat = [200, 40, 90].repeat((side * side) as usize);
        for (pixels, exact) in [(noise, false), (flat, true)] {
            let image = RgbImage { width: side, height: side, pixels };
            let made = preview(&Look { index: 3, step: 7, image: image.clone() }).unwrap();
            assert_eq!((made.image, made.step, made.format), (3, 7, ImageFormat::Jpeg));
            let file = STANDARD.decode(&made.data).unwrap();
            assert!(file.len() <= PREVIEW_BYTES_MAX as usize, "{} bytes", file.len());
            let shown = decode("preview", &file).unwrap();
            assert_eq!((shown.width, shown.height), (side, side));
            let off = shown.pixels.iter().zip(&image.pixels).all(|(a, b)| a.abs_diff(*b) < 6);
            assert!(off || !exact, "another colour");
        }
    }

    #[test]
    fn a_picture_that_is_none_has_no_preview() {
        let image = RgbImage { width: 4, height: 4, pixels: vec![0; 5] };
        assert_eq!(preview(&Look { index: 0, step: 1, image }), None);
    }
}
