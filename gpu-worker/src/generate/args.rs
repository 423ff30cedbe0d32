//! The flags of `gpu-worker generate`, and the request they make.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use tintype_types::inputs::INPUT_KEY_PREFIX;
use tintype_types::limits::INPUT_BYTES_MAX;
use tintype_types::{
    ControlUse, GenerationRequest, Hires, ImageFormat, InitImage, Levels, LoraUse, ModelKind, NoiseSource, Sampler,
};

use super::models::Models;
use crate::kernels::Precision;
use crate::output::OutputArgs;
use crate::pipeline::Order;

/// Draws a picture without a server and writes it to a file.
#[derive(Clone, Debug, clap::Parser)]
#[command(
    name = "gpu-worker generate",
    version,
    after_help = "Exit codes: 0 drawn, 1 failed, 2 what the flags ask for cannot be done."
)]
pub struct GenerateArgs {
    /// The model: a folder in diffusers layout, or a `.safetensors` checkpoint.
    #[arg(long)]
    pub model: PathBuf,
    /// What the picture shows.
    #[arg(long)]
    pub prompt: String,
    /// What the picture should keep away from.
    #[arg(long)]
    pub negative: Option<String>,
    /// Seed; the same seed makes the same picture [default: a random one, which is printed].
    #[arg(long)]
    pub seed: Option<u64>,
    /// Denoising steps [default: the model's].
    #[arg(long)]
    pub steps: Option<u32>,
    /// How strongly the prompt pulls [default: the model's].
    #[arg(long)]
    pub guidance: Option<f64>,
    /// Method of denoising, such as dpmpp-2m-karras [default: the model's].
    #[arg(long, value_parser = parse_sampler)]
    pub sampler: Option<Sampler>,
    /// Which noise levels it visits: own, trailing, karras, exponential, beta or sgm-uniform [default: own].
    #[arg(long, value_parser = parse_levels)]
    pub levels: Option<Levels>,
    /// Width in pixels, a multiple of 64 [default: the model's].
    #[arg(long)]
    pub width: Option<u32>,
    /// Height in pixels, a multiple of 64 [default: the model's].
    #[arg(long)]
    pub height: Option<u32>,
    /// How many pictures; the next ones take the seeds that follow, and their files a number.
    #[arg(long)]
    pub images: Option<u32>,
    /// A LoRA and how strongly it changes the model, FILE:WEIGHT; may be given several times. No weight is 1.
    #[arg(long, value_parser = parse_lora)]
    pub lora: Vec<LoraFlag>,
    /// A ControlNet, the picture it follows and how strongly, DIR:IMAGE:WEIGHT; may be given several times. No weight is 1.
    #[arg(long, value_parser = parse_control)]
    pub control: Vec<ControlFlag>,
    /// A picture to start from, PNG, JPEG or WebP; it is scaled to the size of the result.
    #[arg(long)]
    pub init: Option<PathBuf>,
    /// How much of --init is redrawn, 0 to 1 [default: 0.8].
    #[arg(long, requires = "init")]
    pub strength: Option<f64>,
    /// Where --init may change: a picture that is white there and black where it is kept.
    #[arg(long, requires = "init")]
    pub mask: Option<PathBuf>,
    /// Draws again at a larger size, WIDTHxHEIGHT:STRENGTH; keeps what the first pass composed. No strength is 0.55.
    #[arg(long, value_parser = parse_hires)]
    pub hires: Option<Hires>,
    /// Layers left off the end of the text encoders, as diffusers counts them.
    #[arg(long)]
    pub clip_skip: Option<u32>,
    /// How far guidance is kept from over-exposing, 0 to 1.
    #[arg(long)]
    pub guidance_rescale: Option<f64>,
    /// Which generator makes the noise: cpu, as diffusers', or nv, as A1111's setting NV.
    #[arg(long, value_parser = parse_noise)]
    pub noise: Option<NoiseSource>,
    /// How the file is written: png, webp or jpeg [default: by the ending of --out].
    #[arg(long, value_parser = parse_format)]
    pub format: Option<ImageFormat>,
    /// Keeps prompt and settings out of the file.
    #[arg(long)]
    pub no_parameters: bool,
    /// What the denoiser multiplies in: f32; bf16, which is faster and less exact and needs a processor with AVX512-BF16 or a
    /// GPU since Ampere; or f16, on a GPU.
    #[arg(long, env = "TINTYPE_PRECISION", default_value_t = Precision::F32)]
    pub precision: Precision,
    /// The file to write; one that is there is replaced.
    #[arg(long)]
    pub out: PathBuf,
    /// How pictures are finished.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Value of `--lora`.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraFlag {
    /// Its file, or the folder that holds it.
    pub file: PathBuf,
    /// How strongly it changes the model.
    pub weight: f64,
}

