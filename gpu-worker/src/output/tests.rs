//! Each format read back by a reader that is not its writer: pixels, text, EXIF, XMP.

use std::io::Cursor;

use ::exif::{Exif, In, Tag};
use tintype_types::{
    ControlUse, GenerationRequest, Hires, ImageFormat, InitImage, LoraUse, ModelDefaults, NoiseSource, ResolvedRequest,
    Sampler,
};

use super::*;

/// Beyond Latin-1, beyond the basic plane, and everything XML and JSON must escape.
const HARD: &str = "ein rotes 円 🟥 <b>&amp;</b> \"quoted\" \\ \u{1}\nnew line \u{fffe}";

#[test]
fn png_carries_pixels_and_text_chunks() {
    let (image, request) = (picture(), request("a red circle", ImageFormat::Png));
    let (pixels, info) = read_png(&encode(&image, &request, 42).unwrap());
    assert_eq!(pixels, image.pixels);
    let text = &info.uncompressed_latin1_text[0];
    assert_eq!((text.keyword.as_str(), text.text.as_str()), ("parameters", parameters_text(&request, 42).as_str()));
    let chunk = |keyword: &str| {
        let chunk = info.utf8_text.iter().find(|chunk| chunk.keyword == keyword).unwrap();
        chunk.get_text().unwrap()
    };
    assert_eq!(again(&chunk("tintype")), as_if_asked_alone(&request));
    assert!(chunk("XML:com.adobe.xmp").contains(xmp::TRAINED_ALGORITHMIC_MEDIA));
}

#[test]
fn a_prompt_beyond_latin_1_goes_into_an_international_chunk() {
    let (_, info) = read_png(&encode(&picture(), &request(HARD, ImageFormat::Png), 1).unwrap());
    assert!(info.uncompressed_latin1_text.is_empty());
    let text = info.utf8_text.iter().find(|chunk| chunk.keyword == "parameters").unwrap();
    assert!(text.get_text().unwrap().starts_with(HARD));
    let (_, info) = read_png(&encode(&picture(), &request("ein grünes Quadrat", ImageFormat::Png), 1).unwrap());
    assert!(info.uncompressed_latin1_text[0].text.starts_with("ein grünes Quadrat\n"));
}

#[test]
fn webp_is_lossless_and_says_the_same_in_exif_and_xmp() {
    for prompt in ["a red circle", HARD] {
        let (image, request) = (picture(), request(prompt, ImageFormat::Webp));
        let file = encode(&image, &request, 42).unwrap();
        let mut reader = image_webp::WebPDecoder::new(Cursor::new(&file)).unwrap();
        assert!(!reader.is_lossy());
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.read_image(&mut pixels).unwrap();
        assert_eq!(pixels, image.pixels);
        assert_eq!(user_comment(&file), parameters_text(&request, 42));
        let xmp = String::from_utf8(reader.xmp_metadata().unwrap().unwrap()).unwrap();
        check_xmp(&xmp, &request);
    }
}

#[test]
fn jpeg_is_close_and_says_the_same_in_exif_and_xmp() {
    for prompt in ["a red circle", HARD] {
        let (image, request) = (picture(), request(prompt, ImageFormat::Jpeg));
        let file = encode(&image, &request, 42).unwrap();
        let mut reader = zune_jpeg::JpegDecoder::new(Cursor::new(&file));
        let pixels = reader.decode().unwrap();
        assert_eq!(reader.dimensions(), Some((16, 8)));
        let furthest = pixels.iter().zip(&image.pixels).map(|(read, written)| read.abs_diff(*written)).max().unwrap();
        assert!(furthest <= 12, "a pixel is off by {furthest}");
        assert_eq!(user_comment(&file), parameters_text(&request, 42));
        check_xmp(&String::from_utf8(reader.xmp().unwrap().clone()).unwrap(), &request);
    }
}

