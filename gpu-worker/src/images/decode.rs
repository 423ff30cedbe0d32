//! PNG, JPEG and WebP to plain RGB: eight bits a channel, upright, over white where it was transparent.

use std::io::Cursor;

use image_webp::WebPDecoder;
use png::{ColorType, Transformations};
use tintype_types::limits::{INPUT_BYTES_MAX, INPUT_PIXELS_MAX};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::InputError;
use super::exif::{Orientation, orientation};
use crate::output::RgbImage;

/// Most bytes a decoder may take beside the pixels: colour profiles, tables, rows in flight.
const EXTRA_BYTES_MAX: usize = 64 << 20;
/// Most scans of a progressive JPEG; cameras write about ten. So many over as many pixels as may be, in a file of any length,
/// take a third of a second of one core when they are decoded by optimised code.
const SCANS_MAX: usize = 64;

/// Reads a file. `input` is what the picture is called in an error.
///
/// # Errors
/// A file that is too large, is of no known format, is damaged, or would have too many pixels.
pub fn decode(input: &str, file: &[u8]) -> Result<RgbImage, InputError> {
    read(file).map_err(|what| InputError { input: input.to_owned(), what })
}

fn read(file: &[u8]) -> Result<RgbImage, String> {
    if file.len() as u64 > INPUT_BYTES_MAX {
        return Err(format!("has {} bytes; at most {INPUT_BYTES_MAX} are read", file.len()));
    }
    let (raw, turned) = if file.starts_with(b"\x89PNG\r\n\x1a\n") {
        read_png(file)?
    } else if file.starts_with(b"\xff\xd8\xff") {
        read_jpeg(file)?
    } else if file.starts_with(b"RIFF") && file.get(8..12) == Some(b"WEBP") {
        read_webp(file)?
    } else {
        return Err("is no PNG, JPEG or WebP file; save it as one of these".to_owned());
    };
    Ok(turned.apply(raw.into_rgb()))
}

/// Pixels as they come out of a decoder.
struct Raw {
    width: u32,
    height: u32,
    layout: Layout,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    Grey,
    GreyAlpha,
    Rgb,
    Rgba,
}

impl Raw {
    fn into_rgb(self) -> RgbImage {
        let Self { width, height, layout, bytes } = self;
        let pixels = match layout {
            Layout::Rgb => bytes,
            Layout::Grey => bytes.into_iter().flat_map(|grey| [grey; 3]).collect(),
            Layout::GreyAlpha => {
                bytes.as_chunks().0.iter().flat_map(|[grey, alpha]| [over_white(*grey, *alpha); 3]).collect()
            }
            Layout::Rgba => bytes
                .as_chunks()
                .0
                .iter()
                .flat_map(|[red, green, blue, alpha]| [red, green, blue].map(|value| over_white(*value, *alpha)))
                .collect(),
        };
        RgbImage { width, height, pixels }
    }
}

fn over_white(value: u8, alpha: u8) -> u8 {
    let (value, alpha) = (u32::from(value), u32::from(alpha));
    ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
}

/// Refuses a picture by what its header says, before its pixels have a place.
fn check_size(width: u32, height: u32) -> Result<(), String> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 || pixels > INPUT_PIXELS_MAX {
        return Err(format!("is {width} x {height}; 1 to {INPUT_PIXELS_MAX} pixels are read, so scale it down"));
    }
    Ok(())
}

fn read_png(file: &[u8]) -> Result<(Raw, Orientation), String> {
    let limits = png::Limits { bytes: EXTRA_BYTES_MAX };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(file), limits);
    // Palettes and small depths become eight bits, sixteen lose their low half.
    decoder.set_transformations(Transformations::normalize_to_color8());
    let header = decoder.read_header_info().map_err(damaged)?;
    check_size(header.width, header.height)?;
    let mut reader = decoder.read_info().map_err(damaged)?;
    let size = reader.output_buffer_size().ok_or("is too large")?;
    let mut bytes = vec![0; size];
    let frame = reader.next_frame(&mut bytes).map_err(damaged)?;
    let layout = match frame.color_type {
        ColorType::Grayscale => Layout::Grey,
        ColorType::GrayscaleAlpha => Layout::GreyAlpha,
        ColorType::Rgb => Layout::Rgb,
        ColorType::Rgba => Layout::Rgba,
        ColorType::Indexed => return Err("keeps its palette; save it as plain RGB".to_owned()),
    };
    bytes.truncate(frame.buffer_size());
    let turned = reader.info().exif_metadata.as_deref().map_or(Orientation::Upright, orientation);
    Ok((Raw { width: frame.width, height: frame.height, layout, bytes }, turned))
}

