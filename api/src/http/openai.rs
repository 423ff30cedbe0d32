//! OpenAI's Images dialect, read: their fields and ours into a [`GenerationRequest`]. Pure.
//!
//! A field neither they nor we know is refused by name (a typing error must not cost a picture). A field of theirs that
//! we cannot honour is reported back, not silently dropped.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tintype_crds::WhenLate;
use tintype_types::{
    ControlUse, GenerationRequest, Hires, ImageFormat, InitImage, Levels, LoraUse, NoiseSource, Sampler,
};

use super::deadline::Sent;
use crate::error::ApiError;

/// Fields of theirs that change nothing here and mean nothing for the picture.
const NEEDLESS: [&str; 2] = ["user", "safety_identifier"];
/// Fields of theirs we cannot honour; named in the answer's `x-tintype-ignored`.
const IGNORED: [&str; 7] =
    ["quality", "style", "background", "moderation", "output_compression", "complexity", "input_fidelity"];

/// Most partial pictures of a stream, as theirs.
const PARTIALS_MAX: u32 = 3;

/// The body as it is described; [`read`] reads it field by field, so as to name what is wrong in it.
#[derive(Debug, JsonSchema)]
#[expect(dead_code, reason = "it stands for the schema alone")]
pub(crate) struct ImagesBody {
    /// What the picture shows.
    #[schemars(length(min = 1, max = 4000))]
    prompt: String,
    /// Name of a model; left out, the first of the list.
    model: Option<String>,
    /// How many pictures.
    #[schemars(range(min = 1, max = 10))]
    n: Option<u32>,
    /// `WIDTHxHEIGHT` in pixels, multiples of 64 from 64 to 2048, or `auto`.
    size: Option<String>,
    /// How the pictures are to come back.
    response_format: Option<Format>,
    /// Whether the answer is a stream of events: partial pictures, then each picture whole.
    stream: Option<bool>,
    /// What the picture should keep away from.
    #[schemars(length(max = 4000))]
    negative_prompt: Option<String>,
    /// Denoising steps.
    #[schemars(range(min = 1, max = 150))]
    steps: Option<u32>,
    /// How strongly the prompt pulls.
    #[schemars(range(min = 0.0, max = 30.0))]
    guidance_scale: Option<f64>,
    /// Seed of the first picture; the next ones take the seeds that follow.
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_u64))]
    seed: Option<u64>,
    /// The method of denoising.
    sampler: Option<Sampler>,
    /// Whether the file carries the prompt and settings.
    embed_parameters: Option<bool>,
    /// How the pictures are written.
    output_format: Option<ImageFormat>,
    /// LoRAs that change the model for this request alone.
    #[schemars(length(max = 8))]
    loras: Option<Vec<LoraUse>>,
    /// ControlNets and the pictures they follow.
    #[schemars(length(max = 4))]
    controls: Option<Vec<ControlUse>>,
    /// A picture to start from.
    init: Option<InitImage>,
    /// A second pass at a larger size.
    hires: Option<Hires>,
    /// Layers left off the end of the text encoders.
    #[schemars(range(min = 0, max = 8))]
    clip_skip: Option<u32>,
    /// How far guidance is kept from over-exposing.
    #[schemars(range(min = 0.0, max = 1.0))]
    guidance_rescale: Option<f64>,
    /// Which noise levels the sampler visits.
    levels: Option<Levels>,
    /// Which generator makes the noise.
    noise: Option<NoiseSource>,
    /// By when it should be done, in milliseconds since 1970.
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_u64))]
    deadline_ms: Option<u64>,
    /// What becomes of it when that cannot be: refused, it is so at once and costs nothing.
    when_late: Option<WhenLate>,
    /// Taken, and without effect.
    user: Option<String>,
    /// Taken, and without effect.
    safety_identifier: Option<String>,
    /// Not honoured; named in `x-tintype-ignored`.
    quality: Option<String>,
    /// Not honoured; named in `x-tintype-ignored`.
    style: Option<String>,
    /// Not honoured; named in `x-tintype-ignored`.
    background: Option<String>,
    /// Not honoured; named in `x-tintype-ignored`.
    moderation: Option<String>,
    /// Not honoured; named in `x-tintype-ignored`.
    output_compression: Option<u32>,
    /// How many partial pictures are streamed before the first whole one.
    #[schemars(range(min = 0, max = 3))]
    partial_images: Option<u32>,
    /// Not honoured; named in `x-tintype-ignored`.
    complexity: Option<String>,
    /// Not honoured; named in `x-tintype-ignored`.
    input_fidelity: Option<String>,
}