#[test]
fn a_signed_picture_says_the_same_to_readers_that_know_nothing_of_signatures() {
    let marker = c2pa::Marker::new(&c2pa::Identity::passing().unwrap()).unwrap();
    for format in ImageFormat::ALL {
        let request = request(HARD, format);
        let file = marker.mark(&encode(&picture(), &request, 42).unwrap(), format).unwrap();
        match format {
            ImageFormat::Png => {
                let (pixels, info) = read_png(&file);
                assert_eq!(pixels, picture().pixels);
                let chunk = |keyword: &str| {
                    info.utf8_text.iter().find(|chunk| chunk.keyword == keyword).unwrap().get_text().unwrap()
                };
                assert_eq!(chunk("parameters"), parameters_text(&request, 42));
                assert_eq!(again(&chunk("tintype")), as_if_asked_alone(&request));
                assert!(chunk("XML:com.adobe.xmp").contains(xmp::TRAINED_ALGORITHMIC_MEDIA));
            }
            ImageFormat::Webp => {
                let mut reader = image_webp::WebPDecoder::new(Cursor::new(&file)).unwrap();
                assert_eq!(user_comment(&file), parameters_text(&request, 42));
                check_xmp(&String::from_utf8(reader.xmp_metadata().unwrap().unwrap()).unwrap(), &request);
            }
            ImageFormat::Jpeg => {
                let mut reader = zune_jpeg::JpegDecoder::new(Cursor::new(&file));
                reader.decode().unwrap();
                assert_eq!(user_comment(&file), parameters_text(&request, 42));
                check_xmp(&String::from_utf8(reader.xmp().unwrap().clone()).unwrap(), &request);
            }
        }
    }
}

#[test]
fn switched_off_nothing_of_the_request_is_in_a_signed_file_either() {
    let marker = c2pa::Marker::new(&c2pa::Identity::passing().unwrap()).unwrap();
    for format in ImageFormat::ALL {
        let request = ResolvedRequest { embed_parameters: false, ..full_request(format) };
        let file = marker.mark(&encode(&picture(), &request, 1).unwrap(), format).unwrap();
        for word in ["zebra", "stripes", "parameters", "tintype/", "night", "dpmpp", "inputs/", "Steps"] {
            assert!(!holds(&file, word), "{word} is in the {format:?}");
        }
    }
}

#[test]
fn switched_off_nothing_of_the_request_is_in_the_file_and_the_mark_still_is() {
    for format in ImageFormat::ALL {
        let mut request = full_request(format);
        request.embed_parameters = false;
        let file = encode(&picture(), &request, 1).unwrap();
        for word in ["zebra", "stripes", "parameters", "tintype/", "night", "dpmpp", "inputs/", "Steps"] {
            assert!(!holds(&file, word), "{word} is in the {format:?}");
            let utf16: Vec<u8> = word.encode_utf16().flat_map(u16::to_be_bytes).collect();
            assert!(!file.windows(utf16.len()).any(|window| window == utf16), "{word} is in the {format:?}");
        }
        assert!(holds(&file, xmp::TRAINED_ALGORITHMIC_MEDIA), "no mark in the {format:?}");
        request.embed_parameters = true;
        assert!(holds(&encode(&picture(), &request, 1).unwrap(), "dpmpp"), "the test looks for what is never there");
    }
}

#[test]
fn the_longest_request_there_may_be_fits_every_format() {
    for letter in ["&", "\u{1}", "🟥"] {
        for format in ImageFormat::ALL {
            let mut request = request(&letter.repeat(4_000), format);
            request.negative_prompt = letter.repeat(4_000);
            assert!(holds(&encode(&picture(), &request, 1).unwrap(), xmp::TRAINED_ALGORITHMIC_MEDIA));
        }
    }
}

#[test]
fn the_text_is_a1111s() {
    let mut request = request("a zebra", ImageFormat::Png);
    assert_eq!(
        parameters_text(&request, 42),
        "a zebra\nSteps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 3, Seed: 42, Size: 16x8, \
         Model: tintype/shapes, RNG: CPU, Version: tintype 0.1.0"
    );
    request = ResolvedRequest { guidance_scale: 7.5, ..full_request(ImageFormat::Png) };
    assert_eq!(
        parameters_text(&request, 9),
        "a zebra <lora:tintype/night:0.8> <lora:old film:1>\nNegative prompt: stripes\n\
         Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7.5, Seed: 9, Size: 16x8, \
         Model: tintype/shapes, Denoising strength: 0.6, Clip skip: 2, RNG: NV, Hires resize: 128x64, \
         ControlNet 0: \"Module: none, Model: tintype/outline, Weight: 0.5, Guidance Start: 0, Guidance End: 1\", \
         Version: tintype 0.1.0"
    );
}

