//! Which way up a picture is, by its EXIF block (TIFF 6.0, tag 274). The rest of the block is not read.

use crate::output::RgbImage;

const TAG: u16 = 274;
/// Most entries looked at; cameras write some twenty.
const ENTRIES_MAX: usize = 512;
const ENTRY_BYTES: usize = 12;

/// How the stored picture must be turned to stand upright.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Orientation {
    Upright,
    MirroredAcross,
    HalfTurn,
    MirroredDown,
    /// Mirrored about the falling diagonal.
    Transposed,
    QuarterRight,
    /// Mirrored about the rising diagonal.
    Transversed,
    QuarterLeft,
}

/// Reads the tag; a block that makes no sense says nothing.
pub(super) fn orientation(exif: &[u8]) -> Orientation {
    match read_tag(exif.strip_prefix(b"Exif\0\0").unwrap_or(exif)) {
        Some(2) => Orientation::MirroredAcross,
        Some(3) => Orientation::HalfTurn,
        Some(4) => Orientation::MirroredDown,
        Some(5) => Orientation::Transposed,
        Some(6) => Orientation::QuarterRight,
        Some(7) => Orientation::Transversed,
        Some(8) => Orientation::QuarterLeft,
        Some(_) | None => Orientation::Upright,
    }
}

fn read_tag(tiff: &[u8]) -> Option<u16> {
    let big = match tiff.get(..4)? {
        b"MM\0*" => true,
        b"II*\0" => false,
        _ => return None,
    };
    let short = |place: usize| -> Option<u16> {
        let bytes = tiff.get(place..place.checked_add(2)?)?.try_into().ok()?;
        Some(if big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    };
    let offset: [u8; 4] = tiff.get(4..8)?.try_into().ok()?;
    let start = if big { u32::from_be_bytes(offset) } else { u32::from_le_bytes(offset) } as usize;
    let count = usize::from(short(start)?).min(ENTRIES_MAX);
    (0..count)
        .map_while(|entry| start.checked_add(2 + entry * ENTRY_BYTES))
        .find(|place| short(*place) == Some(TAG))
        .and_then(|place| short(place.checked_add(8)?))
}

impl Orientation {
    pub(super) fn apply(self, image: RgbImage) -> RgbImage {
        let (width, height) = (image.width as usize, image.height as usize);
        if self == Self::Upright || width == 0 || height == 0 {
            return image;
        }
        let swapped = matches!(self, Self::Transposed | Self::QuarterRight | Self::Transversed | Self::QuarterLeft);
        let (wide, high) = if swapped { (height, width) } else { (width, height) };
        let mut pixels = Vec::with_capacity(image.pixels.len());
        for y in 0..high {
            for x in 0..wide {
                let (from_x, from_y) = match self {
                    Self::Upright => (x, y),
                    Self::MirroredAcross => (width - 1 - x, y),
                    Self::HalfTurn => (width - 1 - x, height - 1 - y),
                    Self::MirroredDown => (x, height - 1 - y),
                    Self::Transposed => (y, x),
                    Self::QuarterRight => (y, height - 1 - x),
                    Self::Transversed => (width - 1 - y, height - 1 - x),
                    Self::QuarterLeft => (width - 1 - y, x),
                };
                let place = (from_y * width + from_x) * 3;
                pixels.extend_from_slice(&image.pixels[place..place + 3]);
            }
        }
        RgbImage { width: wide as u32, height: high as u32, pixels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_read_in_both_byte_orders_and_nonsense_is_upright() {
        let little = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0";
        let big = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x08\0\0";
        assert_eq!(orientation(little), Orientation::QuarterRight);
        assert_eq!(orientation(big), Orientation::QuarterLeft);
        for length in 0..big.len() - 2 {
            orientation(&big[..length]);
        }
        for spoilt in [b"".as_slice(), b"II*\0\xff\xff\xff\xff", b"XX*\0\x08\0\0\0", &big[..10]] {
            assert_eq!(orientation(spoilt), Orientation::Upright);
        }
    }

    #[test]
    fn pictures_are_turned_upright() {
        // Two by three, numbered row by row; what a viewer shows for each tag.
        let image = || RgbImage { width: 2, height: 3, pixels: (1..=6).flat_map(|n| [n; 3]).collect() };
        let cases = [
            (1, (2, 3), [1, 2, 3, 4, 5, 6]),
            (2, (2, 3), [2, 1, 4, 3, 6, 5]),
            (3, (2, 3), [6, 5, 4, 3, 2, 1]),
            (4, (2, 3), [5, 6, 3, 4, 1, 2]),
            (5, (3, 2), [1, 3, 5, 2, 4, 6]),
            (6, (3, 2), [5, 3, 1, 6, 4, 2]),
            (7, (3, 2), [6, 4, 2, 5, 3, 1]),
            (8, (3, 2), [2, 4, 6, 1, 3, 5]),
        ];
        for (tag, size, expected) in cases {
            let exif = [b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".as_slice(), &[tag, 0, 0]].concat();
            let turned = orientation(&exif).apply(image());
            let numbers: Vec<u8> = turned.pixels.iter().copied().step_by(3).collect();
            assert_eq!(((turned.width, turned.height), numbers.as_slice()), (size, expected.as_slice()), "tag {tag}");
        }
    }
}
