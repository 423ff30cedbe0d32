//! Files coming in, against Pillow.

use serde::Deserialize;
use tintype_worker::images::{Filter, decode, resize};
use tintype_worker::output::RgbImage;

use crate::common::fixtures;
use crate::read;

#[test]
fn jpeg_and_webp_files_are_read_and_stood_upright() {
    let expected = open("upright.png");
    assert_eq!((expected.width, expected.height), (32, 24));
    // Decoders round differently, and coarse colour is smoothed in different ways.
    for (name, most) in
        [("baseline.jpg", 3), ("lying.jpg", 3), ("lying.png", 0), ("progressive.jpg", 12), ("lossy.webp", 14)]
    {
        let image = open(name);
        assert_eq!((image.width, image.height), (32, 24), "{name}");
        let off = image.pixels.iter().zip(&expected.pixels).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(off <= Some(most), "{name}: off by {off:?}");
    }
    let grey = open("grey.jpg");
    assert!(grey.pixels.as_chunks::<3>().0.iter().all(|[red, green, blue]| red == green && green == blue));
    let hole = open("hole.webp");
    for (row, expected) in hole.pixels.chunks(32 * 3).zip(expected.pixels.chunks(32 * 3)) {
        assert_eq!(row[..48], expected[..48]);
        assert!(row[48..].iter().all(|value| *value == 255), "what is transparent lies over white");
    }
}

#[test]
fn a_file_cut_anywhere_is_refused_or_read_and_never_panics() {
    for name in ["baseline.jpg", "progressive.jpg", "lossy.webp", "hole.webp", "lying.jpg"] {
        let file = std::fs::read(fixtures().join(name)).unwrap();
        for length in (0..file.len()).step_by(7) {
            if let Err(error) = decode("init", &file[..length]) {
                assert!(error.to_string().starts_with("the init picture "), "{error}");
            }
            let mut spoilt = file.clone();
            spoilt[length] ^= 0x55;
            let _either = decode("init", &spoilt);
        }
    }
}

#[derive(Deserialize)]
struct Scaled {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
    #[serde(default)]
    cases: Vec<ScaledCase>,
}

#[derive(Deserialize)]
struct ScaledCase {
    filter: String,
    #[serde(flatten)]
    result: Scaled,
}

#[test]
fn pictures_are_scaled_as_pillow_scales_them() {
    let Scaled { width, height, pixels, cases } = read("scaled.json");
    let image = RgbImage { width, height, pixels };
    assert_eq!(cases.len(), 12);
    for ScaledCase { filter, result: Scaled { width, height, pixels, .. } } in cases {
        let kind = if filter == "box" { Filter::Box } else { Filter::Lanczos };
        assert_eq!(resize(&image, width, height, kind).pixels, pixels, "{filter} to {width} x {height}");
    }
}

fn open(name: &str) -> RgbImage {
    decode("init", &std::fs::read(fixtures().join(name)).unwrap()).unwrap()
}
