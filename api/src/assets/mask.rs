//! OpenAI's masks into ours: there, what is transparent is redrawn; here, what is white. Pure, and slow on large pictures:
//! not for the async threads.

use std::io::Cursor;

use png::{BitDepth, ColorType, Decoder, Encoder, Limits, Transformations};
use tintype_types::limits::INPUT_PIXELS_MAX;

/// Most bytes the decoder may take beside the picture itself: a row and its filters, not a bomb in a text chunk.
const DECODER_BYTES_MAX: usize = 64 << 20;

/// Why there is no mask in a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MaskError {
    /// It cannot be decoded.
    #[error("it is not a PNG that can be decoded")]
    Unreadable,
    /// It has more pixels than may be read.
    #[error("it has too many pixels")]
    TooLarge,
}

/// A grey PNG of the same size, white where `content` is transparent; none when no pixel of it is.
pub(crate) fn from_alpha(content: &[u8]) -> Result<Option<Vec<u8>>, MaskError> {
    let mut decoder = Decoder::new_with_limits(Cursor::new(content), Limits { bytes: DECODER_BYTES_MAX });
    decoder.set_ignore_text_chunk(true);
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16 | Transformations::ALPHA);
    let mut reader = decoder.read_info().map_err(|_| MaskError::Unreadable)?;
    let (width, height) = reader.info().size();
    if u64::from(width) * u64::from(height) > INPUT_PIXELS_MAX {
        return Err(MaskError::TooLarge);
    }
    let mut pixels = vec![0; reader.output_buffer_size().ok_or(MaskError::TooLarge)?];
    let frame = reader.next_frame(&mut pixels).map_err(|_| MaskError::Unreadable)?;
    let samples = match frame.color_type {
        ColorType::Rgba => 4,
        ColorType::GrayscaleAlpha => 2,
        ColorType::Grayscale | ColorType::Rgb | ColorType::Indexed => return Err(MaskError::Unreadable),
    };
    let grey: Vec<u8> =
        pixels[..frame.buffer_size()].chunks_exact(samples).map(|pixel| 255 - pixel[samples - 1]).collect();
    if grey.iter().all(|value| *value == 0) {
        return Ok(None);
    }
    Ok(Some(encode(&grey, (width, height)).map_err(|_| MaskError::Unreadable)?))
}

fn encode(grey: &[u8], (width, height): (u32, u32)) -> Result<Vec<u8>, png::EncodingError> {
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, width, height);
    encoder.set_color(ColorType::Grayscale);
    encoder.set_depth(BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(grey)?;
    writer.finish()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(colour: ColorType, pixels: &[u8], transparent: Option<&[u8]>) -> Vec<u8> {
        let mut file = Vec::new();
        let mut encoder = Encoder::new(&mut file, 2, 1);
        encoder.set_color(colour);
        if let Some(transparent) = transparent {
            encoder.set_trns(transparent.to_vec());
        }
        encoder.write_header().unwrap().write_image_data(pixels).unwrap();
        file
    }

    fn grey(mask: &[u8]) -> Vec<u8> {
        let mut reader = Decoder::new(Cursor::new(mask)).read_info().unwrap();
        assert_eq!((reader.info().color_type, reader.info().size()), (ColorType::Grayscale, (2, 1)));
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        pixels
    }

    #[test]
    fn what_is_transparent_becomes_white() {
        let half = png(ColorType::Rgba, &[9, 9, 9, 0, 9, 9, 9, 255], None);
        assert_eq!(grey(&from_alpha(&half).unwrap().unwrap()), [255, 0]);
        let soft = png(ColorType::GrayscaleAlpha, &[9, 55, 9, 200], None);
        assert_eq!(grey(&from_alpha(&soft).unwrap().unwrap()), [200, 55]);
        let keyed = png(ColorType::Rgb, &[1, 2, 3, 4, 5, 6], Some(&[0, 4, 0, 5, 0, 6]));
        assert_eq!(grey(&from_alpha(&keyed).unwrap().unwrap()), [0, 255], "transparency by colour");
    }

    #[test]
    fn without_transparency_there_is_no_mask_and_rubbish_is_refused() {
        assert_eq!(from_alpha(&png(ColorType::Rgb, &[0; 6], None)), Ok(None));
        assert_eq!(from_alpha(&png(ColorType::Rgba, &[0, 0, 0, 255, 0, 0, 0, 255], None)), Ok(None));
        let whole = png(ColorType::Rgba, &[9, 9, 9, 0, 9, 9, 9, 255], None);
        for bad in [&b"GIF89a"[..], b"", &whole[..40]] {
            assert_eq!(from_alpha(bad), Err(MaskError::Unreadable));
        }
        let mut large = whole.clone();
        large[16..24].copy_from_slice(&[0, 0, 0x7f, 0xff, 0, 0, 0x7f, 0xff]);
        assert!(from_alpha(&large).is_err(), "a claim of a thousand million pixels is not believed");
    }
}
