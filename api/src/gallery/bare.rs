//! A picture's file without what is written in it of how it was made, by whom and from what: pixels, and the word that an
//! algorithm made them. Nothing is decoded. Pure.
//!
//! PNG: W3C PNG, 5.3 and 11. JPEG: ITU-T T.81, B.1.1. WebP: RFC 9649, 2.3 to 2.7. The mark: IPTC Photo Metadata Standard
//! 2023.1, Digital Source Type, in XMP (ISO 16684-1; XMP specification, part 3).

use tintype_types::ImageFormat;

/// Chunks that are the picture.
const PNG_CHUNKS: [&[u8]; 7] = [b"IHDR", b"PLTE", b"tRNS", b"gAMA", b"sRGB", b"IDAT", b"IEND"];
const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// Length, type and check sum of a chunk.
const PNG_FRAME: usize = 12;
const WEBP_CHUNKS: [&[u8]; 4] = [b"VP8X", b"VP8 ", b"VP8L", b"ALPH"];
/// Flags of an extended WebP.
const WEBP_ALPHA: u8 = 0x10;
const WEBP_XMP: u8 = 0x04;
/// Before the first chunk: `RIFF`, the size, `WEBP`.
const WEBP_HEAD: usize = 12;
/// What an XMP segment of a JPEG starts with.
const JPEG_XMP: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
/// The mark, as the only property of a packet.
const MARK: &[u8] = b"<?xpacket begin=\"\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?><x:xmpmeta xmlns:x=\"adobe:ns:meta/\">\
    <rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\"><rdf:Description rdf:about=\"\" \
    xmlns:Iptc4xmpExt=\"http://iptc.org/std/Iptc4xmpExt/2008-02-29/\"><Iptc4xmpExt:DigitalSourceType>\
    http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia</Iptc4xmpExt:DigitalSourceType>\
    </rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end=\"r\"?>";

/// The bare file; none where it is not one of this format.
pub(crate) fn of(format: ImageFormat, bytes: &[u8]) -> Option<Vec<u8>> {
    match format {
        ImageFormat::Png => png(bytes),
        ImageFormat::Jpeg => jpeg(bytes),
        ImageFormat::Webp => webp(bytes),
    }
}

/// Check sums are over a chunk each, so what stays is copied. Our XMP of a PNG holds the mark and no settings.
fn png(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut rest = bytes.strip_prefix(PNG_SIGNATURE)?;
    let mut bare = PNG_SIGNATURE.to_vec();
    loop {
        let length = u32::from_be_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        let chunk = rest.get(..length.checked_add(PNG_FRAME)?)?;
        let kind = &chunk[4..8];
        let mark = kind == b"iTXt" && chunk[8..].starts_with(b"XML:com.adobe.xmp\0") && !tells(chunk);
        if mark || PNG_CHUNKS.contains(&kind) {
            bare.extend_from_slice(chunk);
        }
        if kind == b"IEND" {
            return Some(bare);
        }
        rest = &rest[chunk.len()..];
    }
}

/// Whether our settings are in an XMP packet.
fn tells(packet: &[u8]) -> bool {
    const SETTINGS: &[u8] = b"tintype:request";
    packet.windows(SETTINGS.len()).any(|part| part == SETTINGS)
}

/// Of application segments JFIF's and Adobe's stay, which say how colours are meant; comments go.
fn jpeg(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut rest = bytes.strip_prefix(b"\xff\xd8")?;
    let mut bare = b"\xff\xd8".to_vec();
    let mut marked = false;
    loop {
        let marker = *rest.get(1).filter(|_| rest[0] == 0xff)?;
        // JFIF's stands first.
        if marker != 0xe0 && !marked {
            marked = true;
            let length = u16::try_from(2 + JPEG_XMP.len() + MARK.len()).ok()?;
            bare.extend_from_slice(&[b"\xff\xe1", &length.to_be_bytes()[..], JPEG_XMP, MARK].concat());
        }
        // The scan: what follows is the picture.
        if marker == 0xda {
            bare.extend_from_slice(rest);
            return Some(bare);
        }
        let length = usize::from(u16::from_be_bytes(rest.get(2..4)?.try_into().ok()?));
        let segment = rest.get(..length.checked_add(2).filter(|whole| *whole >= 4)?)?;
        if !matches!(marker, 0xe1..=0xed | 0xef | 0xfe) {
            bare.extend_from_slice(segment);
        }
        rest = &rest[segment.len()..];
    }
}