/// Value of `--control`.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlFlag {
    /// The ControlNet's folder.
    pub folder: PathBuf,
    /// The picture it follows.
    pub image: PathBuf,
    /// How strongly it is followed.
    pub weight: f64,
}

/// What there is to do, checked.
#[derive(Clone)]
pub(super) struct Plan {
    /// Where the pipeline finds the models.
    pub(super) directories: Vec<PathBuf>,
    pub(super) order: Order,
    /// Where each picture goes.
    pub(super) files: Vec<PathBuf>,
}

impl GenerateArgs {
    /// Looks at everything that can be looked at before anything is loaded. `chance` is the seed when none is given.
    ///
    /// # Errors
    /// What is wrong, which flag says it, and what would be right.
    pub(super) fn plan(&self, chance: u64) -> Result<Plan> {
        self.check_out()?;
        let format = self.format()?;
        let mut models = Models::default();
        let card = models.find("--model", ModelKind::Checkpoint, &self.model)?.card;
        let mut request = GenerationRequest::new(&card.name, &self.prompt);
        request.negative_prompt.clone_from(&self.negative);
        request.seed = self.seed;
        request.steps = self.steps;
        request.guidance_scale = self.guidance;
        request.sampler = self.sampler;
        request.levels = self.levels;
        request.width = self.width;
        request.height = self.height;
        request.images = self.images;
        request.clip_skip = self.clip_skip;
        request.guidance_rescale = self.guidance_rescale;
        request.noise = self.noise;
        request.format = Some(format);
        request.embed_parameters = Some(!self.no_parameters);
        for LoraFlag { file, weight } in &self.lora {
            let name = models.find("--lora", ModelKind::Lora, file)?.card.name;
            request.loras.push(LoraUse { name, weight: *weight });
        }
        let mut inputs = BTreeMap::new();
        for (index, ControlFlag { folder, image, weight }) in self.control.iter().enumerate() {
            let name = models.find("--control", ModelKind::Controlnet, folder)?.card.name;
            let key = format!("{INPUT_KEY_PREFIX}control-{index}");
            inputs.insert(key.clone(), read_picture("--control", image)?);
            request.controls.push(ControlUse { name, image: key, weight: *weight, start: 0.0, end: 1.0 });
        }
        request.init = self.init(&mut inputs)?;
        request.hires = self.hires;
        request.validate().map_err(|error| anyhow::anyhow!("--{}: {error}", flag_of(error.param)))?;
        let request = request.resolve(&card.defaults, chance);
        let files = (0..request.images).map(|index| self.file(index, request.images)).collect();
        Ok(Plan { directories: models.directories, order: Order { request, inputs }, files })
    }

    /// The picture to start from; its files are put to the others.
    fn init(&self, inputs: &mut BTreeMap<String, Bytes>) -> Result<Option<InitImage>> {
        let Some(file) = &self.init else { return Ok(None) };
        let mut put = |name: &str, file: &Path| -> Result<String> {
            let key = format!("{INPUT_KEY_PREFIX}{name}");
            inputs.insert(key.clone(), read_picture(&format!("--{name}"), file)?);
            Ok(key)
        };
        let image = put("init", file)?;
        let mask = self.mask.as_deref().map(|mask| put("mask", mask)).transpose()?;
        Ok(Some(InitImage { image, strength: self.strength.unwrap_or(InitImage::STRENGTH), mask }))
    }

    fn format(&self) -> Result<ImageFormat> {
        if let Some(format) = self.format {
            return Ok(format);
        }
        let ending = self.out.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        parse_format(if ending == "jpg" { "jpeg" } else { &ending }).map_err(|_| {
            anyhow::anyhow!("--out: `{}` ends in none of .png, .webp and .jpg; name a --format", self.out.display())
        })
    }

