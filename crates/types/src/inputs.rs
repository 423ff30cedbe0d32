//! What a request may name beside its words: LoRAs, ControlNets, pictures to start from, and how the file is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits::{ADAPTER_WEIGHT_MAX, CLIP_SKIP_MAX, CONTROLS_MAX, IMAGE_KEY_BYTES_MAX, LORAS_MAX};
use crate::request::{RequestError, check_range, check_side, refuse};

/// Where every picture a request may read lies in the store. Keys of outputs are not inputs.
pub const INPUT_KEY_PREFIX: &str = "inputs/";

/// A LoRA and how strongly it changes the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoraUse {
    /// Name of a LoRA, such as `tintype/night`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// How strongly it changes the model: 1 as it was trained, 0 not at all.
    #[serde(default = "one")]
    #[schemars(range(min = -4.0, max = 4.0))]
    pub weight: f64,
}

/// A ControlNet and the picture it follows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ControlUse {
    /// Name of a ControlNet, such as `tintype/shapes-outline`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Store key of the hint picture; it is scaled to the size of the result.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// How strongly it is followed: 1 as it was trained, 0 not at all.
    #[serde(default = "one")]
    #[schemars(range(min = -4.0, max = 4.0))]
    pub weight: f64,
    /// Share of the steps before it sets in, from 0.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub start: f64,
    /// Share of the steps after which it no longer holds, up to 1.
    #[serde(default = "one")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub end: f64,
}

/// A picture to start from (img2img), and where it may be changed (inpainting).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InitImage {
    /// Store key of the picture; it is scaled to the size of the result.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// How much of it is redrawn: that share of the steps is taken. 1 keeps nothing of it.
    #[serde(default = "default_strength")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub strength: f64,
    /// Store key of a mask of any size: white is redrawn, black is kept. Left out, all is redrawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub mask: Option<String>,
}

/// A second pass at a larger size: the first result is scaled up and redrawn in part, which keeps its composition.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hires {
    /// Width of the result in pixels, a multiple of 64.
    #[schemars(range(min = 64, max = 2048), extend("multipleOf" = 64))]
    pub width: u32,
    /// Height of the result in pixels, a multiple of 64.
    #[schemars(range(min = 64, max = 2048), extend("multipleOf" = 64))]
    pub height: u32,
    /// How much is redrawn: that share of the request's steps is taken again.
    #[serde(default = "default_hires_strength")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub strength: f64,
}

impl InitImage {
    /// How much is redrawn unless the request says: diffusers' own default.
    pub const STRENGTH: f64 = 0.8;

    /// Its strength in whole thousandths, for those who count without fractions.
    pub fn strength_millis(&self) -> u32 {
        millis(self.strength)
    }
}

impl Hires {
    /// How much is redrawn unless the request says.
    pub const STRENGTH: f64 = 0.55;

    /// Its strength in whole thousandths.
    pub fn strength_millis(&self) -> u32 {
        millis(self.strength)
    }
}

/// A share in whole thousandths; what is no share is none or all of it.
fn millis(share: f64) -> u32 {
    (share.clamp(0.0, 1.0) * 1_000.0).round() as u32
}

/// Which generator makes the noise of a seed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NoiseSource {
    /// The Mersenne twister, as diffusers' and ComfyUI's CPU generators.
    #[default]
    Cpu,
    /// Philox, as a GPU's generator and A1111's `NV` setting.
    Nv,
}

/// Which noise levels a sampler visits, and how far they are apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Levels {
    /// As the model's files, or the sampler's name, say; the default.
    #[default]
    Own,
    /// Strides back from the last trained level.
    Trailing,
    /// Karras et al., 2022, equation 5, rho 7.
    Karras,
    /// Even steps in the logarithm of the noise.
    Exponential,
    /// The quantiles of a beta distribution, alpha and beta 0.6 (Lee et al., 2024).
    Beta,
    /// Even steps in time, the last one left out, as Stability's own sampler takes them.
    SgmUniform,
}

impl Levels {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Own, Self::Trailing, Self::Karras, Self::Exponential, Self::Beta, Self::SgmUniform];

    /// The word used on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Trailing => "trailing",
            Self::Karras => "karras",
            Self::Exponential => "exponential",
            Self::Beta => "beta",
            Self::SgmUniform => "sgm-uniform",
        }
    }

    /// Whether nothing is said of them.
    pub fn is_own(&self) -> bool {
        *self == Self::Own
    }
}

