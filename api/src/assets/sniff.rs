//! What a file is and how large its picture: from its first bytes, without decoding anything. Pure.
//!
//! PNG: W3C PNG, 5.2 and 11.2.1. JPEG: ITU-T T.81, B.1.1 and B.2.2. WebP: RFC 9649, 2.4 to 2.7.

use tintype_types::ImageFormat;

/// JPEG segments looked at before the frame: metadata in a thousand pieces is not a picture of ours.
const SEGMENTS_MAX: usize = 1_000;

/// Why it is no picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// Neither of the three.
    #[error("it is neither PNG, JPEG nor WebP")]
    Unknown,
    /// It begins like one and is not.
    #[error("it begins like {0} and is damaged or cut off")]
    Damaged(&'static str),
    /// It has frames.
    #[error("it is animated; send one picture")]
    Animated,
}

/// Format, and width and height in pixels.
pub(crate) fn header(bytes: &[u8]) -> Result<(ImageFormat, (u32, u32)), Fault> {
    let (format, size) = if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        (ImageFormat::Png, png(bytes).ok_or(Fault::Damaged("a PNG")))
    } else if bytes.starts_with(b"\xff\xd8\xff") {
        (ImageFormat::Jpeg, jpeg(bytes).ok_or(Fault::Damaged("a JPEG")))
    } else if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        (ImageFormat::Webp, webp(bytes))
    } else {
        return Err(Fault::Unknown);
    };
    match size? {
        (0, _) | (_, 0) => Err(Fault::Damaged("a picture")),
        size => Ok((format, size)),
    }
}

fn png(bytes: &[u8]) -> Option<(u32, u32)> {
    (bytes.get(8..16)? == b"\0\0\0\x0dIHDR").then_some(())?;
    let side = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    Some((side(16)?, side(20)?))
}

fn jpeg(bytes: &[u8]) -> Option<(u32, u32)> {
    let word = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let mut at = 2;
    for _ in 0..SEGMENTS_MAX {
        (*bytes.get(at)? == 0xff).then_some(())?;
        match *bytes.get(at + 1)? {
            // Fill bytes, and markers without a segment.
            0xff => at += 1,
            0x01 | 0xd0..=0xd7 => at += 2,
            // The frame: precision, height, width.
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                return Some((u32::from(word(at + 7)?), u32::from(word(at + 5)?)));
            }
            // The scan, or the end, before any frame.
            0xd8..=0xda => return None,
            _ => at += 2 + usize::from(word(at + 2).filter(|length| *length >= 2)?),
        }
    }
    None
}

fn webp(bytes: &[u8]) -> Result<(u32, u32), Fault> {
    const ANIMATION: u8 = 0b10;
    let damaged = Fault::Damaged("a WebP");
    let at = |range: std::ops::Range<usize>| bytes.get(range).ok_or(damaged);
    let little = |range| Ok(at(range)?.iter().rev().fold(0_u32, |number, byte| number << 8 | u32::from(*byte)));
    match at(12..16)? {
        b"VP8 " if at(23..26)? == b"\x9d\x01\x2a" => Ok((little(26..28)? & 0x3fff, little(28..30)? & 0x3fff)),
        b"VP8L" if at(20..21)? == b"\x2f" => {
            let packed = little(21..25)?;
            Ok(((packed & 0x3fff) + 1, (packed >> 14 & 0x3fff) + 1))
        }
        b"VP8X" if at(20..21)?[0] & ANIMATION != 0 => Err(Fault::Animated),
        b"VP8X" => Ok((little(24..27)? + 1, little(27..30)? + 1)),
        _ => Err(damaged),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `cwebp`, `cjpeg` and `pngcrush` write them: 3 pixels wide, 2 high.
    fn samples() -> Vec<(ImageFormat, Vec<u8>)> {
        let mut png = Vec::new();
        let mut encoder = png::Encoder::new(&mut png, 3, 2);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.write_header().unwrap().write_image_data(&[0; 6]).unwrap();
        let jpeg = b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0\xff\xff\xfe\0\x04hi\xff\xc0\0\x0b\x08\0\x02\0\x03\x01";
        let lossy = b"RIFF\x1a\0\0\0WEBPVP8 \x0e\0\0\0\x30\x01\0\x9d\x01\x2a\x03\0\x02\0\x01";
        let lossless = b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f\x02\x40\0\0\0";
        let extended = b"RIFF\x1a\0\0\0WEBPVP8X\x0a\0\0\0\x10\0\0\0\x02\0\0\x01\0\0";
        let webp = [&lossy[..], lossless, extended].map(|bytes| (ImageFormat::Webp, bytes.to_vec()));
        [vec![(ImageFormat::Png, png), (ImageFormat::Jpeg, jpeg.to_vec())], webp.to_vec()].concat()
    }

    #[test]
    fn sizes_are_read_from_the_headers_of_the_three_formats() {
        for (format, bytes) in samples() {
            assert_eq!(header(&bytes), Ok((format, (3, 2))), "{format:?}");
        }
    }

    #[test]
    fn what_is_cut_off_or_something_else_is_refused() {
        for (format, bytes) in samples() {
            let needed = (0..=bytes.len()).rev().take_while(|end| header(&bytes[..*end]).is_ok()).last().unwrap();
            for end in 0..needed {
                assert!(header(&bytes[..end]).is_err(), "{format:?} cut at {end}");
            }
        }
        for bytes in
            [&b""[..], b"GIF89a\x03\0\x02\0", b"<svg/>", b"\xff\xd8\xff\xda", b"\x89PNG\r\n\x1a\n\0\0\0\x0dIDAT"]
        {
            assert!(header(bytes).is_err(), "{bytes:?}");
        }
        let mut flat = samples().remove(0).1;
        flat[16..20].fill(0);
        assert_eq!(header(&flat), Err(Fault::Damaged("a picture")));
        let moving = b"RIFF\x1a\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0\x02\0\0\x01\0\0";
        assert_eq!(header(moving), Err(Fault::Animated));
    }

    /// A segment of length 0 must not be read for ever, nor a thousand comments.
    #[test]
    fn a_jpeg_that_goes_round_in_circles_is_refused() {
        assert!(header(b"\xff\xd8\xff\xfe\0\0\xff\xfe\0\0").is_err());
        let comments =
            [b"\xff\xd8".to_vec(), b"\xff\xfe\0\x02".repeat(2_000), b"\xff\xc0\0\x0b\x08\0\x02\0\x03".to_vec()];
        assert!(header(&comments.concat()).is_err());
    }
}