#[test]
fn sizes_that_do_not_agree_are_an_error() {
    for format in ImageFormat::ALL {
        for wrong in [RgbImage { pixels: vec![0; 5], ..picture() }, RgbImage { width: 0, height: 0, pixels: vec![] }] {
            assert!(matches!(encode(&wrong, &request("x", format), 1), Err(EncodeError::Size)));
        }
    }
}

fn check_xmp(xmp: &str, request: &ResolvedRequest) {
    assert!(xmp.contains(xmp::TRAINED_ALGORITHMIC_MEDIA));
    let (_, rest) = xmp.split_once("<tintype:request xmlns:tintype=\"https://tintype.dev/ns/1.0/\">").unwrap();
    let (text, _) = rest.split_once("</tintype:request>").unwrap();
    assert!(!text.contains(['<', '>', '\u{fffe}']) && !text.contains(char::is_control));
    let json = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    assert_eq!(again(&json), as_if_asked_alone(request));
}

/// The request our JSON says to send to get the picture again.
fn again(json: &str) -> GenerationRequest {
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!((&json["version"], &json["seed"]), (&env!("CARGO_PKG_VERSION").into(), &42.into()));
    assert_eq!((&json["model"], &json["sampler"]), (&"tintype/shapes".into(), &"dpmpp-2m-karras".into()));
    serde_json::from_value(json["request"].clone()).unwrap()
}

fn as_if_asked_alone(request: &ResolvedRequest) -> GenerationRequest {
    ResolvedRequest { seed: 42, images: 1, ..request.clone() }.into()
}

/// The EXIF comment, read by another program's rules: its character code, then UTF-16 in the block's byte order.
fn user_comment(file: &[u8]) -> String {
    let exif: Exif = ::exif::Reader::new().read_from_container(&mut Cursor::new(file)).unwrap();
    let field = exif.get_field(Tag::UserComment, In::PRIMARY).unwrap();
    let ::exif::Value::Undefined(bytes, _) = &field.value else { panic!("{field:?}") };
    let text = bytes.strip_prefix(b"UNICODE\0".as_slice()).unwrap();
    let units: Vec<u16> = text.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    assert!(!exif.little_endian());
    String::from_utf16(&units).unwrap()
}

fn read_png(bytes: &[u8]) -> (Vec<u8>, ::png::Info<'static>) {
    let mut reader = ::png::Decoder::new(Cursor::new(bytes)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    let info = reader.info().clone();
    (pixels, info)
}

fn holds(file: &[u8], word: &str) -> bool {
    file.windows(word.len()).any(|window| window == word.as_bytes())
}

/// A soft slope, which JPEG can keep.
fn picture() -> RgbImage {
    let pixels = (0..8_u8).flat_map(|y| (0..16_u8).flat_map(move |x| [x * 12, y * 20, 200 - x * 6])).collect();
    RgbImage { width: 16, height: 8, pixels }
}

fn request(prompt: &str, format: ImageFormat) -> ResolvedRequest {
    let defaults =
        ModelDefaults { width: 16, height: 8, steps: 20, guidance_scale: 3.0, sampler: Sampler::Dpmpp2mKarras };
    let mut request = GenerationRequest::new("tintype/shapes", prompt);
    (request.format, request.images) = (Some(format), Some(3));
    request.resolve(&defaults, 40)
}

fn full_request(format: ImageFormat) -> ResolvedRequest {
    let lora = |name: &str, weight| LoraUse { name: name.to_owned(), weight };
    ResolvedRequest {
        negative_prompt: "stripes".to_owned(),
        loras: vec![lora("tintype/night", 0.8), lora("old film", 1.0)],
        controls: vec![ControlUse {
            name: "tintype/outline".to_owned(),
            image: "inputs/a".to_owned(),
            weight: 0.5,
            start: 0.0,
            end: 1.0,
        }],
        init: Some(InitImage { image: "inputs/b".to_owned(), strength: 0.6, mask: None }),
        hires: Some(Hires { width: 128, height: 64, strength: 0.5 }),
        clip_skip: 1,
        noise: NoiseSource::Nv,
        ..request("a zebra", format)
    }
}