/// How pictures are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ImageFormat {
    /// Lossless; the default.
    #[default]
    Png,
    /// Lossless WebP: smaller than PNG.
    Webp,
    /// JPEG of quality 95: small, not exact.
    Jpeg,
}

impl ImageFormat {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::Png, Self::Webp, Self::Jpeg];

    /// What stands behind the last dot of a file's name.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Webp => "webp",
            Self::Jpeg => "jpg",
        }
    }

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Webp => "image/webp",
            Self::Jpeg => "image/jpeg",
        }
    }
}

fn one() -> f64 {
    1.0
}

fn default_strength() -> f64 {
    InitImage::STRENGTH
}

fn default_hires_strength() -> f64 {
    Hires::STRENGTH
}

/// Every picture a request reads, by its store key, in the order init, mask, hints.
pub fn input_keys<'a>(init: Option<&'a InitImage>, controls: &'a [ControlUse]) -> impl Iterator<Item = &'a str> {
    let (image, mask) = (init.map(|init| init.image.as_str()), init.and_then(|init| init.mask.as_deref()));
    image.into_iter().chain(mask).chain(controls.iter().map(|control| control.image.as_str()))
}

pub(crate) fn check_loras(loras: &[LoraUse]) -> Result<(), RequestError> {
    check_range("loras", Some(loras.len() as u64), 0, u64::from(LORAS_MAX))?;
    loras.iter().try_for_each(|lora| {
        check_name("loras", &lora.name)?;
        check_share("loras", "weight", lora.weight, -ADAPTER_WEIGHT_MAX, ADAPTER_WEIGHT_MAX)
    })
}

pub(crate) fn check_controls(controls: &[ControlUse]) -> Result<(), RequestError> {
    check_range("controls", Some(controls.len() as u64), 0, u64::from(CONTROLS_MAX))?;
    controls.iter().try_for_each(|control| {
        check_name("controls", &control.name)?;
        check_key("controls", &control.image)?;
        check_share("controls", "weight", control.weight, -ADAPTER_WEIGHT_MAX, ADAPTER_WEIGHT_MAX)?;
        check_share("controls", "start", control.start, 0.0, 1.0)?;
        check_share("controls", "end", control.end, control.start, 1.0)
    })
}

pub(crate) fn check_init(init: &InitImage) -> Result<(), RequestError> {
    check_key("init", &init.image)?;
    init.mask.iter().try_for_each(|mask| check_key("init", mask))?;
    check_share("init", "strength", init.strength, 0.0, 1.0)
}

pub(crate) fn check_hires(hires: &Hires) -> Result<(), RequestError> {
    check_side("hires", Some(hires.width))?;
    check_side("hires", Some(hires.height))?;
    check_share("hires", "strength", hires.strength, 0.0, 1.0)
}

pub(crate) fn check_clip_skip(skip: Option<u32>) -> Result<(), RequestError> {
    check_range("clipSkip", skip.map(u64::from), 0, u64::from(CLIP_SKIP_MAX))
}

fn check_name(param: &'static str, name: &str) -> Result<(), RequestError> {
    if name.is_empty() || name.len() > 253 {
        return refuse(param, "a name must have 1 to 253 characters".to_owned());
    }
    Ok(())
}

/// Whoever may read a key is for the caller to say; here it is only kept from naming anything but an input.
fn check_key(param: &'static str, key: &str) -> Result<(), RequestError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/');
    if key.len() > IMAGE_KEY_BYTES_MAX as usize || !key.starts_with(INPUT_KEY_PREFIX) || !key.bytes().all(plain) {
        let message = format!(
            "a picture is named by the key its upload answered, {INPUT_KEY_PREFIX}...; POST the file to /api/v1/assets first \
             (URLs and data URLs are not read)"
        );
        return refuse(param, message);
    }
    Ok(())
}

fn check_share(param: &'static str, what: &str, value: f64, min: f64, max: f64) -> Result<(), RequestError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    refuse(param, format!("the {what} {value} is out of bounds: take {min} to {max}"))
}
