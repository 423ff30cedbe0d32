//! The settings of a picture as text: the form A1111's web UI writes and half the field's tools read. The words and
//! their order are those of its `create_infotext`, of its hires fix and of the ControlNet extension.

use std::fmt::Write as _;

use tintype_types::{ControlUse, Levels, NoiseSource, ResolvedRequest, Sampler};

/// The `parameters` text of one picture; `seed` is the picture's own.
pub fn parameters_text(request: &ResolvedRequest, seed: u64) -> String {
    let mut text = request.prompt.clone();
    for lora in &request.loras {
        let _infallible = write!(text, " <lora:{}:{}>", lora.name, lora.weight);
    }
    if !request.negative_prompt.is_empty() {
        let _infallible = write!(text, "\nNegative prompt: {}", request.negative_prompt);
    }
    let words: Vec<String> =
        settings(request, seed).into_iter().map(|(name, value)| format!("{name}: {}", quote(&value))).collect();
    format!("{text}\n{}", words.join(", "))
}

/// Names and values of the last line, in order.
fn settings(request: &ResolvedRequest, seed: u64) -> Vec<(String, String)> {
    let (sampler, named) = sampler_words(request.sampler);
    let schedule = levels_words(request.levels).or(named);
    let mut words = Vec::new();
    let mut say = |name: &str, value: String| words.push((name.to_owned(), value));
    say("Steps", request.steps.to_string());
    say("Sampler", sampler.to_owned());
    if let Some(schedule) = schedule {
        say("Schedule type", schedule.to_owned());
    }
    say("CFG scale", request.guidance_scale.to_string());
    say("Seed", seed.to_string());
    say("Size", format!("{}x{}", request.width, request.height));
    say("Model", request.model.clone());
    // A1111 has one strength: that of img2img, or that of the second pass.
    let strength = request.init.as_ref().map(|init| init.strength).or(request.hires.map(|hires| hires.strength));
    if let Some(strength) = strength {
        say("Denoising strength", strength.to_string());
    }
    if request.clip_skip > 0 {
        // Counted from the last layer there, from the layers left off here.
        say("Clip skip", (request.clip_skip + 1).to_string());
    }
    match request.noise {
        NoiseSource::Cpu => say("RNG", "CPU".to_owned()),
        NoiseSource::Nv => say("RNG", "NV".to_owned()),
    }
    if let Some(hires) = &request.hires {
        say("Hires resize", format!("{}x{}", hires.width, hires.height));
    }
    for (index, control) in request.controls.iter().enumerate() {
        say(&format!("ControlNet {index}"), control_words(control));
    }
    say("Version", concat!("tintype ", env!("CARGO_PKG_VERSION")).to_owned());
    words
}

/// A1111's words for a sampler and for its noise levels, where those are not the sampler's usual ones.
fn sampler_words(sampler: Sampler) -> (&'static str, Option<&'static str>) {
    match sampler {
        Sampler::Ddim => ("DDIM", None),
        Sampler::Euler => ("Euler", None),
        Sampler::Dpmpp2m => ("DPM++ 2M", None),
        Sampler::Dpmpp2mKarras => ("DPM++ 2M", Some("Karras")),
        Sampler::EulerA => ("Euler a", None),
        Sampler::Heun => ("Heun", None),
        Sampler::Unipc => ("UniPC", None),
        Sampler::Lms => ("LMS", None),
        Sampler::Pndm => ("PLMS", None),
        Sampler::Ddpm => ("DDPM", None),
        Sampler::DpmppSde => ("DPM++ SDE", None),
        Sampler::DpmppSdeKarras => ("DPM++ SDE", Some("Karras")),
        Sampler::Lcm => ("LCM", None),
        Sampler::Tcd => ("TCD", None),
    }
}

/// A1111's words for noise levels, where it has some.
fn levels_words(levels: Levels) -> Option<&'static str> {
    match levels {
        Levels::Own => None,
        Levels::Trailing => Some("Trailing"),
        Levels::Karras => Some("Karras"),
        Levels::Exponential => Some("Exponential"),
        Levels::Beta => Some("Beta"),
        Levels::SgmUniform => Some("SGM Uniform"),
    }
}

fn control_words(control: &ControlUse) -> String {
    let ControlUse { name, image: _, weight, start, end } = control;
    format!("Module: none, Model: {name}, Weight: {weight}, Guidance Start: {start}, Guidance End: {end}")
}

/// As A1111 quotes: JSON's way, where the value would break the line's own grammar.
fn quote(value: &str) -> String {
    if value.contains([',', '\n', ':']) { serde_json::Value::from(value).to_string() } else { value.to_owned() }
}