/// How the pictures are to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub(crate) enum Format {
    /// A signed URL.
    Url,
    /// The bytes in the answer.
    #[schemars(rename = "b64_json")]
    B64Json,
}

/// A request in their dialect, read.
#[derive(Debug, PartialEq)]
pub(crate) struct ImagesRequest {
    /// What to make. The model is empty when none was named.
    pub(crate) request: GenerationRequest,
    /// How to answer.
    pub(crate) format: Format,
    /// Whether the answer is a stream.
    pub(crate) stream: bool,
    /// How many partial pictures it has.
    pub(crate) partial_images: u32,
    /// By when it should be done.
    pub(crate) deadline: Sent,
    /// Fields that were given and not honoured.
    pub(crate) ignored: Vec<&'static str>,
}

/// Reads the body's fields. `null` is as good as leaving a field out.
pub(crate) fn read(body: &Value) -> Result<ImagesRequest, ApiError> {
    let Value::Object(fields) = body else {
        return Err(ApiError::invalid("body", "the body must be a JSON object with a `prompt`"));
    };
    let request = GenerationRequest::new("", "");
    let mut read = ImagesRequest {
        request,
        format: Format::Url,
        stream: false,
        partial_images: 0,
        deadline: Sent::default(),
        ignored: Vec::new(),
    };
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
        read_field(&mut read, name, value)?;
    }
    if !has(fields, "prompt") {
        return Err(ApiError::invalid("prompt", "the prompt is missing; say what the picture should show"));
    }
    Ok(read)
}

fn has(fields: &Map<String, Value>, name: &str) -> bool {
    fields.get(name).is_some_and(|value| !value.is_null())
}

fn read_field(read: &mut ImagesRequest, name: &str, value: &Value) -> Result<(), ApiError> {
    let request = &mut read.request;
    match name {
        "model" => request.model = text(name, value)?,
        "prompt" => request.prompt = text(name, value)?,
        "negative_prompt" => request.negative_prompt = Some(text(name, value)?),
        "n" => request.images = Some(whole(name, value)?),
        "size" => {
            if let Some((width, height)) = size(value)? {
                request.width = Some(width);
                request.height = Some(height);
            }
        }
        "steps" => request.steps = Some(whole(name, value)?),
        "seed" => {
            let seed =
                value.as_u64().ok_or_else(|| ApiError::invalid(name, "the seed must be a whole number from 0"))?;
            request.seed = Some(seed);
        }
        "guidance_scale" => {
            let scale = value.as_f64().ok_or_else(|| ApiError::invalid(name, "the guidance scale must be a number"))?;
            request.guidance_scale = Some(scale);
        }
        "sampler" => request.sampler = Some(sampler(name, value)?),
        "embed_parameters" => request.embed_parameters = Some(flag(name, value)?),
        "output_format" => request.format = Some(typed(name, value)?),
        "loras" => request.loras = typed(name, value)?,
        "controls" => request.controls = typed(name, value)?,
        "init" => request.init = Some(typed(name, value)?),
        "hires" => request.hires = Some(typed(name, value)?),
        "clip_skip" => request.clip_skip = Some(typed(name, value)?),
        "guidance_rescale" => request.guidance_rescale = Some(typed(name, value)?),
        "levels" => request.levels = Some(typed(name, value)?),
        "noise" => request.noise = Some(typed(name, value)?),
        "deadline_ms" => read.deadline.at = value.clone(),
        "when_late" => read.deadline.late = value.clone(),
        "response_format" => read.format = format(name, value)?,
        "stream" => read.stream = flag(name, value)?,
        "partial_images" => {
            let count =
                value.as_u64().and_then(|count| u32::try_from(count).ok()).filter(|count| *count <= PARTIALS_MAX);
            let wrong = || ApiError::invalid(name, format!("there are 0 to {PARTIALS_MAX} partial pictures"));
            read.partial_images = count.ok_or_else(wrong)?;
        }
        other => {
            if let Some(ignored) = IGNORED.into_iter().find(|ignored| *ignored == other) {
                read.ignored.push(ignored);
            } else if !NEEDLESS.contains(&other) {
                return Err(ApiError::invalid(other, "there is no such field; check its spelling or leave it out"));
            }
        }
    }
    Ok(())
}