/// A simple file has no room for a mark; ours are extended.
fn webp(bytes: &[u8]) -> Option<Vec<u8>> {
    let head = bytes.get(..WEBP_HEAD).filter(|head| head.starts_with(b"RIFF") && head.ends_with(b"WEBP"))?;
    let mut bare = head.to_vec();
    let mut rest = &bytes[WEBP_HEAD..];
    let mut extended = false;
    while !rest.is_empty() {
        let length = u32::from_le_bytes(rest.get(4..8)?.try_into().ok()?) as usize;
        let chunk = rest.get(..length.checked_add(8)?.checked_next_multiple_of(2)?)?;
        if WEBP_CHUNKS.contains(&&chunk[..4]) {
            let at = bare.len();
            bare.extend_from_slice(chunk);
            if chunk.starts_with(b"VP8X") {
                let flags = bare.get_mut(at + 8)?;
                *flags = *flags & WEBP_ALPHA | WEBP_XMP;
                extended = true;
            }
        }
        rest = &rest[chunk.len()..];
    }
    if extended {
        let length = u32::try_from(MARK.len()).ok()?;
        bare.extend_from_slice(&[b"XMP ", &length.to_le_bytes()[..], MARK].concat());
        bare.resize(bare.len().next_multiple_of(2), 0);
    }
    let size = u32::try_from(bare.len() - 8).ok()?;
    bare[4..8].copy_from_slice(&size.to_le_bytes());
    Some(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "a prompt nobody is to know, inputs/0190-account/picture.png";

    fn contains(bytes: &[u8], text: &str) -> bool {
        bytes.windows(text.len()).any(|part| part == text.as_bytes())
    }

    fn png_with_settings() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 3, 2);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.add_text_chunk("parameters".to_owned(), SECRET.to_owned()).unwrap();
        encoder.add_itxt_chunk("tintype".to_owned(), SECRET.to_owned()).unwrap();
        encoder.add_itxt_chunk("XML:com.adobe.xmp".to_owned(), "trainedAlgorithmicMedia".to_owned()).unwrap();
        encoder.write_header().unwrap().write_image_data(&[1, 2, 3, 4, 5, 6]).unwrap();
        bytes
    }

    /// A segment of a JPEG.
    fn segment(marker: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len() + 2).unwrap();
        [&[0xff, marker][..], &length.to_be_bytes(), content].concat()
    }

    fn chunk(name: [u8; 4], content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).unwrap();
        [&name[..], &length.to_le_bytes(), content, &[0][..content.len() % 2]].concat()
    }

    fn samples() -> [(ImageFormat, Vec<u8>); 3] {
        let jpeg = [
            b"\xff\xd8".to_vec(),
            segment(0xe0, b"JFIF"),
            segment(0xe1, SECRET.as_bytes()),
            segment(0xeb, SECRET.as_bytes()),
            segment(0xfe, SECRET.as_bytes()),
            segment(0xc0, b"frame"),
            segment(0xda, b"scan"),
            b"pixels\xff\xd9".to_vec(),
        ]
        .concat();
        let chunks = [
            chunk(*b"VP8X", b"\x1c\0\0\0\x02\0\0\x01\0\0"),
            chunk(*b"VP8L", b"pixel"),
            chunk(*b"EXIF", SECRET.as_bytes()),
            chunk(*b"XMP ", SECRET.as_bytes()),
        ]
        .concat();
        let size = u32::try_from(chunks.len() + 4).unwrap();
        let webp = [b"RIFF", &size.to_le_bytes()[..], b"WEBP", &chunks].concat();
        [(ImageFormat::Png, png_with_settings()), (ImageFormat::Jpeg, jpeg), (ImageFormat::Webp, webp)]
    }

    #[test]
    fn what_made_it_is_not_in_it_any_more_and_that_a_machine_did_is() {
        for (format, bytes) in samples() {
            assert!(contains(&bytes, SECRET), "{format:?}");
            let bare = of(format, &bytes).unwrap();
            assert!(!contains(&bare, "prompt") && !contains(&bare, "inputs/"), "{format:?}");
            assert!(contains(&bare, "trainedAlgorithmicMedia"), "{format:?}");
            assert_eq!(of(format, &bare).as_ref(), Some(&bare), "{format:?}: bare already");
        }
    }

    #[test]
    fn the_pixels_are_the_same() {
        let [(_, png), (_, jpeg), (_, webp)] = samples();
        let bare = self::png(&png).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(bare)).read_info().unwrap();
        let mut pixels = [0; 6];
        reader.next_frame(&mut pixels).unwrap();
        assert_eq!(pixels, [1, 2, 3, 4, 5, 6]);
        assert!(self::jpeg(&jpeg).unwrap().ends_with(b"pixels\xff\xd9"));
        let bare = self::webp(&webp).unwrap();
        assert!(contains(&bare, "VP8L\u{5}\0\0\0pixel"));
        assert_eq!(bare[20], WEBP_ALPHA | WEBP_XMP, "the flags tell of what is there");
        assert_eq!(u32::from_le_bytes(bare[4..8].try_into().unwrap()) as usize, bare.len() - 8);
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        let [(_, png), (_, jpeg), (_, webp)] = samples();
        assert!((0..png.len()).all(|end| self::png(&png[..end]).is_none()));
        assert!((0..jpeg.len() - 14).all(|end| self::jpeg(&jpeg[..end]).is_none()));
        assert!((0..WEBP_HEAD).all(|end| self::webp(&webp[..end]).is_none()));
        assert!(self::webp(&webp[..webp.len() - 1]).is_none());
        let endless = [b"\xff\xd8".to_vec(), b"\xff\xe1\0\0".repeat(3)].concat();
        assert!(self::jpeg(&endless).is_none(), "a segment of no length");
    }
}
