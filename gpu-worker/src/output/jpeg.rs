//! JPEG of quality 95 with full colour resolution, with its settings in EXIF and XMP.

use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

use super::embed::Embedded;
use super::{EncodeError, RgbImage, exif};

/// As the request's documentation promises; above it files grow and nothing is seen.
const QUALITY: u8 = 95;
/// The application segment of EXIF and XMP.
const APP1: u8 = 1;
/// What an XMP segment starts with (XMP specification, part 3).
const XMP_NAME: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";

pub(super) fn encode(image: &RgbImage, embedded: &Embedded) -> Result<Vec<u8>, EncodeError> {
    let (Ok(width), Ok(height)) = (u16::try_from(image.width), u16::try_from(image.height)) else {
        return Err(EncodeError::Size);
    };
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, QUALITY);
    // Half-resolution colour smears the edges of saturated shapes, which generated pictures have many of.
    encoder.set_sampling_factor(SamplingFactor::F_1_1);
    if let Some(settings) = &embedded.settings {
        encoder.add_exif_metadata(&exif::user_comment(&settings.parameters))?;
    }
    encoder.add_app_segment(APP1, [XMP_NAME, embedded.xmp_with_settings().as_bytes()].concat())?;
    encoder.encode(&image.pixels, width, height, ColorType::Rgb)?;
    Ok(bytes)
}
