//! The generation request: the same struct is the core of the REST body, `spec.request` of a `GenerationJob` and,
//! with its gaps filled, the worker's assignment.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::inputs::{self, ControlUse, Hires, ImageFormat, InitImage, Levels, LoraUse, NoiseSource};
use crate::limits::{
    GUIDANCE_MAX, IMAGES_MAX, PROMPT_CHARS_MAX, SEED_MAX, SIDE_PX_MAX, SIDE_PX_MIN, SIDE_PX_MULTIPLE, STEPS_MAX,
};
use crate::model::ModelDefaults;

/// The method that turns noise into a latent (diffusers calls it a scheduler; here that word is taken).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Sampler {
    /// Denoising diffusion implicit models, eta 0 (Song et al., 2020).
    Ddim,
    /// Euler in sigma space (Karras et al., 2022, algorithm 2 without churn).
    Euler,
    /// DPM-Solver++ 2M, multistep (Lu et al., 2022), with the model's own noise levels.
    #[serde(rename = "dpmpp-2m")]
    Dpmpp2m,
    /// DPM-Solver++ 2M with Karras noise levels.
    #[serde(rename = "dpmpp-2m-karras")]
    Dpmpp2mKarras,
    /// Euler ancestral: adds noise at each step.
    EulerA,
    /// Heun (Karras et al., 2022, algorithm 2): the model runs twice a step.
    Heun,
    /// UniPC of order 2 (Zhao et al., 2023).
    Unipc,
    /// Linear multistep of order 4.
    Lms,
    /// PNDM (Liu et al., 2022), by its multistep part alone.
    Pndm,
    /// Denoising diffusion probabilistic models (Ho et al., 2020): adds noise at each step; wants many steps.
    Ddpm,
    /// DPM-Solver++ SDE: adds noise, and the model runs twice a step.
    DpmppSde,
    /// DPM-Solver++ SDE with Karras noise levels.
    DpmppSdeKarras,
    /// Latent consistency (Luo et al., 2023), for models made for it: 2 to 8 steps, at most 50.
    Lcm,
    /// Trajectory consistency (Zheng et al., 2024), for models made for it: 2 to 8 steps, at most 50.
    Tcd,
}

impl Sampler {
    /// Every sampler.
    pub const ALL: [Self; 14] = [
        Self::Ddim,
        Self::Euler,
        Self::Dpmpp2m,
        Self::Dpmpp2mKarras,
        Self::EulerA,
        Self::Heun,
        Self::Unipc,
        Self::Lms,
        Self::Pndm,
        Self::Ddpm,
        Self::DpmppSde,
        Self::DpmppSdeKarras,
        Self::Lcm,
        Self::Tcd,
    ];

    /// The word used on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ddim => "ddim",
            Self::Euler => "euler",
            Self::Dpmpp2m => "dpmpp-2m",
            Self::Dpmpp2mKarras => "dpmpp-2m-karras",
            Self::EulerA => "euler-a",
            Self::Heun => "heun",
            Self::Unipc => "unipc",
            Self::Lms => "lms",
            Self::Pndm => "pndm",
            Self::Ddpm => "ddpm",
            Self::DpmppSde => "dpmpp-sde",
            Self::DpmppSdeKarras => "dpmpp-sde-karras",
            Self::Lcm => "lcm",
            Self::Tcd => "tcd",
        }
    }

    /// Whether it can visit these noise levels: some walk whole trained levels, and some have one spread of them.
    pub fn takes(self, levels: Levels) -> bool {
        match self {
            Self::Ddim | Self::Ddpm | Self::Pndm | Self::Lcm | Self::Tcd => {
                matches!(levels, Levels::Own | Levels::Trailing)
            }
            Self::Dpmpp2mKarras | Self::DpmppSdeKarras => matches!(levels, Levels::Own | Levels::Karras),
            Self::Euler | Self::EulerA | Self::Heun | Self::Dpmpp2m | Self::Unipc | Self::Lms | Self::DpmppSde => true,
        }
    }

    /// How often the denoiser runs in one step.
    pub fn evaluations_per_step(self) -> u32 {
        match self {
            Self::Heun | Self::DpmppSde | Self::DpmppSdeKarras => 2,
            Self::Ddim
            | Self::Euler
            | Self::Dpmpp2m
            | Self::Dpmpp2mKarras
            | Self::EulerA
            | Self::Unipc
            | Self::Lms
            | Self::Pndm
            | Self::Ddpm
            | Self::Lcm
            | Self::Tcd => 1,
        }
    }
}