    fn check_out(&self) -> Result<()> {
        let out = &self.out;
        ensure!(!out.is_dir(), "--out: {} is a folder; name a file in it", out.display());
        let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        ensure!(folder.is_dir(), "--out: there is no folder {}; make it first", folder.display());
        Ok(())
    }

    /// Where picture `index` of `count` goes: `x.png` as it is, or `x-1.png`, `x-2.png`.
    fn file(&self, index: u32, count: u32) -> PathBuf {
        if count == 1 {
            return self.out.clone();
        }
        let mut name = self.out.file_stem().unwrap_or_default().to_owned();
        name.push(format!("-{}", index + 1));
        if let Some(ending) = self.out.extension() {
            name.push(".");
            name.push(ending);
        }
        self.out.with_file_name(name)
    }
}

/// Reads the file of a picture, which is looked at later; only its size is bounded here.
fn read_picture(flag: &str, path: &Path) -> Result<Bytes> {
    let bytes = std::fs::metadata(path).with_context(|| format!("{flag}: cannot read {}", path.display()))?.len();
    ensure!(
        bytes <= INPUT_BYTES_MAX,
        "{flag}: {} has {bytes} bytes; at most {INPUT_BYTES_MAX} are read",
        path.display()
    );
    let read = std::fs::read(path).with_context(|| format!("{flag}: cannot read {}", path.display()))?;
    Ok(Bytes::from(read))
}

/// The flag that sets a field of the request.
fn flag_of(param: &str) -> String {
    match param {
        "negativePrompt" => "negative".to_owned(),
        "guidanceScale" => "guidance".to_owned(),
        "guidanceRescale" => "guidance-rescale".to_owned(),
        "clipSkip" => "clip-skip".to_owned(),
        "loras" => "lora".to_owned(),
        "controls" => "control".to_owned(),
        other => other.to_owned(),
    }
}

fn parse_lora(text: &str) -> Result<LoraFlag, String> {
    let (file, weight) = split_weight(text);
    if file.is_empty() {
        Err(format!("`{text}` names no file; write it like night.safetensors:0.8"))
    } else {
        Ok(LoraFlag { file: file.into(), weight })
    }
}

fn parse_control(text: &str) -> Result<ControlFlag, String> {
    let (paths, weight) = split_weight(text);
    match paths.split_once(':') {
        Some((folder, image)) if !folder.is_empty() && !image.is_empty() => {
            Ok(ControlFlag { folder: folder.into(), image: image.into(), weight })
        }
        Some(_) | None => Err(format!("`{text}` names no picture; write it like models/outline:hint.png:0.8")),
    }
}

fn parse_hires(text: &str) -> Result<Hires, String> {
    let wrong = || format!("`{text}` is no size; write it like 1024x1024:0.55");
    let (size, strength) = match text.split_once(':') {
        Some((size, strength)) => (size, strength.parse().map_err(|_| wrong())?),
        None => (text, Hires::STRENGTH),
    };
    let (width, height) = size.split_once('x').ok_or_else(wrong)?;
    let side = |side: &str| side.parse().map_err(|_| wrong());
    Ok(Hires { width: side(width)?, height: side(height)?, strength })
}

/// A weight behind the last colon, where there is one; else 1.
fn split_weight(text: &str) -> (&str, f64) {
    let weighed = text.rsplit_once(':').and_then(|(rest, weight)| Some((rest, weight.parse().ok()?)));
    weighed.unwrap_or((text, 1.0))
}

fn parse_sampler(text: &str) -> Result<Sampler, String> {
    by_name(text, Sampler::ALL.map(|sampler| (sampler.as_str(), sampler)))
}

fn parse_levels(text: &str) -> Result<Levels, String> {
    by_name(text, Levels::ALL.map(|levels| (levels.as_str(), levels)))
}

fn parse_format(text: &str) -> Result<ImageFormat, String> {
    by_name(text, [("png", ImageFormat::Png), ("webp", ImageFormat::Webp), ("jpeg", ImageFormat::Jpeg)])
}

fn parse_noise(text: &str) -> Result<NoiseSource, String> {
    by_name(text, [("cpu", NoiseSource::Cpu), ("nv", NoiseSource::Nv)])
}

fn by_name<T: Copy, const N: usize>(text: &str, known: [(&str, T); N]) -> Result<T, String> {
    known.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
        let names = known.map(|(name, _)| name).join(", ");
        format!("there is no `{text}`; take one of {names}")
    })
}
