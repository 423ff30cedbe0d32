//! PNG with what made it written inside. The same picture and request give the same bytes: no time, no random part.

use png::{BitDepth, ColorType, Encoder};
use serde_json::json;
use tintype_types::ResolvedRequest;

use super::{RgbImage, parameters_text};

/// Keyword of A1111's text.
const PARAMETERS: &str = "parameters";
/// Keyword of our JSON.
const TINTYPE: &str = "tintype";

/// Why a picture could not be written.
#[derive(Debug, thiserror::Error)]
#[error("the picture could not be written as PNG")]
pub struct EncodeError(#[from] png::EncodingError);

/// Writes a picture. Always inside: a `tintype` iTXt chunk, JSON of the settings without any prompt. With
/// `embed_parameters`: A1111's `parameters`, prompt included, as tEXt where Latin-1 can say it and as iTXt elsewhere.
///
/// # Errors
/// A picture whose sizes and bytes do not agree.
pub fn encode_png(image: &RgbImage, request: &ResolvedRequest, seed: u64) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, image.width, image.height);
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    if request.embed_parameters {
        let text = parameters_text(request, seed);
        // PNG counts a chunk in 31 bits and Latin-1 holds the first 256 code points.
        if text.chars().all(|letter| u32::from(letter) < 256) {
            encoder.add_text_chunk(PARAMETERS.to_owned(), text)?;
        } else {
            encoder.add_itxt_chunk(PARAMETERS.to_owned(), text)?;
        }
    }
    encoder.add_itxt_chunk(TINTYPE.to_owned(), settings(request, seed))?;
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&image.pixels)?;
    writer.finish()?;
    Ok(bytes)
}

fn settings(request: &ResolvedRequest, seed: u64) -> String {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "model": request.model,
        "seed": seed,
        "steps": request.steps,
        "sampler": request.sampler.as_str(),
        "guidanceScale": request.guidance_scale,
        "width": request.width,
        "height": request.height,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use tintype_types::{ModelDefaults, Sampler};

    use super::*;

    #[test]
    fn pixels_and_settings_come_back() {
        let image = picture();
        let mut request = request("a red circle");
        request.negative_prompt = "blur".to_owned();
        let (pixels, info) = read(&encode_png(&image, &request, 42).unwrap());
        assert_eq!(pixels, image.pixels);
        let text = &info.uncompressed_latin1_text[0];
        assert_eq!(text.keyword, "parameters");
        let expected = "a red circle\nNegative prompt: blur\nSteps: 20, Sampler: DPM++ 2M, Schedule type: Karras, \
                        CFG scale: 3, Seed: 42, Size: 3x2, Model: tintype/shapes, Version: tintype 0.1.0";
        assert_eq!(text.text, expected);
        let ours = &info.utf8_text[0];
        assert_eq!(ours.keyword, "tintype");
        let ours: serde_json::Value = serde_json::from_str(&ours.get_text().unwrap()).unwrap();
        assert_eq!((&ours["seed"], &ours["sampler"]), (&json!(42), &json!("dpmpp-2m-karras")));
    }

    #[test]
    fn a_prompt_beyond_latin_1_goes_into_an_international_chunk() {
        let (_, info) = read(&encode_png(&picture(), &request("ein rotes 円"), 1).unwrap());
        assert!(info.uncompressed_latin1_text.is_empty());
        let text = info.utf8_text.iter().find(|chunk| chunk.keyword == "parameters").unwrap();
        assert!(text.get_text().unwrap().starts_with("ein rotes 円\n"));
        let (_, info) = read(&encode_png(&picture(), &request("ein grünes Quadrat"), 1).unwrap());
        assert!(info.uncompressed_latin1_text[0].text.starts_with("ein grünes Quadrat\n"));
    }

    #[test]
    fn switched_off_the_prompt_is_nowhere_in_the_file() {
        let mut request = request("a zebra");
        request.negative_prompt = "stripes".to_owned();
        request.embed_parameters = false;
        let bytes = encode_png(&picture(), &request, 1).unwrap();
        for word in ["zebra", "stripes", "parameters"] {
            assert!(!bytes.windows(word.len()).any(|window| window == word.as_bytes()), "{word} is in the file");
        }
        assert!(bytes.windows(7).any(|window| window == b"tintype"));
    }

    #[test]
    fn sizes_that_do_not_agree_are_an_error() {
        let image = RgbImage { pixels: vec![0; 5], ..picture() };
        assert!(encode_png(&image, &request("x"), 1).is_err());
    }

    fn picture() -> RgbImage {
        RgbImage { width: 3, height: 2, pixels: (0..18).map(|value| value * 14).collect() }
    }

    fn request(prompt: &str) -> ResolvedRequest {
        let defaults =
            ModelDefaults { width: 3, height: 2, steps: 20, guidance_scale: 3.0, sampler: Sampler::Dpmpp2mKarras };
        tintype_types::GenerationRequest::new("tintype/shapes", prompt).resolve(&defaults, 42)
    }

    fn read(bytes: &[u8]) -> (Vec<u8>, png::Info<'static>) {
        let mut reader = png::Decoder::new(Cursor::new(bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        let info = reader.info().clone();
        (pixels, info)
    }
}