/// What to make. Fields left out take the model's defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GenerationRequest {
    /// Name of a model, such as `tintype/shapes`.
    #[schemars(length(min = 1, max = 253))]
    pub model: String,
    /// What the picture shows.
    #[schemars(length(min = 1, max = 4000))]
    pub prompt: String,
    /// What the picture should keep away from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4000))]
    pub negative_prompt: Option<String>,
    /// Width in pixels, a multiple of 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 64, max = 2048), extend("multipleOf" = 64))]
    pub width: Option<u32>,
    /// Height in pixels, a multiple of 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 64, max = 2048), extend("multipleOf" = 64))]
    pub height: Option<u32>,
    /// Denoising steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 150))]
    pub steps: Option<u32>,
    /// How strongly the prompt pulls; 1 and below switch classifier-free guidance off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 30.0))]
    pub guidance_scale: Option<f64>,
    /// The method of denoising.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampler: Option<Sampler>,
    /// Seed of the first picture; the next ones take the seeds that follow. Left out, one is chosen and reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_u64))]
    pub seed: Option<u64>,
    /// How many pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10))]
    pub images: Option<u32>,
    /// Whether the file carries the prompt and settings (A1111's `parameters` text). On unless switched off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embed_parameters: Option<bool>,
    /// LoRAs that change the model for this request alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub loras: Vec<LoraUse>,
    /// ControlNets and the pictures they follow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub controls: Vec<ControlUse>,
    /// A picture to start from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<InitImage>,
    /// A second pass at a larger size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hires: Option<Hires>,
    /// Layers left off the end of the text encoders, as diffusers counts them: 0, the default, leaves off none. (A1111
    /// counts one more.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 8))]
    pub clip_skip: Option<u32>,
    /// How far guidance is kept from over-exposing (Lin et al., 2023): 0, the default, not at all; 0.7 is usual for models
    /// that predict v.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub guidance_rescale: Option<f64>,
    /// Which noise levels the sampler visits; docs/SAMPLERS.md says which sampler takes which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub levels: Option<Levels>,
    /// Which generator makes the noise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise: Option<NoiseSource>,
    /// How pictures are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<ImageFormat>,
}

/// A request with nothing left to choose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedRequest {
    /// See [`GenerationRequest::model`].
    pub model: String,
    /// See [`GenerationRequest::prompt`].
    pub prompt: String,
    /// Empty when none was given.
    pub negative_prompt: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Denoising steps.
    pub steps: u32,
    /// Guidance scale.
    pub guidance_scale: f64,
    /// Sampler.
    pub sampler: Sampler,
    /// Seed of the first picture.
    pub seed: u64,
    /// How many pictures.
    pub images: u32,
    /// Whether the file carries the prompt and settings.
    pub embed_parameters: bool,
    /// See [`GenerationRequest::loras`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loras: Vec<LoraUse>,
    /// See [`GenerationRequest::controls`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controls: Vec<ControlUse>,
    /// See [`GenerationRequest::init`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<InitImage>,
    /// See [`GenerationRequest::hires`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hires: Option<Hires>,
    /// See [`GenerationRequest::clip_skip`].
    #[serde(default)]
    pub clip_skip: u32,
    /// See [`GenerationRequest::guidance_rescale`].
    #[serde(default)]
    pub guidance_rescale: f64,
    /// See [`GenerationRequest::levels`].
    #[serde(default, skip_serializing_if = "Levels::is_own")]
    pub levels: Levels,
    /// See [`GenerationRequest::noise`].
    #[serde(default)]
    pub noise: NoiseSource,
    /// See [`GenerationRequest::format`].
    #[serde(default)]
    pub format: ImageFormat,
}