fn read_jpeg(file: &[u8]) -> Result<(Raw, Orientation), String> {
    // No side may be longer than all pixels allowed. Not strict: cameras and phones write slips that every viewer forgives.
    let options = DecoderOptions::default()
        .set_max_width(INPUT_PIXELS_MAX as usize)
        .set_max_height(INPUT_PIXELS_MAX as usize)
        .jpeg_set_max_scans(SCANS_MAX)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(file), options);
    decoder.decode_headers().map_err(damaged)?;
    let (width, height) = decoder.dimensions().ok_or("has no size")?;
    let side = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
    let (width, height) = (side(width), side(height));
    check_size(width, height)?;
    let bytes = decoder.decode().map_err(damaged)?;
    let turned = decoder.exif().map_or(Orientation::Upright, |exif| orientation(exif));
    Ok((Raw { width, height, layout: Layout::Rgb, bytes }, turned))
}

fn read_webp(file: &[u8]) -> Result<(Raw, Orientation), String> {
    let mut decoder = WebPDecoder::new(Cursor::new(file)).map_err(damaged)?;
    decoder.set_memory_limit(EXTRA_BYTES_MAX);
    let (width, height) = decoder.dimensions();
    check_size(width, height)?;
    let layout = if decoder.has_alpha() { Layout::Rgba } else { Layout::Rgb };
    let mut bytes = vec![0; decoder.output_buffer_size().ok_or("is too large")?];
    decoder.read_image(&mut bytes).map_err(damaged)?;
    let exif = decoder.exif_metadata().map_err(damaged)?;
    let turned = exif.as_deref().map_or(Orientation::Upright, orientation);
    Ok((Raw { width, height, layout, bytes }, turned))
}

fn damaged(error: impl std::fmt::Debug + std::fmt::Display) -> String {
    format!("is damaged: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png_of(color: ColorType, depth: png::BitDepth, (width, height): (u32, u32), data: &[u8]) -> Vec<u8> {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, width, height);
        encoder.set_color(color);
        encoder.set_depth(depth);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(data).unwrap();
        drop(writer);
        file
    }

    #[test]
    fn every_kind_of_png_becomes_eight_bit_rgb_over_white() {
        use png::BitDepth::{Eight, Sixteen};
        let cases = [
            (png_of(ColorType::Grayscale, Eight, (2, 1), &[7, 200]), vec![7, 7, 7, 200, 200, 200]),
            (png_of(ColorType::GrayscaleAlpha, Eight, (1, 1), &[0, 51]), vec![204; 3]),
            (png_of(ColorType::Rgba, Eight, (1, 1), &[255, 0, 100, 0]), vec![255; 3]),
            (png_of(ColorType::Rgb, Sixteen, (1, 1), &[1, 255, 2, 0, 3, 9]), vec![1, 2, 3]),
        ];
        for (file, pixels) in cases {
            assert_eq!(decode("init", &file).unwrap().pixels, pixels);
        }
    }

    #[test]
    fn an_image_bomb_is_refused_by_its_header() {
        // 60000 x 60000 in a few bytes: the size stands in the header, and the pixels are never made.
        let mut file = png_of(ColorType::Grayscale, png::BitDepth::Eight, (1, 1), &[0]);
        file[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
        let sum = crc(&file[12..29]);
        file[29..33].copy_from_slice(&sum.to_be_bytes());
        let error = decode("mask", &file).unwrap_err();
        assert_eq!(error.input, "mask");
        assert!(error.to_string().starts_with("the mask picture is 60000 x 60000"), "{error}");
        let long = vec![0; INPUT_BYTES_MAX as usize + 1];
        assert!(decode("init", &long).unwrap_err().what.contains("bytes"));
    }

    #[test]
    fn damaged_and_foreign_files_are_refused_wherever_they_are_cut() {
        let whole = png_of(ColorType::Rgb, png::BitDepth::Eight, (3, 2), &[9; 18]);
        assert!(decode("init", &whole).is_ok());
        for length in 0..whole.len() - 12 {
            assert!(decode("init", &whole[..length]).is_err(), "{length} bytes");
        }
        for file in
            [b"GIF89a".as_slice(), b"\xff\xd8\xff\xe0", b"RIFF\x04\0\0\0WEBP", b"RIFF\xff\xff\xff\xffWEBPVP8L\xff"]
        {
            assert!(decode("init", file).is_err());
        }
    }

    fn crc(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |sum, byte| {
            (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg()))
        })
    }
}