/// A value of one of our own types; the parser says what it would have taken.
fn typed<T: DeserializeOwned>(name: &str, value: &Value) -> Result<T, ApiError> {
    T::deserialize(value).map_err(|error| ApiError::invalid(name, error.to_string()))
}

fn text(name: &str, value: &Value) -> Result<String, ApiError> {
    value.as_str().map(str::to_owned).ok_or_else(|| ApiError::invalid(name, "this must be a string"))
}

fn flag(name: &str, value: &Value) -> Result<bool, ApiError> {
    value.as_bool().ok_or_else(|| ApiError::invalid(name, "this must be true or false"))
}

fn whole(name: &str, value: &Value) -> Result<u32, ApiError> {
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
    number.ok_or_else(|| ApiError::invalid(name, "this must be a whole number of at least 1"))
}

fn size(value: &Value) -> Result<Option<(u32, u32)>, ApiError> {
    let wrong = || ApiError::invalid("size", "the size is written WIDTHxHEIGHT in pixels, such as 512x512, or `auto`");
    let text = value.as_str().ok_or_else(wrong)?;
    if text == "auto" {
        return Ok(None);
    }
    let (width, height) = text.split_once('x').ok_or_else(wrong)?;
    let side = |text: &str| text.parse::<u32>().map_err(|_| wrong());
    Ok(Some((side(width)?, side(height)?)))
}

fn sampler(name: &str, value: &Value) -> Result<Sampler, ApiError> {
    let known = |sampler: &Sampler| value.as_str() == Some(sampler.as_str());
    Sampler::ALL.into_iter().find(known).ok_or_else(|| {
        let names: Vec<_> = Sampler::ALL.iter().map(|sampler| sampler.as_str()).collect();
        ApiError::invalid(name, format!("there is no such sampler; there are {}", names.join(", ")))
    })
}

fn format(name: &str, value: &Value) -> Result<Format, ApiError> {
    match value.as_str() {
        Some("url") => Ok(Format::Url),
        Some("b64_json") => Ok(Format::B64Json),
        Some(_) | None => Err(ApiError::invalid(name, "the format is `url` or `b64_json`")),
    }
}

