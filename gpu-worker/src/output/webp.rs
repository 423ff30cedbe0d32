//! Lossless WebP, with its settings in EXIF and XMP.

use image_webp::{ColorType, WebPEncoder};

use super::embed::Embedded;
use super::{EncodeError, RgbImage, exif};

pub(super) fn encode(image: &RgbImage, embedded: &Embedded) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Vec::new();
    let mut encoder = WebPEncoder::new(&mut bytes);
    if let Some(settings) = &embedded.settings {
        encoder.set_exif_metadata(exif::user_comment(&settings.parameters));
    }
    encoder.set_xmp_metadata(embedded.xmp_with_settings().into_bytes());
    encoder.encode(&image.pixels, image.width, image.height, ColorType::Rgb8)?;
    Ok(bytes)
}
