//! EXIF with one entry, the UserComment, as A1111's web UI writes it into JPEG and WebP files (piexif's
//! `UserComment.dump(text, encoding="unicode")`): big-endian TIFF, the text `UNICODE\0` and UTF-16.
//!
//! Exif 2.32 (CIPA DC-008): tags 0x8769 (Exif IFD) and 0x9286 (UserComment).

/// Start of a big-endian TIFF, and where its first directory is: right behind.
const TIFF_HEADER: [u8; 8] = [b'M', b'M', 0, 42, 0, 0, 0, 8];
/// Bytes of a directory with one entry: the count, the entry, the offset of the next directory.
const DIRECTORY_BYTES: u32 = 2 + 12 + 4;
const EXIF_POINTER: u16 = 0x8769;
const USER_COMMENT: u16 = 0x9286;
const TYPE_LONG: u16 = 4;
const TYPE_UNDEFINED: u16 = 7;
/// Longest text, in bytes of UTF-16: a JPEG segment must hold it with everything around it.
const TEXT_BYTES_MAX: usize = 65_000;

/// A TIFF block with this comment; a comment too long for a JPEG segment is cut.
pub(super) fn user_comment(text: &str) -> Vec<u8> {
    let mut comment = b"UNICODE\0".to_vec();
    let mut pair = [0; 2];
    for letter in text.chars() {
        let units = letter.encode_utf16(&mut pair);
        if comment.len() + units.len() * 2 > TEXT_BYTES_MAX {
            break;
        }
        comment.extend(units.iter().flat_map(|unit| unit.to_be_bytes()));
    }
    let mut tiff = TIFF_HEADER.to_vec();
    let exif_at = TIFF_HEADER.len() as u32 + DIRECTORY_BYTES;
    directory(&mut tiff, EXIF_POINTER, TYPE_LONG, 1, exif_at);
    directory(&mut tiff, USER_COMMENT, TYPE_UNDEFINED, comment.len() as u32, exif_at + DIRECTORY_BYTES);
    tiff.append(&mut comment);
    tiff
}

/// A directory with one entry and no next one.
fn directory(tiff: &mut Vec<u8>, tag: u16, kind: u16, count: u32, value: u32) {
    tiff.extend(1_u16.to_be_bytes());
    tiff.extend(tag.to_be_bytes());
    tiff.extend(kind.to_be_bytes());
    tiff.extend(count.to_be_bytes());
    tiff.extend(value.to_be_bytes());
    tiff.extend(0_u32.to_be_bytes());
}
