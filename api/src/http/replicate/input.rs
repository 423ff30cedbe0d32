//! The `input` of a prediction, read: the fields that Replicate's Stable Diffusion models share, and ours under our own
//! names. Pure. What nobody knows is named in the prediction's logs, not silently dropped.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tintype_types::{GenerationRequest, ImageFormat, Sampler};

use crate::error::ApiError;
use crate::http::deadline::Sent;

/// An input, read. The pictures are still what was sent.
#[derive(Debug, PartialEq)]
pub(crate) struct Read {
    /// What to make.
    pub(crate) request: GenerationRequest,
    /// The picture to start from: a URL of ours or a data URL.
    pub(crate) image: Option<String>,
    /// What of it is to be redrawn.
    pub(crate) mask: Option<String>,
    /// How much is redrawn.
    pub(crate) strength: Option<f64>,
    /// By when it should be done.
    pub(crate) deadline: Sent,
    /// Fields that were given and not honoured.
    pub(crate) ignored: Vec<String>,
}

/// Reads the fields. `null` is as good as leaving one out.
pub(crate) fn read(model: &str, input: &Map<String, Value>) -> Result<Read, ApiError> {
    let mut read = Read {
        request: GenerationRequest::new(model, ""),
        image: None,
        mask: None,
        strength: None,
        deadline: Sent::default(),
        ignored: Vec::new(),
    };
    for (name, value) in input.iter().filter(|(_, value)| !value.is_null()) {
        field(&mut read, name, value)?;
    }
    if read.request.prompt.is_empty() {
        return Err(ApiError::invalid("input.prompt", "the prompt is missing; say what the picture should show"));
    }
    if read.image.is_none() && (read.mask.is_some() || read.strength.is_some()) {
        read.ignored.extend(["mask", "prompt_strength"].map(str::to_owned));
        (read.mask, read.strength) = (None, None);
    }
    Ok(read)
}

fn field(read: &mut Read, name: &str, value: &Value) -> Result<(), ApiError> {
    let request = &mut read.request;
    match name {
        "prompt" => request.prompt = typed(name, value)?,
        "negative_prompt" => request.negative_prompt = typed(name, value)?,
        "width" => request.width = typed(name, value)?,
        "height" => request.height = typed(name, value)?,
        "size" => {
            let text: String = typed(name, value)?;
            let sides = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
            let (width, height) = sides.ok_or_else(|| wrong(name, "the size is written WIDTHxHEIGHT, in pixels"))?;
            (request.width, request.height) = (Some(width), Some(height));
        }
        "num_outputs" | "num_images" => request.images = typed(name, value)?,
        "num_inference_steps" | "steps" => request.steps = typed(name, value)?,
        "guidance_scale" | "guidance" => request.guidance_scale = typed(name, value)?,
        "seed" => request.seed = typed(name, value)?,
        "scheduler" | "sampler" => request.sampler = Some(sampler(name, value)?),
        "output_format" => request.format = Some(format(name, value)?),
        "loras" => request.loras = typed(name, value)?,
        "controls" => request.controls = typed(name, value)?,
        "clip_skip" => request.clip_skip = typed(name, value)?,
        "guidance_rescale" => request.guidance_rescale = typed(name, value)?,
        "deadline_ms" => read.deadline.at = value.clone(),
        "when_late" => read.deadline.late = value.clone(),
        "image" => read.image = typed(name, value)?,
        "mask" => read.mask = typed(name, value)?,
        "prompt_strength" | "strength" => read.strength = typed(name, value)?,
        _ => read.ignored.push(name.to_owned()),
    }
    Ok(())
}

fn sampler(name: &str, value: &Value) -> Result<Sampler, ApiError> {
    let text: String = typed(name, value)?;
    let theirs = match text.as_str() {
        "DDIM" => Some(Sampler::Ddim),
        "K_EULER" => Some(Sampler::Euler),
        "K_EULER_ANCESTRAL" => Some(Sampler::EulerA),
        "DPMSolverMultistep" => Some(Sampler::Dpmpp2m),
        "KarrasDPM" => Some(Sampler::Dpmpp2mKarras),
        "HeunDiscrete" => Some(Sampler::Heun),
        "PNDM" => Some(Sampler::Pndm),
        "KLMS" => Some(Sampler::Lms),
        "UniPCMultistep" => Some(Sampler::Unipc),
        _ => Sampler::ALL.into_iter().find(|sampler| sampler.as_str() == text),
    };
    theirs.ok_or_else(|| wrong(name, "this is no scheduler we know; such as DDIM, K_EULER or DPMSolverMultistep"))
}

fn format(name: &str, value: &Value) -> Result<ImageFormat, ApiError> {
    match value.as_str() {
        Some("png") => Ok(ImageFormat::Png),
        Some("webp") => Ok(ImageFormat::Webp),
        Some("jpg" | "jpeg") => Ok(ImageFormat::Jpeg),
        Some(_) | None => Err(wrong(name, "pictures are written as png, webp or jpg")),
    }
}

fn typed<T: DeserializeOwned>(name: &str, value: &Value) -> Result<T, ApiError> {
    serde_json::from_value(value.clone()).map_err(|error| wrong(name, &error.to_string()))
}

fn wrong(name: &str, message: &str) -> ApiError {
    ApiError::invalid(format!("input.{name}"), message)
}

/// What one of our fields is called in this dialect.
pub(crate) fn dialect_name(param: &str) -> String {
    let name = match param {
        "negativePrompt" => "negative_prompt",
        "images" => "num_outputs",
        "steps" => "num_inference_steps",
        "guidanceScale" => "guidance_scale",
        "guidanceRescale" => "guidance_rescale",
        "clipSkip" => "clip_skip",
        "sampler" => "scheduler",
        "format" => "output_format",
        "deadlineMs" => "deadline_ms",
        "whenLate" => "when_late",
        "init" | "init.image" => "image",
        "init.mask" => "mask",
        "init.strength" => "prompt_strength",
        "model" => return "version".to_owned(),
        other => other,
    };
    format!("input.{name}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(input: Value) -> Result<Read, ApiError> {
        read("m", input.as_object().unwrap())
    }

    #[test]
    fn their_words_become_ours_and_the_unknown_is_named() {
        let read = of(json!({
            "prompt": "a cat", "num_outputs": 2, "num_inference_steps": 9, "scheduler": "K_EULER", "size": "128x64",
            "output_format": "jpg", "seed": null, "refine": "no", "image": "data:x", "prompt_strength": 0.5
        }));
        let read = read.unwrap();
        let request = &read.request;
        assert_eq!((request.images, request.steps, request.sampler), (Some(2), Some(9), Some(Sampler::Euler)));
        assert_eq!((request.width, request.height, request.format), (Some(128), Some(64), Some(ImageFormat::Jpeg)));
        assert_eq!((read.image.as_deref(), read.strength), (Some("data:x"), Some(0.5)));
        assert_eq!(read.ignored, ["refine"]);
    }

    #[test]
    fn what_is_wrong_is_named_in_their_words() {
        for (input, param) in [
            (json!({}), "input.prompt"),
            (json!({ "prompt": 1 }), "input.prompt"),
            (json!({ "prompt": "p", "scheduler": "best" }), "input.scheduler"),
            (json!({ "prompt": "p", "size": "big" }), "input.size"),
            (json!({ "prompt": "p", "output_format": "gif" }), "input.output_format"),
        ] {
            assert_eq!(of(input).unwrap_err().param(), Some(param));
        }
        assert_eq!(dialect_name("steps"), "input.num_inference_steps");
    }
}
