//! The settings of a picture as text: the form A1111's web UI writes and half the field's tools read.

use tintype_types::{ResolvedRequest, Sampler};

/// The `parameters` text of one picture; `seed` is the picture's own.
pub fn parameters_text(request: &ResolvedRequest, seed: u64) -> String {
    let (sampler, schedule) = match request.sampler {
        Sampler::Ddim => ("DDIM", ""),
        Sampler::Euler => ("Euler", ""),
        Sampler::Dpmpp2m => ("DPM++ 2M", ""),
        Sampler::Dpmpp2mKarras => ("DPM++ 2M", "Schedule type: Karras, "),
        Sampler::EulerA => ("Euler a", ""),
        Sampler::Heun => ("Heun", ""),
        Sampler::Unipc => ("UniPC", ""),
        Sampler::Lms => ("LMS", ""),
        Sampler::Pndm => ("PLMS", ""),
        Sampler::Ddpm => ("DDPM", ""),
        Sampler::DpmppSde => ("DPM++ SDE", ""),
        Sampler::DpmppSdeKarras => ("DPM++ SDE", "Schedule type: Karras, "),
        Sampler::Lcm => ("LCM", ""),
        Sampler::Tcd => ("TCD", ""),
    };
    let negative = match request.negative_prompt.as_str() {
        "" => String::new(),
        negative => format!("Negative prompt: {negative}\n"),
    };
    format!(
        "{}\n{negative}Steps: {}, Sampler: {sampler}, {schedule}CFG scale: {}, Seed: {seed}, Size: {}x{}, Model: {}, Version: tintype {}",
        request.prompt,
        request.steps,
        request.guidance_scale,
        request.width,
        request.height,
        request.model,
        env!("CARGO_PKG_VERSION"),
    )
}