impl ResolvedRequest {
    /// Width and height of the finished pictures, in pixels.
    pub fn final_size(&self) -> (u32, u32) {
        self.hires.map_or((self.width, self.height), |hires| (hires.width, hires.height))
    }

    /// Store keys of the pictures it reads.
    pub fn input_keys(&self) -> impl Iterator<Item = &str> {
        inputs::input_keys(self.init.as_ref(), &self.controls)
    }
}

impl From<ResolvedRequest> for GenerationRequest {
    /// The same request with every field said, so that what was priced or assigned is what is made and checked.
    fn from(resolved: ResolvedRequest) -> Self {
        let ResolvedRequest {
            model,
            prompt,
            negative_prompt,
            width,
            height,
            steps,
            guidance_scale,
            sampler,
            seed,
            images,
            embed_parameters,
            loras,
            controls,
            init,
            hires,
            clip_skip,
            guidance_rescale,
            levels,
            noise,
            format,
        } = resolved;
        Self {
            model,
            prompt,
            negative_prompt: Some(negative_prompt).filter(|text| !text.is_empty()),
            width: Some(width),
            height: Some(height),
            steps: Some(steps),
            guidance_scale: Some(guidance_scale),
            sampler: Some(sampler),
            seed: Some(seed),
            images: Some(images),
            embed_parameters: Some(embed_parameters),
            loras,
            controls,
            init,
            hires,
            clip_skip: Some(clip_skip),
            guidance_rescale: Some(guidance_rescale),
            levels: Some(levels).filter(|levels| !levels.is_own()),
            noise: Some(noise),
            format: Some(format),
        }
    }
}

/// Why a request is refused before anything is spent on it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RequestError {
    /// The field at fault, as it is named on the wire.
    pub param: &'static str,
    /// What is wrong and what would be right.
    pub message: String,
}

impl GenerationRequest {
    /// A request with a model and a prompt and nothing else said.
    pub fn new(model: impl Into<String>, prompt: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            prompt: prompt.into(),
            negative_prompt: None,
            width: None,
            height: None,
            steps: None,
            guidance_scale: None,
            sampler: None,
            seed: None,
            images: None,
            embed_parameters: None,
            loras: Vec::new(),
            controls: Vec::new(),
            init: None,
            hires: None,
            clip_skip: None,
            guidance_rescale: None,
            levels: None,
            noise: None,
            format: None,
        }
    }

    /// Checks every limit. The same limits stand in the schema, so a cluster refuses at the edge too.
    ///
    /// # Errors
    /// The first field that is out of bounds.
    pub fn validate(&self) -> Result<(), RequestError> {
        let prompt_chars = self.prompt.chars().count();
        if self.prompt.trim().is_empty() {
            return refuse("prompt", "the prompt is empty; say what the picture should show".to_owned());
        }
        check_prompt("prompt", prompt_chars)?;
        check_prompt("negativePrompt", self.negative_prompt.as_ref().map_or(0, |text| text.chars().count()))?;
        if self.model.is_empty() || self.model.len() > 253 {
            return refuse("model", "the model name must have 1 to 253 characters".to_owned());
        }
        check_side("width", self.width)?;
        check_side("height", self.height)?;
        check_range("steps", self.steps.map(u64::from), 1, u64::from(STEPS_MAX))?;
        check_range("images", self.images.map(u64::from), 1, u64::from(IMAGES_MAX))?;
        check_range("seed", self.seed, 0, SEED_MAX)?;
        if self.guidance_scale.is_some_and(|scale| !(0.0..=GUIDANCE_MAX).contains(&scale)) {
            return refuse("guidanceScale", format!("the guidance scale must lie between 0 and {GUIDANCE_MAX}"));
        }
        if self.guidance_rescale.is_some_and(|rescale| !(0.0..=1.0).contains(&rescale)) {
            return refuse("guidanceRescale", "the guidance rescale must lie between 0 and 1".to_owned());
        }
        if let (Some(sampler), Some(levels)) = (self.sampler, self.levels)
            && !sampler.takes(levels)
        {
            let (sampler, levels) = (sampler.as_str(), levels.as_str());
            return refuse("levels", format!("the sampler {sampler} does not take {levels} levels; leave them out"));
        }
        inputs::check_clip_skip(self.clip_skip)?;
        inputs::check_loras(&self.loras)?;
        inputs::check_controls(&self.controls)?;
        self.init.iter().try_for_each(inputs::check_init)?;
        self.hires.iter().try_for_each(inputs::check_hires)
    }

    /// Fills the gaps from the model's defaults; `seed` is used when the request names none.
    pub fn resolve(&self, defaults: &ModelDefaults, seed: u64) -> ResolvedRequest {
        ResolvedRequest {
            model: self.model.clone(),
            prompt: self.prompt.clone(),
            negative_prompt: self.negative_prompt.clone().unwrap_or_default(),
            width: self.width.unwrap_or(defaults.width),
            height: self.height.unwrap_or(defaults.height),
            steps: self.steps.unwrap_or(defaults.steps),
            guidance_scale: self.guidance_scale.unwrap_or(defaults.guidance_scale),
            sampler: self.sampler.unwrap_or(defaults.sampler),
            seed: self.seed.unwrap_or(seed) & SEED_MAX,
            images: self.images.unwrap_or(1),
            embed_parameters: self.embed_parameters.unwrap_or(true),
            loras: self.loras.clone(),
            controls: self.controls.clone(),
            init: self.init.clone(),
            hires: self.hires,
            clip_skip: self.clip_skip.unwrap_or(0),
            guidance_rescale: self.guidance_rescale.unwrap_or(0.0),
            levels: self.levels.unwrap_or_default(),
            noise: self.noise.unwrap_or_default(),
            format: self.format.unwrap_or_default(),
        }
    }
}

