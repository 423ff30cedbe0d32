//! PNG, lossless, with its settings in text chunks.

use png::{BitDepth, ColorType, Encoder, EncodingError};

use super::RgbImage;
use super::embed::Embedded;

/// Keyword of A1111's text.
pub(super) const PARAMETERS: &str = "parameters";
/// Keyword of our JSON.
pub(super) const TINTYPE: &str = "tintype";
/// Keyword of XMP (XMP specification, part 3).
pub(super) const XMP: &str = "XML:com.adobe.xmp";

pub(super) fn encode(image: &RgbImage, embedded: &Embedded) -> Result<Vec<u8>, EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, image.width, image.height);
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    if let Some(settings) = &embedded.settings {
        let text = settings.parameters.clone();
        // tEXt is Latin-1: the first 256 code points.
        if text.chars().all(|letter| u32::from(letter) < 256) {
            encoder.add_text_chunk(PARAMETERS.to_owned(), text)?;
        } else {
            encoder.add_itxt_chunk(PARAMETERS.to_owned(), text)?;
        }
        encoder.add_itxt_chunk(TINTYPE.to_owned(), settings.json.clone())?;
    }
    if !embedded.xmp.is_empty() {
        encoder.add_itxt_chunk(XMP.to_owned(), embedded.xmp.clone())?;
    }
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&image.pixels)?;
    writer.finish()?;
    Ok(bytes)
}