/// The name in this dialect of a field the request's own check names.
pub(crate) fn dialect_name(param: &str) -> &str {
    match param {
        "negativePrompt" => "negative_prompt",
        "guidanceScale" => "guidance_scale",
        "embedParameters" => "embed_parameters",
        "clipSkip" => "clip_skip",
        "guidanceRescale" => "guidance_rescale",
        "format" => "output_format",
        "deadlineMs" => "deadline_ms",
        "whenLate" => "when_late",
        "images" => "n",
        "width" | "height" => "size",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn their_fields_and_ours_are_read() {
        let read = read(&json!({
            "model": "m", "prompt": "p", "n": 2, "size": "512x768", "response_format": "b64_json", "user": "u",
            "quality": "hd", "style": null, "negative_prompt": "q", "steps": 5, "guidance_scale": 3, "seed": 9,
            "sampler": "euler", "embed_parameters": false, "stream": false, "output_format": "jpeg", "clip_skip": 1,
            "loras": [{ "name": "night", "weight": 0.5 }], "controls": [{ "name": "outline", "image": "inputs/h" }],
            "init": { "image": "inputs/i" }, "hires": { "width": 1024, "height": 1536 }, "noise": "nv",
            "guidance_rescale": 0.7, "levels": "sgm-uniform"
        }))
        .unwrap();
        assert_eq!(read.format, Format::B64Json);
        assert_eq!(read.ignored, ["quality"]);
        let mut expected = GenerationRequest::new("m", "p");
        expected.images = Some(2);
        (expected.width, expected.height) = (Some(512), Some(768));
        expected.negative_prompt = Some("q".to_owned());
        expected.steps = Some(5);
        expected.guidance_scale = Some(3.0);
        expected.seed = Some(9);
        expected.sampler = Some(Sampler::Euler);
        expected.embed_parameters = Some(false);
        expected.format = Some(ImageFormat::Jpeg);
        expected.clip_skip = Some(1);
        expected.loras = vec![LoraUse { name: "night".to_owned(), weight: 0.5 }];
        let (name, image) = ("outline".to_owned(), "inputs/h".to_owned());
        expected.controls = vec![ControlUse { name, image, weight: 1.0, start: 0.0, end: 1.0 }];
        expected.init = Some(InitImage { image: "inputs/i".to_owned(), strength: 0.8, mask: None });
        expected.hires = Some(Hires { width: 1024, height: 1536, strength: 0.55 });
        expected.noise = Some(NoiseSource::Nv);
        expected.guidance_rescale = Some(0.7);
        expected.levels = Some(Levels::SgmUniform);
        assert_eq!(read.request, expected);
    }

    /// What is described is what is read: no field more, no field less.
    #[test]
    fn the_schema_names_the_fields_that_are_read() {
        let schema = schemars::schema_for!(ImagesBody);
        let fields = schema.get("properties").unwrap().as_object().unwrap();
        for name in fields.keys() {
            // A value of a wrong kind is refused by its own name's reader, never as unknown.
            let refused = read(&json!({ "prompt": "p", name: {} })).err().map(|error| error.message().to_owned());
            assert!(!refused.unwrap_or_default().contains("no such field"), "{name} is described and not read");
        }
        let ours = "model prompt negative_prompt n size steps seed guidance_scale sampler embed_parameters \
             response_format stream output_format loras controls init hires clip_skip guidance_rescale levels noise";
        for name in NEEDLESS.into_iter().chain(IGNORED).chain(ours.split_whitespace()) {
            assert!(fields.contains_key(name), "{name} is read and not described");
        }
    }

    #[test]
    fn auto_and_null_leave_it_to_the_model() {
        let read = read(&json!({ "prompt": "p", "size": "auto", "n": null })).unwrap();
        assert_eq!((read.request.width, read.request.images), (None, None));
    }

    #[test]
    fn every_bad_field_is_named() {
        for (field, value) in [
            ("stepz", json!(3)),
            ("size", json!("512")),
            ("size", json!("axb")),
            ("size", json!("-1x64")),
            ("size", json!(512)),
            ("n", json!("2")),
            ("n", json!(1.5)),
            ("steps", json!(-4)),
            ("seed", json!(-1)),
            ("seed", json!("x")),
            ("guidance_scale", json!("7")),
            ("sampler", json!("plms")),
            ("embed_parameters", json!("yes")),
            ("response_format", json!("png")),
            ("stream", json!("yes")),
            ("partial_images", json!(4)),
            ("output_format", json!("gif")),
            ("loras", json!([{ "nam": "night" }])),
            ("controls", json!([{ "name": "outline" }])),
            ("init", json!("inputs/i")),
            ("hires", json!({ "width": 128 })),
            ("noise", json!("gpu")),
            ("model", json!(7)),
            ("prompt", json!(["p"])),
        ] {
            let error = read(&json!({ "prompt": "p", field: value })).unwrap_err();
            assert_eq!(error.param(), Some(field), "{field}: {value}");
        }
        assert_eq!(read(&json!({})).unwrap_err().param(), Some("prompt"));
        assert_eq!(read(&json!([1])).unwrap_err().param(), Some("body"));
    }
}