pub(crate) fn refuse(param: &'static str, message: String) -> Result<(), RequestError> {
    Err(RequestError { param, message })
}

fn check_prompt(param: &'static str, chars: usize) -> Result<(), RequestError> {
    if chars > PROMPT_CHARS_MAX as usize {
        return refuse(param, format!("the text has {chars} characters; at most {PROMPT_CHARS_MAX} are read"));
    }
    Ok(())
}

pub(crate) fn check_side(param: &'static str, side: Option<u32>) -> Result<(), RequestError> {
    let Some(side) = side else { return Ok(()) };
    if !(SIDE_PX_MIN..=SIDE_PX_MAX).contains(&side) || !side.is_multiple_of(SIDE_PX_MULTIPLE) {
        return refuse(
            param,
            format!(
                "{side} is not a side this can draw: take a multiple of {SIDE_PX_MULTIPLE} from {SIDE_PX_MIN} to {SIDE_PX_MAX}"
            ),
        );
    }
    Ok(())
}

pub(crate) fn check_range(param: &'static str, value: Option<u64>, min: u64, max: u64) -> Result<(), RequestError> {
    match value {
        Some(value) if !(min..=max).contains(&value) => {
            refuse(param, format!("{value} is out of bounds: take {min} to {max}"))
        }
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_request_is_valid_and_takes_the_models_defaults() {
        let request = GenerationRequest::new("tintype/shapes", "a red circle on a blue background");
        request.validate().unwrap();
        let resolved = request.resolve(&defaults(), 7);
        assert_eq!((resolved.width, resolved.steps, resolved.seed, resolved.images), (64, 20, 7, 1));
        assert!(resolved.embed_parameters);
    }

    #[test]
    fn a_resolved_request_said_in_full_resolves_to_itself() {
        let mut request = GenerationRequest::new("tintype/shapes", "a red circle");
        for negative in [None, Some("blurry".to_owned())] {
            request.negative_prompt = negative;
            let resolved = request.resolve(&defaults(), 7);
            let other =
                ModelDefaults { width: 512, height: 512, steps: 50, guidance_scale: 9.0, sampler: Sampler::Ddim };
            assert_eq!(GenerationRequest::from(resolved.clone()).resolve(&other, 8), resolved);
        }
    }

    #[test]
    fn each_field_out_of_bounds_is_named() {
        type Spoil = fn(&mut GenerationRequest);
        let cases: [(&str, Spoil); 21] = [
            ("prompt", |r| r.prompt = "  ".to_owned()),
            ("prompt", |r| r.prompt = "é".repeat(4_001)),
            ("negativePrompt", |r| r.negative_prompt = Some("x".repeat(4_001))),
            ("width", |r| r.width = Some(7)),
            ("height", |r| r.height = Some(100)),
            ("steps", |r| r.steps = Some(0)),
            ("images", |r| r.images = Some(11)),
            ("guidanceScale", |r| r.guidance_scale = Some(f64::NAN)),
            ("seed", |r| r.seed = Some(SEED_MAX + 1)),
            ("guidanceRescale", |r| r.guidance_rescale = Some(1.5)),
            ("levels", |r| (r.sampler, r.levels) = (Some(Sampler::Ddim), Some(Levels::Karras))),
            ("levels", |r| (r.sampler, r.levels) = (Some(Sampler::Dpmpp2mKarras), Some(Levels::Beta))),
            ("clipSkip", |r| r.clip_skip = Some(9)),
            ("loras", |r| r.loras = vec![LoraUse { name: String::new(), weight: 1.0 }]),
            ("loras", |r| r.loras = vec![LoraUse { name: "l".to_owned(), weight: f64::INFINITY }]),
            ("loras", |r| r.loras = vec![LoraUse { name: "l".to_owned(), weight: 1.0 }; 9]),
            ("controls", |r| r.controls = vec![control("jobs/a/1/0.png", 0.0, 1.0)]),
            ("controls", |r| r.controls = vec![control("inputs/a", 0.8, 0.2)]),
            ("init", |r| r.init = Some(InitImage { image: "inputs/a b".to_owned(), strength: 0.5, mask: None })),
            ("init", |r| r.init = Some(InitImage { image: "inputs/a".to_owned(), strength: 1.1, mask: None })),
            ("hires", |r| r.hires = Some(Hires { width: 96, height: 64, strength: 0.5 })),
        ];
        for (param, spoil) in cases {
            let mut request = GenerationRequest::new("tintype/shapes", "a red circle");
            spoil(&mut request);
            assert_eq!(request.validate().unwrap_err().param, param);
        }
    }

    #[test]
    fn what_a_request_names_beside_its_words_has_defaults_and_survives_resolving() {
        let json = r#"{"model":"m","prompt":"p","loras":[{"name":"l"}],"controls":[{"name":"c","image":"inputs/h"}],
            "init":{"image":"inputs/i","mask":"inputs/m"},"hires":{"width":128,"height":64},"clipSkip":1,"noise":"nv",
            "format":"webp","guidanceRescale":0.7}"#;
        let request: GenerationRequest = serde_json::from_str(json).unwrap();
        request.validate().unwrap();
        assert_eq!((request.loras[0].weight, request.controls[0].end), (1.0, 1.0));
        let resolved = request.resolve(&defaults(), 7);
        assert_eq!(resolved.input_keys().collect::<Vec<_>>(), ["inputs/i", "inputs/m", "inputs/h"]);
        assert_eq!(
            (resolved.final_size(), resolved.noise, resolved.format),
            ((128, 64), NoiseSource::Nv, ImageFormat::Webp)
        );
        assert_eq!(GenerationRequest::from(resolved.clone()).resolve(&defaults(), 8), resolved);
    }

    #[test]
    fn a_field_nobody_knows_is_refused() {
        let json = r#"{"model":"m","prompt":"p","stepz":3}"#;
        assert!(serde_json::from_str::<GenerationRequest>(json).is_err());
    }

    #[test]
    fn samplers_are_spelled_the_same_by_serde_and_by_hand() {
        for sampler in Sampler::ALL {
            assert_eq!(serde_json::to_value(sampler).unwrap(), sampler.as_str());
        }
    }

    fn control(image: &str, start: f64, end: f64) -> ControlUse {
        ControlUse { name: "c".to_owned(), image: image.to_owned(), weight: 1.0, start, end }
    }

    fn defaults() -> ModelDefaults {
        ModelDefaults { width: 64, height: 64, steps: 20, guidance_scale: 3.0, sampler: Sampler::Dpmpp2mKarras }
    }
}
